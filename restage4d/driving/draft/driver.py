"""The draft driver: a driving video from simple directions, without any model.

The subject becomes a closed 2.5D relief with a body plan, is moved as the directions say, and is
drawn in front of the clean plate. Nothing new is invented: the far side is the near side
mirrored, and light does not change.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip
from restage4d.driving.draft.acting import perform
from restage4d.driving.draft.anatomy.own_motion import measure_own_speed
from restage4d.driving.draft.anatomy.picture import write_body_plan
from restage4d.driving.draft.anatomy.reading import read_body_plan
from restage4d.driving.draft.body_plan import BodyPlan
from restage4d.driving.draft.compositing.clean_plate import look_behind, make_clean_plate
from restage4d.driving.draft.compositing.matte import dilate, estimate_foreground, estimate_matte
from restage4d.driving.draft.compositing.rasterizer import Drawing, draw
from restage4d.driving.draft.compositing.registration import register
from restage4d.driving.draft.compositing.shadow import Shadow, find_ground, find_shadow
from restage4d.driving.draft.curves import Curves, Room
from restage4d.driving.draft.deform import Figure
from restage4d.driving.draft.hidden_legs import add_hidden_legs
from restage4d.driving.draft.knowledge import Knowledge
from restage4d.driving.draft.moves.limbs import find_missing_limbs
from restage4d.driving.draft.prompt import Directions, parse
from restage4d.driving.draft.relief import Relief, build_relief
from restage4d.driving.draft.shape.stance import View
from restage4d.driving.draft.shape.texture import paint_back
from restage4d.driving.draft.standing_body import StandingBody, stand
from restage4d.driving.draft.wheels import find_wheels
from restage4d.driving.protocols import DrivingVideo
from restage4d.errors import InputError
from restage4d.progress import Progress, Task, TaskId

F32 = NDArray[np.float32]

PICTURE = "body_plan.png"
_LEAST = 64  # pixels of a subject
_MOST = 0.9  # of the picture that a subject may fill
_STICKS = 2.5  # pixels a part may move until the first frame's own pixels around it have faded out


class KinematicDriving:
    """A `DrivingProvider` that reads simple directions (`restage4d.driving.draft.prompt`) and moves
    the subject's relief.

    Args:
        head: where a person sees the subject's head in the first frame, x and y as shares (0..1) of
            the picture's width and height; None: it is read from shape and motion.
        folder: where body_plan.png is put to look at; None: nowhere.
        script: what it shall act; None: what it reads in the prompt.
    """

    name = "kinematic"

    def __init__(
        self,
        head: tuple[float, float] | None = None,
        folder: Path | None = None,
        script: Directions | None = None,
    ) -> None:
        self._head, self._folder, self._script = head, folder, script

    def make(
        self, base: Clip, mask: NDArray[np.bool_], prompt: str, progress: Progress
    ) -> DrivingVideo:
        """The driving video; its first frame is the base's first frame, bit for bit."""
        directions = self._script or parse(prompt)
        if mask.shape != base.frames.shape[1:3]:
            raise InputError(
                f"The mask is {mask.shape[1]}x{mask.shape[0]} pixels, the video "
                f"{base.size[0]}x{base.size[1]}.",
                "Give a mask of the video's size.",
            )
        if mask.sum() < _LEAST:
            raise InputError(
                f"The mask marks {int(mask.sum())} pixels only.",
                "Mark the subject in the first frame.",
            )
        if mask.mean() > _MOST:
            raise InputError(
                f"The mask marks {100 * mask.mean():.0f} % of the picture.",
                "Mark the subject alone.",
            )
        first = base.frames[0].astype(np.float32)
        with progress.task(TaskId.EMPTY_STAGE, 2 * len(base)) as stage:
            head = self._head and (self._head[0] * base.size[0], self._head[1] * base.size[1])
            layers = _separate(base, mask, head, self._folder, stage)
        figure, texture, shadow = layers.figure, layers.texture, layers.shadow
        body, relief = figure.body, figure.relief
        performance = perform(
            directions, body, len(base), base.fps, _measure_room(body, relief.view, base.size)
        )

        def draw_frame(t: int) -> tuple[Drawing, F32, F32]:
            """A frame, where its points lie, and how far they have turned."""
            p, turn = performance, figure.compute_turn(performance, t)
            way = p.right[t], p.away[t], max(p.up[t], 0)
            ground = shadow.draw_on(layers.plate, relief.view, *way, _measure_turn(p, t))
            points = figure.pose(p, t, turn)
            return (
                draw(
                    ground,
                    points,
                    *figure.find_surface(performance, t, turn),
                    relief.triangles,
                    texture,
                ),
                points,
                turn,
            )

        knowledge = Knowledge(relief, mask)
        drawing, points, _ = draw_frame(0)
        knowledge.add(drawing, points)
        missed = first - drawing.picture  # what matte, samples and shadow do not give back
        frames = np.empty((len(performance), *base.frames.shape[1:]), np.uint8)
        frames[0] = base.frames[0]
        with progress.task(TaskId.DRAW_DRIVING, len(performance) - 1) as stage:
            for t in range(1, len(performance)):
                drawing, points, turn = draw_frame(t)
                knowledge.add(drawing, points)
                stays = np.maximum(
                    _compute_stay(points, turn, relief, mask),
                    dilate(shadow.where, 2) * _compute_shadow_stay(performance, t),
                )
                frames[t] = np.clip(
                    drawing.picture + stays[..., None] * missed + 0.5, 0, 255
                ).astype(np.uint8)
                stage.advance()
        notes = tuple(find_missing_limbs(directions, body))
        known = knowledge.to_priors()
        return DrivingVideo(
            Clip(frames, base.fps),
            self.name,
            notes=notes,
            doubt=body.doubt,
            known=known,
            plan=body,
            body=stand(figure, texture, mask),
        )


