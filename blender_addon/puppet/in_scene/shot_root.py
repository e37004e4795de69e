# SPDX-License-Identifier: GPL-3.0-or-later
"""The root of a shot: one empty above subject, background and camera.

Moving, turning or uniformly scaling it moves all three together, so that what the camera sees of
the shot stays the same. A scale is a similarity: positions and the σ of Gaussians grow with it,
rotations do not change.
"""

from typing import Any

import bpy
import numpy as np

from restage4d.errors import InputError
from restage4d.se3 import Array

UNEVEN = 1e-3  # how far a scaled rotation may be from one, relative to its scale
_CLIPPING = ("clip_start", "clip_end", "display_size")  # of a camera: lengths of its world


def add_root(
    name: str, size: float, collection: bpy.types.Collection, *children: bpy.types.Object | None
) -> bpy.types.Object:
    """A root at the world's origin, shown as axes of ``size``, above objects that stay where they
    are."""
    root = bpy.data.objects.new(f"{name} root", None)
    root.empty_display_type, root.empty_display_size = "PLAIN_AXES", size
    collection.objects.link(root)
    for child in children:
        if child is not None and child.parent is None:
            child.parent = root
    return root


def follow_scale(camera: bpy.types.Object, root: bpy.types.Object) -> None:
    """Lets the camera's clipping distances grow with the root's scale; without it a shot made
    larger would be cut off."""
    lens: Any = camera.data
    for name in _CLIPPING:
        driver = lens.driver_add(name).driver
        variable = driver.variables.new()
        variable.name, variable.type = "size", "TRANSFORMS"
        target = variable.targets[0]
        target.id, target.transform_type, target.transform_space = root, "SCALE_AVG", "WORLD_SPACE"
        driver.expression = f"size * {getattr(lens, name):.9g}"


def find_size(world: Array, whose: str) -> float:
    """How many times larger a world matrix (4, 4) makes things.

    Raises:
        InputError: it stretches, shears or mirrors them, which no Gaussian and no motion basis can
            follow; ``whose`` it is, is named.
    """
    A = np.asarray(world, np.float64)[:3, :3]
    size = float(np.cbrt(np.linalg.det(A)))
    if not size > 0 or np.abs(A @ A.T / size**2 - np.eye(3)).max() > 2 * UNEVEN:
        raise InputError(
            f"{whose} is stretched, sheared or mirrored in the scene.",
            "Give its armature and its root the same positive scale along all axes.",
        )
    return size


def read_world(obj: bpy.types.Object, depsgraph: bpy.types.Depsgraph) -> Array:  # -> (4, 4)
    """Where an object stands in the world, also where it is hidden and so not evaluated: then as
    its parent carries it, whatever else moves it."""
    if not obj.hide_viewport or obj.parent is None:
        return np.array(obj.evaluated_get(depsgraph).matrix_world, np.float64)
    own = obj.matrix_parent_inverse @ obj.matrix_basis
    return read_world(obj.parent, depsgraph) @ np.array(own, np.float64)
