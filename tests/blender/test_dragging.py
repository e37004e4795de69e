"""Dragging the puppet in Blender: what is keyed, over which frames, pins, and what Esc leaves."""

import dataclasses
from types import SimpleNamespace

import bpy
import numpy as np
import pytest
from mathutils import Matrix, Quaternion, Vector
from rig_checks import assert_eq_1, basis_bones

from blender_addon.operators.posing import drag, gizmos, tools
from blender_addon.puppet import importer
from blender_addon.puppet.output import export
from blender_addon.puppet.posing import hand, pins

pytestmark = pytest.mark.usefixtures("registered")


def read_points(frame):
    bpy.context.scene.frame_set(frame)
    imported = importer.find_puppets(bpy.context.scene)[0]
    return export.read_posed(imported).means


def find_paw(puppet):
    """A point at the end of a leg."""
    means = puppet.subject.means
    leg = np.flatnonzero((means[:, 0] > 0.1) & (means[:, 1] > 0.05))
    return int(leg[means[leg, 2].argmin()])


OFFSET = (0.15, 0.0, 0.06)


def test_the_paw_follows_at_this_frame_and_no_other(creature):
    puppet, imported = creature
    before = [read_points(f) for f in (4, 5, 6)]
    bpy.context.scene.frame_set(5)
    paw = find_paw(puppet)
    assert bpy.ops.restage4d.drag(point=paw, offset=OFFSET, frames=0) == {"FINISHED"}
    after = [read_points(f) for f in (4, 5, 6)]
    extent = np.linalg.norm(np.ptp(puppet.subject.means, axis=0))
    np.testing.assert_allclose((after[1] - before[1])[paw], OFFSET, atol=0.02)
    for i in (0, 2):
        np.testing.assert_allclose(after[i], before[i], atol=1e-5 * extent)
    head = np.flatnonzero(puppet.subject.means[:, 0] > 0.4)
    assert np.abs(after[1] - before[1])[head].max() < 2e-2
    bpy.context.scene.frame_set(5)
    assert_eq_1(imported, puppet)


def test_frames_let_it_come_and_go(creature):
    puppet, _ = creature
    before = [read_points(f) for f in range(1, 11)]
    bpy.context.scene.frame_set(5)
    paw = find_paw(puppet)
    assert bpy.ops.restage4d.drag(point=paw, offset=OFFSET, frames=2) == {"FINISHED"}
    assert bpy.context.scene.frame_current == 5
    far = [
        np.linalg.norm((read_points(f) - b)[paw]) for f, b in zip(range(1, 11), before, strict=True)
    ]
    whole = far[4]
    assert whole == pytest.approx(np.linalg.norm(OFFSET), rel=0.1)
    assert max(far[0], far[1], *far[7:]) < 1e-5
    for i, share in ((2, 7 / 27), (3, 20 / 27), (5, 20 / 27), (6, 7 / 27)):
        assert far[i] == pytest.approx(share * whole, rel=0.15)


def test_pinned_places_hold(creature):
    puppet, imported = creature
    extent = float(np.linalg.norm(np.ptp(puppet.subject.means, axis=0)))
    paw = find_paw(puppet)
    torso = int(((puppet.subject.means - [0.1, 0, 0.45]) ** 2).sum(1).argmin())
    moved = {}
    for name in ("free", "pinned"):
        before = read_points(5)
        if name == "pinned":
            assert bpy.ops.restage4d.pin(point=torso, size=0.1) == {"FINISHED"}
        held = np.linalg.norm(puppet.subject.means - puppet.subject.means[torso], axis=1)
        held = held <= 0.1 * extent
        assert bpy.ops.restage4d.drag(point=paw, offset=OFFSET, reach=3.0) == {"FINISHED"}
        moved[name] = np.linalg.norm(read_points(5) - before, axis=1)[held].max()
    np.testing.assert_array_equal(
        pins.find_pinned(imported.armature, puppet.subject.means), np.flatnonzero(held)
    )
    assert moved["pinned"] < 1e-3 * extent < 0.02 < moved["free"]
    assert bpy.ops.restage4d.clear_pins.poll()
    assert len(pins.read_pins(imported.armature)) == 1
    assert bpy.ops.restage4d.pin(point=torso) == {"FINISHED"}  # again: unpinned
    assert len(pins.read_pins(imported.armature)) == 0
    assert not bpy.ops.restage4d.clear_pins.poll()


