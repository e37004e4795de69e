"""*Refine* makes a new performance of what was changed, by the backend's own command line."""

import bpy
import numpy as np
import puppets
import pytest
from mathutils import Quaternion, Vector
from rig_checks import find_control
from skeleton_checks import FRAME, OFFSET, find_paw

from blender_addon import paths
from blender_addon.operators.animation import refining as operator
from blender_addon.puppet import actions, capture, importer, rig
from blender_addon.puppet.animation import curves, layers, performances
from blender_addon.puppet.output import export
from blender_addon.puppet.playback import nla
from blender_addon.session import launcher
from blender_addon.skeleton import build
from restage4d import se3
from restage4d.errors import InputError

pytestmark = pytest.mark.usefixtures("registered")

needs_backend = pytest.mark.skipif(
    not launcher.get_own_python(paths.Path(__file__).parents[2]).is_file(),
    reason="there is no environment of the backend",
)


def read(imported, name):
    return performances.read_performances(imported, bpy.context.scene, [name])[name].bases


def raise_handle(imported, frame, height):
    """A handle raised at one frame alone."""
    handle = find_control(imported, -1)
    for at, z in ((frame - 1, 0), (frame, height), (frame + 1, 0)):
        handle.location.z = z
        handle.keyframe_insert("location", index=2, frame=at)


@needs_backend
def test_what_was_changed_comes_smoothed_as_a_new_performance(creature):
    _, imported = creature
    importer.activate(imported, "base", scene=None)
    before = read(imported, "base")
    raise_handle(imported, 2, 0.2)
    tweaked = read(imported, "base")
    np.testing.assert_allclose((tweaked - before)[:, 1, 8], 0.2, atol=1e-4)
    actions = {a.name for a in bpy.data.actions}
    assert bpy.ops.restage4d.refine_performance() == {"FINISHED"}
    assert [p.name for p in imported_again()] == ["base", "gallop", "base refined"]
    again = importer.find_selected_puppet(bpy.context)
    assert nla.find_playing(again).name == "base refined"
    np.testing.assert_array_equal(read(again, "base"), tweaked)
    refined = read(again, "base refined")
    lift = (refined - before)[:, :, 8]
    np.testing.assert_allclose(lift[:, 1], 0.2, atol=0.03)
    assert (lift[:, 2] > 0.02).all(), "it goes over into the frames beside the key"
    np.testing.assert_allclose(refined[:, 6:], before[:, 6:], atol=1e-5)
    assert np.abs(np.diff(lift, 2, axis=1)).max() < 0.75 * 0.4, "smoother than the key alone"
    assert len({a.name for a in bpy.data.actions} - actions) == 1, "only the new Action is left"


def read_pair(imported, name):
    """What `restage4d refine` is given: the performance as it is, and as it was."""
    given = []

    def keep(arguments):
        yield 0, 100
        files = [performances.Puppet.load(arguments[i]) for i in (1, 3)]
        given.extend(x.performance(name) for x in files)
        raise InputError("Seen.", "Go on.")

    steps = operator.refining.refine_steps(imported, bpy.context.scene, name, keep)
    with pytest.raises(InputError, match="Seen"):
        for _ in steps:
            pass
    return given


def imported_again():
    return importer.find_selected_puppet(bpy.context).performances


@needs_backend
def test_nothing_changed_is_a_sentence_and_nothing_is_added(creature):
    _, imported = creature
    importer.activate(imported, "base", scene=None)
    actions = {a.name for a in bpy.data.actions}
    with pytest.raises(RuntimeError, match=r"'base' is as it was before.*Change something"):
        bpy.ops.restage4d.refine_performance()
    assert len(imported_again()) == 2
    assert {a.name for a in bpy.data.actions} == actions


