"""Faults as video generators make them, for the driving clip: sliding texture, a limb that goes
missing, background that sticks.

The faults change what is drawn, never the truth of where the surface is.
"""

from dataclasses import dataclass

import bpy
import numpy as np

from stage.nodes import DRIFT
from stage.render import SUBJECT_INDEX
from stage.subject import Subject, bounds

AMOUNT = 0.12  # how far the texture has slid at the end, in extents


@dataclass(frozen=True)
class Schedule:
    """Frames of a driving clip of ``n`` frames: drift from ``drift`` on, growing; limb and blob
    over half-open ranges."""

    n: int
    drift: int
    limb: tuple[int, int]
    blob: tuple[int, int]

    def faulty(self) -> list[int]:
        """Frames with any fault."""
        return [
            t
            for t in range(self.n)
            if t > self.drift or any(a <= t < b for a, b in (self.limb, self.blob))
        ]


def schedule(n: int) -> Schedule:
    return Schedule(
        n, round(0.25 * n), (round(0.40 * n), round(0.60 * n)), (round(0.65 * n), round(0.95 * n))
    )


class Faults:
    """Puts the faults of a schedule into the scene, frame by frame. Call `__call__` after the pose
    of the frame is set."""

    def __init__(self, subject: Subject, plan: Schedule) -> None:
        self.plan = plan
        self._subject = subject
        self.limb = limb(subject)
        low, high = bounds(subject.meshes)
        self._offset = 0.28 * (high - low)
        self._blob = _blob(0.17 * float((high - low).max()))
        self._drifting = [
            node
            for mesh in subject.meshes
            for slot in mesh.material_slots
            if slot.material
            for node in slot.material.node_tree.nodes
            if node.name.startswith(DRIFT)
        ]

    def __call__(self, t: int) -> None:
        plan = self.plan
        amount = AMOUNT * max(t - plan.drift, 0) / max(plan.n - 1 - plan.drift, 1)
        for node in self._drifting:
            node.inputs["Location"].default_value = (amount, 0.4 * amount, 0.6 * amount)
        if plan.limb[0] <= t < plan.limb[1]:
            self._subject.rig.pose.bones[self.limb].scale = (1e-3, 1e-3, 1e-3)
        self._blob.hide_render = self._blob.hide_viewport = not plan.blob[0] <= t < plan.blob[1]
        if not self._blob.hide_render:
            low, high = bounds(self._subject.meshes)
            self._blob.location = 0.5 * (low + high) + self._offset * [-0.6, 0.5, -0.3]
        bpy.context.view_layer.update()


def limb(subject: Subject) -> str:
    """The bone whose branch carries nearest to a twelfth of the vertices; arms and legs first, left
    before right."""
    share = dict.fromkeys(subject.bones, 0.0)
    for mesh in subject.meshes:
        names = [g.name for g in mesh.vertex_groups]
        for vertex in mesh.data.vertices:
            best = max(vertex.groups, key=lambda g: g.weight, default=None)
            if best is not None and names[best.group] in share:
                share[names[best.group]] += 1.0
    total = sum(share.values())
    bones = subject.rig.data.bones
    branch = {
        n: (share[n] + sum(share[c.name] for c in bones[n].children_recursive)) / total
        for n in subject.bones
    }
    named = [
        n
        for n in subject.bones
        if any(word in n.lower() for word in ("arm", "leg", "thigh")) and branch[n] > 0.02
    ]
    left = [n for n in named if (subject.rig.matrix_world @ bones[n].tail_local).y > 0]
    return min(left or named or subject.bones, key=lambda n: abs(branch[n] - 1 / 12))


def _blob(radius: float) -> bpy.types.Object:
    """A lump of the set's floor that is taken for a part of the subject."""
    bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=5, radius=radius)
    blob = bpy.context.object
    co = np.array([v.co for v in blob.data.vertices])
    co = co * (1 + 0.22 * np.sin(9 / radius * 0.2 * co).sum(1, keepdims=True)) * [1.2, 0.9, 0.8]
    blob.data.vertices.foreach_set("co", co.astype(np.float32).ravel())
    blob.data.polygons.foreach_set("use_smooth", np.ones(len(blob.data.polygons), bool))
    blob.data.materials.append(bpy.data.materials["set"])
    blob.pass_index = SUBJECT_INDEX
    return blob
