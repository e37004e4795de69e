"""Where the subject stands in every frame, how far away and how turned: from its feet on the
ground, smoothly over the clip."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Cameras, Rewound
from restage4d.priors.depth.robust_equations import RobustEquations
from restage4d.priors.depth.turn import (
    TurnConfig,
    compute_slope,
    find_spots,
    measure_length,
    measure_swing,
    solve_turn,
)
from restage4d.priors.geometry import ground as world
from restage4d.priors.geometry.ground import Footprint, Ground

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_ROUNDS = 4  # in which a turn is found where cameras that travel show the ground
_TILT = np.radians(30)  # seen from higher than this, one sees a subject's back
# degrees by which the best plane through a body leans back, by how far above it the camera is
# (docs/priors.md has the figures): as seen from its middle, for what is wider than tall in the
# image, a person too; and as seen from its top, for what is taller, and may be an animal end-on
_LEAN_ACROSS = ((30, 60, 90), (0, 30, 90))
_LEAN_ALONG = ((10, 30, 60), (0, 60, 90))


@dataclass(frozen=True)
class StanceConfig:
    """Standard deviations that weigh what is known of the subject's plane.

    Attributes:
        contact: of ln(distance) as the ground contact tells it, in every frame.
        edge: of ln(distance) as the picture's lower edge bounds it where that cuts the subject off.
        size: of ln(height in the image) and of ln(root of the area in the image), in every frame,
            besides ``pose`` and ``aspect``.
        pose: of ln(height) from frame to frame at 24 fps, as the pose alters it.
        aspect: of ln(root of the area) from frame to frame at 24 fps, as turns alter it.
        speed: of ln(distance) from frame to frame at 24 fps.
        jerk: second difference of ln(distance) from frame to frame at 24 fps: how fast its speed
            along the view changes.
        turn: see `TurnConfig`.
        leaning: second difference of the lean in radians, from frame to frame at 24 fps.
        lean: of the lean in radians, as the outline tells it in every frame.
    """

    contact: float = 0.06
    edge: float = 0.02
    size: float = 0.03
    pose: float = 0.02
    aspect: float = 0.01
    speed: float = 0.007
    jerk: float = 1e-3
    turn: TurnConfig = field(default_factory=TurnConfig)
    leaning: float = 1e-2
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
    along = _solve_distance(rewound, masks, cameras, feet, ground, facing, config)
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
    spots = find_spots(masks, cameras, feet, ground, along, axis, facing, side)
    swing = measure_swing(level, ground.up, rewound.seam)
    rounds = _ROUNDS if cameras.kind == "moving" else 1
    shift, turn = solve_turn(rewound, spots, swing, rounds, config.turn)
    slope = measure_length(masks) * compute_slope(turn)
    normal = facing - slope[:, None] * side
    # through what stands behind the lowest foot, square to the body
    distance = along * (1 + shift * (np.cos(turn) + slope * np.sin(turn))) - slope * axis
    return Stance(normal, distance, world.compute_centres(cameras) + offset)


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
    equations = RobustEquations()
    equations.add(shown[:, None], 1.0, lean, config.lean, robust=True)
    equations.smooth(rewound, 0, config.leaning * (24.0 / rewound.clip.fps) ** 2)
    equations.add(np.arange(len(rewound))[:, None], 1.0, 0.0, 100 * config.lean)
    return np.clip(equations.solve(len(rewound)), 0, np.pi / 2)


def _measure_descent(
    cameras: Cameras, ground: Ground, frames: NDArray[np.intp], xy: F64
) -> F64:  # (M,), (M, 2) -> (M,)
    """Degrees below the horizon of the rays through pixels."""
    ray = world.compute_directions(cameras, frames, xy)
    return np.degrees(np.arcsin(-(ray @ ground.up) / np.linalg.norm(ray, axis=1)))


def _solve_distance(
    rewound: Rewound,
    masks: F32,
    cameras: Cameras,
    feet: Footprint,
    ground: Ground,
    facing: F64,
    config: StanceConfig,
) -> F64:  # -> (T,)
    """How far the subject's ground contact is from the camera, along ``facing``.

    Unknown are ln(distance), ln(height) and ln(root of the area) of every frame: the contact tells
    the distance (not while the subject is in the air or cut off), height and area in the image tell
    changes of distance (not those of pose or turn), and all change smoothly. Lifted feet and bent
    legs make contact and height say the same wrong thing; the area hardly goes with them. A turn
    changes the area alone; what the picture cuts off tells neither. Where its lower edge cuts the
    subject off, it stands on lower ground than that edge shows, and is drawn before that.
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
    root = np.sqrt([(mask > 0.5).sum() for mask in masks]) / cameras.K[:, 1, 1]
    beside = np.array([(mask[:, [0, -1]] > 0.5).any() for mask in masks])  # goes on beyond it
    rate = 24.0 / rewound.clip.fps
    neighbours = np.array(rewound.neighbours(), int).reshape(-1, 2)
    usual = float(np.median(logs) if len(logs) else np.log(max(3 * eye.mean(), 1e-3)))
    equations = RobustEquations()
    equations.add(contact[:, None], 1.0, logs, config.contact, robust=True)
    for first, size, walk, shown in (
        (count, tall, config.pose, feet.whole & (tall > 0)),
        (2 * count, root, config.aspect, feet.whole & ~beside),
    ):
        # ln(size in the image) = ln(size) - ln(distance)
        at = np.flatnonzero(shown)
        pairs = np.stack([first + at, at], 1)
        equations.add(pairs, [1, -1], np.log(size[at]), config.size, robust=True)
        equations.add(first + neighbours, [1, -1], 0.0, walk * np.sqrt(rate))
        equations.add([[first + rewound.seam]], 1.0, 0.0, 1e3)
    equations.smooth(rewound, 0, config.jerk * rate**2)
    equations.add(neighbours, [1, -1], 0.0, config.speed * np.sqrt(rate), robust=True)
    equations.add([[rewound.seam]], 1.0, [usual], 10.0)
    found = equations.solve(3 * count)
    beyond = found[cut] > most
    if beyond.any():
        equations.add(cut[beyond, None], 1.0, most[beyond], config.edge)
        found = equations.solve(3 * count)
    return np.exp(found[:count])
