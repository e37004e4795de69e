"""The drawing of Gaussians goes on whatever is done to a puppet."""

import threading

import bpy
import numpy as np
import puppets
import pytest
from drawing_checks import gpu_context

import blender_addon
from blender_addon import failures, paths, runtime, sync
from blender_addon.puppet import attributes, capture, importer, weights
from blender_addon.puppet.output import export, render_job
from blender_addon.session.models import PreviewPoints
from blender_addon.session.steps import drain
from blender_addon.viewport import display, live_preview, splat_drawing

pytestmark = pytest.mark.usefixtures("drawn_by_the_extension")


@pytest.fixture(autouse=True)
def registered(empty_scene, tmp_path, monkeypatch):
    monkeypatch.setenv("RESTAGE4D_HOME", str(tmp_path / "home"))
    failures._told.clear()
    blender_addon.register()
    gpu_context()
    bpy.context.scene.camera = None
    yield
    blender_addon.unregister()


@pytest.fixture
def shown():
    """A puppet shown as Gaussians, without its background."""
    puppet = puppets.creature(n=300, frames=6, size=(64, 48))
    return puppet, show(importer.import_puppet(puppet, name="first"))


def show(imported):
    settings = display.get_display(imported.armature)
    settings.mode, settings.background = "GAUSSIANS", False
    return imported


@pytest.fixture
def painted(monkeypatch):
    """The centres of what each redraw painted."""
    seen = []
    monkeypatch.setattr(
        display._drawing, "_paint", lambda context, cloud, key: seen.append(cloud.means.copy())
    )
    return seen


def redraw():
    bpy.context.view_layer.update()
    display._drawing.draw()


def enter(obj, mode):
    obj.hide_select = False
    weights.enter(obj, mode)


@pytest.mark.parametrize("mode", ["EDIT", "SCULPT", "VERTEX_PAINT", "WEIGHT_PAINT"])
def test_gaussians_are_drawn_in_every_mode(shown, painted, mode):
    """Also on another frame than the one on which it was entered, in the colours of regions, and
    after it was left."""
    puppet, imported = shown
    performance, scene = puppet.performances[-1], bpy.context.scene
    display.get_display(imported.armature).color = "REGIONS"
    for frame, now in ((2, "OBJECT"), (3, mode), (5, mode), (6, "OBJECT")):
        enter(imported.points, now)
        scene.frame_set(frame)
        redraw()
        np.testing.assert_allclose(
            painted[-1], puppet.pose(performance, frame - 1).means, atol=1e-4
        )
    assert len(painted) == 4
    assert display._drawing._told == []


def test_points_of_selected_bones_are_drawn(shown, painted):
    """The panel's own way into Edit Mode."""
    _, imported = shown
    weights.select_points(imported, 0.5)
    assert imported.points.mode == "EDIT"
    redraw()
    assert [len(means) for means in painted] == [300]


def test_a_background_in_edit_mode_is_drawn(shown, painted):
    _, imported = shown
    display.get_display(imported.armature).background = True
    imported.background.hide_viewport = False
    enter(imported.background, "EDIT")
    redraw()
    assert [len(means) for means in painted] == [4300]


def test_what_is_read_in_edit_mode_is_as_in_object_mode(shown):
    _, imported = shown
    scene = bpy.context.scene
    scene.camera = imported.camera
    view = np.diag([2.0, 2.0, 0.1, 1.0])

    def read():
        depsgraph = bpy.context.evaluated_depsgraph_get()
        steps = render_job.render_steps(imported, scene, range(3, 4), background=True)
        rendered = drain(steps)
        return (
            [weights.pick(imported, depsgraph, (x, 30), view, (64, 64)) for x in range(64)],
            export.read_posed(imported).means,
            capture.read_background(imported).means,
            rendered.subject.sh,
            rendered.weight,
            rendered.background.means,
        )

    want = read()
    assert max(want[0]) >= 0
    imported.background.hide_viewport = False
    for obj in (imported.points, imported.background):
        enter(obj, "EDIT")
        for seen, wanted in zip(read(), want, strict=True):
            np.testing.assert_array_equal(seen, wanted)


def lose_attribute(imported):
    mesh = attributes.get_mesh(imported.points)
    mesh.attributes.remove(mesh.attributes["scale"])


