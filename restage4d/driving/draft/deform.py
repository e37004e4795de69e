"""Posing the relief: a performance's curves to points, frame by frame."""

import numpy as np
from numpy.typing import NDArray

from restage4d.driving.draft.body_plan import BodyPlan, Limb
from restage4d.driving.draft.curves import Curves
from restage4d.driving.draft.relief import Relief

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_RAISED = 0.2  # radians from which a raised leg is no longer brought to the ground
_KNEE = 0.42  # how far a shortened leg's knee goes out, of what two stiff halves would do


class _Bone:
    """A limb's weights over the relief's points, and its joint in the body's frame."""

    def __init__(self, limb: Limb, relief: Relief) -> None:
        at = relief.nearest
        self.weight = limb.weight[at[:, 0], at[:, 1]].astype(float)
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
    """

    def __init__(self, relief: Relief, body: BodyPlan) -> None:
        self.relief, self.body = relief, body
        self.bones = [_Bone(limb, relief) for limb in body.limbs]
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
        self.ends = np.clip(
            relief.rest[:, 0] * self.forward / self.half, -1, 1
        )  # 1 at the head end, -1 at the tail end

    def _find_knee_side(self, bone: _Bone) -> float:
        """Which way a knee goes: forward, but backward in the hind legs of animals (their
        hocks)."""
        return self.forward * (
            -1 if not self.body.upright and bone.pivot[0] * self.forward < 0 else 1
        )

    def compute_turn(self, p: Curves, t: int) -> F32:  # -> (V,) in 0..1
        """How far every part has turned from the side that the first frame shows."""
        yaw = p.yaw[t] + p.bend[t] * self.ends
        for end, curve in ((self.head, p.head_yaw), (self.tail, p.tail_yaw)):
            if end:
                yaw = yaw + curve[t] * end.weight
        x = np.clip(
            (np.abs(np.sin(yaw)) - 0.03) / 0.17, 0, 1
        )  # from behind it is filmed as well, mirrored
        return (x * x * (3 - 2 * x)).astype(np.float32)

    def find_surface(self, turn: F32) -> tuple[F32, F32]:  # -> (V, 2), (V,)
        """Where the points take their colour, and their opacity: the soft, mixed rim is for the
        side that was filmed only."""
        r = self.relief
        opacity = r.alpha + turn * (1 - r.alpha)
        return (r.uv + turn[:, None] * (r.inner - r.uv)).astype(np.float32), opacity.astype(
            np.float32
        )

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
                part.raise_[t],
                shortened,
                self.knee[k] if is_leg else 0.0,
            )
        if self.head:
            up = (
                p.head_up[t]
                if p.head_up[t] > 0
                else p.head_up[t] * min(1.0, self.clearance / (0.3 * self.height))
            )
            self._turn_end(
                points, self.head, up, p.head_yaw[t], self.body.upright or not self.body.facing
            )
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

    def _swing(
        self,
        points: F64,
        bone: _Bone,
        fore: float,
        lift: float,
        raised: float,
        shortened: float,
        knee: float,
    ) -> None:
        """Swings a limb about its joint in the body's plane, lifts its end, and bends it in the
        middle where it gets shorter."""
        if not (fore or lift or raised or shortened):
            return
        used = bone.used
        outward = (
            np.sign(bone.tip[0] - bone.pivot[0])
            if abs(bone.tip[0] - bone.pivot[0]) > 0.35 * bone.length
            else self.forward
        )
        angle = np.arcsin(np.clip(fore / bone.length, -0.8, 0.8)) + raised * outward
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
        return np.clip(p.crouch[t] + p.front[t] * front + p.rear[t] * (1 - front), 0, 0.85)

    def _compute_drop(self, p: Curves, t: int, pivot: F64) -> float:
        return (
            float(self._compute_lowering(p, t, np.array([pivot[0] * self.forward / self.half]))[0])
            * self.hip
        )

    def _squash(self, points: F64, p: Curves, t: int) -> None:
        """Lowers the body onto its bending legs; without legs, the body itself gives way."""
        if not (p.crouch[t] or p.front[t] or p.rear[t]):
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
        )  # nothing sinks into the ground
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
            gap *= np.clip(1 - abs(part.raise_[t]) / _RAISED, 0, 1)
            points[used, 1] -= gap * bone.weight[used] * bone.along[used]


def _rotate(x: F64, y: F64, angle: F64 | float) -> tuple[F64, F64]:
    """A plane's points turned from x towards y."""
    cos, sin = np.cos(angle), np.sin(angle)
    return x * cos - y * sin, x * sin + y * cos
