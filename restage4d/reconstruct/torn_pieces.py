"""Parts of a finished puppet that tear off its body in some frames of a performance are brought
back to it.

What is hidden in a frame, or seen with a wrong depth, is held to the body by little: a tail behind
its horse flies off. Where a part hangs together with the body in a frame nearby, the body around
the seam carries it from there.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from restage4d import se3
from restage4d.evaluate.metrics.pieces import label_solid
from restage4d.priors.geometry.pixels import find_pixels
from restage4d.puppet import F32, Performance, Puppet
from restage4d.reconstruct.motion.body_motion import robust_procrustes
from restage4d.splatting.gaussians import render_gaussians
from restage4d.threads import map_on_cores

_LEAST = 0.002  # of all Gaussians: smaller pieces are no parts
_HOLDS = 3.0  # median distances of neighbours, at which a part surely hangs together with the body
_WITH = 0.9  # of its Gaussians, that then do
_OWN = 0.5  # share of what a basis moves, from which it is the part's
_SEAM = 0.08  # of the extent: the body about the part, which carries it
_FEW = 30  # Gaussians that tell how
_SEEN = 0.2  # share of a part at the drawn surface, from which the camera sees it
_SURFACE = 0.04  # of the extent
_OUTSIDE = 0.5  # share of what is seen of a part beside the mask, from which it is not there
_FRAMES = 24  # of a performance that are looked at first


def rejoin_torn_pieces(
    puppet: Puppet, masks: Sequence[F32], check: Callable[[], None], *, first: bool
) -> Puppet:
    """The puppet with such parts moved, by the bases that are theirs, in the frames in which they
    are torn off.

    A part that the clip's camera does not see, or sees where the frame shows no subject, goes with
    the body; any other along the camera's ray alone: its picture stays. Where that does not bring
    it back, it stays torn.

    Args:
        puppet: whose performances begin with one frame that all share.
        masks: (T, H, W) of each performance, 0..1, the subject in its frames; below 0: not known.
        check: called now and then; may raise `Cancelled`.
        first: whether the frame that all share may be changed, for all of them, from another frame
            of the first performance.
    """
    dense = puppet.compute_dense_weight()
    performances = [
        _rejoin(puppet, performance, mask, dense, 0 if first and i == 0 else 1, check)
        for i, (performance, mask) in enumerate(zip(puppet.performances, masks, strict=True))
    ]
    if first and performances[0] is not puppet.performances[0]:
        for i, performance in enumerate(performances[1:], 1):
            bases = performance.bases.copy()
            bases[:, 0] = performances[0].bases[:, 0]
            performances[i] = replace(performance, bases=bases)
    return replace(puppet, performances=performances)


def _rejoin(
    puppet: Puppet,
    performance: Performance,
    masks: F32,
    dense: F32,
    begin: int,
    check: Callable[[], None],
) -> Performance:
    """The performance with its torn parts brought back from frame ``begin`` on. ``dense``: (N, K)
    coefficients."""
    frames = range(performance.n_frames)

    def pose(bases: F32) -> F32:  # (K, 9) -> (N, 3)
        at = se3.blend(bases, puppet.index, puppet.weight)
        return se3.transform(*at, puppet.subject.means)

    def label(t: int) -> NDArray[np.intp]:
        return label_solid(puppet, performance.bases[:, t])

    @cache
    def find_whole(t: int) -> NDArray[np.bool_]:
        check()
        return label_solid(puppet, performance.bases[:, t], _HOLDS) == 0

    first = sorted({int(t) for t in np.linspace(0, performance.n_frames - 1, _FRAMES).round()})
    pieces = dict(zip(first, map_on_cores(label, first, check), strict=True))
    torn = [t for t in first if _list_parts(pieces[t])]
    step = max(np.diff(first), default=1)
    beside = [t for t in frames if t not in pieces and any(abs(t - s) < step for s in torn)]
    pieces |= zip(beside, map_on_cores(label, beside, check), strict=True)
    torn = sorted(t for t, piece in pieces.items() if t >= begin and _list_parts(piece))
    if not torn:
        return performance
    bases = performance.bases.copy()
    for t in torn:
        for number in _list_parts(pieces[t]):
            check()
            part = pieces[t] == number
            outward = sorted(frames, key=lambda s: abs(s - t))
            source = next((s for s in outward if find_whole(s)[part].mean() > _WITH), None)
            if source is None:
                continue
            then, now = pose(performance.bases[:, source]), pose(bases[:, t])
            motion = _follow_body(part, (pieces[t] == 0) & find_whole(source), then, now)
            rows = np.flatnonzero(dense[part].sum(0) > _OWN * np.maximum(dense.sum(0), 1e-9))
            if motion is None or not len(rows):
                continue
            trial = bases[:, t].copy()
            if _is_shown(puppet, performance, t, masks[t], part):
                eye = performance.camera(t).centre
                trial[rows, 6:] += _find_way(motion, then[part], now[part], eye)
            else:
                trial[rows] = _carry(motion, performance.bases[rows, source])
            if (label_solid(puppet, trial)[part] == 0).mean() > _WITH:
                bases[:, t] = trial
    return replace(performance, bases=bases)


def _list_parts(piece: NDArray[np.intp]) -> list[int]:
    """Numbers of the pieces that are parts torn off."""
    return [int(i) for i in np.flatnonzero(np.bincount(piece) >= _LEAST * len(piece)) if i > 0]


def _follow_body(
    part: NDArray[np.bool_], body: NDArray[np.bool_], then: F32, now: F32
) -> tuple[F32, F32] | None:
    """The rigid motion of the body about the part, None where too little of it is near."""
    extent = float(np.ptp(np.quantile(then, [0.02, 0.98], axis=0), axis=0).max())
    apart = np.asarray(KDTree(then[part]).query(then)[0])
    about = body & ~part & (apart < _SEAM * extent)
    if about.sum() < _FEW:
        return None
    return robust_procrustes(then[about], now[about], np.ones(int(about.sum()), np.float32))


def _carry(motion: tuple[F32, F32], bases: F32) -> F32:  # (R, 9) -> (R, 9)
    """Bases moved rigidly."""
    R, shift = motion
    return se3.pack(R @ se3.gram_schmidt(bases[:, :6]), bases[:, 6:] @ R.T + shift)


def _find_way(motion: tuple[F32, F32], then: F32, now: F32, eye: F32) -> F32:  # -> (3,)
    """The way along the camera's ray alone to where the body would carry a part: (P, 3) where it
    was ``then`` and is ``now``."""
    R, shift = motion
    ray = now.mean(0) - eye
    ray /= np.linalg.norm(ray)
    return ((then @ R.T + shift).mean(0) - now.mean(0)) @ ray * ray


def _is_shown(
    puppet: Puppet, performance: Performance, t: int, mask: F32, part: NDArray[np.bool_]
) -> bool:
    """Whether frame t shows the part where it is: the clip's camera sees it, on the subject."""
    camera, posed = performance.camera(t), puppet.pose(performance, t)
    depth = render_gaussians([posed], camera)[1]
    row, column, z, inside = find_pixels(posed.means[part], camera.K, camera.w2c, depth.shape)
    extent = float(np.ptp(np.quantile(posed.means, [0.02, 0.98], axis=0), axis=0).max())
    seen = inside & (z < depth[row, column] + _SURFACE * extent)
    outside = (mask[row, column] >= 0) & (mask[row, column] < 0.5)
    return float(seen.mean()) >= _SEEN and float(outside[seen].mean()) < _OUTSIDE
