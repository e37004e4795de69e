"""Pixels marked in one frame, carried by the puppet to all others."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from restage4d import se3
from restage4d.evaluate.measure import find_visible
from restage4d.evaluate.metrics import tracking
from restage4d.puppet import Performance, Puppet

# of the subject's extent: how far behind the drawn surface a Gaussian still takes a mark
_SURFACE = 0.04


def carry_marks(
    puppet: Puppet, performance: Performance, frame: int, xy: NDArray
) -> NDArray[np.float32]:  # (J, 2) -> (J, T, 3)
    """World paths of pixels marked in ``frame``: each goes with the nearest Gaussian of the subject
    that is seen there."""
    solid = np.flatnonzero(puppet.subject.opacities >= tracking.SOLID)
    means = puppet.pose(performance, frame).means[solid]
    extent = float(np.ptp(np.quantile(means, [0.02, 0.98], axis=0), axis=0).max())
    here = replace(performance, bases=performance.bases[:, frame : frame + 1])
    here = replace(here, K=performance.K[frame : frame + 1], w2c=performance.w2c[frame : frame + 1])
    front = find_visible(puppet, here, means[:, None], _SURFACE * extent)[:, 0]
    if not front.any():
        front[:] = True
    means, solid = means[front], solid[front]
    pixel, depth = project(means, performance, frame)
    nearest = np.asarray(KDTree(pixel).query(xy)[1])
    points = lift_pixels(xy, depth[nearest], performance, frame)
    index, weight = puppet.index[solid[nearest]], puppet.weight[solid[nearest]]
    R, t = se3.blend(performance.bases[:, frame], index, weight)
    return tracking.follow(performance, index, weight, se3.inverse_transform(R, t, points))


def project(points: NDArray, performance: Performance, frame: int) -> tuple[NDArray, NDArray]:
    """Pixels (J, 2) and depths (J,) of world points (J, 3) in a frame's camera."""
    w2c = performance.w2c[frame]
    camera = points @ w2c[:3, :3].T + w2c[:3, 3]
    pixel = ((camera / np.maximum(camera[:, 2:], 1e-6)) @ performance.K[frame].T)[:, :2]
    return pixel, camera[:, 2]


def lift_pixels(
    xy: NDArray, depth: NDArray, performance: Performance, frame: int
) -> NDArray[np.float32]:  # (J, 2), (J,) -> (J, 3)
    """World points of pixels at the depths z."""
    K, w2c = performance.K[frame], performance.w2c[frame]
    ray = np.concatenate([xy, np.ones((len(xy), 1))], 1) @ np.linalg.inv(K).T
    return ((ray * depth[:, None] - w2c[:3, 3]) @ w2c[:3, :3]).astype(np.float32)
