"""Lights on Gaussians, and how far a view is from what was filmed."""

from types import SimpleNamespace

import bpy
import numpy as np
import puppets
import pytest
from mathutils import Matrix

from blender_addon.puppet import importer
from blender_addon.puppet.in_scene import filmed
from blender_addon.viewport import display, filmed_angle, relighting, splat_drawing

pytestmark = pytest.mark.usefixtures("drawn_by_the_extension", "registered")


def test_relit_colours_follow_lambert_s_law():
    normals = np.float32([[0, 0, 1], [1, 0, 0], [0, 0, -1], [0.6, 0, 0.8]])
    means, grey = np.zeros((4, 3), np.float32), np.full((4, 3), 0.5, np.float32)
    down = np.float32([0, 0, -1])
    sun = relighting.Light(np.full(3, np.pi, np.float32), down)
    nothing = np.zeros(3, np.float32)
    lit = relighting.srgb_to_linear(relighting.relight(grey, means, normals, [sun], nothing))
    whole = relighting.srgb_to_linear(grey)[0, 0]
    np.testing.assert_allclose(lit[:, 0] / whole, [1, 0, 0, 0.8], atol=1e-4)
    half = relighting.relight(grey, means, normals, [], np.full(3, 0.5, np.float32))
    np.testing.assert_allclose(relighting.srgb_to_linear(half) / whole, 0.5, atol=1e-4)
    watts = 4 * np.pi**2 * 9  # shares 1 at 3 units
    bulb = relighting.Light(
        np.full(3, watts, np.float32), down, np.float32([0, 0, 3]), cosine=np.cos(0.5)
    )
    lit = relighting.srgb_to_linear(relighting.relight(grey, means, normals, [bulb], nothing))
    np.testing.assert_allclose(lit[:, 0] / whole, [1, 0, 0, 0.8], atol=1e-4)
    aside = relighting.Light(bulb.color, np.float32([1, 0, 0]), bulb.place, cosine=np.cos(0.5))
    assert relighting.relight(grey, means, normals, [aside], nothing).max() < 1e-3


def test_normals_of_a_flat_coat_look_outward():
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(400, 3))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    turn = puppets.axis_angle(
        np.cross([0.0, 0.0, 1.0], normal) + 1e-9, np.arccos(normal[:, 2])
    ).astype(np.float32)
    scales = np.tile(np.float32([0.01, 0.01, 0.002]), (400, 1))
    means = (normal + np.array([5, 0, 0])).astype(np.float32)
    found = relighting.estimate_normals(means, turn, scales, np.zeros(400, np.intp))
    assert (found * normal).sum(1).min() > 0.997
    scales[:] = 0.01  # round ones: the way out of their group
    found = relighting.estimate_normals(means, turn, scales, np.zeros(400, np.intp))
    assert (found * normal).sum(1).min() > 0.97


