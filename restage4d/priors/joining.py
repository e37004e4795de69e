"""Priors that makers of driving videos know, joined with the estimates of the rewound clip.

Each function takes the estimate of one prior over all frames and ``known`` of the videos by their
number (`Rewound.source`), and returns the whole: what is known stands for those videos' frames but
b_0, whose prior is the base's own. Nothing that is passed in is changed.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from restage4d.clips import Cameras, Rewound, Tracks
from restage4d.frame_arrays import take_frames
from restage4d.priors.known import KnownPriors, find_kind
from restage4d.priors.tracks.flow_tracks import extrapolate_occluded

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_ENOUGH = 30  # pixels of the subject without which depths cannot be compared
_ROUNDS = 5  # of leaving out pixels that do not agree
_SAME = 3.0  # pixels at a longer side of 384, within which two tracks follow the same point


def join_masks(masks: F32, rewound: Rewound, known: Mapping[int, KnownPriors]) -> F32:
    """Masks (T, H, W), known ones in the place of frames that have none (NaN)."""
    masks = take_frames(masks, np.arange(len(masks)))
    for source, its in known.items():
        if its.masks is not None:
            for row, mask in zip(rewound.video(source)[1:], its.masks[1:], strict=True):
                masks[row] = np.where(np.isnan(masks[row]), mask, masks[row])
    return masks


def join_cameras(cameras: Cameras, rewound: Rewound, known: Mapping[int, KnownPriors]) -> Cameras:
    """Cameras: known ones begin with b_0's and turn and zoom from there."""
    K, w2c, seam = cameras.K.copy(), cameras.w2c.copy(), rewound.seam
    for source, its in known.items():
        if its.cameras is None:
            continue
        rows = rewound.video(source)[1:]
        turn = its.cameras.w2c[1:, :3, :3] @ its.cameras.w2c[0, :3, :3].T
        w2c[rows, :3] = turn @ w2c[seam, :3]
        K[rows] = K[seam]
        focal = its.cameras.K[:, [0, 1], [0, 1]]
        K[rows[:, None], [0, 1], [0, 1]] *= focal[1:] / focal[0]
    kind = cameras.kind
    if kind != "moving":
        kind = find_kind(w2c)
    return replace(cameras, K=K, w2c=w2c, kind=kind)


def join_depth(
    depth: F32,
    masks: F32,
    cameras: Cameras,
    rewound: Rewound,
    known: Mapping[int, KnownPriors],
) -> F32:
    """Depth (T, H, W): the subject as it is known, the background as b_0 shows it.

    The subject's distance is to the known one as in b_0, in all frames; its thickness is so to its
    width in the picture as the maker's lens and the base's say, which may differ. So may what they
    take for upright: the subject is tilted as b_0 shows it, about its middle in every frame.

    Args:
        depth, masks: of all frames.
        cameras: of all frames; a background is taken over where they stand still.
        rewound, known: see above.
    """
    joined, seam = take_frames(depth, np.arange(len(depth))), rewound.seam
    stage = (masks[seam] == 0) & (depth[seam] > 0)
    for source, its in known.items():
        if its.depth is None:
            continue
        both = (masks[seam] > 0.5) & (depth[seam] > 0) & (its.depth[0] > 0)
        if both.sum() < _ENOUGH:
            continue
        ratio = float(np.median(depth[seam][both]) / np.median(its.depth[0][both]))
        lens = _compare_lenses(its, cameras, seam)
        tilt = _find_tilt(depth[seam] / np.maximum(_scale(its.depth[0], ratio, lens), 1e-9), both)
        for own, row in zip(its.depth[1:], rewound.video(source)[1:], strict=True):
            if np.allclose(cameras.w2c[row], cameras.w2c[seam], atol=1e-5):
                joined[row] = np.where(stage, depth[seam], joined[row])
            there = own > 0
            if there.any():
                turned = 1 + _measure_offsets(there) @ tilt
                joined[row][there] = _scale(own, ratio, lens)[there] * np.clip(turned, 0.5, 2)
    return joined


def _compare_lenses(its: KnownPriors, cameras: Cameras, seam: int) -> float:
    """The maker's focal length to the base's: thickness is so to distance, where the width in the
    picture is the same."""
    return 1.0 if its.cameras is None else float(its.cameras.K[0, 0, 0] / cameras.K[seam, 0, 0])


