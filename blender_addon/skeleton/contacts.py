# SPDX-License-Identifier: GPL-3.0-or-later
"""Feet that stand: found in a performance, and held in place by the limb's inverse kinematics.

A held contact is an empty at its place, which may hang on any object, a Copy Location constraint
of the limb's IK control, and a custom property of it, keyed in the performance's Action, that
says how far it holds. The foot, where there is one, keeps place and turn of an empty below that
one: so the whole sole stands, not a point of it. That empty is keyed against what the sole's points
still do (`soles`). Whatever plays or renders the file needs no extension for it.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Vector

from restage4d.skeleton.contacts import find_contacts

from ..puppet import actions, importer, rig
from ..puppet.playback.stepping import step_frames
from . import soles
from .build import SWITCH, drive
from .contact_list import Contact, read_contacts, write_contacts
from .plan import END, FOOT, IK, LIMB, PART

_MISS = 2e-3  # of the extent: a contact that slides by more is told
_HOLD = "contact"  # custom properties of an IK control begin so


def find(
    imported: importer.ImportedPuppet,
    performance: importer.ImportedPerformance,
    scene: bpy.types.Scene,
    *,
    speed: float,
    height: float,
) -> list[Contact]:
    """Where the limbs' ends stand in a performance, as it plays now; contacts that are held stay as
    they are."""
    armature = imported.armature
    bones = rig.get_armature(armature).bones
    ends = {b[LIMB]: b for b in bones if b.get(rig.ROLE) == END}
    controls = {b[LIMB]: b.name for b in bones if b.get(rig.ROLE) == IK}
    places = np.empty((len(ends), performance.n_frames, 3))
    with step_frames(imported, scene, points=False):
        for i in range(performance.n_frames):
            scene.frame_set(actions.FIRST_FRAME + i)
            posed = armature.evaluated_get(bpy.context.evaluated_depsgraph_get()).pose
            for row, bone in enumerate(ends.values()):
                places[row, i] = np.array(posed.bones[bone.name].tail)
    legs = [row for row, bone in enumerate(ends.values()) if bone[PART].startswith("leg")]
    ground = np.quantile(places[legs or slice(None), :, 2], 0.02) if len(ends) else 0.0
    box = np.array(imported.points.bound_box)
    extent = float(np.ptp(box, axis=0).max())
    kept = [c for c in read_contacts(armature) if c.is_locked or c.performance != performance.name]
    found = []
    for row, (limb, bone) in enumerate(ends.items()):
        spans = find_contacts(
            places[row], extent, performance.fps, ground=ground, speed=speed, height=height
        )
        for first, last in spans:
            place = tuple(np.median(places[row, first : last + 1], axis=0).tolist())
            frames = actions.FIRST_FRAME + first, actions.FIRST_FRAME + last
            found.append(Contact(performance.name, bone[PART], controls[limb], *frames, place))
    held = [(c.part, c.first, c.last) for c in kept if c.performance == performance.name]
    new = [c for c in found if not any(_overlap(c, h) for h in held)]
    write_contacts(armature, [*kept, *new])
    return read_contacts(armature, performance.name)


def _overlap(contact: Contact, held: tuple[str, int, int]) -> bool:
    part, first, last = held
    return contact.part == part and contact.first <= last and first <= contact.last


def lock(
    imported: importer.ImportedPuppet,
    chosen: Iterable[Contact],
    *,
    scene: bpy.types.Scene,
    blend: int,
    on: bpy.types.Object | None,
) -> list[Contact]:
    """Holds contacts in place over their spans, blended in and out over ``blend`` frames; ``on``,
    if given, carries the place. The performance they belong to must play; leaves ``scene`` at
    another frame."""
    armature = imported.armature
    collection = armature.users_collection[0]
    all_contacts = read_contacts(armature)
    done, held = [], []
    for contact in chosen:
        if contact.is_locked:
            continue
        control = armature.pose.bones[contact.control]
        number = 1
        while f"{_HOLD} {number}" in control:
            number += 1
        name = f"{_HOLD} {number}"
        empty = bpy.data.objects.new(f"{contact.part} {contact.first}-{contact.last}", None)
        empty.empty_display_type, empty.empty_display_size = "CIRCLE", 0.05
        collection.objects.link(empty)
        place = armature.matrix_world @ Vector(contact.place)
        if on is not None:
            empty.parent = on
            empty.matrix_parent_inverse = on.matrix_world.inverted()
        empty.matrix_basis = Matrix.Translation(place)
        foot = _find_foot(armature, control.bone[LIMB])
        standing = _add_standing(armature, scene, contact, foot, empty)
        control[name] = 0.0
        described: Any = control.id_properties_ui(name)
        described.update(min=0.0, max=1.0, default=0.0)
        holding: Any = control.constraints.new("COPY_LOCATION")
        holding.name, holding.target = name, standing if foot is None else empty
        path = f'pose.bones["{bpy.utils.escape_identifier(control.name)}"]'
        drive(holding, "influence", armature, f'{path}["{name}"]')
        for kind in ("COPY_LOCATION", "COPY_ROTATION") if foot is not None else ():
            standing_so: Any = foot.constraints.new(kind)
            standing_so.name, standing_so.target = name, standing
            drive(standing_so, "influence", armature, f'{path}["{name}"]')
        _key(armature, control, name, [(contact.first, contact.last)], blend)
        done.append(replace(contact, is_locked=True))
        held.append(soles.Held(done[-1], standing, foot is not None))
        all_contacts[all_contacts.index(contact)] = done[-1]
        mine = [
            (c.first, c.last)
            for c in all_contacts
            if c.is_locked and (c.control, c.performance) == (contact.control, contact.performance)
        ]
        _key(armature, control, SWITCH, mine, blend)
    write_contacts(armature, all_contacts)
    soles.settle(imported, scene, held)
    return done


def _find_foot(armature: bpy.types.Object, limb: int) -> bpy.types.PoseBone | None:
    """The foot that the artist turns."""
    for bone in armature.pose.bones:
        if bone.bone.get(FOOT) == limb and bone.bone.get(rig.ROLE) == rig.CONTROL:
            return bone
    return None


def _add_standing(
    armature: bpy.types.Object,
    scene: bpy.types.Scene,
    contact: Contact,
    foot: bpy.types.PoseBone | None,
    circle: bpy.types.Object,
) -> bpy.types.Object:
    """An empty below a contact's circle: how the foot stands in the middle of the contact, its sole
    at the place; the place itself where there is no foot."""
    stands = Matrix.Translation(Vector(contact.place))
    if foot is not None:
        scene.frame_set((contact.first + contact.last) // 2)
        posed = armature.evaluated_get(bpy.context.evaluated_depsgraph_get()).pose.bones
        limb = foot.bone[FOOT]
        end = next(b for b in posed if b.bone.get(rig.ROLE) == END and b.bone[LIMB] == limb)
        stands = Matrix.Translation(stands.translation - end.tail) @ posed[foot.name].matrix
    standing = bpy.data.objects.new(f"{circle.name} foot", None)
    standing.empty_display_size = 0.01
    standing.hide_select = standing.hide_render = True
    armature.users_collection[0].objects.link(standing)
    standing.parent = circle
    place, turn, _ = (armature.matrix_world @ stands).decompose()
    here = circle.matrix_basis  # in the world, as it was placed
    standing.matrix_basis = here.inverted() @ Matrix.LocRotScale(place, turn, None)
    return standing


def measure_misses(
    imported: importer.ImportedPuppet, scene: bpy.types.Scene, held: list[Contact]
) -> list[tuple[Contact, float]]:
    """Held contacts whose limb is too short to reach, and by how much of the subject's extent it
    misses its place at the worst frame; it is remembered with the contact."""
    armature = imported.armature
    extent = float(np.ptp(np.array(imported.points.bound_box), axis=0).max())
    worst = [0.0] * len(held)
    frames = sorted({f for c in held for f in range(c.first, c.last + 1)})
    with step_frames(imported, scene, points=False):
        for frame in frames:
            scene.frame_set(frame)
            posed = armature.evaluated_get(bpy.context.evaluated_depsgraph_get()).pose
            for i, c in enumerate(held):
                if c.first <= frame <= c.last:
                    control = posed.bones[c.control]
                    end = next(
                        b
                        for b in posed.bones
                        if b.bone.get(rig.ROLE) == END and b.bone[LIMB] == control.bone[LIMB]
                    )
                    miss = (end.tail - control.matrix.translation).length / extent
                    worst[i] = max(worst[i], miss)
    missed = [(c, w) for c, w in zip(held, worst, strict=True) if w > _MISS]
    told = {(c.control, c.first, c.performance): w for c, w in missed}
    write_contacts(
        armature,
        [
            replace(c, miss=told.get((c.control, c.first, c.performance), 0.0)) if c in held else c
            for c in read_contacts(armature)
        ],
    )
    return missed


def _key(
    armature: bpy.types.Object,
    control: bpy.types.PoseBone,
    name: str,
    spans: list[tuple[int, int]],
    blend: int,
) -> None:
    """Keys a property 1 over spans and 0 beyond the blends at their ends; where two blends meet it
    is what the higher one says."""

    def value(frame: int) -> float:
        away = (max(a - frame, frame - b, 0) for a, b in spans)
        return max(max(0.0, 1.0 - d / max(blend, 1)) for d in away)

    path = f'pose.bones["{bpy.utils.escape_identifier(control.name)}"]["{name}"]'
    reach = max(blend, 1)
    for frame in sorted({f for a, b in spans for f in (a - reach, a, b, b + reach)}):
        control[name] = value(frame)
        armature.keyframe_insert(path, frame=frame, group=control.name)


def free(imported: importer.ImportedPuppet, chosen: Iterable[Contact]) -> int:
    """Lets contacts go again: their keys, constraints and empties are removed. Returns how many."""
    armature, count = imported.armature, 0
    all_contacts = read_contacts(armature)
    for contact in [c for c in chosen if c.is_locked]:
        control = armature.pose.bones[contact.control]
        label = f"{contact.part} {contact.first}-{contact.last}"
        for holding in list(control.constraints):
            target = getattr(holding, "target", None)
            if not holding.name.startswith(_HOLD) or target is None:
                continue
            if not target.name.startswith(label):
                continue
            path = f'pose.bones["{bpy.utils.escape_identifier(control.name)}"]'
            _forget_keys(imported, f'{path}["{holding.name}"]')
            foot = _find_foot(armature, control.bone[LIMB])
            for held in (
                [c for c in foot.constraints if c.name.split(".")[0] == holding.name]
                if foot
                else []
            ):
                held.driver_remove("influence")
                foot.constraints.remove(held)
            circle = target if target.empty_display_type == "CIRCLE" else target.parent
            holding.driver_remove("influence")
            del control[holding.name]
            control.constraints.remove(holding)
            for standing in circle.children:
                soles.remove(standing)
            bpy.data.objects.remove(circle)
            count += 1
            break
        all_contacts[all_contacts.index(contact)] = replace(contact, is_locked=False, miss=0.0)
        left = [c for c in all_contacts if c.is_locked and c.control == contact.control]
        if not left:
            path = f'pose.bones["{bpy.utils.escape_identifier(control.name)}"]["{SWITCH}"]'
            _forget_keys(imported, path)
            control[SWITCH] = 0.0
    write_contacts(armature, all_contacts)
    return count


def _forget_keys(imported: importer.ImportedPuppet, path: str) -> None:
    for action in imported.get_actions():
        slot = actions.find_slot(action, imported.armature, actions.SLOT)
        if slot is None:
            continue
        for bag in actions.find_channelbags(action, slot):
            for curve in [c for c in bag.fcurves if c.data_path == path]:
                bag.fcurves.remove(curve)
