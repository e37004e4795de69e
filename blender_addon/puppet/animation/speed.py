# SPDX-License-Identifier: GPL-3.0-or-later
"""The speed of a performance as a curve in its own Action, for the artist to edit."""

from typing import cast

import bpy
import numpy as np

from restage4d.se3 import Array

from ... import compat
from .. import actions
from . import layers

NAME = "Speed"  # of the armature's custom property that the curve is for; it moves nothing
_PATH = f'["{NAME}"]'


def add_curve(armature: bpy.types.Object, action: bpy.types.Action, n_frames: int) -> None:
    """A curve of speed 1 with keys in the first and the last frame."""
    armature[NAME] = 1.0
    armature.id_properties_ui(NAME).update(  # pyright: ignore[reportAttributeAccessIssue]
        default=1.0, min=0.05, max=20.0, description="Followed by Retime; 2 is twice as fast"
    )
    slot = next(s for s in action.slots if s.name_display == actions.SLOT)
    strip = cast(bpy.types.ActionKeyframeStrip, action.layers[0].strips[0])
    curve = compat.new_fcurve(strip.channelbag(slot, ensure=True), _PATH, 0, NAME)
    for frame in (actions.FIRST_FRAME, actions.FIRST_FRAME + n_frames - 1):
        curve.keyframe_points.insert(frame, 1.0)


def find_curve(action: bpy.types.Action) -> bpy.types.FCurve | None:
    """The performance's curve of speed."""
    return next((c for c in layers.iter_curves(action) if c.data_path == _PATH), None)


def read_curve(action: bpy.types.Action, n_frames: int) -> Array:  # (T,)
    """The speed at every frame; 1 without a curve."""
    curve, first = find_curve(action), actions.FIRST_FRAME
    if curve is None:
        return np.ones(n_frames)
    return np.array([curve.evaluate(first + t) for t in range(n_frames)])
