# SPDX-License-Identifier: GPL-3.0-or-later
"""A limb reaches for its control once the artist moves that: at 0 the control would do nothing,
and nothing would say so."""

import bpy
from mathutils import Vector

from ..puppet import actions, rig
from .build import SWITCH, describe_part
from .plan import IK, PART

_MOVED = 1e-5  # scene units
_Seen = dict[tuple[int, str], tuple[int, Vector]]  # by armature and control: frame, location
_seen: _Seen = {}


def switch_moved_limbs(armature: bpy.types.Object, frame: int) -> list[str]:
    """Turns inverse kinematics on of limbs whose controls were moved since the last call, at the
    same frame, while it was off and not keyed. Returns their parts, for the artist."""
    switched = []
    for bone in armature.pose.bones:
        if bone.bone.get(rig.ROLE) != IK or SWITCH not in bone:
            continue
        key = armature.session_uid, bone.name
        before, now = _seen.get(key), (frame, bone.location.copy())
        _seen[key] = now
        if before is None or before[0] != frame or bone[SWITCH] > 0.0:
            continue
        moved = (now[1] - before[1]).length > _MOVED and now[1].length > _MOVED
        if moved and not _is_keyed(armature, bone.name):
            bone[SWITCH] = 1.0
            switched.append(describe_part(bone.bone[PART]))
    if switched:
        armature.update_tag()
    return switched


def _is_keyed(armature: bpy.types.Object, name: str) -> bool:
    action, slot = actions.find_played(armature)
    path = f'pose.bones["{bpy.utils.escape_identifier(name)}"]["{SWITCH}"]'
    return (
        action is not None and slot is not None and (path, 0) in actions.find_channels(action, slot)
    )
