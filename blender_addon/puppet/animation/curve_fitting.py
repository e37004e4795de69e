# SPDX-License-Identifier: GPL-3.0-or-later
"""Few Bézier keys in place of a key per frame. numpy only."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from restage4d.se3 import Array

_LAWSON = 2  # solutions, each with the errors of the one before as weights (Lawson's algorithm)


def fit_keys(
    values: Array, weight: Array, tolerance: float
) -> tuple[NDArray[np.intp], Array, Array]:  # (T, C), (C,) -> (n,), (n, C), (n, C)
    """The frames, values and slopes of smooth cubic keys that stay near sampled channels.

    All channels share their keys. Between two keys runs the cubic that Bézier handles at a third
    of the way make. Keys are added at the worst frame until none is off, then those are taken out
    again that can be spared.

    Args:
        values: C channels at T frames.
        weight: of each channel's error.
        tolerance: the largest length of the weighted errors of a frame.
    """
    count = len(values)
    keys = [0, count - 1] if count > 1 else [0]
    fitted, off = _solve(keys, values, weight)
    while off.max() > tolerance and len(keys) < count:
        keys = sorted([*keys, int(np.where(np.isin(np.arange(count), keys), -1, off).argmax())])
        fitted, off = _solve(keys, values, weight)
    while len(keys) > 2:
        fewer = [[x for x in keys if x != key] for key in keys[1:-1]]
        tries = [_solve(some, values, weight) for some in fewer]
        best = min(range(len(tries)), key=lambda i: tries[i][1].max())
        if tries[best][1].max() > tolerance:
            break
        keys, (fitted, off) = fewer[best], tries[best]
    n = len(keys)
    return np.array(keys), fitted[:n], fitted[n:]


def _solve(
    keys: list[int], values: Array, weight: Array
) -> tuple[Array, Array]:  # -> (2n, C), (T,)
    """Values and slopes of keys, and the errors that stay: least squares, then once more with the
    worst frames counting more."""
    design = build_design(np.array(keys), len(values))
    stress = np.ones((len(values), 1))
    best: tuple[Array, Array] | None = None
    for _ in range(_LAWSON):
        fitted, *_ = np.linalg.lstsq(design * stress, values * stress, rcond=None)
        off = np.linalg.norm((design @ fitted - values) * weight, axis=1)
        if best is None or off.max() < best[1].max():
            best = fitted, off
        stress = stress * np.sqrt(off + 0.1 * off.max() + 1e-12)[:, None]
        stress /= stress.mean()
    assert best is not None
    return best


def build_design(keys: NDArray[np.intp], count: int) -> Array:  # (n,) -> (T, 2n)
    """What the values, then the slopes (per frame), of cubic keys contribute to each frame."""
    n = len(keys)
    out = np.zeros((count, 2 * n))
    if n == 1:
        out[:, 0] = 1
        return out
    at = np.arange(count)
    i = np.clip(np.searchsorted(keys, at, side="right") - 1, 0, n - 2)
    length = (keys[i + 1] - keys[i]).astype(float)
    u = (at - keys[i]) / length
    rows = np.arange(count)
    out[rows, i] = (1 + 2 * u) * (1 - u) ** 2
    out[rows, i + 1] = u * u * (3 - 2 * u)
    out[rows, n + i] = length * u * (1 - u) ** 2
    out[rows, n + i + 1] = length * u * u * (u - 1)
    return out


def build_designs(keys: NDArray[np.intp], at: Array) -> Array:  # (C, n), (T,) -> (C, T, 2n)
    """`build_design` of several choices of keys, at any moments."""
    n = keys.shape[1]
    out = np.zeros((len(keys), len(at), 2 * n))
    if n == 1:
        out[..., 0] = 1
        return out
    i = np.clip((at[:, None] >= keys[:, None]).sum(-1) - 1, 0, n - 2)  # (C, T)
    choice, moment = np.arange(len(keys))[:, None], np.arange(len(at))
    before = keys[choice, i]
    length = (keys[choice, i + 1] - before).astype(float)
    u = (at - before) / length
    out[choice, moment, i] = (1 + 2 * u) * (1 - u) ** 2
    out[choice, moment, i + 1] = u * u * (3 - 2 * u)
    out[choice, moment, n + i] = length * u * (1 - u) ** 2
    out[choice, moment, n + i + 1] = length * u * u * (u - 1)
    return out


def place_handles(
    keys: NDArray[np.intp], values: Array, slopes: Array
) -> tuple[Array, Array]:  # (n,), (n,), (n,) -> (n, 2), (n, 2)
    """Left and right Bézier handles (frame, value) of keys, at a third of the way to the next."""
    gap = np.diff(keys).astype(float) / 3 if len(keys) > 1 else np.array([])
    before = np.concatenate([gap[:1], gap]) if len(gap) else np.array([1 / 3])
    after = np.concatenate([gap, gap[-1:]]) if len(gap) else np.array([1 / 3])
    at = keys.astype(float)
    left = np.stack([at - before, values - before * slopes], -1)
    right = np.stack([at + after, values + after * slopes], -1)
    return left, right


def smooth(values: Array, first: int, last: int, frames: float) -> Array:  # (T, C) -> (T, C)
    """Channels smoothed from frame ``first`` to ``last``: a Gaussian of ``frames`` standard
    deviation, which narrows towards both ends of the range; the frames there and outside stay."""
    out, count = values.copy(), len(values)
    at = np.arange(count)
    for t in range(max(first, 0), min(last, count - 1) + 1):
        sigma = min(frames, (t - first) / 2, (last - t) / 2)
        if sigma <= 0.1:
            continue
        share = np.exp(-0.5 * ((at - t) / sigma) ** 2)
        share[(at < t - 3 * sigma) | (at > t + 3 * sigma)] = 0
        reach = min(t, count - 1 - t)  # as far on both sides, so that a straight run stays
        share[np.abs(at - t) > reach] = 0
        out[t] = share @ values / share.sum()
    return out


def falloff(frames: ArrayLike, at: float, reach: int) -> Array:  # (n,) -> (n,)
    """1 at frame ``at``, falling smoothly to 0 at ``reach`` + 1 frames from it."""
    x = np.clip(1 - np.abs(np.asarray(frames, float) - at) / (reach + 1), 0, 1)
    return x * x * (3 - 2 * x)