def test_a_floor_faces_the_camera_and_does_not_glitter():
    """Its normals, thin axes that lean a little and of either sign, all look up."""
    rng = np.random.default_rng(0)
    means = rng.uniform(-1, 1, (3000, 3)).astype(np.float32) * np.float32([1, 1, 0.001])
    lean = 0.25 * rng.normal(size=(3000, 2))
    normal = np.concatenate([lean, np.ones((3000, 1))], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    normal *= rng.choice([-1.0, 1.0], (3000, 1))
    turn = puppets.axis_angle(
        np.cross([0.0, 0.0, 1.0], normal) + 1e-9, np.arccos(normal[:, 2].clip(-1, 1))
    ).astype(np.float32)
    scales = np.tile(np.float32([0.05, 0.05, 0.005]), (3000, 1))
    eye = np.array([0.0, -3.0, 1.0])
    found = relighting.estimate_normals(means, turn, scales, np.zeros(3000, np.intp), eye)
    assert np.median(found[:, 2]) > 0.95
    assert (found[:, 2] > 0.8).mean() > 0.95
    off, own = (np.degrees(np.arccos(z.clip(-1, 1))) for z in (found[:, 2], np.abs(normal[:, 2])))
    assert np.median(off) < 0.6 * np.median(own)


def test_the_scene_s_light_reaches_the_drawing_and_only_where_it_is_asked_for(creature):
    _, imported = creature
    settings = display.get_display(imported.armature)
    settings.mode, settings.background = "GAUSSIANS", False
    bpy.ops.object.light_add(type="SUN", rotation=(0, 0, 0))
    bpy.context.object.data.energy = np.pi

    def read():
        depsgraph = bpy.context.evaluated_depsgraph_get()
        cloud = {}
        original = splat_drawing.splat_painter.Cloud
        splat_drawing.splat_painter.Cloud = lambda *columns: cloud.update(columns=columns)
        try:
            splat_drawing.gather(depsgraph, display.find_gaussians(bpy.context))
        finally:
            splat_drawing.splat_painter.Cloud = original
        return cloud["columns"][0], cloud["columns"][4]

    _, filmed_colors = read()
    settings.relight = True
    means, lit = read()
    torso = np.abs(means[:, 2] - 0.42) < 0.2
    top, below = torso & (means[:, 2] > 0.5), torso & (means[:, 2] < 0.34)
    ratio = lit.mean(1) / filmed_colors.mean(1).clip(0.02)
    assert np.median(ratio[top]) > 0.5
    assert np.median(ratio[below]) < 0.35
    settings.relight = False
    np.testing.assert_array_equal(read()[1], filmed_colors)


def look_from(eye, imported):
    view = Matrix.Translation(tuple(eye)).inverted()
    return SimpleNamespace(
        region_data=SimpleNamespace(view_matrix=view),
        evaluated_depsgraph_get=bpy.context.evaluated_depsgraph_get,
    )


def test_the_filmed_view_is_near_and_the_far_side_is_called_a_guess(creature):
    _, imported = creature
    importer.activate(imported, "base", scene=bpy.context.scene)
    bpy.context.scene.frame_set(3)
    eye = np.array(imported.camera.matrix_world)[:3, 3]
    text, near = filmed_angle.tell(imported, look_from(eye, imported))
    assert int(text.split("°")[0]) <= 2
    follower = filmed.find_follower(imported.armature)
    middle = np.array((imported.armature.matrix_world @ follower.matrix).translation)
    behind = 2 * middle - eye
    text, far = filmed_angle.tell(imported, look_from(behind, imported))
    assert int(text.split("°")[0]) >= 170
    assert "nobody saw" in text
    assert near != far
    beside = middle + np.cross(eye - middle, [0, 0, 1])
    text, _ = filmed_angle.tell(imported, look_from(beside, imported))
    assert int(text.split("°")[0]) == pytest.approx(90, abs=8)


def test_a_subject_that_turned_was_filmed_from_more_sides(creature):
    """The camera stood; the subject's own bone turned by 60 degrees in one frame."""
    _, imported = creature
    importer.activate(imported, "base", scene=bpy.context.scene)
    follower = filmed.find_follower(imported.armature)
    before = filmed.find_directions(imported)
    action = imported.performance("base").action
    path = f'pose.bones["{follower.name}"].rotation_quaternion'
    bag = action.layers[0].strips[0].channelbags[0]
    turn = (np.cos(np.pi / 6), 0, 0, np.sin(np.pi / 6))
    for curve in bag.fcurves:
        if curve.data_path == path:
            frame = curve.keyframe_points[0].co[0] + 4
            curve.keyframe_points.insert(frame, turn[curve.array_index])
    after = filmed.find_directions(imported)
    flat = (before[4] * [1, 1, 0], after[4] * [1, 1, 0])
    cosine = np.dot(*flat) / np.prod([np.linalg.norm(x) for x in flat])
    assert np.degrees(np.arccos(cosine)) == pytest.approx(60, abs=3)
    assert len(after) == 10


def find_rim(lines):
    """Directions to the outline's ends, apart from the spokes."""
    return lines[np.linalg.norm(lines[:, 0], axis=1) > 0.5].reshape(-1, 3)


def test_one_direction_gives_a_cone():
    axis = np.array([0.0, -0.6, 0.8])
    lines = filmed.compute_cone(np.tile(axis, (5, 1)), 20.0)
    rim, spokes = find_rim(lines), lines[np.linalg.norm(lines[:, 0], axis=1) < 0.5]
    assert (len(rim), len(spokes)) == (2 * 96, 12)
    np.testing.assert_allclose(rim @ axis, np.cos(np.radians(20)), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(rim, axis=1), 1, atol=1e-9)
    np.testing.assert_allclose(rim[1:-1:2], rim[2::2], atol=1e-9)  # closed, in one piece
    np.testing.assert_allclose(rim[0], rim[-1], atol=1e-9)
    np.testing.assert_array_equal(spokes[:, 0], 0)
    np.testing.assert_allclose(spokes[:, 1] @ axis, np.cos(np.radians(20)), atol=1e-9)
    apart = np.linalg.norm(spokes[:, 1] - np.roll(spokes[:, 1], 1, axis=0), axis=1)
    np.testing.assert_allclose(apart, 2 * np.sin(np.radians(20)) * np.sin(np.pi / 12), atol=1e-9)
    assert filmed.compute_cone(np.zeros((0, 3)), 20.0).shape == (0, 2, 3)


def test_directions_of_an_arc_give_one_outline():
    """A camera that went 60 degrees around: nothing is drawn inside, and nothing too far out."""
    angle = np.radians(np.linspace(0, 60, 41))
    path = np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1)
    lines = filmed.compute_cone(path, 20.0)
    rim, ends = find_rim(lines), lines[-12:, 1]
    assert len(np.unique(ends.round(6), axis=0)) == 12
    assert ends[:, 2].min() < -0.3 < 0.3 < ends[:, 2].max()
    nearest = np.degrees(np.arccos((rim @ path.T).max(1)))
    assert nearest.min() > 19.0
    assert nearest.max() < 20.001
    around = np.degrees(np.arctan2(rim[:, 1], rim[:, 0]))
    for side in (1, -1):  # without gaps
        along = np.sort(around[side * rim[:, 2] > 0.33])
        assert (along[0], along[-1]) == pytest.approx((0, 60), abs=8)
        assert np.diff(along).max() < 2.5
    assert (around.min(), around.max()) == pytest.approx((-20, 80), abs=1)
    assert np.degrees(np.arcsin(rim[:, 2])).max() == pytest.approx(20, abs=0.1)


