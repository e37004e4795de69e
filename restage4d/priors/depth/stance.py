"""Where the subject stands in every frame, how far away and how turned: from its feet on the
ground, smoothly over the clip."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.linalg import splu

from restage4d.clips import Cameras, Rewound
from restage4d.priors.geometry import ground as world
from restage4d.priors.geometry.ground import Footprint, Ground

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

# slope of a subject that comes nearly straight at the camera: its picture shows its front, not its
# length
_STEEPEST = 1.5
_TILT = np.radians(30)  # seen from higher than this, one sees a subject's back
# degrees by which the best plane through a body leans back, by how far above it the camera is
# (docs/priors.md has the figures): as seen from its middle, for what is wider than tall in the
# image, a person too; and as seen from its top, for what is taller, and may be an animal end-on
_LEAN_ACROSS = ((30, 60, 90), (0, 30, 90))
_LEAN_ALONG = ((10, 30, 60), (0, 60, 90))
_UNDER = 0.4  # of a subject's height, that its body reaches above a foot at least


@dataclass(frozen=True)
class StanceConfig:
    """Standard deviations that weigh what is known of the subject's plane.

    Attributes:
        contact: of ln(distance) as the ground contact tells it, in every frame.
        size: of ln(height in the image), in every frame, besides ``pose``.
        pose: of ln(height) from frame to frame, as the pose alters it.
        jerk: second difference of ln(distance) from frame to frame at 24 fps: how fast its speed
            along the view changes.
        feet: of the distance of a foot from the subject's plane, over the subject's height: bodies
            are wide, feet are lifted.
        turned: of the plane's slope (0 faces the camera, 1 is turned by 45°).
        turning: second difference of the slope, and of the lean in radians, from frame to frame
            at 24 fps.
        lean: of the lean in radians, as the outline tells it in every frame.
    """

    contact: float = 0.03
    size: float = 0.03
    pose: float = 0.01
    jerk: float = 5e-4
    feet: float = 0.15
    turned: float = 0.7
    turning: float = 1e-2
    lean: float = 0.3


@dataclass(frozen=True)
class Stance:
    """The subject's plane in every frame, ``normal · (X - eye) = distance``, and the place of its
    ground contact.

    Attributes:
        normal: (T, 3) away from the camera, of any length.
        distance: (T,).
        place: (T, 3) in the world; in the air, below or above which nothing is said, it is not on
            the ground.
    """

    normal: F64
    distance: F64
    place: F64


def find_stance(
    rewound: Rewound,
    masks: F32,
    cameras: Cameras,
    feet: Footprint,
    ground: Ground,
    config: StanceConfig,
) -> Stance:
    """The plane through the subject in every frame of the tree.

    It stands upright on the ground contact at a robustly smoothed distance, and is turned as the
    feet are: a foot higher up in the image is farther away. Two feet at different distances that a
    stride or a lift explains do not turn it for long. Seen from above it leans back, until it lies
    along the ground.
    """
    level = _compute_level(cameras, ground)
    side = np.cross(level, ground.up)
    facing = _lean_back(level, ground.up, _measure_tilt(cameras, ground))
    along = _solve_distance(rewound, cameras, feet, ground, facing, config)
    shown = np.isfinite(feet.top)
    contact = np.where(shown[:, None], feet.contact, cameras.K[:, :2, 2])
    ray = world.compute_directions(cameras, np.arange(len(rewound)), contact)
    offset = ray * (along / (ray * facing).sum(1))[:, None]
    lean = _solve_lean(rewound, masks, cameras, feet, ground, config)
    facing = _lean_back(level, ground.up, lean)
    along = (offset * facing).sum(1)
    # the plane turns about the subject's middle: its lowest foot is now this one and now that one
    ray = world.compute_directions(
        cameras,
        np.arange(len(rewound)),
        np.stack([np.where(shown, feet.middle, contact[:, 0]), contact[:, 1]], 1),
    )
    axis = (ray * side).sum(1) * along / (ray * facing).sum(1)
    shift, slope = _solve_turn(
        rewound, masks, cameras, feet, ground, along, axis, facing, side, config
    )
    normal = facing - slope[:, None] * side
    return Stance(
        normal, along * (1 + shift) - slope * axis, world.compute_centres(cameras) + offset
    )


def _compute_level(cameras: Cameras, ground: Ground) -> F64:  # -> (T, 3) unit
    """Where the cameras look, along the ground."""
    ahead = cameras.w2c[:, 2, :3].astype(np.float64)
    level = ahead - (ahead @ ground.up)[:, None] * ground.up
    flat = (
        np.linalg.norm(level, axis=1, keepdims=True) < 1e-6
    )  # looking straight down: the top of the image is ahead
    level = np.where(flat, -cameras.w2c[:, 1, :3], level)
    return level / np.linalg.norm(level, axis=1, keepdims=True)


def _measure_tilt(cameras: Cameras, ground: Ground) -> F64:  # -> (T,)
    """Radians by which the cameras look down by more than 30°."""
    down = -(cameras.w2c[:, 2, :3].astype(np.float64) @ ground.up)
    return np.maximum(np.arcsin(np.clip(down, 0, 1)) - _TILT, 0)


def _lean_back(level: F64, up: F64, lean: F64) -> F64:  # (T, 3), (3,), (T,) -> (T, 3) unit
    """Normals, away from the cameras, of planes that lean back from upright by ``lean`` radians."""
    return level * np.cos(lean)[:, None] - up * np.sin(lean)[:, None]


def _solve_lean(
    rewound: Rewound,
    masks: F32,
    cameras: Cameras,
    feet: Footprint,
    ground: Ground,
    config: StanceConfig,
) -> F64:  # -> (T,) radians
    """By how much the subject's plane leans back, smoothly over the clip.

    An upright subject that is as tall as the camera is high is seen from above at its feet alone.
    Only frames with all of it tell how tall it is, where there are any.
    """
    whole = bool(feet.whole.any())
    shown = np.flatnonzero(feet.whole if whole else np.isfinite(feet.top))
    lowest, top, column = feet.contact[shown, 1], feet.top[shown], feet.middle[shown]
    across, along = (
        np.interp(_measure_descent(cameras, ground, shown, np.stack([column, row], 1)), *lean)
        for row, lean in (((lowest + top) / 2, _LEAN_ACROSS), (top, _LEAN_ALONG))
    )
    wide = np.array([(masks[t] > 0.5).any(0).sum() for t in shown])
    taller = whole * np.clip(2 * ((lowest - top) / np.maximum(wide, 1) - 1), 0, 1)
    lean = np.radians(across + taller * np.maximum(along - across, 0))
    equations = _Equations()
    equations.add(shown[:, None], 1.0, lean, config.lean, robust=True)
    equations.smooth(rewound, 0, config.turning * (24.0 / rewound.clip.fps) ** 2)
    equations.add(np.arange(len(rewound))[:, None], 1.0, 0.0, 100 * config.lean)
    return np.clip(equations.solve(len(rewound)), 0, np.pi / 2)


def _measure_descent(
    cameras: Cameras, ground: Ground, frames: NDArray[np.intp], xy: F64
) -> F64:  # (M,), (M, 2) -> (M,)
    """Degrees below the horizon of the rays through pixels."""
    ray = world.compute_directions(cameras, frames, xy)
    return np.degrees(np.arcsin(-(ray @ ground.up) / np.linalg.norm(ray, axis=1)))


class _Equations:
    """Sparse linear least squares in which some equations may be wrong (Geman-McClure weights)."""

    def __init__(self) -> None:
        self._parts: list[tuple] = []

    def add(
        self,
        unknowns: ArrayLike,
        factors: ArrayLike,
        right: ArrayLike,
        sigma: ArrayLike,
        robust: bool = False,
    ) -> None:
        """``sum_k factors[:, k] x[unknowns[:, k]] = right ± sigma``, one equation per row of
        ``unknowns`` (M, k)."""
        unknowns = np.asarray(unknowns, int)
        if len(unknowns):
            wide = np.broadcast_to(np.asarray(factors, float), unknowns.shape)
            one = [np.broadcast_to(np.asarray(v, float), len(unknowns)) for v in (right, sigma)]
            self._parts.append((unknowns, wide, *one, np.full(len(unknowns), robust)))

    def smooth(self, rewound: Rewound, first: int, sigma: float) -> None:
        """Second differences along every video of the unknowns ``first`` + frame."""
        for source in range(rewound.n_branches + 1):
            video = rewound.video(source)
            self.add(
                first + np.stack([video[:-2], video[1:-1], video[2:]], 1), [1, -2, 1], 0.0, sigma
            )

    def solve(self, count: int) -> F64:
        rows, cols, values, start = [], [], [], 0
        for unknowns, factors, *_ in self._parts:
            rows.append(np.repeat(start + np.arange(len(unknowns)), unknowns.shape[1]))
            cols.append(unknowns.ravel())
            values.append(factors.ravel())
            start += len(unknowns)
        right, sigma, robust = (np.concatenate([p[i] for p in self._parts]) for i in (2, 3, 4))
        A = coo_array(
            (np.concatenate(values), (np.concatenate(rows), np.concatenate(cols))),
            shape=(start, count),
        ).tocsr()
        trust, x = np.ones(start), np.zeros(count)
        for _ in range(12):
            weight = trust / sigma**2
            x = splu((A.T @ (A * weight[:, None])).tocsc()).solve(A.T @ (weight * right))
            off = ((A @ x - right) / sigma) ** 2
            trust = np.where(robust, 1 / (1 + off / 4) ** 2, 1.0)
        return x


def _solve_distance(
    rewound: Rewound,
    cameras: Cameras,
    feet: Footprint,
    ground: Ground,
    facing: F64,
    config: StanceConfig,
) -> F64:  # -> (T,)
    """How far the subject's ground contact is from the camera, along ``facing``.

    Unknown are ln(distance) and ln(height) of every frame: the contact tells the distance (not
    while the subject is in the air or cut off), the height in the image tells changes of distance
    (not those of pose), and both change smoothly. Where the picture's lower edge cuts the subject
    off, it stands on lower ground than that edge shows, and is drawn before that.
    """
    count = len(rewound)
    frames = np.arange(count)
    low = world.compute_directions(cameras, frames, np.nan_to_num(feet.contact))
    eye = ground.compute_height(world.compute_centres(cameras))
    drop, along = -(low @ ground.up), (low * facing).sum(1)
    there = np.isfinite(feet.top) & (drop > 1e-3) & (along > 0.05) & (eye > 0)
    contact, cut = np.flatnonzero(there & feet.grounded), np.flatnonzero(there & ~feet.grounded)
    logs, most = (np.log(eye[at] / drop[at] * along[at]) for at in (contact, cut))
    tall = (feet.contact[:, 1] - feet.top) / cameras.K[:, 1, 1]
    whole = np.flatnonzero(feet.whole & (tall > 0))
    rate = 24.0 / rewound.clip.fps
    neighbours = np.array(rewound.neighbours(), int).reshape(-1, 2)
    equations = _Equations()
    equations.add(contact[:, None], 1.0, logs, config.contact, robust=True)
    # ln(height in the image) = ln(height) - ln(distance)
    equations.add(
        np.stack([count + whole, whole], 1), [1, -1], np.log(tall[whole]), config.size, robust=True
    )
    equations.smooth(rewound, 0, config.jerk * rate**2)
    equations.add(count + neighbours, [1, -1], 0.0, config.pose * np.sqrt(rate))
    equations.add(neighbours, [1, -1], 0.0, 0.1)
    usual = float(np.median(logs) if len(logs) else np.log(max(3 * eye.mean(), 1e-3)))
    equations.add([[rewound.seam], [count + rewound.seam]], 1.0, [usual, 0.0], 10.0)
    found = equations.solve(2 * count)
    beyond = found[cut] > most
    if beyond.any():
        equations.add(cut[beyond, None], 1.0, most[beyond], config.contact)
        found = equations.solve(2 * count)
    return np.exp(found[:count])


def _solve_turn(
    rewound: Rewound,
    masks: F32,
    cameras: Cameras,
    feet: Footprint,
    ground: Ground,
    along: F64,
    axis: F64,
    facing: F64,
    side: F64,
    config: StanceConfig,
) -> tuple[F64, F64]:  # -> (T,), (T,)
    """By how much, over the distance, the plane lies behind the contact at ``axis`` to the side,
    and its slope there."""
    count = len(rewound)
    eye = ground.compute_height(world.compute_centres(cameras))
    equations = _Equations()
    for t in np.flatnonzero(feet.grounded):
        xy = find_soles(masks[t] > 0.5, feet.contact[t, 1], feet.top[t])
        ray = world.compute_directions(cameras, np.full(len(xy), t), xy)
        drop = -(ray @ ground.up)
        ray, drop = ray[drop > 1e-3], drop[drop > 1e-3]
        spot = ray * (eye[t] / drop)[:, None]
        behind = (spot @ facing[t]) / along[t] - 1
        beside = (spot @ side[t] - axis[t]) / along[t]
        tall = (feet.contact[t, 1] - feet.top[t]) / cameras.K[t, 1, 1]
        near = np.abs(behind) < tall  # else it is no foot
        unknowns = np.tile([count + t, t], (int(near.sum()), 1))
        equations.add(
            unknowns,
            np.stack([np.ones(near.sum()), beside[near]], 1),
            behind[near],
            config.feet * tall,
            robust=True,
        )
    every = np.arange(count)
    rate = 24.0 / rewound.clip.fps
    equations.add(
        every[:, None], 1.0, 0.0, config.turned * np.sqrt(6)
    )  # frames near one another are not independent
    equations.add((count + every)[:, None], 1.0, 0.0, 0.05)
    neighbours = np.array(rewound.neighbours(), int).reshape(-1, 2)
    equations.add(neighbours, [1, -1], 0.0, 0.05 * rate)
    equations.smooth(rewound, 0, config.turning * rate**2)
    equations.smooth(rewound, count, config.jerk * rate**2)
    found = equations.solve(2 * count)
    return found[count:], np.clip(found[:count], -_STEEPEST, _STEEPEST)


def find_soles(mask: NDArray[np.bool_], lowest: float, top: float) -> F64:  # (H, W) -> (M, 2)
    """Pixels where the outline is lowest between its neighbours, within the lowest third of the
    subject and under its body: feet, wheels, a base; not the tip of a sword that is held aside."""
    cols = np.flatnonzero(mask.any(0))
    height = mask.shape[0]
    low = np.full(mask.shape[1], -1)
    low[cols] = height - 1 - mask[::-1, cols].argmax(0)
    reach = max(2, round(0.04 * (lowest - top)))
    padded = np.pad(low, reach, constant_values=-1)
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(1)
    foot = (low >= around) & (low > lowest - 0.3 * (lowest - top)) & (low < height - 2)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], foot.astype(int), [0]])))
    first, last = edges[::2], edges[1::2] - 1
    highest = np.where(mask.any(0), mask.argmax(0), height)
    above = np.array([highest[i : j + 1].min() for i, j in zip(first, last, strict=True)])
    under = above < lowest - _UNDER * (lowest - top)
    if under.any():
        first, last = first[under], last[under]
    return np.stack([(first + last) / 2 + 0.5, low[first] + 1.0], 1)
