"""Posing the relief: a performance's curves to points, frame by frame."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from restage4d.driving.draft.actions import PARAMETERS
from restage4d.driving.draft.body_plan import BodyPlan, Limb, split_legs
from restage4d.driving.draft.curves import Curves
from restage4d.driving.draft.relief import Relief
from restage4d.driving.draft.wheels import Wheel

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_RAISED = 0.2  # radians from which a raised leg is no longer brought to the ground
_KNEE = 0.42  # how far a shortened leg's knee goes out, of what two stiff halves would do


class _Bone:
    """A limb's weights over the relief's points, and its joint in the body's frame."""

    def __init__(self, limb: Limb, relief: Relief, of: NDArray[np.bool_] | None = None) -> None:
        at = relief.nearest
        self.weight = limb.weight[at[:, 0], at[:, 1]].astype(float)
        if of is not None:
            self.weight[~of] = 0
        self.along = limb.along[at[:, 0], at[:, 1]].astype(float)
        self.used = np.flatnonzero(self.weight > 0)
        self.pivot = relief.lift(limb.pivot)
        self.tip = relief.lift(limb.tip)
        self.length = max(float(np.linalg.norm(self.tip - self.pivot)), 1.0)


class Figure:
    """A relief with its body plan, ready to be posed.

    Args:
        relief: the mesh.
        body: the plan that `relief` was built with.
        wheels: those of a vehicle.
        back: rows by which the texture has the colours of the side away from the camera further
            down.
    """

    def __init__(
        self, relief: Relief, body: BodyPlan, wheels: Sequence[Wheel] = (), back: int = 0
    ) -> None:
        self.relief, self.body, self.back = relief, body, back
        self.wheels = [(w, np.flatnonzero(w.covers(relief.uv))) for w in wheels]
        self.bones = [
            _Bone(leg, relief, relief.leg == (k if leg.hidden else -1))
            for k, leg in enumerate(body.legs)
        ]
        self.bones += [_Bone(limb, relief) for limb in body.others]
        self.head = _Bone(body.head, relief) if body.head else None
        self.tail = _Bone(body.tail, relief) if body.tail else None
        self.leg_share = np.clip(
            sum((bone.weight for bone in self.bones[: len(body.legs)]), np.zeros(len(relief.rest))),
            0,
            1,
        )
        self.height = float(relief.rest[:, 1].max())
        self.half = float(np.abs(relief.rest[:, 0]).max())
        legs = self.bones[: len(body.legs)]
        self.hip = float(np.mean([bone.pivot[1] for bone in legs])) if legs else 0.45 * self.height
        low = (
            relief.rest[self.head.weight > 0.5, 1].min(initial=self.height)
            if self.head
            else self.height
        )
        self.clearance = max(float(low) - 0.03 * self.height, 0.0)  # how far the head may go down
        self.forward = 1.0 if body.facing >= 0 else -1.0
        self.knee = [self._find_knee_side(bone) for bone in legs]
        ends = sum((bone.weight for bone in (self.head, self.tail) if bone), 0 * self.leg_share)
        self.bears = ends < 0.02  # what the body can lie on: all but head and tail
        self.torso = self.bears & (self.leg_share < 0.5)
        feet = relief.rest[self.bears & (relief.rest[:, 1] < 0.08 * self.height), 0]
        self.feet = (float(feet.min(initial=0.0)), float(feet.max(initial=0.0)))
        self.shoulder = np.zeros(3)
        self.neck = self._find_neck()
        self.ends = np.clip(
            relief.rest[:, 0] * self.forward / self.half, -1, 1
        )  # 1 at the head end, -1 at the tail end

    def _find_knee_side(self, bone: _Bone) -> float:
        """Which way a knee goes: forward, but backward in the hind legs of animals (their
        hocks)."""
        return self.forward * (
            -1 if not self.body.upright and bone.pivot[0] * self.forward < 0 else 1
        )

    def _find_neck(self) -> F64:  # -> (V,)
        """How far every point goes along as the neck goes down: 0 behind the shoulder, 1 at the
        head."""
        none = np.zeros(len(self.relief.rest))
        front, _ = split_legs(self.body)
        if self.head is None or self.body.upright or not front:
            return none
        self.shoulder[0] = np.mean([self.bones[k].pivot[0] for k in front])
        self.shoulder[1] = np.median(self.relief.rest[self.torso, 1])
        way = (self.head.pivot - self.shoulder)[:2]
        if way[0] * self.forward < 0.05 * self.half:
            return none
        along = (self.relief.rest[:, :2] - self.shoulder[:2]) @ way / (way @ way)
        x = np.clip(along, 0, 1)
        return x * x * (3 - 2 * x) * (1 - self.leg_share)

    @cached_property
    def reach(self) -> tuple[float, float]:
        """What brings the head to the ground: the share of its and the neck's full turn, and how
        far the front legs give way."""
        p, head = PARAMETERS.graze, self.head
        if head is None:
            return 0.0, 0.0
        used = np.flatnonzero((head.weight > 0.5) & (head.along > 0.6))  # no part of the neck
        lowest = np.inf
        for share in np.linspace(0, 1, 51):
            points = self.relief.rest.copy()
            self._lower_head(points, float(share))
            lowest = float(points[used, 1].min(initial=self.height)) - p.gap * self.height
            if lowest <= 0:
                return float(share), 0.0
        return 1.0, min(lowest / self.hip, p.front)

    def compute_turn(self, p: Curves, t: int) -> F32:  # -> (V,) in 0..1
        """How far every part has turned from the side that the first frame shows; 1 from behind,
        where the soft rim would show what it was filmed in front of."""
        aside, behind = self._measure_turn(p, t)
        return np.where(behind, 1, _ease(aside)).astype(np.float32)

    def _measure_turn(self, p: Curves, t: int) -> tuple[F64, NDArray[np.bool_]]:  # (V,), (V,)
        """The sine of every part's turn, and whether it is seen from behind."""
        yaw = p.yaw[t] + p.bend[t] * self.ends
        for end, curve in ((self.head, p.head_yaw), (self.tail, p.tail_yaw)):
            if end:
                yaw = yaw + curve[t] * end.weight
        aside = np.maximum(np.abs(np.sin(yaw)), abs(np.sin(p.roll[t])))
        return aside, np.cos(yaw) * np.cos(p.roll[t]) < 0

    def find_surface(self, p: Curves, t: int, turn: F32) -> tuple[F32, F32]:  # -> (V, 2), (V,)
        """Where the points take their colour, and their opacity: the soft, mixed rim is for the
        side that was filmed only; wheels take theirs as they roll."""
        r = self.relief
        opacity = r.alpha + turn * (1 - r.alpha)
        aside = _ease(self._measure_turn(p, t)[0])
        uv = r.uv + turn[:, None] * (r.clear - r.uv) + aside[:, None] * (r.inner - r.clear)
        uv = uv.astype(np.float32)
        for wheel, used in self.wheels:
            uv[used] = wheel.roll(uv[used], p.wheels[t])
        uv[~r.near, 1] += self.back
        return uv, opacity.astype(np.float32)

    def pose(self, p: Curves, t: int, turn: F32) -> F32:  # -> (V, 3) x, y, depth
        """The points on the screen in a frame."""
        points = self.relief.rest.copy()
        points[:, :2] += turn[:, None] * self.relief.inset
        for k, (bone, part) in enumerate(zip(self.bones, p.limbs, strict=True)):
            is_leg = k < len(self.body.legs)
            shortened = part.lift[t] + (self._compute_drop(p, t, bone.pivot) if is_leg else 0.0)
            self._swing(
                points,
                bone,
                part.fore[t],
                part.lift[t],
                part.angle[t],
                shortened,
                self.knee[k] if is_leg else 0.0,
            )
        if self.head:
            up = (
                p.head_up[t]
                if p.head_up[t] > 0
                else p.head_up[t] * min(1.0, self.clearance / (0.3 * self.height))
            )
            to_camera = self.body.upright or not self.body.facing
            self._turn_end(points, self.head, up, p.head_yaw[t], to_camera)
            if p.graze[t]:
                self._lower_head(points, self.reach[0] * p.graze[t])
        if self.tail:
            self._turn_end(points, self.tail, p.tail_up[t], p.tail_yaw[t], False)
        self._squash(points, p, t)
        self._plant_feet(points, p, t)
        points[:, 1] *= 1 + p.stretch[t]
        points[:, 0] *= 1 - 0.35 * p.stretch[t]
        points[:, 2] *= 1 - 0.35 * p.stretch[t]
        height = np.maximum(points[:, 1], 0)
        points[:, 0] += np.sin(p.lean[t]) * height
        points[:, 1] -= (1 - np.cos(p.lean[t])) * height
        self._tip(points, p.tip[t])
        self._turn_over(points, p.pitch[t], p.roll[t])
        yaw = self.relief.yaw + p.yaw[t] + p.bend[t] * self.ends * np.abs(self.ends) ** 0.5
        right, away = _rotate(points[:, 0], points[:, 2], yaw)
        world = np.column_stack([right + p.right[t], points[:, 1] + p.up[t], away + p.away[t]])
        return self.relief.view.project(world)

    def _tip(self, points: F64, angle: float) -> None:
        """Tips the body away from the camera: whole from the ground, or from the hip where it is
        upright."""
        hip = self.hip if self.body.upright else 0.0
        above = points[:, 1] - hip
        share = np.clip(0.5 + above / (0.2 * self.height), 0, 1) if hip else 1.0
        up, behind = _rotate(np.maximum(above, 0), points[:, 2], share * angle)
        points[:, 1] += up - np.maximum(above, 0)
        points[:, 2] = behind

    def _turn_over(self, points: F64, pitch: float, roll: float) -> None:
        """Rolls the body about its length, and turns it in its own plane; it then lies on the
        ground with what is lowest, head and tail flat."""
        if not (pitch or roll):
            return
        if self.body.upright:
            points[:, 0], points[:, 2] = _rotate(points[:, 0], points[:, 2], roll)
        else:
            middle = float(np.median(points[self.torso, 1]))
            up, away = _rotate(points[:, 1] - middle, points[:, 2], roll)
            points[:, 1], points[:, 2] = up + middle, away
        angle = pitch * self.forward
        stays = self.feet[0 if angle > 0 else 1]
        along, up = _rotate(points[:, 0] - stays, points[:, 1], angle)
        points[:, 0], points[:, 1] = along + stays, up
        points[:, 1] -= points[self.bears, 1].min()
        points[:, 1] = np.maximum(points[:, 1], 0.0)

    def _lower_head(self, points: F64, share: float) -> None:
        """Turns head and neck down by a share of what they can, the neck getting longer."""
        p, head = PARAMETERS.graze, self.head
        assert head is not None
        used = head.used
        way = share * p.longer * head.weight[used] * head.along[used]
        points[used] += way[:, None] * (head.tip - head.pivot)
        has_neck = bool(self.neck.any())
        down = p.head_degrees if has_neck else p.most_degrees
        to_camera = self.body.upright or not self.body.facing
        self._turn_end(points, head, -np.radians(down) * share, 0.0, to_camera)
        if has_neck:
            angle = -np.radians(p.neck_degrees) * share * self.neck * self.forward
            a, b = _rotate(points[:, 0] - self.shoulder[0], points[:, 1] - self.shoulder[1], angle)
            points[:, 0], points[:, 1] = a + self.shoulder[0], b + self.shoulder[1]

    def _swing(
        self,
        points: F64,
        bone: _Bone,
        fore: float,
        lift: float,
        angle: float,
        shortened: float,
        knee: float,
    ) -> None:
        """Swings a limb about its joint in the body's plane, lifts its end, and bends it in the
        middle where it gets shorter."""
        if not (fore or lift or angle or shortened):
            return
        used = bone.used
        angle = np.arcsin(np.clip(fore / bone.length, -0.8, 0.8)) + angle
        a, b = (points[used, 0] - bone.pivot[0], points[used, 1] - bone.pivot[1])
        s, w = bone.along[used], bone.weight[used]
        cos, sin = np.cos(w * angle), np.sin(w * angle)
        down = np.clip(
            (bone.pivot[1] - points[used, 1]) / max(bone.pivot[1] - 0.04 * self.height, 1.0), 0, 1
        )
        bow = (
            knee
            * _KNEE
            * np.sqrt(max(bone.length * shortened / 2, 0.0))
            * np.sin(np.pi * down) ** 1.5
        )
        points[used, 0] += a * cos - b * sin - a + w * bow
        points[used, 1] += a * sin + b * cos - b + w * lift * s

    def _turn_end(self, points: F64, bone: _Bone, up: float, yaw: float, to_camera: bool) -> None:
        """Turns head or tail about its joint: up and down in the body's plane (or towards the
        camera), and about the vertical."""
        if not (up or yaw):
            return
        used, w = bone.used, bone.weight[bone.used]
        a, b, c = (points[used] - bone.pivot).T
        if to_camera:
            b, c = _rotate(b, c, w * up)
        else:
            a, b = _rotate(a, b, w * up * (1 if bone.tip[0] >= bone.pivot[0] else -1))
        a, c = _rotate(a, c, w * yaw)
        points[used] = np.column_stack([a, b, c]) + bone.pivot

    def _compute_lowering(self, p: Curves, t: int, ends: F64) -> F64:
        """How far the body is down, as a share of the hip's height, from head end (1) to tail end
        (-1)."""
        x = np.clip(ends * 0.75 + 0.5, 0, 1)
        front = x * x * (3 - 2 * x)
        down = p.front[t] + (self.reach[1] * p.graze[t] if p.graze[t] else 0.0)
        return np.clip(p.crouch[t] + down * front + p.rear[t] * (1 - front), 0, 0.85)

    def _compute_drop(self, p: Curves, t: int, pivot: F64) -> float:
        return (
            float(self._compute_lowering(p, t, np.array([pivot[0] * self.forward / self.half]))[0])
            * self.hip
        )

    def _squash(self, points: F64, p: Curves, t: int) -> None:
        """Lowers the body onto its bending legs; without legs, the body itself gives way."""
        if not (p.crouch[t] or p.front[t] or p.rear[t] or p.graze[t]):
            return
        share = self._compute_lowering(p, t, self.ends)
        if not self.bones[: len(self.body.legs)]:
            points[:, 1] *= 1 - 0.6 * share
            points[:, [0, 2]] *= (1 + 0.15 * share)[:, None]
            return
        height = points[:, 1].copy()
        drop = share * self.hip
        if self.head:
            drop += self.head.weight * (np.minimum(drop, self.clearance) - drop)
        body = height - drop
        legs = height * (1 - share)
        lowered = self.leg_share * legs + (1 - self.leg_share) * body
        floor = np.minimum(
            height, 0.04 * self.height + 0.25 * np.maximum(height, 0)
        )  # nothing sinks into the ground, and only the head gets there
        if self.head:
            floor = floor * (1 - self.head.weight)
        points[:, 1] = np.maximum(lowered, floor)

    def _plant_feet(self, points: F64, p: Curves, t: int) -> None:
        """Brings the lowest points of every leg to where they stood at rest, and as far above as
        the step lifts them: neither a leg's slant nor the body's bobbing takes them off the
        ground. In the air they are that far below the body."""
        for bone, part in zip(self.bones, p.limbs[: len(self.body.legs)], strict=False):
            used = bone.used
            foot = used[(bone.along[used] > 0.85) & (bone.weight[used] > 0.5)]
            if not len(foot):
                continue
            low = points[foot, 1].min() + min(p.up[t], 0.0)
            gap = low - self.relief.rest[foot, 1].min() - part.lift[t]
            gap *= np.clip(1 - abs(part.angle[t]) / _RAISED, 0, 1)
            points[used, 1] -= gap * bone.weight[used] * bone.along[used]


def _ease(aside: F64) -> F64:
    """0 as it was filmed, 1 where a part shows another side."""
    x = np.clip((aside - 0.03) / 0.17, 0, 1)
    return x * x * (3 - 2 * x)


def _rotate(x: F64, y: F64, angle: F64 | float) -> tuple[F64, F64]:
    """A plane's points turned from x towards y."""
    cos, sin = np.cos(angle), np.sin(angle)
    return x * cos - y * sin, x * sin + y * cos