def _scale(own: F32, ratio: float, lens: float) -> F32:  # (H, W) -> (H, W)
    """Known depth with its distance times ``ratio`` and its thickness times that and ``lens``."""
    middle = np.median(own[own > 0])
    moved = ratio * (middle + lens * (own - middle))
    return np.where(own > 0, np.maximum(moved, 0.1 * ratio * middle), 0).astype(np.float32)


def _measure_offsets(there: NDArray[np.bool_]) -> F64:  # (H, W) -> (N, 2)
    """x and y of the pixels from their middle."""
    rows, cols = np.nonzero(there)
    return np.stack([cols - np.median(cols), rows - np.median(rows)], 1)


def _find_tilt(ratios: F32, both: NDArray[np.bool_]) -> F64:  # (H, W) -> (2,)
    """How fast ``ratios`` of depths grow to the right and down over the pixels of ``both``; half of
    them may be off."""
    offsets, value = _measure_offsets(both), ratios[both] - 1.0
    sides = np.column_stack([offsets, np.ones(len(offsets))])
    fit = np.zeros(3)
    for _ in range(_ROUNDS):
        off = np.abs(value - sides @ fit)
        weight = 1 / (np.median(off) + off + 1e-6)
        scaled = sides * weight[:, None]
        # rows or columns in which it has no extent say nothing
        fit = np.linalg.lstsq(scaled.T @ sides, scaled.T @ value, rcond=1e-6)[0]
    return fit[:2]


def join_tracks(
    estimated: Tracks, cameras: Cameras, rewound: Rewound, known: Mapping[int, KnownPriors]
) -> Tracks:
    """Tracks: those of b_0 go on as the known ones that pass there do; known ones that pass no
    estimated track are added, and guessed in the other videos.

    Of what was estimated from a frame of a video with known tracks, what reaches b_0 begins there
    instead, and the rest is left out.
    """
    seam, tracks = rewound.seam, estimated
    near = _SAME * max(rewound.clip.size) / 384
    for source, its in known.items():
        if its.tracks is None or not len(its.tracks.xy):
            continue
        rows = rewound.video(source)
        behind = its.tracks.behind
        lens = _compare_lenses(its, cameras, seam)
        deeper = np.where(behind > 0, np.maximum(1 + lens * (behind - 1), 0.1), 0)
        own = replace(its.tracks, behind=deeper.astype(np.float32))
        inside = np.isin(tracks.query, rows[1:])
        keep = ~inside | tracks.visible[:, seam]
        tracks = Tracks(**{name: value[keep].copy() for name, value in vars(tracks).items()})
        tracks.query[inside[keep]] = seam
        for value in (tracks.visible, tracks.confidence, tracks.behind):
            value[:, rows[1:]] = 0
        used = np.zeros(len(own.xy), bool)
        begin = np.flatnonzero(own.visible[:, 0])
        if len(begin):
            distance, partner = map(np.asarray, KDTree(own.xy[begin, 0]).query(tracks.xy[:, seam]))
            on = np.flatnonzero(tracks.visible[:, seam] & (distance < near))
            partner = begin[partner[on]]
            used[partner] = True
            off = tracks.xy[on, seam] - own.xy[partner, 0]
            at = np.ix_(on, rows[1:])
            tracks.xy[at] = own.xy[partner, 1:] + off[:, None]
            tracks.visible[at] = own.visible[partner, 1:]
            tracks.confidence[at] = own.confidence[partner, 1:]
            tracks.behind[at] = own.behind[partner, 1:]
        tracks = _add(tracks, own, ~used, rows)
    if tracks is not estimated:
        extrapolate_occluded(rewound, tracks, tracks.confidence > 0)
    return tracks


def _add(tracks: Tracks, own: Tracks, which: NDArray[np.bool_], rows: NDArray) -> Tracks:
    """``tracks`` and those of ``own``, which says nothing of other frames than ``rows``."""
    shape = (int(which.sum()), tracks.visible.shape[1])
    more = Tracks(
        np.zeros((*shape, 2), np.float32),
        np.zeros(shape, bool),
        np.zeros(shape, np.float32),
        rows[own.query[which]].astype(np.int32),
    )
    more.xy[:, rows], more.visible[:, rows] = own.xy[which], own.visible[which]
    more.confidence[:, rows] = own.confidence[which]
    more.behind[:, rows] = own.behind[which]
    return Tracks(**{n: np.concatenate([a, getattr(more, n)]) for n, a in vars(tracks).items()})
