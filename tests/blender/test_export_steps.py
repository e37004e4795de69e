"""Exports in steps: what shows again in each, and what is left when one ends them."""

import itertools

import bpy
import pytest
from rig_checks import find_control
from test_capture import everything

from blender_addon.puppet.output import export


def list_shown(imported):
    """Names of all that viewports show."""
    return {o.name for o in bpy.data.objects if not o.hide_viewport}


@pytest.mark.parametrize("writer", [export.npz_steps, export.puppet_steps])
def test_no_step_shows_two_things(tmp_path, imported, writer):
    """Each is evaluated when it shows again; frame and pose come back before, in other steps."""
    scene, before = bpy.context.scene, list_shown(imported)
    scene.frame_set(2)
    arguments = [everything(scene)] if writer is export.npz_steps else []
    states = [(before, 2)]
    for _ in writer(imported, scene, tmp_path / "c.npz", *arguments):
        states.append((list_shown(imported), scene.frame_current))
    assert states[-1] == (before, 2)
    hidden = min((shown for shown, _ in states), key=len)
    assert len(before - hidden) >= 2
    back = states[max(i for i, (shown, _) in enumerate(states) if shown == hidden) :]
    assert len(back) > len(before - hidden)
    assert {frame for _, frame in back} == {2}
    for (a, _), (b, _) in itertools.pairwise(back):
        assert len(b - a) <= 1
        assert not a - b


def describe_scene(imported):
    """What an export must leave as it is."""
    bones = imported.armature.pose.bones
    data = imported.armature.animation_data
    return (
        list_shown(imported),
        bpy.context.scene.frame_current,
        [tuple(v) for b in bones for v in (b.location, b.rotation_quaternion, b.scale)],
        (data.action, data.use_nla, imported.armature.data.pose_position),
        [len(x) for x in (bpy.data.objects, bpy.data.collections, bpy.data.actions)],
    )


@pytest.mark.parametrize("writer", [export.ply_steps, export.puppet_steps])
def test_ended_after_any_step_all_is_as_it_was(tmp_path, imported, writer):
    scene, jumps = bpy.context.scene, find_control(imported, 1)
    scene.frame_set(3)
    jumps.location.x = 0.25  # without a key
    before = describe_scene(imported)
    arguments = [export.What(range(1, 4), background=True)] if writer is export.ply_steps else []

    def begin():
        return writer(imported, scene, tmp_path / "c.ply", *arguments)

    total = sum(1 for _ in begin())
    assert describe_scene(imported) == before
    for path in tmp_path.iterdir():
        path.unlink()
    for count in range(1, total - 8):  # waiting for threads takes any number of steps
        steps = begin()
        for _ in range(count):
            next(steps)
        steps.close()
        assert describe_scene(imported) == before, count
    assert jumps.location.x == 0.25
