"""Depth made fit for lifting: the noise of single pixels off, the scale of every frame held to the
still background."""

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Priors, Rewound
from restage4d.frame_arrays import stack_on_cores
from restage4d.reconstruct.motion.lifting import unproject

F32 = NDArray[np.float32]
_SURFACE = (
    0.06  # relative difference of depth from which neighbouring pixels are not of one surface
)
_STRIDE = 3  # pixels between those that are compared
_ENOUGH = 60  # background pixels without which a frame keeps its scale
_STILL = 1e-3  # of the distance of what is filmed: a camera moved by less stands where it stood
_OFF = 0.15  # relative difference of depth from which two pixels do not show the same place


def prepare_depth(rewound: Rewound, priors: Priors) -> F32:  # -> (T, H, W)
    """The depth that the fit goes by."""
    quiet = stack_on_cores(denoise_depth, priors.depth)
    for frame, scale in zip(quiet, estimate_frame_scales(rewound, priors, quiet), strict=True):
        frame *= scale
    return quiet


def denoise_depth(depth: F32) -> F32:  # (H, W) -> (H, W)
    """A bilateral filter of the logarithm: edges and slopes stay, the noise of single pixels goes.
    Unknown (0) stays unknown."""
    known = depth > 0
    log = np.where(known, np.log(np.maximum(depth, 1e-6)), 40.0).astype(
        np.float32
    )  # unknown: too far off to be mixed in
    smooth = np.asarray(cv2.bilateralFilter(log, 7, _SURFACE, 2.0))
    return np.where(known, np.exp(np.minimum(smooth, 30.0)), 0.0).astype(np.float32)


def estimate_frame_scales(rewound: Rewound, priors: Priors, depth: F32) -> F32:  # -> (T,)
    """Factors that bring every frame's background to where its neighbours and the shared first
    frame see it.

    Estimated depth drifts in scale over time, and with it the subject would come and go. What
    stands still tells: pixels away from the subject are lifted in one frame and looked up in the
    other; the median ratio of depths is the drift. From b_0 outwards every frame is held to its
    neighbour and, as far as that is in view, to b_0 itself. Where too little background is in
    common, a frame has its neighbour's factor. From another place than b_0's, where errors of the
    camera's travel look like a drift of depth, half of what is found counts.
    """
    seam = rewound.seam
    away = stack_on_cores(lambda mask: mask == 0, priors.masks)
    scale = np.ones(len(rewound), np.float32)
    w2c = priors.cameras.w2c
    centre = -np.einsum("tji,tj->ti", w2c[:, :3, :3], w2c[:, :3, 3])
    far = depth[seam][depth[seam] > 0]
    still = np.linalg.norm(centre - centre[seam], axis=1) < _STILL * (
        float(np.median(far)) if len(far) else 1.0
    )
    for a, b in rewound.outward(seam):
        ratios = [scale[a] * r for r in [_measure_ratio(priors, depth, away, a, b)] if r]
        if a != seam and (r := _measure_ratio(priors, depth, away, seam, b)):
            ratios += [r, r]  # no error adds up on the direct way
        scale[b] = np.exp(np.mean(np.log(ratios))) if ratios else scale[a]
    return np.where(still, scale, np.sqrt(scale)).astype(np.float32)


def _measure_ratio(
    priors: Priors, depth: F32, away: NDArray[np.bool_], a: int, b: int
) -> float | None:
    """Median over the common background of (depth that frame ``a`` expects in ``b``) / (depth of
    ``b``); None: too little."""
    K, w2c = priors.cameras.K, priors.cameras.w2c
    height, width = depth.shape[1:]
    row, column = (
        g.ravel() for g in np.mgrid[_STRIDE // 2 : height : _STRIDE, _STRIDE // 2 : width : _STRIDE]
    )
    use = away[a, row, column] & (depth[a, row, column] > 0)
    row, column = row[use], column[use]
    xy = np.stack([column + 0.5, row + 0.5], -1).astype(np.float32)
    points = unproject(xy, depth[a, row, column], K[a], w2c[a])
    camera = points @ w2c[b, :3, :3].T + w2c[b, :3, 3]
    z = camera[:, 2]
    pixel = np.floor((camera / np.maximum(z, 1e-6)[:, None]) @ K[b].T).astype(int)
    inside = (
        (z > 0)
        & (pixel[:, 0] >= 0)
        & (pixel[:, 1] >= 0)
        & (pixel[:, 0] < width)
        & (pixel[:, 1] < height)
    )
    pixel, z = pixel[inside], z[inside]
    there = depth[b, pixel[:, 1], pixel[:, 0]]
    common = away[b, pixel[:, 1], pixel[:, 0]] & (there > 0)
    ratio = z[common] / there[common]
    ratio = ratio[np.abs(np.log(ratio)) < _OFF]
    return float(np.median(ratio)) if len(ratio) >= _ENOUGH else None
