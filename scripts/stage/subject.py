"""A subject in the scene: armature, meshes and poses in time, the same for the creature and for any
glTF character."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import bpy
import mathutils
import numpy as np
from numpy.typing import NDArray

from stage import creature, gait
from stage.render import SUBJECT_INDEX
from stage.skeleton import BONES
from stage.truth import geometry

Array = NDArray[Any]


@dataclass
class Poses:
    """Local bone transforms over time, what Blender calls ``matrix_basis``: loc (T,B,3), quat
    (T,B,4) wxyz, scale (T,B,3)."""

    loc: Array
    quat: Array
    scale: Array

    def __len__(self) -> int:
        return len(self.loc)

    def blended_from(self, start: "Poses", frame: int, blend: int) -> "Poses":
        """Begins exactly with ``start[frame]`` and moves over into these poses within ``blend``
        frames."""
        x = np.clip(np.arange(len(self)) / max(blend, 1), 0, 1)
        w = (x * x * (3 - 2 * x))[:, None, None]
        quat = np.where(
            (self.quat * start.quat[frame]).sum(-1, keepdims=True) < 0, -self.quat, self.quat
        )
        quat = (1 - w) * start.quat[frame] + w * quat
        return Poses(
            (1 - w) * start.loc[frame] + w * self.loc,
            np.where(w > 0, quat / np.linalg.norm(quat, axis=-1, keepdims=True), start.quat[frame]),
            (1 - w) * start.scale[frame] + w * self.scale,
        )


class Subject(ABC):
    """What is filmed.

    Attributes:
        rig: the armature; its own transform is the subject's placement.
        meshes: everything that is drawn and measured.
        top: the object that `place` moves.
    """

    def __init__(
        self, rig: bpy.types.Object, meshes: list[bpy.types.Object], top: bpy.types.Object
    ) -> None:
        self.rig, self.meshes, self.top = rig, meshes, top
        self.bones = [b.name for b in rig.pose.bones]
        for bone in rig.pose.bones:
            bone.rotation_mode = "QUATERNION"
        for mesh in meshes:
            mesh.pass_index = SUBJECT_INDEX

    @abstractmethod
    def poses(self, animation: str, n_frames: int, fps: float) -> Poses:
        """The animation's first ``n_frames``. Raises `InputError` naming the animations there
        are."""

    def show(self, poses: Poses, t: int) -> None:
        """Puts the rig into pose ``t``."""
        for i, name in enumerate(self.bones):
            bone = self.rig.pose.bones[name]
            bone.location, bone.rotation_quaternion, bone.scale = (
                poses.loc[t, i],
                poses.quat[t, i],
                poses.scale[t, i],
            )

    @abstractmethod
    def settle(self, poses: Poses) -> None:
        """Brings the subject to its size and onto the ground, given the poses of its base clip."""

    def place(self, at: tuple[float, float], heading: float) -> None:
        """Puts the subject on the ground, turned to the left by ``heading`` radians from +X."""
        self.top.location = (at[0], at[1], self.top.location[2])
        self.top.rotation_mode = "XYZ"
        self.top.rotation_euler = (0.0, 0.0, heading)


def bounds(meshes: list[bpy.types.Object]) -> tuple[Array, Array]:  # -> (3,), (3,)
    """Lowest and highest corner of what is drawn, in the world, in the pose as it stands."""
    bpy.context.view_layer.update()
    corners, _ = geometry(meshes)
    return corners.min(0), corners.max(0)


class Creature(Subject):
    """The project's own creature with the animations of `stage.gait`."""

    def __init__(self) -> None:
        rig, meshes = creature.build()
        super().__init__(rig, meshes, rig)

    def poses(self, animation: str, n_frames: int, fps: float) -> Poses:
        motion = gait.named(animation)
        order = [[b.name for b in BONES].index(name) for name in self.bones]
        rest = {b.name: b.matrix_local for b in self.rig.data.bones}
        n = len(self.bones)
        out = Poses(
            np.zeros((n_frames, n, 3)), np.zeros((n_frames, n, 4)), np.ones((n_frames, n, 3))
        )
        for t in range(n_frames):
            moved = motion(t / fps).matrices()[order]
            posed = {
                name: mathutils.Matrix(m) @ rest[name]
                for name, m in zip(self.bones, moved, strict=True)
            }
            for i, name in enumerate(self.bones):
                parent = self.rig.data.bones[name].parent
                relative = rest[parent.name].inverted() @ rest[name] if parent else rest[name]
                over = posed[parent.name] if parent else mathutils.Matrix()
                loc, quat, _ = (relative.inverted() @ over.inverted() @ posed[name]).decompose()
                out.loc[t, i], out.quat[t, i] = loc, quat
        return out

    def settle(self, poses: Poses) -> None:
        """Nothing to do: it is made at its size and on the ground."""