def test_without_a_key_it_is_a_try(creature):
    puppet, _ = creature
    before, paw = read_points(5), find_paw(puppet)
    moving = {"point": paw, "offset": OFFSET, "set_keys": False}
    assert bpy.ops.restage4d.drag(**moving) == {"FINISHED"}
    imported = importer.find_puppets(bpy.context.scene)[0]
    bpy.context.view_layer.update()
    assert np.linalg.norm((export.read_posed(imported).means - before)[paw]) > 0.1
    np.testing.assert_allclose(read_points(5), before, atol=1e-6)
    bpy.context.scene.tool_settings.use_keyframe_insert_auto = True
    assert bpy.ops.restage4d.drag(**moving) == {"FINISHED"}
    assert np.linalg.norm((read_points(5) - before)[paw]) > 0.1


def test_bones_without_keys_are_keyed_with_what_was_done_once(creature):
    puppet, imported = creature
    bpy.context.scene.frame_set(5)
    imported.armature.animation_data_clear()  # the bones stay as they stood
    before, paw = export.read_posed(imported).means, find_paw(puppet)
    assert bpy.ops.restage4d.drag(point=paw, offset=OFFSET, frames=1) == {"FINISHED"}
    np.testing.assert_allclose((read_points(5) - before)[paw], OFFSET, atol=0.02)
    for frame in (3, 7, 40):
        np.testing.assert_allclose(read_points(frame), before, atol=1e-5)