def test_the_cone_stands_at_the_subject_and_opens_to_the_camera(creature):
    _, imported = creature
    importer.activate(imported, "base", scene=bpy.context.scene)
    bpy.context.scene.frame_set(3)
    imported.armature.parent.location = (1, 2, 3)  # and follows what is moved
    bpy.context.view_layer.update()
    lines = filmed_angle.place_cone(imported, bpy.context.evaluated_depsgraph_get())
    follower = filmed.find_follower(imported.armature)
    apex = np.array((imported.armature.matrix_world @ follower.matrix).translation)
    eye = np.array(imported.camera.matrix_world.translation)
    at_apex = np.linalg.norm(lines[:, 0] - apex, axis=1) < 1e-4
    assert 8 <= at_apex.sum() <= 24
    rim = lines[~at_apex][:, 0] - apex
    far = np.linalg.norm(eye - apex)
    np.testing.assert_allclose(np.linalg.norm(rim, axis=1), far, rtol=1e-4)
    off = np.degrees(np.arccos(rim @ (eye - apex) / far**2))
    assert 18 < off.min() < 21  # the camera looks from inside
    assert off.max() < 45


@pytest.fixture
def with_cone(creature, monkeypatch):
    """What is drawn of the cone, by redraws of a view with or without overlays."""
    _, imported = creature
    drawn = []
    monkeypatch.setattr(filmed_angle, "draw_lines", lambda lines, *_: drawn.append(lines))
    quiet = SimpleNamespace(blend_set=lambda _: None, depth_test_set=lambda _: None)
    monkeypatch.setattr(filmed_angle, "gpu", SimpleNamespace(state=quiet))

    def redraw(overlays=True, perspective="PERSP"):
        context = SimpleNamespace(
            scene=bpy.context.scene,
            space_data=SimpleNamespace(overlay=SimpleNamespace(show_overlays=overlays)),
            region_data=SimpleNamespace(view_perspective=perspective),
            region=SimpleNamespace(width=64, height=48),
            evaluated_depsgraph_get=bpy.context.evaluated_depsgraph_get,
        )
        with monkeypatch.context() as patch:
            patch.setattr(display, "bpy", SimpleNamespace(context=context))
            drawn.clear()
            display._draw_filmed_cones()
        return len(drawn)

    return imported, redraw


def test_the_cone_is_drawn_where_it_is_asked_for(with_cone):
    imported, redraw = with_cone
    assert redraw() == 0
    display.get_display(imported.armature).filmed_angle = True
    assert redraw() == 1
    assert redraw(overlays=False) == redraw(perspective="CAMERA") == 0
    display.get_display(imported.armature).filmed_angle = False
    assert redraw() == 0


def test_the_cone_s_handler_comes_and_goes(monkeypatch):
    there = {}
    add, remove = [], []

    class View:
        @staticmethod
        def draw_handler_add(draw, arguments, region, when):
            add.append(draw)
            there[len(add)] = (draw, when)
            return len(add)

        @staticmethod
        def draw_handler_remove(handle, region):
            remove.append(handle)
            del there[handle]

    types = SimpleNamespace(SpaceView3D=View)
    monkeypatch.setattr(splat_drawing, "bpy", SimpleNamespace(types=types))
    drawing = splat_drawing.SplatDrawing(lambda _: [], lambda _: None)
    drawing.start(display._draw_filmed_cones, display._draw_filmed_angles)
    kinds = [(display._draw_filmed_cones, "POST_VIEW"), (display._draw_filmed_angles, "POST_PIXEL")]
    assert [x for x in there.values() if x[0] in (kinds[0][0], kinds[1][0])] == kinds
    drawing.stop()
    assert there == {}
    assert len(remove) == len(add) == 4
