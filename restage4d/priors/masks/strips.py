"""Strips that go on below a mask: limbs that it cuts off.

A strip is a span of pixels in every row, from a row just below the mask downward, whose ends and
width change little from row to row. The best one has an edge on both sides of every row, is even
within, looks rather like the mask than like what surrounds it, and begins with the mask's colours.
"""

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from restage4d.priors.masks.regions import dilate

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Bool = NDArray[np.bool_]
Ints = NDArray[np.int64]

_MOST = 8  # strips
_WIDTHS, _COUNT = (0.035, 0.17), 12  # over the root of the mask's area; how many between
_SHORTEST = 0.12  # rows over that root
_BLUR = (7, 1.2)  # rows over which colours are smoothed, and its deviation
_EDGE, _MOST_EDGE = 12.0, 1.5  # step in Lab that is an edge; how many of it count at most
_NO_EDGE = 0.75  # of it, below which a row speaks against the strip
_EVEN, _UNEVEN = 6.0, 0.08  # deviation in Lab that a row may have; what each more costs
_LIKE = 0.3  # weight of the log-likelihood ratio of colour
_ASIDE, _WIDER = 0.08, 0.08  # cost of a step aside, pixels a row, and of another width
_CHANGE, _SAME = 0.03, 2.0  # cost of a step in Lab from row to row, above that
_OTHER, _BEGIN = 0.5, 6.0  # the same where it begins, from the mask's colours above
_OVERLAP, _AGAIN = 0.5, 0.3  # share of a row that may lie in the mask; in a better strip
_PAD = 6  # pixels added at the left and right
_NONE = np.float32(-1e9)


def find_strips(lab: F32, ratio: F32, mask: Bool, near: Bool) -> list[tuple[float, Bool]]:
    """Strips (H, W), not in ``mask``, with what speaks for each, summed over its rows; best first.

    Args:
        lab: (H, W, 3) colours, finely smoothed.
        ratio: (H, W) log-likelihood ratio of colour, mask against surroundings.
        near: (H, W) where they may be.

    Example:
        >>> for score, strip in find_strips(lab, ratio, mask, near):
        ...     limbs = mask | strip
    """
    size = float(np.sqrt(mask.sum()))
    rows, cols = np.nonzero(near)
    if not len(rows):
        return []
    low, high = (
        max(round(share * size), least) for share, least in zip(_WIDTHS, (3, 4), strict=True)
    )
    widths = np.unique(np.rint(np.linspace(low, high, _COUNT)).astype(np.int64))
    rim = high + _PAD
    window = tuple(
        slice(max(int(at.min()) - rim, 0), int(at.max()) + rim + 1) for at in (rows, cols)
    )
    mask, near = mask[window], near[window]
    kernel = cv2.getGaussianKernel(*_BLUR).ravel()
    smooth = cv2.sepFilter2D(lab[window], -1, np.ones(1), kernel)
    look, square = (_add_up(_pad(part, high, "edge")) for part in (smooth, smooth**2))
    own = _add_up(_pad(smooth * mask[..., None], high))
    likely, closed, inside = (
        _add_up(_pad(part, high)) for part in (ratio[window], mask | ~near, mask)
    )
    fit, colour, begin = _rate_rows(look, square, own, likely, closed, inside, widths)
    taken, found = np.zeros_like(mask), []
    for _ in range(_MOST):
        free = _add_up(_pad(taken, high))
        score, row, left, k, before = _join_rows(
            fit, colour, begin, free, widths, round(_SHORTEST * size)
        )
        if row < 0:
            break
        strip = np.zeros_like(mask)
        while True:
            strip[row, left : left + widths[k]] = True
            at = int(before[row, left, k])
            if at < 0:
                break
            row -= 1
            left, k = divmod(at, len(widths))
        strip &= ~mask
        taken |= dilate(strip, 1)
        whole = np.zeros(lab.shape[:2], bool)
        whole[window] = strip
        found.append((float(score), whole))
    return found


def _pad(picture: NDArray, high: int, how: str = "constant") -> NDArray:
    """``picture`` (H, W[, C]) with pixels added at the left and right."""
    sides = ((0, 0), (_PAD, _PAD + high), (0, 0))
    return np.pad(picture, sides[: picture.ndim], mode=how)  # type: ignore[call-overload]


def _add_up(picture: NDArray) -> F64:  # (H, W[, C]) -> (H, W + 1[, C])
    """Sums of what is at the left of each pixel."""
    total = np.cumsum(picture, axis=1, dtype=np.float64)
    return np.concatenate([np.zeros_like(total[:, :1]), total], axis=1)


