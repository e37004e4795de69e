"""Splats of others as a puppet that stands still: one basis that never moves, seen by a camera from
the front."""

from pathlib import Path

import numpy as np

from restage4d import se3
from restage4d.exporting.formats import Axes, convert_gaussians
from restage4d.puppet import Gaussians, Performance, Puppet

_SIZE = (960, 540)
_FOCAL = 1.2  # picture widths
_FRAMED = 0.9  # of the points, by their distance to the middle: few stray ones are outside


def guess_axes(path: Path) -> Axes:
    """Where up is in a splat file of that name: SPZ says y up, 3DGS trainers write y down."""
    return Axes.Y_UP if path.suffix.lower() == ".spz" else Axes.Y_DOWN


def stand_upright(gaussians: Gaussians, axes: Axes, scale: float = 1.0) -> Gaussians:
    """Gaussians of a file in ``axes``, ``scale`` of whose units are a metre, as the puppet's world
    has them: z up, metres."""
    return convert_gaussians(gaussians, axes.turn.T, 1 / scale)


def make_still_puppet(gaussians: Gaussians, name: str = "still") -> Puppet:
    """A puppet of one frame, whose world is the Gaussians' own: +Z up, metres.

    Example:
        >>> scene = stand_upright(read_splats("biker.spz"), Axes.Y_UP)
        >>> make_still_puppet(scene).save("biker.puppet")
    """
    n = len(gaussians)
    middle = np.median(gaussians.means, axis=0)
    distance = np.linalg.norm(gaussians.means - middle, axis=1)
    reach = float(np.quantile(distance, _FRAMED)) + float(gaussians.scales.max(1).mean())
    w2c = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], np.float32)
    eye = middle - np.array([0, 2 * _FOCAL * reach * _SIZE[0] / _SIZE[1], 0], np.float32)
    w2c[:3, 3] = -w2c[:3, :3] @ eye
    focal = _FOCAL * _SIZE[0]
    K = np.array([[focal, 0, _SIZE[0] / 2], [0, focal, _SIZE[1] / 2], [0, 0, 1]], np.float32)
    performance = Performance(
        name, se3.IDENTITY[None, None].copy(), 24.0, K[None], w2c[None], _SIZE
    )
    empty = Gaussians(*(value[:0] for value in vars(gaussians).values()))
    one = np.ones((n, 1), np.float32)
    return Puppet(gaussians, np.zeros((n, 1), np.uint16), one, [performance], empty)