@dataclass(frozen=True)
class _Layers:
    """The first frame's subject, with the colours (2 H, W, 3) of its near and of its far side, and
    what is behind it, the clean ``plate`` (H, W, 3) and its shadow."""

    figure: Figure
    texture: F32
    plate: F32
    shadow: Shadow


def model_body(
    base: Clip, mask: NDArray[np.bool_], progress: Progress
) -> StandingBody | None:  # mask (H, W)
    """The subject of the base's first frame from any side, for videos that others made; None where
    it fills the picture, or hardly shows."""
    if mask.sum() < _LEAST or mask.mean() > _MOST:
        return None
    with progress.task(TaskId.MODEL_BODY, 2 * len(base)) as stage:
        layers = _separate(base, mask, None, None, stage)
    return stand(layers.figure, layers.texture, mask)


def _separate(
    base: Clip,
    mask: NDArray[np.bool_],
    head: tuple[float, float] | None,
    folder: Path | None,
    stage: Task,
) -> _Layers:
    first = base.frames[0].astype(np.float32)
    found = register(base, mask, stage)
    body = read_body_plan(mask, measure_own_speed(base, found), head)
    if folder:
        write_body_plan(folder / PICTURE, base.frames[0], body)
    alpha = estimate_matte(first, mask)
    hole = dilate(mask | (alpha > 0.02), 3)
    ground = find_ground(mask, body)
    behind, known = look_behind(base, hole, ground, found, stage)
    shadow = find_shadow(first, mask, hole, body, behind, known)
    plate = make_clean_plate(shadow.lit, hole, behind, known, shadow.where)
    body = add_hidden_legs(body)
    relief = build_relief(mask, alpha, body)
    body.yaw = relief.yaw
    figure = Figure(relief, body, find_wheels(first, mask, body), len(first))
    front = estimate_foreground(first, alpha, plate)
    return _Layers(figure, np.concatenate([front, paint_back(front, mask, body)]), plate, shadow)


def _compute_stay(points: F32, turn: F32, relief: Relief, mask: NDArray[np.bool_]) -> F32:
    """(H, W) how far the first frame's own pixels still hold around the subject: 1 where it has not
    moved, 0 where it has, or has turned."""
    near = relief.near
    moved = np.full(mask.shape, -1, np.float32)
    way = np.linalg.norm(points[near, :2] - relief.uv[near], axis=1) + _STICKS * turn[near]
    np.maximum.at(moved, tuple(relief.cells[near].T), way)
    share = np.where(moved < 0, 0, np.clip(1 - moved / _STICKS, 0, 1) ** 2).astype(np.float32)
    return np.asarray(cv2.dilate(share, np.ones((9, 9), np.uint8)), np.float32)


def _compute_shadow_stay(p: Curves, t: int) -> float:
    """How far the first frame's own shadow still holds."""
    behind = np.cos(p.yaw[t]) * np.cos(p.roll[t]) < 0
    turn = 1.0 if behind else _measure_turn(p, t)
    way = float(np.hypot(p.right[t], p.away[t]) + max(p.up[t], 0) + 20 * turn)
    return float(np.clip(1 - way / _STICKS, 0, 1) ** 2)


def _measure_turn(p: Curves, t: int) -> float:
    """How far the body is turned or tipped from how it was filmed, 0..1."""
    return float(max(abs(np.sin(angle[t])) for angle in (p.yaw, p.roll, p.pitch)))


def _measure_room(body: BodyPlan, view: View, size: tuple[int, int]) -> Room:
    """How far the subject may go and still be seen well."""
    x0, y0, x1, y1 = body.box
    spare = -0.08 * (x1 - x0)  # head and tail sway beyond the box
    largest = min(
        1.45,
        (1.04 * size[1] - view.horizon) / max(y1 - view.horizon, 1),
        1.15 * size[0] / (x1 - x0),
    )
    up = max(0.9 * y0, 0.1 * (y1 - y0))
    return Room(x0 + spare, size[0] - x1 + spare, view.focal * (1 - 1 / max(largest, 1.0)), up)
