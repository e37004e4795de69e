# SPDX-License-Identifier: GPL-3.0-or-later
"""A layer's weight and ramps as properties of its Action, for panels; kept by `layers`."""

from typing import Any

import bpy

from ...languages import CONTEXT
from . import layers

WEIGHT, RAMP_IN, RAMP_OUT = "restage4d_weight", "restage4d_ramp_in", "restage4d_ramp_out"


def register() -> None:
    def set_ramp(action: Any, side: int, frames: int) -> None:
        ramps = list(layers.get_ramps(action))
        ramps[side] = frames
        layers.set_ramps(action, (ramps[0], ramps[1]))

    def get_weight(action: Any) -> float:
        return layers.get_weight(action) if layers.is_layer(action) else 1.0

    def get_ramp(action: Any, side: int) -> int:
        return layers.get_ramps(action)[side] if layers.is_layer(action) else 1

    weight = bpy.props.FloatProperty(
        name="Weight",
        translation_context=CONTEXT,
        description="How much of the layer is added",
        soft_min=0,
        soft_max=1,
        min=-2,
        max=2,
        get=get_weight,
        set=layers.set_weight,
    )
    ramp_in = bpy.props.IntProperty(
        name="Ramp In",
        translation_context=CONTEXT,
        description="Frames over which it comes in before the first key of a bone",
        min=1,
        get=lambda action: get_ramp(action, 0),
        set=lambda action, frames: set_ramp(action, 0, frames),
    )
    ramp_out = bpy.props.IntProperty(
        name="Ramp Out",
        translation_context=CONTEXT,
        description="Frames over which it goes after the last key of a bone",
        min=1,
        get=lambda action: get_ramp(action, 1),
        set=lambda action, frames: set_ramp(action, 1, frames),
    )
    for name, prop in ((WEIGHT, weight), (RAMP_IN, ramp_in), (RAMP_OUT, ramp_out)):
        setattr(bpy.types.Action, name, prop)


def unregister() -> None:
    for name in (WEIGHT, RAMP_IN, RAMP_OUT):
        delattr(bpy.types.Action, name)
