"""How a subject is turned before the cameras: by its feet on the ground, and by where cameras that
go round it look from.

What a subject does by itself it does slowly, in the world: where the camera swings, the subject is
not turned along with it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Cameras, Rewound
from restage4d.priors.depth.robust_equations import RobustEquations
from restage4d.priors.geometry import ground as world
from restage4d.priors.geometry.ground import Footprint, Ground

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

# slope of a subject that comes nearly straight at the camera: its picture shows its front, not its
# length
_STEEPEST = 1.5
_UNDER = 0.4  # of a subject's height, that its body reaches above a foot at least
_LONG = (1.0, 1.4)  # spread of the outline across over down, from which it has a length at all
_AT_BEST = 95  # percentile over frames: one sees it from the side in few of them
_FEW = 20  # pixels of a mask that say nothing
_OFFSET = 0.05  # of the distance, by which its plane may stand behind its lowest foot


@dataclass(frozen=True)
class TurnConfig:
    """Standard deviations that weigh what is known of the turn.

    Attributes:
        feet: of the distance of a foot from the subject's plane, over the subject's height: bodies
            are wide, feet are lifted.
        turned: of the turn before the camera in radians, 0 faces it.
        turning: second difference of the turn in the world from frame to frame at 24 fps.
        going: first difference of it.
        jerk: second difference of the plane's place, over its distance.
    """

    feet: float = 0.15
    turned: float = 0.7
    turning: float = 1e-2
    going: float = 0.05
    jerk: float = 5e-4


@dataclass(frozen=True)
class Spots:
    """Where soles meet the ground, in every frame's own axes: ``beside`` the subject's middle and
    ``behind`` its lowest foot, over the distance of that; as many as there are of all frames.

    Attributes:
        frame: (M,) of each.
        tall: (M,) the subject's height in that frame, over its distance.
    """

    frame: NDArray[np.intp]
    beside: F64
    behind: F64
    tall: F64


def solve_turn(
    rewound: Rewound, spots: Spots, swing: F64, rounds: int, config: TurnConfig
) -> tuple[F64, F64]:  # -> (T,), (T,)
    """By how much, over the distance, the subject's plane stands behind its lowest foot, square to
    itself, and its turn before the camera in radians.

    Args:
        rewound: the frames.
        spots: what its feet say.
        swing: (T,) radians by which the cameras look further to the right than in the first frame.
        rounds: of linearisation. One finds less of a turn than feet say: enough where the ground
            that they stand on is a guess.
        config: see `TurnConfig`.
    """
    count = len(rewound)
    every, frame = np.arange(count), spots.frame
    neighbours = np.array(rewound.neighbours(), int).reshape(-1, 2)
    rate = 24.0 / rewound.clip.fps
    shift, turn, change = np.zeros(count), swing, np.zeros(count)  # it stays as it is in the world
    for _ in range(rounds):
        c, s = np.cos(turn[frame]), np.sin(turn[frame])
        behind, beside = c * spots.behind - s * spots.beside, c * spots.beside + s * spots.behind
        equations = RobustEquations()
        equations.add(
            np.stack([count + frame, frame], 1),
            np.stack([np.ones(len(frame)), beside], 1),
            behind + beside * change[frame],
            config.feet * spots.tall,
            robust=True,
        )
        # frames near one another are not independent
        before = np.arctan(np.tan(turn))
        equations.add(every[:, None], 1.0, change - before, config.turned * np.sqrt(6), robust=True)
        equations.add((count + every)[:, None], 1.0, 0.0, _OFFSET)
        equations.add(neighbours, [1, -1], 0.0, config.going * rate)
        equations.smooth(rewound, 0, config.turning * rate**2)
        equations.smooth(rewound, count, config.jerk * rate**2)
        change, shift = np.split(equations.solve(2 * count), 2)
        turn = swing + change
    return shift, turn


def measure_length(masks: F32) -> float:  # (T, H, W)
    """0 for what is no longer than it is tall wherever it is seen from, and stands as a picture of
    itself before every camera, a person, too; to 1 for what has a length that can be turned."""
    spreads = []
    for mask in masks:
        rows, columns = np.nonzero(mask > 0.5)
        if len(rows) > _FEW:
            spreads.append(columns.std() / max(rows.std(), 1e-6))
    low, high = _LONG
    best = np.percentile(spreads, _AT_BEST) if spreads else 0.0
    return float(np.clip((best - low) / (high - low), 0, 1))


def compute_slope(turn: F64) -> F64:  # (T,) -> (T,)
    """Slope of the plane that a turned subject's picture shows: its length, until it comes nearly
    straight at the camera, where it is its front."""
    around = np.arctan(np.tan(turn))
    steepest = np.arctan(_STEEPEST)
    end_on = np.clip((np.pi / 2 - np.abs(around)) / (np.pi / 2 - steepest), 0, 1)
    return np.clip(np.tan(around), -_STEEPEST, _STEEPEST) * end_on


def measure_swing(level: F64, up: F64, first: int) -> F64:  # (T, 3), (3,) -> (T,)
    """Radians by which cameras that look along ``level`` look further to the right than the
    ``first``, along the clip."""
    ahead, right = level[first], np.cross(level[first], up)
    return np.unwrap(np.arctan2(level @ right, level @ ahead))


def find_spots(
    masks: F32,
    cameras: Cameras,
    feet: Footprint,
    ground: Ground,
    along: F64,
    axis: F64,
    facing: F64,
    side: F64,
) -> Spots:
    """Where the soles of every frame's mask (T, H, W) meet the ground.

    Args:
        along: (T,) of the lowest foot, along ``facing`` (T, 3).
        axis: (T,) of the subject's middle, along ``side`` (T, 3).
    """
    eye = ground.compute_height(world.compute_centres(cameras))
    parts: list[tuple] = [(np.zeros(0, int), *np.zeros((3, 0)))]
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
        values = beside[near], behind[near], np.full(near.sum(), tall)
        parts.append((np.full(near.sum(), t), *values))
    return Spots(*(np.concatenate(p) for p in zip(*parts, strict=True)))


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