def lose_attribute_in_edit_mode(imported):
    lose_attribute(imported)
    enter(imported.points, "EDIT")


def become_a_curve(imported):
    imported.armature[importer.KEY]["points"] = bpy.data.objects.new(
        "other", bpy.data.curves.new("other", "CURVE")
    )
    bpy.context.scene.collection.objects.link(imported.armature[importer.KEY]["points"])


def delete_points(imported):
    bpy.data.objects.remove(imported.points)


def delete_armature(imported):
    bpy.data.objects.remove(imported.armature)


def unlink_points(imported):
    for collection in list(imported.points.users_collection):
        collection.objects.unlink(imported.points)


def overwrite_property(imported):
    imported.armature[importer.KEY] = 3


ONLY_THE_OTHER = (
    lose_attribute,
    lose_attribute_in_edit_mode,
    become_a_curve,
    delete_points,
    delete_armature,
    unlink_points,
    overwrite_property,
)


@pytest.mark.parametrize("damage", ONLY_THE_OTHER)
def test_one_damaged_puppet_leaves_the_other_drawn(shown, painted, capsys, damage):
    """Later frames too; what is wrong is told once, and the display of the other still obeys."""
    _, imported = shown
    second = puppets.creature(n=120, frames=6, size=(64, 48), seed=1)
    other = show(importer.import_puppet(second, name="second"))
    redraw()
    assert len(painted[-1]) == 420
    damage(imported)
    for frame in (2, 3, 4, 5):
        bpy.context.scene.frame_set(frame)
        redraw()
        want = second.pose(second.performances[-1], frame - 1).means
        np.testing.assert_allclose(painted[-1], want, atol=1e-4)
    assert len(painted) == 5
    error = capsys.readouterr().err
    assert error.count("Drawing 'first points' as Gaussians failed") <= 1
    if damage in (lose_attribute, lose_attribute_in_edit_mode):
        assert error.count("has lost its attribute 'scale'") == 1
        assert "Traceback" not in error
        assert display._drawing._told == [
            "'first points' has lost its attribute 'scale'. Import the puppet again."
        ]
    display._on_save()
    assert not other.splats.hide_viewport
    display._on_saved()
    assert other.splats.hide_viewport
    display._on_load()
    display._on_update(bpy.context.scene)


def test_what_comes_back_is_drawn_again(shown, painted):
    puppet, imported = shown
    lose_attribute(imported)
    redraw()
    assert painted == []
    assert len(display._drawing._told) == 1
    attributes.set_attribute(
        attributes.get_mesh(imported.points),
        "scale",
        "FLOAT_VECTOR",
        "vector",
        puppet.subject.scales,
    )
    redraw()
    assert [len(means) for means in painted] == [300]
    assert display._drawing._told == []


@pytest.mark.parametrize("part", ["Eq. 1", "Viewport"])
def test_without_a_modifier_or_a_name_it_is_drawn(shown, painted, part):
    """Without Eq. 1 the points rest; the ellipsoids' modifier is needed for ellipsoids alone."""
    puppet, imported = shown
    owner = imported.points if part == "Eq. 1" else imported.splats
    owner.modifiers.remove(owner.modifiers[part])
    for obj in (imported.armature, imported.points):
        obj.name = "renamed"
    display.get_display(imported.armature).mode = "ELLIPSOIDS"
    display.get_display(imported.armature).mode = "GAUSSIANS"
    bpy.context.scene.frame_set(4)
    redraw()
    moved = puppet.pose(puppet.performances[-1], 3).means
    want = puppet.subject.means if part == "Eq. 1" else moved
    np.testing.assert_allclose(painted[-1], want, atol=1e-4)


def test_undo_and_another_scene(shown, painted, monkeypatch):
    """Each scene has its own frame of the same objects."""
    puppet, _ = shown
    first = bpy.context.scene
    bpy.context.scene.frame_set(2)
    bpy.ops.ed.undo_push(message="a")
    bpy.ops.ed.undo_push(message="b")
    bpy.ops.ed.undo()
    redraw()
    monkeypatch.setattr(display._drawing, "changed", lambda: None)  # as where two windows show both
    bpy.ops.scene.new(type="LINK_COPY")
    assert bpy.context.scene != first
    bpy.context.scene.frame_set(5)
    display._drawing.draw()
    for means, frame in zip(painted, (1, 4), strict=True):
        want = puppet.pose(puppet.performances[-1], frame).means
        np.testing.assert_allclose(means, want, atol=1e-4)
    bpy.ops.scene.new(type="EMPTY")
    redraw()
    assert len(painted) == 2


