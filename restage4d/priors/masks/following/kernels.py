"""Kernels that decide masks pixel by pixel: likeness to other frames, likeness to the background
behind, labels along edges.

Pixels are given as rows and columns (N,); features are (H, W, C) float32 in which a distance of 1
is one step of Lab.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from restage4d.priors.motion.background_motion import NODE
from restage4d.priors.motion.ranking import insert

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]
Counts = NDArray[np.int32]
Ints = NDArray[np.int64]


def list_offsets(radius: int) -> Ints:  # -> (M, 2)
    """Steps (down, across) of at most ``radius`` each way, nearest first."""
    down, across = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    steps = np.stack([down.ravel(), across.ravel()], -1)
    return np.ascontiguousarray(
        steps[np.argsort((steps**2).sum(1), kind="stable")].astype(np.int64)
    )


@njit(cache=True, nogil=True, fastmath=True)
def measure_distances(
    rows: Ints,
    cols: Ints,
    here: F32,
    there: F32,
    mask: F32,
    flow: F32,
    steps: Ints,
    size: int,
    far: float,
    background_alone: bool = False,
) -> F32:
    """How unlike each pixel is to the subject and to the background of another frame, around where
    the flow says it lies there.

    Args:
        here, there: features of the frame of the pixels and of the other one.
        mask: (H, W) of the other frame, 0..1; pixels of 0.35..0.65 count as neither.
        flow: (H, W, 2) from the pixels' frame to the other one.
        steps: (M, 2) as from `list_offsets`, searched from where the flow points; each is ``size``
            pixels.
        far: added for every step² away from there.
        background_alone: whether only that is looked for.

    Returns:
        (N, 2): the smallest squared distance to a pixel of the subject, and to one of the
        background; 1e9 where there is none, or none is looked for.
    """
    height, width, channels = here.shape
    reach = size * np.abs(steps).max()
    subjects, grounds = _sum_up(mask >= 0.65), _sum_up(mask <= 0.35)
    result = np.full((len(rows), 2), np.float32(1e9))
    for i in range(len(rows)):
        y, x = rows[i], cols[i]
        row = int(np.rint(y + flow[y, x, 1]))
        col = int(np.rint(x + flow[y, x, 0]))
        top, left = max(row - reach, 0), max(col - reach, 0)
        bottom, right = min(row + reach + 1, height), min(col + reach + 1, width)
        if top >= bottom or left >= right:
            continue
        # what is nowhere around is not searched for
        some = not background_alone and _count(subjects, top, left, bottom, right) > 0
        best_fore = np.float32(1e9 if some else -1)
        best_back = np.float32(1e9 if _count(grounds, top, left, bottom, right) > 0 else -1)
        for k in range(len(steps)):
            dy, dx = steps[k, 0], steps[k, 1]
            distance = np.float32(far * (dy * dy + dx * dx))
            if distance >= best_fore and distance >= best_back:
                break
            v, u = row + dy * size, col + dx * size
            if v < 0 or v >= height or u < 0 or u >= width:
                continue
            part = mask[v, u]
            if part > 0.35 and part < 0.65:
                continue
            best = best_fore if part >= 0.5 else best_back
            if distance >= best:
                continue
            for c in range(3):
                change = here[y, x, c] - there[v, u, c]
                distance += change * change
            if distance >= best:
                continue
            for c in range(3, channels):
                change = here[y, x, c] - there[v, u, c]
                distance += change * change
            if distance < best:
                if part >= 0.5:
                    best_fore = distance
                else:
                    best_back = distance
        if best_fore >= 0:
            result[i, 0] = best_fore
        if best_back >= 0:
            result[i, 1] = best_back
    return result


@njit(cache=True, nogil=True)
def _sum_up(chosen: Bool) -> Counts:  # (H, W) -> (H + 1, W + 1)
    """How many are chosen above and to the left of each corner of a pixel."""
    height, width = chosen.shape
    total = np.zeros((height + 1, width + 1), np.int32)
    for row in range(height):
        along = 0
        for col in range(width):
            along += chosen[row, col]
            total[row + 1, col + 1] = total[row, col + 1] + along
    return total


@njit(cache=True, nogil=True)
def _count(total: Counts, top: int, left: int, bottom: int, right: int) -> int:
    """How many are chosen within a rectangle, of sums as from `_sum_up`."""
    return total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left]


@njit(cache=True, nogil=True, fastmath=True)
def measure_background_distance(
    rows: Ints,
    cols: Ints,
    t: int,
    features: F32,
    solid: NDArray[np.bool_],
    frames: Ints,
    places: F32,
    share: float,
) -> F32:
    """How unlike each pixel of frame ``t`` is to the background that other frames show in its
    place.

    Args:
        features: (T, H, W, C) of all frames.
        solid: (T, H, W) what is no background there.
        frames, places: (M,) and (M, rows, columns, 2) as from `BackgroundMotion.locate_background`.
        share: which of the frames' distances is taken, sorted: 0 the smallest, 1 the largest.

    Returns:
        (N,) distances, NaN where no frame shows the background.
    """
    height, width, channels = features.shape[1:]
    count = len(frames)
    result = np.full(len(rows), np.float32(np.nan))
    for i in range(len(rows)):
        y, x = rows[i], cols[i]
        top, left = y // NODE, x // NODE
        fy, fx = (y - top * NODE) / NODE, (x - left * NODE) / NODE
        found = np.empty(count, np.float32)
        n = 0
        for j in range(count):
            u = (places[j, top, left, 0] * (1 - fx) + places[j, top, left + 1, 0] * fx) * (1 - fy)
            u += (
                places[j, top + 1, left, 0] * (1 - fx) + places[j, top + 1, left + 1, 0] * fx
            ) * fy
            v = (places[j, top, left, 1] * (1 - fx) + places[j, top, left + 1, 1] * fx) * (1 - fy)
            v += (
                places[j, top + 1, left, 1] * (1 - fx) + places[j, top + 1, left + 1, 1] * fx
            ) * fy
            if not (u >= 0 and v >= 0 and u < width - 1 and v < height - 1):
                continue
            col, row, s = int(u), int(v), frames[j]
            if (
                solid[s, row, col]
                or solid[s, row, col + 1]
                or solid[s, row + 1, col]
                or solid[s, row + 1, col + 1]
            ):
                continue
            gx, gy = np.float32(u - col), np.float32(v - row)
            distance = np.float32(0)
            for c in range(channels):
                above = features[s, row, col, c] * (1 - gx) + features[s, row, col + 1, c] * gx
                below = (
                    features[s, row + 1, col, c] * (1 - gx) + features[s, row + 1, col + 1, c] * gx
                )
                change = above * (1 - gy) + below * gy - features[t, y, x, c]
                distance += change * change
            insert(found, n, distance)
            n += 1
        if n > 0:
            result[i] = np.sqrt(found[int(share * (n - 1) + 0.5)])
    return result


@njit(cache=True, nogil=True, fastmath=True)
def infer_mean_field(
    rows: Ints, cols: Ints, logit: F32, lab: F32, strength: float, contrast: float, rounds: int
) -> F32:
    """Labels (H, W) in 0..1 that follow ``logit`` and agree with neighbours across no edge: mean
    field over 5x5 pixels.

    A dense grid form of GrabCut's energy (Krähenbühl & Koltun, "Efficient inference in fully
    connected CRFs", 2011).

    Args:
        rows, cols: (N,) pixels that are decided; the others keep what their ``logit`` (H, W) says.
        strength: of the agreement.
        contrast: of edges: agreement falls off as exp(-contrast * squared difference in Lab).
    """
    height, width = logit.shape
    label = (1 / (1 + np.exp(-logit))).astype(np.float32)
    alike = np.zeros((len(rows), 25), np.float32)
    following = np.empty(len(rows), np.float32)
    for i in range(len(rows)):
        y, x = rows[i], cols[i]
        for k in range(25):
            dy, dx = k // 5 - 2, k % 5 - 2
            v, u = y + dy, x + dx
            if k != 12 and v >= 0 and v < height and u >= 0 and u < width:
                a = lab[y, x, 0] - lab[v, u, 0]
                b = lab[y, x, 1] - lab[v, u, 1]
                c = lab[y, x, 2] - lab[v, u, 2]
                near = strength / np.sqrt(np.float32(dx * dx + dy * dy))
                alike[i, k] = near * np.exp(-contrast * (a * a + b * b + c * c))
    for _ in range(rounds):
        for i in range(len(rows)):
            y, x = rows[i], cols[i]
            pull = np.float32(0)
            for v in range(max(y - 2, 0), min(y + 3, height)):
                for u in range(max(x - 2, 0), min(x + 3, width)):
                    pull += alike[i, (v - y + 2) * 5 + u - x + 2] * (2 * label[v, u] - 1)
            following[i] = 1 / (1 + np.exp(-(logit[y, x] + pull)))
        for i in range(len(rows)):
            label[rows[i], cols[i]] = following[i]
    return label


@njit(cache=True, nogil=True, fastmath=True)
def spread(xy: F32, value: F32, lab: F32, sigma: float, contrast: float) -> F32:
    """Values (P,) at points (P, 2; pixel centres at +0.5) spread to all pixels (H, W) near and
    alike; 0 far from every point."""
    height, width = lab.shape[:2]
    radius = int(np.ceil(2.7 * sigma))
    total = np.zeros((height, width), np.float32)
    weight = np.full((height, width), np.float32(1e-6))
    for i in range(len(xy)):
        px, py = xy[i, 0] - 0.5, xy[i, 1] - 0.5
        col, row = (
            min(max(int(np.rint(px)), 0), width - 1),
            min(max(int(np.rint(py)), 0), height - 1),
        )
        for v in range(max(row - radius, 0), min(row + radius + 1, height)):
            for u in range(max(col - radius, 0), min(col + radius + 1, width)):
                a = lab[row, col, 0] - lab[v, u, 0]
                b = lab[row, col, 1] - lab[v, u, 1]
                c = lab[row, col, 2] - lab[v, u, 2]
                near = ((u - px) ** 2 + (v - py) ** 2) / (2 * sigma * sigma)
                w = np.exp(-near - contrast * (a * a + b * b + c * c))
                total[v, u] += w * value[i]
                weight[v, u] += w
    return total / weight
