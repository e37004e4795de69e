"""Gaussians of a finished puppet that hang apart from its body, in whatever performance."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from restage4d import se3
from restage4d.evaluate.metrics.pieces import measure_piece_shares
from restage4d.puppet import Gaussians, Puppet

_SIGMAS = 1.5  # of a Gaussian's middle axis: as far it fills a gap
_FRAMES = 24  # of a performance that are looked at, evenly


def find_loose_pieces(puppet: Puppet, smallest: float, gap: float) -> NDArray[np.bool_]:  # -> (N,)
    """Which Gaussians are in a piece of less than ``smallest``, a share of all of them, in any
    frame looked at. No mask asks for them, and from where nobody filmed they are specks.

    Pieces are apart where there is more than ``gap`` times the median distance to neighbours
    between them (`restage4d.evaluate.metrics.pieces.label_pieces`).
    """
    radius = _SIGMAS * np.sort(puppet.subject.scales, axis=1)[:, 1]
    loose = np.zeros(len(puppet.subject), bool)
    for performance in puppet.performances:
        last = performance.n_frames - 1
        for t in np.unique(np.linspace(0, last, _FRAMES).round().astype(int)):
            at = se3.blend(performance.bases[:, t], puppet.index, puppet.weight)
            points = se3.transform(*at, puppet.subject.means)
            loose |= measure_piece_shares(points, gap, radius) < smallest
    return loose


def remove_gaussians(puppet: Puppet, which: NDArray[np.bool_]) -> Puppet:  # (N,)
    """The puppet without these."""
    keep = ~which
    return replace(
        puppet,
        subject=Gaussians(**{name: part[keep] for name, part in vars(puppet.subject).items()}),
        index=puppet.index[keep],
        weight=puppet.weight[keep],
    )
