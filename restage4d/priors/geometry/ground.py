"""Which way is up and where the ground lies, from background points or, without any, from how
subjects are usually filmed."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Cameras

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

# camera height over subject height where nothing tells: a person's eyes on an animal, a person or a
# car
_EYE = 1.2
# degrees by which cameras usually look down, and the share of points that must lie on the ground
# for such a camera, and for one that looks or leans over 20° beyond that
_USUAL = (-5.0, 35.0)
_MOSTLY = (0.0, 15.0)  # by which they mostly do
_NEED, _NEED_UNUSUAL = 0.15, 0.6
# and for one that looks straight down, from the one angle to the other: it sees nothing but ground,
# and one before a wall, which would be its ground then, has some of it before the wall
_STEEP, _NEED_STEEP = (75.0, 80.0), 0.85
_STEEPEST = 0.1  # up has at least this share of the direction to the top of the picture
# how much a subject's height changes with its pose, as a median deviation of its logarithm
_POSE = 0.04
_FLAT = (
    0.015  # ground points lie this near to the plane, relative to their distance from the camera
)


@dataclass(frozen=True)
class Ground:
    """The plane ``up · X = level`` with unit ``up`` (3,), in the world of the cameras."""

    up: F64
    level: float

    def compute_height(self, points: F64) -> F64:  # (..., 3) -> (...)
        return points @ self.up - self.level


@dataclass(frozen=True)
class Footprint:
    """Where the subject is in every frame of T, in pixels; NaN and False where it is not.

    Attributes:
        contact: (T, 2) the middle of its lowest part.
        top: (T,) the row of its highest part.
        middle: (T,) the column of its centre.
        grounded: (T,) whether its lowest part is inside the image.
        whole: (T,) whether its highest is, too.
    """

    contact: F64
    top: F64
    middle: F64
    grounded: NDArray[np.bool_]
    whole: NDArray[np.bool_]


def measure_footprint(masks: F32) -> Footprint:
    """Reads the subject's lowest and highest part off its masks (T, H, W); a few stray pixels do
    not count."""
    count, height, _ = masks.shape
    contact, top, middle = (
        np.full((count, 2), np.nan),
        np.full(count, np.nan),
        np.full(count, np.nan),
    )
    grounded, whole = np.zeros(count, bool), np.zeros(count, bool)
    for t, mask in enumerate(masks):
        rows, cols = np.nonzero(mask > 0.5)
        if len(rows) < 20:
            continue
        lowest, top[t] = np.percentile(rows, 99.5), np.percentile(rows, 0.5)
        feet = rows >= lowest - 0.03 * (lowest - top[t]) - 1
        contact[t] = cols[feet].mean() + 0.5, lowest + 1.0
        middle[t] = cols.mean() + 0.5
        grounded[t] = rows.max() < height - 2
        whole[t] = grounded[t] and rows.min() > 1
    return Footprint(contact, top, middle, grounded, whole)


def compute_directions(
    cameras: Cameras, frames: NDArray[np.integer], xy: F64
) -> F64:  # (M,), (M, 2) -> (M, 3)
    """World directions through pixels, with z-depth 1 (so that depth times direction is the offset
    from the camera)."""
    K = cameras.K[frames].astype(np.float64)
    local = np.stack(
        [
            (xy[:, 0] - K[:, 0, 2]) / K[:, 0, 0],
            (xy[:, 1] - K[:, 1, 2]) / K[:, 1, 1],
            np.ones(len(xy)),
        ],
        -1,
    )
    return np.einsum("mji,mj->mi", cameras.w2c[frames, :3, :3].astype(np.float64), local)


def compute_frame_directions(cameras: Cameras, t: int, columns: F64, rows: F64) -> F64:
    """The directions (R, C, 3) of `compute_directions` through a grid of pixels of frame ``t``, at
    ``columns`` (C,) and ``rows`` (R,)."""
    K, axes = cameras.K[t].astype(np.float64), cameras.w2c[t, :3, :3].astype(np.float64)
    x, y = (columns - K[0, 2]) / K[0, 0], (rows - K[1, 2]) / K[1, 1]
    return x[:, None] * axes[0] + (y[:, None] * axes[1])[:, None] + axes[2]


def compute_centres(cameras: Cameras) -> F64:  # -> (T, 3)
    w2c = cameras.w2c.astype(np.float64)
    return -np.einsum("tji,tj->ti", w2c[:, :3, :3], w2c[:, :3, 3])


def guess_ground(cameras: Cameras, feet: Footprint) -> Ground:
    """Up and ground where no points show them.

    Up is where cameras are level (a turning one shows its axis), the subject keeps its height while
    it comes nearer, `_EYE` holds, and the camera looks down as usual. The camera's height is 1, or
    with background points such that next to none lies below the ground.
    """
    axes = cameras.w2c[:, :3, :3].astype(np.float64)
    u, _, vt = np.linalg.svd(axes.mean(0))
    _, down, ahead = u @ vt
    right_axes = axes[:, 0]
    shown = np.flatnonzero(feet.whole)
    if not len(shown):
        shown = np.flatnonzero(np.isfinite(feet.top))
    best, best_cost = -down, np.inf
    for pitch in np.radians(np.arange(-30, 80.1, 0.5)):  # of the camera, downwards
        up = -down * np.cos(pitch) - ahead * np.sin(pitch)
        cost = (np.arcsin(right_axes @ up) ** 2).mean() / np.radians(1.0) ** 2
        off = np.degrees(pitch) - np.clip(np.degrees(pitch), *_MOSTLY)
        cost += (off / 15) ** 2
        if len(shown):
            drop, tall = _measure_heights(cameras, feet, shown, up)
            if (drop < 0.01).any() or (tall < 0.01).any():
                continue
            cost += (np.median(np.log(drop / tall / _EYE)) / 0.5) ** 2
            height = np.log(tall / drop)  # over the camera's
            cost += (np.median(np.abs(height - np.median(height))) / _POSE) ** 2
        if cost < best_cost:
            best, best_cost = up, cost
    heights = compute_centres(cameras) @ best
    drop = 1.0
    if len(cameras.points) >= 30:
        below = heights.mean() - cameras.points.astype(np.float64) @ best
        drop = max(float(np.percentile(below, 95)), 1e-3 * float(np.ptp(below)) + 1e-9)
    return Ground(best, float(heights.min()) - drop)


def fit_ground(cameras: Cameras, feet: Footprint, points: F64, seed: int = 0) -> Ground | None:
    """A plane through many ``points`` (S, 3) with nearly none below it, under every camera and
    under the subject's feet; None if there is none.

    Points near the feet count most. How many must support it depends on what it says of the camera
    (`compute_needed_support`) and of the subject, whose height should last.
    """
    if len(points) < 30:
        return None
    eyes = compute_centres(cameras)
    middle = int(np.argmin(np.linalg.norm(eyes - np.median(eyes, axis=0), axis=1)))
    distance = np.linalg.norm(points - eyes[middle], axis=1)
    hint = -cameras.w2c[:, 1, :3].astype(np.float64).mean(0)
    hint /= np.linalg.norm(hint)
    shown = np.flatnonzero(feet.grounded)
    low = compute_directions(cameras, shown, feet.contact[shown])
    likely = _estimate_ground_likelihood(cameras, feet, points)
    pool = np.flatnonzero(likely >= np.median(likely))
    rng = np.random.default_rng(seed)

    def rate(plane: Ground, than: float) -> float:
        """Support over what is needed; 0 where that is no more than ``than``."""
        if plane.up @ hint < _STEEPEST:
            return 0.0
        off = plane.compute_height(points) / distance
        support = likely[np.abs(off) < _FLAT].sum() - 2 * likely[off < -3 * _FLAT].sum()
        score = support / likely.sum() / compute_needed_support(cameras, plane.up)
        return score if score > than and _is_below(plane, eyes, low) else 0.0

    best, best_score = None, 1.0
    for _ in range(1500):
        a, b, c = points[rng.choice(pool, 3, replace=False)]
        normal = np.cross(b - a, c - a)
        length = np.linalg.norm(normal)
        if length < 1e-12:
            continue
        up = normal / length * np.sign(normal @ hint)
        plane = Ground(up, float(a @ up))
        score = rate(plane, best_score)
        if score:
            score *= _rate_steadiness(cameras, feet, up)
        if score > best_score:
            best, best_score = plane, score
    if best is None:
        return None
    for _ in range(10):  # least squares over the points near it, those far away counting less
        off = best.compute_height(points) / distance
        weight = np.where(
            np.abs(off) < 2 * _FLAT, likely / distance**2 / (1 + (off / _FLAT) ** 2), 0.0
        )
        centre = (weight[:, None] * points).sum(0) / weight.sum()
        spread = points - centre
        up = np.linalg.eigh((weight[:, None] * spread).T @ spread)[1][:, 0]
        up *= np.sign(up @ hint)
        plane = Ground(up, float(centre @ up))
        if not rate(plane, 1.0):
            break
        best = plane
    return best


def measure_pitch(cameras: Cameras, up: F64) -> tuple[float, float]:
    """Degrees by which the cameras look down, and by which they lean to a side, as medians."""
    axes = cameras.w2c[:, :3, :3].astype(np.float64)
    down, side = np.arcsin(np.clip(-axes[:, 2] @ up, -1, 1)), np.arcsin(axes[:, 0] @ up)
    return float(np.degrees(np.median(down))), float(np.degrees(np.median(side)))


def compute_needed_support(cameras: Cameras, up: F64) -> float:
    """Share of the points that must lie on the ground for ``up`` to be believed.

    Little for an ordinary camera, that looks down by -5° to 35° and is level. One that looks
    steeply down sees little but the ground, so that most points should lie on it.
    """
    pitch, roll = measure_pitch(cameras, up)
    unusual = max(_USUAL[0] - pitch, pitch - _USUAL[1], abs(roll) - 10, 0.0) / 20
    most = float(np.interp(pitch, _STEEP, (_NEED_UNUSUAL, _NEED_STEEP)))
    return min(_NEED + (_NEED_UNUSUAL - _NEED) * unusual, most)


def _rate_steadiness(cameras: Cameras, feet: Footprint, up: F64) -> float:
    """1 where ``up`` has the subject keep its height over the frames that show it whole, less the
    less it does."""
    shown = np.flatnonzero(feet.whole)
    if len(shown) < 3:
        return 1.0
    drop, tall = _measure_heights(cameras, feet, shown, up)
    if (drop < 0.01).any() or (tall < 0.01).any():
        return 0.5
    height = np.log(tall / drop)
    return float(1 / (1 + (np.median(np.abs(height - np.median(height))) / (3 * _POSE)) ** 2))


def _measure_heights(
    cameras: Cameras, feet: Footprint, shown: NDArray[np.intp], up: F64
) -> tuple[F64, F64]:
    """Of an upright subject in the frames ``shown``, over its distance: how far its contact lies
    below the camera, and its height."""
    low = compute_directions(cameras, shown, feet.contact[shown])
    high = compute_directions(
        cameras, shown, np.stack([feet.contact[shown, 0], feet.top[shown]], 1)
    )
    drop = -(low @ up) / np.linalg.norm(low - (low @ up)[:, None] * up, axis=1)
    rise = high @ up / np.linalg.norm(high - (high @ up)[:, None] * up, axis=1)
    return drop, rise + drop


def _is_below(plane: Ground, eyes: F64, low: F64) -> bool:
    """Whether all cameras are above the plane and (nearly) all rays to the feet go down to it, not
    beyond 60 camera heights."""
    if plane.compute_height(eyes).min() <= 0:
        return False
    return not len(low) or bool((low @ plane.up < -1 / 60).mean() > 0.97)


def _estimate_ground_likelihood(cameras: Cameras, feet: Footprint, points: F64) -> F64:  # (S,)
    """How likely points are to be ground: 1 for those that appear lower than the subject's middle,
    less for the others, up to three times as much for those that appear near its feet."""
    below, near, count = np.zeros((3, len(points)))
    frames = np.flatnonzero(np.isfinite(feet.top))[:: max(1, len(feet.top) // 20)]
    for t in frames:
        seen = points @ cameras.w2c[t, :3, :3].T + cameras.w2c[t, :3, 3]
        xy = (seen @ cameras.K[t].T.astype(np.float64))[:, :2] / np.maximum(seen[:, 2:], 1e-9)
        tall = feet.contact[t, 1] - feet.top[t]
        front = seen[:, 2] > 1e-9
        lower = front & (xy[:, 1] > feet.contact[t, 1] - 0.5 * tall)
        count += front
        below += lower
        beside = np.linalg.norm(xy - feet.contact[t], axis=1) / tall
        near += np.where(lower & feet.grounded[t], np.exp(-2 * beside**2), 0)
    return 0.25 + (0.75 * below + 2 * near) / np.maximum(count, 1)


def select_background(cameras: Cameras, masks: F32) -> F64:  # -> (S', 3)
    """The cameras' points without those on or beside the subject: in its widened masks in most
    frames that show them."""
    points = cameras.points.astype(np.float64)
    if not len(points):
        return points
    count, height, width = masks.shape
    reach = 2 * max(3, max(height, width) // 48) + 1
    seen, covered = np.zeros(len(points)), np.zeros(len(points))
    for t in range(0, count, max(1, count // 24)):
        wide = cv2.dilate((masks[t] != 0).astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0
        local = points @ cameras.w2c[t, :3, :3].T + cameras.w2c[t, :3, 3]
        image = local @ cameras.K[t].T.astype(np.float64)
        xy = np.floor(image[:, :2] / np.maximum(image[:, 2:], 1e-9)).astype(int)
        inside = (local[:, 2] > 1e-9) & (xy >= 0).all(1) & (xy[:, 0] < width) & (xy[:, 1] < height)
        seen += inside
        covered[inside] += wide[xy[inside, 1], xy[inside, 0]]
    return points[covered <= 0.5 * seen]


def find_ground(cameras: Cameras, feet: Footprint, points: F64) -> Ground:
    """The ground from background ``points`` if they show one, else guessed."""
    return fit_ground(cameras, feet, points) or guess_ground(cameras, feet)
