# SPDX-License-Identifier: GPL-3.0-or-later
"""Places of a puppet that hold while it is dragged: balls at rest, kept on the armature, so that
they are saved, undone and mean the same after points were erased."""

import bpy
import numpy as np
from numpy.typing import NDArray

from restage4d.posing.graph import Rows
from restage4d.se3 import Array

KEY = "restage4d_pins"  # the armature's: x, y, z, radius of each at rest, in a row


def read_pins(armature: bpy.types.Object) -> Array:  # -> (P, 4)
    """Middle and radius of every pin, at rest."""
    return np.array(list(armature.get(KEY, ())), np.float64).reshape(-1, 4)


def find_pinned(armature: bpy.types.Object, means: Array) -> Rows:
    """Which of the points, (N, 3) at rest, are pinned."""
    held = np.zeros(len(means), bool)
    for pin in read_pins(armature):
        held |= _is_in(pin, means)
    return np.flatnonzero(held)


def toggle_pin(armature: bpy.types.Object, means: Array, point: int, size: float) -> bool:
    """Pins what is within ``size`` of a point, or unpins it; whether it is pinned."""
    there = read_pins(armature)
    holding = np.array([bool(_is_in(pin, means[point])) for pin in there], bool)
    if holding.any():
        _write(armature, there[~holding])
        return False
    _write(armature, np.concatenate([there, [[*means[point], size]]]))
    return True


def clear_pins(armature: bpy.types.Object) -> int:
    """Takes all pins away; how many there were."""
    count = len(read_pins(armature))
    _write(armature, np.zeros((0, 4)))
    return count


def find_nearest(armature: bpy.types.Object, means: Array) -> list[int]:
    """The point nearest to the middle of each pin, (N, 3) at rest."""
    return [int(((means - pin[:3]) ** 2).sum(1).argmin()) for pin in read_pins(armature)]


def _is_in(pin: Array, places: Array) -> NDArray[np.bool_]:
    return np.linalg.norm(places - pin[:3], axis=-1) <= pin[3]


def _write(armature: bpy.types.Object, there: Array) -> None:
    if len(there):
        armature[KEY] = there.ravel().tolist()
    elif KEY in armature:
        del armature[KEY]
