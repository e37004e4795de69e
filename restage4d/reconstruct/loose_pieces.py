"""Gaussians of a finished puppet that hang apart from its body, in whatever performance."""

from dataclasses import replace

import numpy as np

from restage4d import se3
from restage4d.evaluate.metrics.pieces import measure_piece_shares
from restage4d.puppet import Gaussians, Puppet

_SMALL = 0.005  # of all Gaussians: a larger piece, a hoof, is a part of the body
_GAP = 3.0  # times the median distance to neighbours, from which there is a gap
_SIGMAS = 1.5  # of a Gaussian's middle axis: as far it fills a gap
_FRAMES = 24  # of a performance that are looked at, evenly


def remove_loose_pieces(puppet: Puppet) -> Puppet:
    """The puppet without Gaussians that are in a piece of less than a 200th of all of them in any
    frame looked at. No mask asks for them, and from where nobody filmed they are specks.

    What is left are the body and large pieces, which tell that it tore
    (`restage4d.checks.puppet.check_unity`).
    """
    radius = _SIGMAS * np.sort(puppet.subject.scales, axis=1)[:, 1]
    loose = np.zeros(len(puppet.subject), bool)
    for performance in puppet.performances:
        last = performance.n_frames - 1
        for t in np.unique(np.linspace(0, last, _FRAMES).round().astype(int)):
            at = se3.blend(performance.bases[:, t], puppet.index, puppet.weight)
            points = se3.transform(*at, puppet.subject.means)
            loose |= measure_piece_shares(points, _GAP, radius) < _SMALL
    keep = ~loose
    return replace(
        puppet,
        subject=Gaussians(**{name: part[keep] for name, part in vars(puppet.subject).items()}),
        index=puppet.index[keep],
        weight=puppet.weight[keep],
    )