def test_without_a_backend_it_says_what_to_do(creature, monkeypatch, tmp_path):
    monkeypatch.setattr(operator.paths, "backend_root", lambda: tmp_path)
    importer.activate(creature[1], "base", scene=None)
    with pytest.raises(RuntimeError, match=r"not set up on this computer.*Set Up and Start"):
        bpy.ops.restage4d.refine_performance()


def test_layers_handles_and_changed_curves_are_what_was_changed(creature):
    """All three are off in what `restage4d refine` takes as the performance before."""
    puppet, imported = creature
    p = imported.performance("base")
    importer.activate(imported, "base", scene=None)
    raise_handle(imported, 4, 0.1)
    layers.add_layer(imported.armature, p.action, "lean", (1, 1))
    importer.play(imported, p)
    bpy.context.scene.frame_set(6)
    handle = find_control(imported, -1)
    handle.location.x = 0.3
    handle.keyframe_insert("location", index=0, frame=6)
    layers.fit_ramps(imported.armature)
    tweaked, before = read_pair(imported, "base")
    np.testing.assert_allclose(before.bases, puppet.performance("base").bases, atol=1e-5)
    apart = np.abs(tweaked.bases - before.bases).max((0, 2))
    np.testing.assert_allclose(apart[[3, 5]], [0.1, 0.3], atol=1e-3)
    assert apart[[0, 1, 8, 9]].max() < 1e-5


@pytest.mark.parametrize("is_from_before", [False, True])
def test_curves_that_were_changed_are_compared_with_their_capture(creature, is_from_before):
    puppet, imported = creature
    p = imported.performance("base")
    if is_from_before:  # files whose Actions hold no bases: with a copy of the curves
        del p.action[actions.CAPTURED]
        curves.keep_capture(p.action)
    basis = rig.bone_names(imported.armature)[0]
    for curve in layers.iter_curves(p.action):
        if curve.data_path == f'pose.bones["{basis}"].location':
            curve.keyframe_points[4].co.y += 0.1
    count = len(bpy.data.actions)
    tweaked, before = read_pair(imported, "base")
    np.testing.assert_allclose(before.bases, puppet.performance("base").bases, atol=1e-5)
    apart = np.linalg.norm((tweaked.bases - before.bases)[:, :, 6:], axis=-1)
    assert apart[0, 4] == pytest.approx(0.1 * 3**0.5, abs=1e-4)
    apart[0, 4] = 0
    assert apart.max() < 1e-5
    assert len(bpy.data.actions) == count


def drag_a_paw(imported, **more):
    """Pulls a front paw forwards and up at frame `FRAME`, with keys; which point that is, and where
    it is then."""
    bpy.context.scene.frame_set(FRAME)
    paw = find_paw(imported)
    assert bpy.ops.restage4d.drag(point=paw, offset=OFFSET, **more) == {"FINISHED"}
    return paw, export.read_posed(imported).means[paw]


def pose_point(puppet, performance, point):  # -> (T, 3)
    some = slice(point, point + 1)
    R, t = se3.blend(performance.bases, puppet.index[some], puppet.weight[some])
    return se3.transform(R, t, puppet.subject.means[some])[0]


@pytest.mark.parametrize("into_layer", [False, True])
def test_what_was_dragged_is_what_was_changed(walker, into_layer):
    """Its keys stand on the captured bones themselves, over the frames around."""
    puppet, imported = walker
    played = imported.performances[-1].name
    if into_layer:
        assert bpy.ops.restage4d.add_layer(name="dragged") == {"FINISHED"}
    paw, goal = drag_a_paw(imported, frames=1)
    stood = read(imported, played)
    tweaked, before = read_pair(imported, played)
    np.testing.assert_allclose(before.bases, puppet.performance(played).bases, atol=1e-6)
    np.testing.assert_array_equal(tweaked.bases, stood)
    was, now = (pose_point(puppet, x, paw) for x in (before, tweaked))
    apart = np.linalg.norm(now - was, axis=1)
    length = np.linalg.norm(OFFSET)
    np.testing.assert_allclose(now[FRAME - 1], goal, atol=1e-4)
    np.testing.assert_allclose(now[FRAME - 1] - was[FRAME - 1], OFFSET, atol=0.15 * length)
    np.testing.assert_allclose(apart[[FRAME - 2, FRAME]], 0.5 * length, atol=0.15 * length)
    beyond = np.delete(apart, [FRAME - 2, FRAME - 1, FRAME])
    assert beyond.max() < (2e-4 if into_layer else 1e-5)


