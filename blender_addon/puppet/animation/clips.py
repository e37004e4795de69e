# SPDX-License-Identifier: GPL-3.0-or-later
"""New performances of old ones: one after the other, looped, backwards, at another pace, and of
parts of two. numpy only."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from restage4d import se3
from restage4d.errors import InputError
from restage4d.puppet import F32, Performance
from restage4d.se3 import Array

from .. import bone_curves
from .sampling import (
    Body,
    blend,
    blend_cameras,
    fit_rigid,
    measure_root,
    replace_frames,
    sample,
    smoothstep,
    spread_weights,
    to_bases,
    to_matrices,
)

_TOUCH = 1e-3  # share of the body's weight from which two bases move the same points


def sequence(a: Performance, b: Performance, body: Body, frames: int) -> Performance:
    """``a``, then ``b``, which begins where ``a`` leaves the subject; the last ``frames`` of ``a``
    go over into the first of ``b``.

    Place on the ground and heading are continued: ``b`` is turned about the vertical and moved
    horizontally so that the body as a whole lies on ``a``'s in the middle of the seam. Heights are
    each performance's own. The camera goes on from where it is, as that of ``b`` moves: the subject
    stays in the picture before the background that one saw.
    """
    b = _conform(b, a, body)
    n = min(frames, a.n_frames - 1, b.n_frames - 1)
    b = _continue_camera(a, b, a.n_frames - 1 - n // 2, n // 2)
    middle = [sample(a, [a.n_frames - 1 - n / 2], body), sample(b, [n / 2], body)]
    left, right = (measure_root(p.bases, body)[0] for p in middle)
    moved = _continue_on_ground(left, right, body.middle) @ to_matrices(b.bases)
    cut = a.n_frames - n
    share = smoothstep(np.arange(1, n + 1) / (n + 1))
    first, last = to_matrices(a.bases[:, cut:]), moved[:, :n]
    seam = to_bases(blend(first, last, share, body.centre[:, None]))
    cameras = blend_cameras((a.K[cut:], a.w2c[cut:]), (b.K[:n], b.w2c[:n]), share)
    bases = np.concatenate([a.bases[:, :cut], seam, to_bases(moved[:, n:])], axis=1)
    K = np.concatenate([a.K[:cut], cameras[0], b.K[n:]])
    w2c = np.concatenate([a.w2c[:cut], cameras[1], b.w2c[n:]])
    return replace_frames(a, bases, K, w2c)


def _continue_camera(a: Performance, b: Performance, last: int, first: int) -> Performance:
    """``b`` filmed by a camera that moves as its own does, and at its frame ``first`` is ``a``'s at
    ``last``."""
    home = np.linalg.inv(b.w2c[first].astype(np.float64)) @ a.w2c[last]
    w2c = (b.w2c @ home).astype(np.float32)
    return replace(b, K=b.K - b.K[first] + a.K[last], w2c=w2c)


def loop(a: Performance, body: Body, times: int, frames: int) -> Performance:
    """``a`` several times in a row, see `sequence`."""
    out = a
    for _ in range(times - 1):
        out = sequence(out, a, body, min(frames, a.n_frames // 2))
    return out


def reverse(a: Performance) -> Performance:
    """``a`` backwards, its camera too."""
    return replace_frames(a, a.bases[:, ::-1], a.K[::-1].copy(), a.w2c[::-1].copy())


def retime(a: Performance, speeds: Array, body: Body) -> Performance:
    """``a`` at another pace: ``speeds`` (T,) says for each of its frames how fast it goes there, 1
    as it is, 2 twice as fast.

    Raises:
        InputError: a speed is not above 0, or the result would be longer than 20 times ``a``.
    """
    if not (np.isfinite(speeds).all() and speeds.min() > 0):
        at = int(np.argmin(np.where(np.isfinite(speeds), speeds, -np.inf)))
        raise InputError(
            f"The speed is {speeds[at]:.3g} at frame {at + 1}.",
            "Keep it above 0; to play backwards use Reverse.",
        )
    # Time passes by 1 / speed a frame, between two frames by the mean of theirs.
    passed = np.concatenate([[0.0], np.cumsum(0.5 * (1 / speeds[1:] + 1 / speeds[:-1]))])
    if passed[-1] > 20 * a.n_frames:
        raise InputError(
            f"At this speed it would last {passed[-1]:.0f} frames.", "Choose a higher speed."
        )
    count = max(round(float(passed[-1])), 1)
    at = np.interp(np.linspace(0, passed[-1], count + 1), passed, np.arange(a.n_frames))
    at = np.where(np.abs(at - np.round(at)) < 1e-9, np.round(at), at)
    return sample(a, at, body)


def mix(
    a: Performance, b: Performance, chosen: NDArray[np.bool_], body: Body
) -> Performance:  # chosen: (K,)
    """``a``, in which the bases ``chosen`` do what they do in ``b``, seen from the part of the body
    that they hang on.

    Where chosen bases and others move the same points, the motion of ``b`` is carried along
    rigidly: so that these points, by the others alone, are where ``a`` has them. Chosen bases that
    share points go together. Without shared points the body as a whole takes that place. ``b`` is
    held where it is shorter.
    """
    b = sample(_conform(b, a, body), np.arange(a.n_frames), body)
    share = spread_weights(body.index, body.weight, len(chosen))
    bases = a.bases.copy()
    for group in find_groups(share, chosen):
        inside, outside = share[:, group].sum(1), share[:, ~chosen].sum(1)
        hold = inside * outside
        rows = np.flatnonzero(hold > 1e-4)
        if len(rows) >= 3:
            rest = np.where(chosen, 0.0, share[rows])
            rest /= rest.sum(1, keepdims=True)
            there, here = (_skin_dense(p.bases, rest, body.means[rows]) for p in (b, a))
            carry = fit_rigid(there, here, hold[rows])
        else:
            roots = [measure_root(p.bases, body) for p in (a, b)]
            carry = roots[0] @ bone_curves.inverse(roots[1])
        bases[group] = to_bases(carry @ to_matrices(b.bases[group]))
    return replace_frames(a, bases, a.K, a.w2c)


def find_groups(share: Array, chosen: NDArray[np.bool_]) -> list[NDArray[np.intp]]:  # (N, K), (K,)
    """The bases ``chosen``, those together that move the same points."""
    total = np.maximum(share.sum(0), 1e-12)
    common = (share.T @ share) / np.minimum(total[:, None], total)
    left, groups = set(np.flatnonzero(chosen).tolist()), []
    while left:
        group, new = set(), {min(left)}
        while new:
            group |= new
            near = (common[sorted(new)] > _TOUCH).any(0)
            new = {k for k in np.flatnonzero(near).tolist() if k in left} - group
        left -= group
        groups.append(np.array(sorted(group)))
    return groups


def _skin_dense(bases: F32, coefs: Array, means: Array) -> Array:  # -> (T, N, 3)
    R, t = se3.blend_dense(bases.astype(np.float64), coefs)
    return np.swapaxes(se3.transform(R, t, means.astype(np.float64)), 0, 1)


def _conform(b: Performance, a: Performance, body: Body) -> Performance:
    """``b`` at ``a``'s frame rate and picture size."""
    if abs(b.fps - a.fps) > 1e-3 * a.fps:
        count = max(round((b.n_frames - 1) * a.fps / b.fps), 1)
        b = sample(b, np.linspace(0, b.n_frames - 1, count + 1), body)
    scale = np.array([a.size[0] / b.size[0], a.size[1] / b.size[1], 1.0], np.float32)
    out = replace_frames(b, b.bases, b.K * scale[:, None], b.w2c)
    out.fps, out.size = a.fps, a.size
    return out


def _continue_on_ground(a: Array, b: Array, middle: Array) -> Array:  # (4, 4) x2, (3,) -> (4, 4)
    """The turn about the vertical and the horizontal shift that bring a body moved by ``b`` onto
    where ``a`` moves it."""
    turn = a[:3, :3] @ b[:3, :3].T
    angle = np.arctan2(turn[1, 0] - turn[0, 1], turn[0, 0] + turn[1, 1])
    out = np.eye(4)
    cosine, sine = np.cos(angle), np.sin(angle)
    out[:2, :2] = [[cosine, -sine], [sine, cosine]]
    places = [m[:3, :3] @ middle + m[:3, 3] for m in (a, b)]
    out[:2, 3] = (places[0] - out[:3, :3] @ places[1])[:2]
    return out
