# SPDX-License-Identifier: GPL-3.0-or-later
"""The scene's lights on Gaussians, for views and playblasts: Lambert's law on estimated normals.

The light of the shot is in the filmed colours and stays in them; what the scene's lights and world
give is multiplied onto it. Without shadows.
"""

from dataclasses import dataclass
from typing import Any, cast

import bpy
import numpy as np
from numpy.typing import NDArray

from restage4d import se3
from restage4d.puppet import F32
from restage4d.se3 import Array
from restage4d.srgb import linear_to_srgb, srgb_to_linear

_CELL = 0.05  # of the extent: how far apart Gaussians are that share a normal
_THIN = 0.5  # a Gaussian whose thinnest axis is thinner than this, to the next, has a normal


@dataclass(frozen=True)
class Light:
    """Of the world: linear ``color`` times power. ``direction`` is where it shines; a sun has no
    ``place``, others are spheres of watts, and a spot ends at ``cosine`` of its angle."""

    color: F32  # (3,)
    direction: F32  # (3,)
    place: F32 | None = None  # (3,)
    cosine: float = -1.0


def read_lights(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph) -> list[Light]:
    """The lights that show in the scene."""
    lights = []
    for obj in scene.objects:
        if obj.type != "LIGHT" or not obj.visible_get():
            continue
        data, world = cast(Any, obj.data), np.array(obj.evaluated_get(depsgraph).matrix_world)
        color = np.array(data.color, np.float32) * np.float32(data.energy)
        direction = (-world[:3, 2] / max(np.linalg.norm(world[:3, 2]), 1e-9)).astype(np.float32)
        place = None if data.type == "SUN" else world[:3, 3].astype(np.float32)
        cosine = float(np.cos(data.spot_size / 2)) if data.type == "SPOT" else -1.0
        lights.append(Light(color, direction, place, cosine))
    return lights


def read_ambient(scene: bpy.types.Scene) -> F32:  # -> (3,)
    """The world's colour, linear; that of its *Background* node where it has nodes."""
    world = scene.world
    if world is None:
        return np.zeros(3, np.float32)
    nodes = world.node_tree.nodes if world.node_tree is not None else ()
    for node in nodes:
        if node.type == "BACKGROUND":
            color, strength = (cast(Any, node.inputs[name]) for name in ("Color", "Strength"))
            return np.array(color.default_value[:3], np.float32) * strength.default_value
    return np.array(world.color, np.float32)


def estimate_normals(
    means: F32, quats: F32, scales: F32, group: NDArray[np.integer], eye: Array | None = None
) -> F32:  # (N, 3), (N, 4), (N, 3), (N,), (3,) -> (N, 3)
    """Outward normals: of flat Gaussians the thinnest axis, of round ones the way out of their
    ``group``, whose middle tells which side is outside. Of what was seen from one side alone, a
    background, outside is where the ``eye`` was. Neighbours share theirs."""
    if eye is None:
        count = np.bincount(group).clip(1)
        middle = np.stack([np.bincount(group, means[:, c]) for c in range(3)], 1) / count[:, None]
        out = means - middle[group]
    else:
        out = eye - means
    out /= np.linalg.norm(out, axis=1, keepdims=True).clip(1e-9)
    order = np.argsort(scales, axis=1)
    rows = np.arange(len(means))
    axis = np.swapaxes(se3.quat_to_matrix(quats), 1, 2)[rows, order[:, 0]]
    axis *= np.where((axis * out).sum(1, keepdims=True) < 0, -1.0, 1.0)
    flat = 1 - scales[rows, order[:, 0]] / scales[rows, order[:, 1]].clip(1e-12)
    share = (flat / _THIN).clip(0, 1)[:, None]
    normal = share * axis + (1 - share) * out
    for _ in range(2):  # a side that was wrongly taken for the outside goes with its neighbours
        shared = _share(normal, means)
        normal *= np.where((normal * shared).sum(1, keepdims=True) < 0, -1.0, 1.0)
    normal = _share(normal, means)
    return (normal / np.linalg.norm(normal, axis=1, keepdims=True).clip(1e-9)).astype(np.float32)


def _share(normal: Array, means: F32) -> Array:  # (N, 3), (N, 3) -> (N, 3)
    """Normals averaged with those in the same cells of two grids, or each splat would glitter."""
    low, high = np.quantile(means, (0.02, 0.98), axis=0)
    cell = _CELL * max(float(np.linalg.norm(high - low)), 1e-9)
    shared = 0.5 * normal
    for offset in (0.0, 0.5):
        place = np.floor(means / cell + offset).astype(np.int64)
        key = place @ np.array([1, 1 << 21, 1 << 42])
        _, cells = np.unique(key, return_inverse=True)
        total = np.stack([np.bincount(cells, normal[:, c]) for c in range(3)], 1)
        shared += (total / np.bincount(cells)[:, None])[cells]
    return shared


def relight(
    colors: F32, means: F32, normals: F32, lights: list[Light], ambient: F32
) -> F32:  # (N, 3) sRGB, (N, 3), (N, 3) -> (N, 3) sRGB
    """Colours under lights: the filmed one times the world's and all lights' share, which is 1
    for a sun of strength π that shines straight on."""
    share = np.broadcast_to(ambient, colors.shape).astype(np.float32)
    for light in lights:
        power = np.ones(len(means), np.float32) / np.float32(np.pi)
        toward = np.broadcast_to(-light.direction, means.shape)
        if light.place is not None:
            toward = light.place - means
            distance = np.linalg.norm(toward, axis=1).clip(1e-6)
            toward = toward / distance[:, None]
            power = 1 / (4 * np.pi**2 * distance**2)
            power *= (toward @ -light.direction) >= light.cosine
        facing = (normals * toward).sum(1).clip(0)
        share = share + (power * facing)[:, None] * light.color
    return linear_to_srgb(srgb_to_linear(colors) * share)