def test_a_key_by_hand_on_a_basis_is_what_was_changed(creature):
    puppet, imported = creature
    importer.activate(imported, "base", scene=None)
    bone = imported.armature.pose.bones[rig.bone_names(imported.armature)[0]]
    bpy.context.scene.frame_set(5)
    bone.location += Vector((0.05, 0, 0))
    bone.keyframe_insert("location", frame=5)
    tweaked, before = read_pair(imported, "base")
    np.testing.assert_allclose(before.bases, puppet.performance("base").bases, atol=1e-6)
    apart = np.linalg.norm((tweaked.bases - before.bases)[:, :, 6:], axis=-1)
    assert apart[0, 4] == pytest.approx(0.05, abs=1e-4)
    apart[0, 4] = 0
    assert apart.max() < 1e-5


@needs_backend
def test_refined_the_paw_is_where_it_was_dragged_to(walker):
    puppet, imported = walker
    played = imported.performances[-1].name
    paw, goal = drag_a_paw(imported, frames=0)
    assert bpy.ops.restage4d.refine_performance() == {"FINISHED"}
    again = importer.find_selected_puppet(bpy.context)
    refined = performances.read_performances(again, bpy.context.scene, [f"{played} refined"])
    now = pose_point(puppet, refined[f"{played} refined"], paw)
    was = pose_point(puppet, puppet.performance(played), paw)
    length = np.linalg.norm(OFFSET)
    np.testing.assert_allclose(now[FRAME - 1], goal, atol=0.15 * length)
    lift = np.linalg.norm(now - was, axis=1) / length
    assert lift[[FRAME - 2, FRAME]].min() > 0.1, "it goes over into the frames beside the key"


def test_a_posed_skeleton_is_in_the_same_bases(empty_scene):
    """A puppet that leaves as a .puppet gets bases of its own for a posed joint."""
    puppet = puppets.creature(n=5000, frames=6, size=(96, 72))
    imported = importer.import_puppet(puppet, name="walker")
    importer.activate(imported, "base", scene=None)
    tail = imported.armature.pose.bones["tail_2"]
    tail.rotation_mode = "QUATERNION"
    for at, angle in ((2, 0), (3, 0.9), (4, 0)):
        tail.rotation_quaternion = Quaternion((0, 0, 1), angle)
        tail.keyframe_insert("rotation_quaternion", frame=at)
    control = next(b for b in imported.armature.pose.bones if build.SWITCH in b)
    control[build.SWITCH] = 1.0
    control.keyframe_insert(f'["{build.SWITCH}"]', frame=1)
    control.location = (0, 0.03, 0.08)
    control.keyframe_insert("location", frame=1)
    tweaked, before = read_pair(imported, "base")
    assert len(export_bases(imported)) > puppet.n_bases
    assert tweaked.bases.shape == before.bases.shape == puppet.performance("base").bases.shape
    np.testing.assert_allclose(before.bases, puppet.performance("base").bases, atol=1e-4)
    apart = np.abs(tweaked.bases - before.bases).max(-1)
    assert apart[6, 2] > 0.25, "the tail, at its key"
    assert apart[6, 5] < 1e-5, "and not after it"
    assert apart[2, [2, 5]].min() > 0.15, "the leg by its inverse kinematics, in all frames"
    assert control[build.SWITCH] == 1


def export_bases(imported):
    return capture.capture_puppet(imported, bpy.context.scene).performance("base").bases