def test_in_the_nla_keys_go_into_the_strip_that_is_tweaked(creature):
    puppet, imported = creature
    bpy.context.view_layer.objects.active = imported.armature
    bpy.ops.restage4d.blend_performances(first="base", second="gallop", start=6, frames=2)
    paw, before = find_paw(puppet), [read_points(f) for f in (4, 8, 9)]
    bpy.context.scene.frame_set(9)
    with pytest.raises(RuntimeError, match="plays from the NLA"):
        bpy.ops.restage4d.drag(point=paw, offset=OFFSET)
    data = imported.armature.animation_data
    track = data.nla_tracks[-1]
    for t in data.nla_tracks:
        t.select = t.is_solo = False
        for strip in t.strips:
            strip.select = t == track
    data.nla_tracks.active = track
    data.use_tweak_mode = True
    assert data.use_tweak_mode
    assert bpy.ops.restage4d.drag(point=paw, offset=OFFSET, frames=0) == {"FINISHED"}
    data.use_tweak_mode = False
    after = [read_points(f) for f in (4, 8, 9)]
    np.testing.assert_allclose((after[2] - before[2])[paw], OFFSET, atol=0.02)
    for a, b in zip(after[:2], before[:2], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_a_moved_handle_and_another_place_of_the_puppet_count(creature):
    """The drag goes on top of what the artist's handles do, in the world's directions."""
    puppet, imported = creature
    imported.armature.location = (1.0, 2.0, 0.0)
    imported.armature.rotation_euler = (0.0, 0.0, 0.7)
    whole = next(b for b in imported.armature.pose.bones if b.parent is not None)
    whole.location = (0.1, 0.0, 0.05)
    bpy.context.scene.frame_set(5)
    paw, before = find_paw(puppet), export.read_posed(imported).means
    assert bpy.ops.restage4d.drag(point=paw, offset=OFFSET, frames=0) == {"FINISHED"}
    bpy.context.view_layer.update()
    moved = export.read_posed(imported).means - before
    np.testing.assert_allclose(moved[paw], OFFSET, atol=0.02)


def test_what_cannot_be_done_is_said(creature, capsys):
    puppet, imported = creature
    imported.armature.data.pose_position = "REST"
    with pytest.raises(RuntimeError, match="shows its rest position"):
        bpy.ops.restage4d.drag(point=3, offset=OFFSET)
    imported.armature.data.pose_position = "POSE"
    with pytest.raises(RuntimeError, match="Nothing was grabbed"):
        bpy.ops.restage4d.drag(point=len(puppet.subject), offset=OFFSET)
    with pytest.raises(RuntimeError, match="nothing of a puppet"):
        bpy.ops.restage4d.pin(point=-1)
    bpy.ops.object.select_all(action="DESELECT")
    bpy.context.view_layer.objects.active = imported.points
    bpy.ops.object.mode_set(mode="EDIT")
    assert not bpy.ops.restage4d.drag.poll()
    bpy.ops.object.mode_set(mode="OBJECT")
    basis_bones(imported)[2].scale = (2, 1, 1)
    bpy.context.view_layer.update()
    with pytest.raises(RuntimeError, match="scaled or sheared"):
        bpy.ops.restage4d.drag(point=3, offset=OFFSET)


def test_pulling_by_events_and_esc(creature):
    """The modal part: moves pull, the wheel changes the reach, Esc puts the bones back."""
    puppet, imported = creature
    bpy.context.scene.frame_set(5)
    before, paw = export.read_posed(imported).means, find_paw(puppet)
    mixins = tuple(b for b in drag.RESTAGE4D_OT_drag.__bases__ if b is not bpy.types.Operator)
    tool = type("Tool", mixins, {**vars(drag.RESTAGE4D_OT_drag)})()
    tool.armature, tool.point, tool.size, tool.reach = imported.armature.name, paw, 0.03, 0.35
    tool.frames, tool.set_keys = 0, True
    tool._begin(imported)
    tool.offset = OFFSET
    for _ in range(6):
        tool._pull(imported)
    bpy.context.view_layer.update()
    np.testing.assert_allclose((export.read_posed(imported).means - before)[paw], OFFSET, atol=0.02)
    tool.abandon(bpy.context)
    bpy.context.view_layer.update()
    np.testing.assert_allclose(export.read_posed(imported).means, before, atol=1e-6)


def test_the_tools_are_in_the_toolbar():
    from bl_ui.space_toolsystem_common import ToolSelectPanelHelper

    toolbar = ToolSelectPanelHelper._tool_class_from_space_type("VIEW_3D")
    for mode in ("OBJECT", "POSE"):
        there = [
            t.idname
            for t in ToolSelectPanelHelper._tools_flatten(toolbar._tools[mode])
            if t is not None
        ]
        assert there.count(tools.TOOL) == 1


@pytest.fixture
def chosen_tool(monkeypatch):
    """The tool as it is chosen in a window; here its properties alone."""
    shares = bpy.ops.restage4d.drag.get_rna_type().properties
    props = SimpleNamespace(
        reach=0.35,
        size=0.03,
        bl_rna=SimpleNamespace(properties={k: shares[k] for k in gizmos.RINGS}),
    )
    tool = SimpleNamespace(idname=tools.TOOL, operator_properties=lambda name: props)
    monkeypatch.setattr(gizmos, "find_tool", lambda context: tool)
    return props


def test_the_gizmos_belong_to_the_tool():
    for tool in tools.TOOLS:
        assert tool.bl_widget == gizmos.RESTAGE4D_GGT_drag.bl_idname
    assert bpy.types.GizmoGroup.bl_rna_get_subclass_py("RESTAGE4D_GGT_drag")
    assert bpy.types.Gizmo.bl_rna_get_subclass_py("RESTAGE4D_GT_ring")
    assert "3D" in gizmos.RESTAGE4D_GGT_drag.bl_options


def test_the_handle_is_where_the_pressed_splat_is(creature):
    """After a drag, in another frame, with the puppet at another place and size; other splats have
    no handle."""
    puppet, imported = creature
    gizmos._hands.clear()
    assert gizmos.find_hand(bpy.context) is None
    bpy.context.scene.frame_set(5)
    paw = find_paw(puppet)
    assert bpy.ops.restage4d.drag(point=paw, offset=OFFSET, frames=0) == {"FINISHED"}
    size = np.linalg.norm(np.ptp(puppet.subject.means, axis=0))
    for frame in (5, 8):
        bpy.context.scene.frame_set(frame)
        hand, where, extent = gizmos.find_hand(bpy.context)
        assert (hand.armature, hand.point) == (imported.armature.name, paw)
        np.testing.assert_allclose(where, export.read_posed(imported).means[paw], atol=1e-6)
        assert extent == pytest.approx(size, rel=1e-5)
    imported.armature.location, imported.armature.scale = (1, 0, 0), (2, 2, 2)
    bpy.context.view_layer.update()
    _, moved, extent = gizmos.find_hand(bpy.context)
    np.testing.assert_allclose(moved, 2 * np.array(where) + (1, 0, 0), atol=1e-5)
    assert extent == pytest.approx(2 * size, rel=1e-5)
    gizmos._hands[0] = dataclasses.replace(gizmos._hands[0], count=3)
    assert gizmos.find_hand(bpy.context) is None
    imported.armature.name = "another"
    assert gizmos.find_hand(bpy.context) is None


def test_a_ring_is_pressed_on_its_line_and_pulls_its_share(chosen_tool):
    """In a view along -z in which a unit is 100 pixels: hand at (320, 240)."""
    rv3d = SimpleNamespace(view_matrix=Matrix(), view_rotation=Quaternion())
    rv3d.perspective_matrix = Matrix.Diagonal((2 / 6.4, 2 / 4.8, -1, 1))
    region = SimpleNamespace(width=640, height=480)
    told = []
    area = SimpleNamespace(header_text_set=told.append, tag_redraw=lambda: None)
    context = SimpleNamespace(region=region, region_data=rv3d, area=area)
    names = ("_measure", "_find_share", "test_select", "invoke", "modal", "exit", "setup")
    made = {name: vars(gizmos.RESTAGE4D_GT_ring)[name] for name in names}
    ring = type("Ring", (), made)()
    ring.setup()
    ring.extent = 2.0  # its radius is 0.35 of that: 70 pixels
    assert [ring.test_select(context, at) for at in ((390, 240), (320, 306), (320, 240))] == [
        0,
        0,
        -1,
    ]

    def mouse(x):
        return SimpleNamespace(mouse_region_x=x, mouse_region_y=240)

    assert ring.invoke(context, mouse(392)) == {"RUNNING_MODAL"}
    ring.modal(context, mouse(432), set())
    assert chosen_tool.reach == pytest.approx(0.35 + 40 / 200)
    assert told[-1] == "Reach: 0.550"
    ring.modal(context, mouse(432), {"PRECISE"})
    assert chosen_tool.reach == pytest.approx(0.35 + 4 / 200)
    ring.modal(context, mouse(320), set())
    assert chosen_tool.reach == pytest.approx(0.02), "the least that the property may be"
    ring.exit(context, True)
    assert chosen_tool.reach == pytest.approx(0.35)
    assert told[-1] is None
    ring.name = "size"
    assert ring.test_select(context, (326, 240)) == 0
    circle = np.array(gizmos.make_circle(rv3d, Vector((1, 2, 3)), 0.5))
    np.testing.assert_allclose(np.linalg.norm(circle - (1, 2, 3), axis=1), 0.5, rtol=1e-6)
    np.testing.assert_allclose(circle[:, 2], 3)
    np.testing.assert_allclose(circle[0], circle[-1], atol=1e-6)


def test_pressed_by_its_handle_it_takes_that_splat(creature):
    """A gizmo calls the operator with the splat; nothing is looked for under the mouse."""
    puppet, imported = creature
    mixins = tuple(b for b in drag.RESTAGE4D_OT_drag.__bases__ if b is not bpy.types.Operator)
    tool = type("Tool", mixins, {**vars(drag.RESTAGE4D_OT_drag)})()
    tool.armature, tool.point = imported.armature.name, find_paw(puppet)
    region = SimpleNamespace(type="WINDOW", x=10, y=20)
    area = SimpleNamespace(type="VIEW_3D", as_pointer=lambda: 7, regions=[region])
    window = SimpleNamespace(screen=SimpleNamespace(areas=[area]))
    context = SimpleNamespace(window=window, area=area, scene=bpy.context.scene)
    found, point, at = tool.pick_pressed(context, SimpleNamespace(mouse_x=110, mouse_y=220))
    assert (found.armature, point, at) == (imported.armature, find_paw(puppet), (100, 200))


def test_a_hold_is_read_and_put_back(creature):
    puppet, imported = creature
    bpy.context.scene.frame_set(7)
    hold = hand.take_hold(imported)
    np.testing.assert_allclose(hold.body.bases, puppet.performances[-1].bases[:, 6], atol=1e-5)
    np.testing.assert_allclose(hold.body.pose(), export.read_posed(imported).means, atol=1e-5)
    assert len(hold.names) == puppet.n_bases