@njit(cache=True, nogil=True, fastmath=True)
def _rate_rows(
    lab: F64, square: F64, own: F64, ratio: F64, closed: F64, mask: F64, widths: Ints
) -> tuple[F32, F32, F32]:
    """For each span, by row, left end and number of its width: what speaks for it (H, W, K), its
    mean colour (H, W, K, 3), and what speaks for it as a first one (H, W, K). `_NONE` where it may
    not be. The arguments are sums as by `_add_up`."""
    height, width, count = lab.shape[0], lab.shape[1] - 1 - 2 * _PAD - widths[-1], len(widths)
    fit = np.full((height, width, count), _NONE, np.float32)
    begin = np.full((height, width, count), _NONE, np.float32)
    colour = np.zeros((height, width, count, 3), np.float32)
    for y in range(height):
        for k in range(count):
            wide = widths[k]
            inner = max(1, wide // 6) if wide > 4 else 0
            for x in range(width - wide - 1):
                left, right = x + _PAD, x + _PAD + wide
                if closed[y, right] - closed[y, left] > _OVERLAP * wide:
                    continue
                a, b = left + inner, right - inner
                spread = sides = other = 0.0
                for c in range(3):
                    mean = (lab[y, b, c] - lab[y, a, c]) / (b - a)
                    colour[y, x, k, c] = mean
                    spread += (square[y, b, c] - square[y, a, c]) / (b - a) - mean * mean
                    sides += (mean - (lab[y, left - 1, c] - lab[y, left - 4, c]) / 3) ** 2
                    other += (mean - (lab[y, right + 4, c] - lab[y, right + 1, c]) / 3) ** 2
                sides, other = np.sqrt(sides), np.sqrt(other)
                inside = mask[y, left - 1] - mask[y, left - 4] >= 2
                across = mask[y, right + 4] - mask[y, right + 1] >= 2
                # an edge towards the mask says nothing
                if inside and across:
                    edge = 0.0
                elif inside:
                    edge = min(other, _EDGE)
                elif across:
                    edge = min(sides, _EDGE)
                else:
                    edge = min(sides, other)
                fit[y, x, k] = (
                    min(edge / _EDGE, _MOST_EDGE)
                    - _NO_EDGE
                    - _UNEVEN * max(np.sqrt(max(spread, 0.0)) - _EVEN, 0.0)
                    + _LIKE * (ratio[y, right] - ratio[y, left]) / wide
                )
                if y < 4 or mask[y - 2, right] - mask[y - 2, left] < _OVERLAP * wide:
                    continue
                above = apart = 0.0
                for up in range(2, 5):
                    above += mask[y - up, right] - mask[y - up, left]
                for c in range(3):
                    mean = 0.0
                    for up in range(2, 5):
                        mean += own[y - up, right, c] - own[y - up, left, c]
                    apart += (colour[y, x, k, c] - mean / above) ** 2
                begin[y, x, k] = -_OTHER * max(np.sqrt(apart) - _BEGIN, 0.0)
    return fit, colour, begin


@njit(cache=True, nogil=True)
def _join_rows(
    fit: F32, colour: F32, begin: F32, taken: F64, widths: Ints, shortest: int
) -> tuple[float, int, int, int, NDArray[np.int32]]:
    """The best strip of at least ``shortest`` rows outside of what is ``taken``: its score, the
    row, left end and number of the width of its last span, and for every span the left end and
    number of the one above, as one number, -1 for none. A row of -1 if there is none."""
    height, width, count = fit.shape
    score = np.full(fit.shape, _NONE, np.float32)
    before = np.full(fit.shape, -1, np.int32)
    rows = np.zeros(fit.shape, np.int32)
    best, last = 0.0, (-1, -1, -1)
    for y in range(height):
        for x in range(width):
            for k in range(count):
                wide = widths[k]
                if fit[y, x, k] == _NONE:
                    continue
                if taken[y, x + _PAD + wide] - taken[y, x + _PAD] > _AGAIN * wide:
                    continue
                value, at, long = float(begin[y, x, k]), -1, 0
                for j in range(max(k - 1, 0), min(k + 2, count)):
                    grown = int(np.rint((wide - widths[j]) / 2))
                    for aside in range(-2, 3):
                        u = x - aside + grown
                        if y == 0 or u < 0 or u >= width or score[y - 1, u, j] == _NONE:
                            continue
                        apart = 0.0
                        for c in range(3):
                            apart += (colour[y, x, k, c] - colour[y - 1, u, j, c]) ** 2
                        cost = _ASIDE * (abs(aside) + 2 * max(abs(aside) - 1, 0))
                        cost += _WIDER * abs(k - j) + _CHANGE * max(np.sqrt(apart) - _SAME, 0.0)
                        if score[y - 1, u, j] - cost > value:
                            value, at = score[y - 1, u, j] - cost, u * count + j
                            long = rows[y - 1, u, j]
                if value <= _NONE / 2:
                    continue
                score[y, x, k], before[y, x, k] = value + fit[y, x, k], at
                rows[y, x, k] = long + 1
                if long + 1 >= shortest and score[y, x, k] > best:
                    best, last = score[y, x, k], (y, x, k)
    return best, last[0], last[1], last[2], before
