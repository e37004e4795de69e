# SPDX-License-Identifier: GPL-3.0-or-later
"""Few Bézier keys in place of a key per frame. numpy only."""

from itertools import pairwise

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


def sketch_keys(
    values: Array, weight: Array, tolerance: float
) -> tuple[NDArray[np.intp], Array, Array]:  # (T, C), (C,) -> (n,), (n, C), (n, C)
    """As `fit_keys`, sooner and with a few more keys: one is added at once in each gap that is off,
    and each is tried once whether it can be spared."""
    count = len(values)
    if np.ptp(values, axis=0).max() * weight.max() <= tolerance:
        return np.array([0]), values[:1].copy(), np.zeros_like(values[:1])
    keys = [0, count - 1]
    fitted, off = _solve(keys, values, weight)
    while off.max() > tolerance and len(keys) < count:
        gaps = [(a, b) for a, b in pairwise(keys) if b - a > 1]
        bad = [(a, b) for a, b in gaps if off[a : b + 1].max() > tolerance] or gaps
        keys = sorted([*keys, *(a + 1 + int(off[a + 1 : b].argmax()) for a, b in bad)])
        fitted, off = _solve(keys, values, weight)
    for key in keys[1:-1]:
        fewer = [x for x in keys if x != key]
        tried = _solve(fewer, values, weight)
        if tried[1].max() <= tolerance:
            keys, (fitted, off) = fewer, tried
    n = len(keys)
    return np.array(keys), fitted[:n], fitted[n:]


def thin_channels(
    keys: NDArray[np.intp], values: Array, weight: Array, tolerance: float
) -> list[tuple[NDArray[np.intp], Array, Array]]:  # (n,), (T, C), (C,) -> (m,), (m,), (m,) each
    """Each channel's frames, values and slopes: of frames that all share, those that it needs. The
    quietest goes first; one that hardly moves keeps one key. The length of the weighted errors of a
    frame stays within the tolerance as long as it is so with all keys."""
    every, _ = _solve(keys.tolist(), values, weight)
    off = (build_design(keys, len(values)) @ every - values) * weight
    out: list[tuple[NDArray[np.intp], Array, Array]] = [(keys[:0], values[0], values[0])] * len(
        weight
    )
    for c in np.argsort(np.ptp(values, axis=0) * weight, kind="stable").tolist():
        column, others = values[:, c : c + 1], (np.delete(off, c, 1) ** 2).sum(1)

        def is_near(error: Array, others: Array = others) -> bool:
            return bool(np.sqrt(others + error**2).max() <= tolerance)

        still = (column[0, 0] - column[:, 0]) * weight[c]
        if is_near(still):
            out[c] = keys[:1], column[:1, 0], np.zeros(1)
            off[:, c] = still
            continue
        mine, fitted = keys.tolist(), every[:, c]
        for key in mine[1:-1]:
            fewer = [x for x in mine if x != key]
            tried = _solve(fewer, column, np.ones(1))[0][:, 0]
            error = (build_design(np.array(fewer), len(values)) @ tried - column[:, 0]) * weight[c]
            if is_near(error):
                mine, fitted, off[:, c] = fewer, tried, error
        out[c] = np.array(mine), fitted[: len(mine)], fitted[len(mine) :]
    return out


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