def test_a_frame_that_changes_while_it_is_gathered(shown, painted, monkeypatch):
    """A render steps frames in a thread of its own: what it changes then is gathered next time."""
    gathered = []

    def gather(depsgraph, objects):
        thread = threading.Thread(target=display._on_frame, args=(bpy.context.scene,))
        thread.start()
        thread.join()
        gathered.append(objects)
        return whole(depsgraph, objects)

    whole = splat_drawing.gather
    monkeypatch.setattr(splat_drawing, "gather", gather)
    display._drawing.draw()
    display._drawing.draw()
    assert (len(gathered), len(painted)) == (2, 2)
    monkeypatch.setattr(splat_drawing, "gather", whole)
    display._drawing.draw()
    kept = dict(display._drawing._clouds)
    display._drawing.draw()
    assert kept == display._drawing._clouds


def test_a_render_s_thread_writes_nothing(shown):
    _, imported = shown
    display.get_display(imported.armature).color = "WEIGHTS"
    mesh = attributes.get_mesh(imported.points)
    mesh["restage4d_shown"] = "old"
    thread = threading.Thread(target=display._on_update, args=(bpy.context.scene,))
    thread.start()
    thread.join()
    assert mesh["restage4d_shown"] == "old"
    display._on_update(bpy.context.scene)
    assert mesh["restage4d_shown"] != "old"


def test_painting_that_fails_falls_back_and_may_be_tried_again(shown, monkeypatch, capsys):
    """Once or twice is nothing; then there are ellipsoids, until the artist wants Gaussians
    again."""
    _, imported = shown
    settings = display.get_display(imported.armature)
    timers = []
    monkeypatch.setattr(bpy.app.timers, "register", lambda f, **_: timers.append(f))

    def fail(context, cloud, key):
        raise RuntimeError("no such shader")

    monkeypatch.setattr(display._drawing, "_paint", fail)
    for _ in range(splat_drawing.TRIES - 1):
        redraw()
    assert timers == []
    redraw()
    (timer,) = timers
    timer()
    assert settings.mode == "ELLIPSOIDS"
    error = capsys.readouterr().err
    assert error.count("Drawing Gaussians failed: no such shader.") == 1
    assert error.count("Traceback") == 1
    assert "no such shader" in paths.failure_log().read_text()
    assert paths.failure_log() in paths.logs()
    seen = []
    monkeypatch.setattr(display._drawing, "_paint", lambda *given: seen.append(given))
    settings.mode = "GAUSSIANS"
    redraw()
    assert len(seen) == 1


def test_live_points_that_fail_are_left_out_until_others_come(capsys):
    live = live_preview.LivePreview()
    points = PreviewPoints(
        means=np.zeros((3, 3), np.float32),
        colors=np.ones((3, 3), np.float32),
        index=np.full((3, 1), 7, np.uint16),  # of a basis that is not there
        weight=np.ones((3, 1), np.float32),
        bases=np.zeros((1, 2, 9), np.float32),
        fps=24.0,
    )
    for _ in range(2):
        live.show(points)
        for _ in range(3):
            live.draw()
    assert capsys.readouterr().err.count("Drawing the points in the making failed") == 1
    assert live._points is None


def test_the_timer_goes_on_after_any_error(monkeypatch):
    def fail():
        raise KeyError("lost")

    with monkeypatch.context() as patch:
        patch.setattr(sync, "raise_in_tests", lambda error: None)
        patch.setattr(runtime, "session", fail)
        assert sync.tick() == sync.SLOW
        patch.undo()
    with monkeypatch.context() as patch:
        patch.setattr(sync, "raise_in_tests", lambda error: None)
        patch.setattr(sync, "_bring_in_when_possible", lambda here: fail())
        assert sync.tick() == sync.SLOW
    assert "KeyError: 'lost'" in paths.failure_log().read_text()
