"""Modal tools keep the keyboard and the mouse to themselves: no key reaches the scene behind them.

Without a window no modal operator runs, so their `modal` is called with events of our own.
"""

from pathlib import Path
from types import SimpleNamespace

import bpy
import numpy as np
import pytest

import blender_addon
from blender_addon import orders, runtime
from blender_addon.operators import puppet, skeleton, stepped
from blender_addon.operators.pointing import frame_view, mask_and_head, select_subject
from blender_addon.operators.posing import drag
from blender_addon.operators.shaping import brush
from blender_addon.session import running_work
from blender_addon.session.models import Shot
from blender_addon.session.running_work import RunningWork

pytestmark = pytest.mark.usefixtures("registered")


def rectangle(kind, x, y, width, height):
    return SimpleNamespace(type=kind, x=x, y=y, width=width, height=height)


class Window:
    """A window with one 3D view, 400 x 300 at (100, 50), its sidebar over the right 80 pixels."""

    def __init__(self):
        self.cursors, self.texts = [], []
        regions = [rectangle("WINDOW", 100, 50, 400, 300), rectangle("UI", 420, 50, 80, 300)]
        self.area = SimpleNamespace(
            type="VIEW_3D", regions=regions, as_pointer=lambda: 77, tag_redraw=lambda: None
        )
        self.screen = SimpleNamespace(areas=[self.area])
        self.cursor_modal_restore = lambda: self.cursors.append("restored")

    def context(self):
        return SimpleNamespace(window=self, scene=bpy.context.scene, workspace=None)


def event(kind, value="PRESS", at=(200, 150), **held):
    keys = dict.fromkeys(("alt", "ctrl", "shift"), False) | held
    return SimpleNamespace(type=kind, value=value, mouse_x=at[0], mouse_y=at[1], **keys)


def make_tool(operator, window):
    """The operator's methods on an object of ours; Blender makes real ones only in a window."""
    mixins = tuple(b for b in operator.__bases__ if not issubclass(b, bpy.types.Operator))
    tool = type("Tool", mixins, {**vars(operator)})()
    tool.area, tool.workspace = window.area.as_pointer(), "none"
    tool.closed = []
    if issubclass(operator, frame_view.FrameView):
        tool.before, tool.frame = ("MOTION", (0.0,) * 4), 5
        tool.overlay = SimpleNamespace(area=77, drag=None, remove=lambda: tool.closed.append(1))
    return tool


@pytest.fixture
def asked(monkeypatch):
    """A shot of 360 x 240 pixels, and where its subject was asked for."""
    places = []
    shot = Shot(Path("a.mp4"), None, 384, phase="ready", content="a" * 64)
    shot.first, shot.size = np.zeros((240, 360, 3), np.uint8), (360, 240)
    runtime.session().shot = shot
    monkeypatch.setattr(
        select_subject.orders, "select_subject", lambda c: places.append(orders.get_place(c))
    )
    return places


KEYS = ("X", "DEL", "Z", "TAB", "G", "A", "SPACE", "LEFT_ARROW", "HOME", "F3", "NUMPAD_0", "O")
TOOLS = (
    select_subject.RESTAGE4D_OT_select_subject,
    mask_and_head.RESTAGE4D_OT_correct_mask,
    mask_and_head.RESTAGE4D_OT_point_at_head,
    puppet.RESTAGE4D_OT_pick_bones,
    drag.RESTAGE4D_OT_drag,
    brush.RESTAGE4D_OT_select_splats,
    skeleton.RESTAGE4D_OT_place_head,
)


@pytest.mark.parametrize("operator", TOOLS)
def test_no_key_reaches_the_scene(operator, asked):
    window = Window()
    tool = make_tool(operator, window)
    for kind in KEYS:
        for value in ("PRESS", "RELEASE", "CLICK"):
            for held in ({}, {"ctrl": True}, {"shift": True}, {"alt": True}):
                assert tool.modal(window.context(), event(kind, value, **held)) == {"RUNNING_MODAL"}
    for at in ((450, 100), (50, 20), (700, 700)):  # sidebar and other editors
        for kind in ("LEFTMOUSE", "MIDDLEMOUSE", "WHEELUPMOUSE"):
            assert tool.modal(window.context(), event(kind, at=at)) == {"RUNNING_MODAL"}
    assert tool.modal(window.context(), event("WHEELUPMOUSE", alt=True)) == {"RUNNING_MODAL"}
    assert asked == tool.closed == window.cursors == []


@pytest.mark.parametrize("operator", TOOLS)
def test_the_view_still_turns_and_timers_run(operator, asked):
    window = Window()
    tool = make_tool(operator, window)
    for kind in ("MIDDLEMOUSE", "WHEELUPMOUSE", "TRACKPADPAN", "NDOF_MOTION", "TIMER", "TIMER1"):
        assert tool.modal(window.context(), event(kind)) == {"PASS_THROUGH"}


@pytest.mark.parametrize("operator", TOOLS)
@pytest.mark.parametrize("kind", ["ESC", "RIGHTMOUSE"])
def test_esc_ends_the_tool_and_nothing_else(operator, kind, asked):
    window = Window()
    tool = make_tool(operator, window)
    assert tool.modal(window.context(), event(kind, "RELEASE")) == {"RUNNING_MODAL"}
    assert tool.modal(window.context(), event(kind)) == {"CANCELLED"}
    assert window.cursors == ["restored"]
    assert asked == []
    assert tool.closed == [1] * hasattr(tool, "overlay")


@pytest.mark.parametrize("operator", TOOLS)
@pytest.mark.parametrize("part", ["handle", "abandon"])
def test_an_error_ends_the_tool_with_a_sentence(operator, part, asked, monkeypatch, tmp_path):
    monkeypatch.setenv("RESTAGE4D_HOME", str(tmp_path))
    window, said = Window(), []
    tool = make_tool(operator, window)
    tool.report = lambda kind, text: said.append((*kind, text))

    def stumble(*_):
        raise ValueError("a stumble")

    setattr(tool, part, stumble)
    kind = "LEFTMOUSE" if part == "handle" else "ESC"
    assert tool.modal(window.context(), event(kind)) == {"CANCELLED"}
    assert said[0][0] == "ERROR"
    assert said[0][1].startswith(f"{tool.bl_label} failed: ValueError: a stumble.")
    assert window.cursors == ["restored"]
    assert tool.closed == [1] * hasattr(tool, "overlay")


def test_a_frame_that_cannot_be_drawn_is_told_once(asked, monkeypatch, tmp_path, capsys):
    """The picture of another shot, a card without the format: the view goes on."""
    monkeypatch.setenv("RESTAGE4D_HOME", str(tmp_path))
    overlay = frame_view.Overlay.__new__(frame_view.Overlay)
    overlay.area, blends = 77, []
    state = SimpleNamespace(blend_set=blends.append)
    monkeypatch.setattr(frame_view, "gpu", SimpleNamespace(state=state))

    def stumble(*_):
        raise ValueError("a stumble")

    monkeypatch.setattr(frame_view.in_view, "find_view", stumble)
    overlay.paint()
    overlay.paint()
    assert blends == ["NONE", "NONE"]
    told = "Drawing the frame of the video failed: ValueError: a stumble."
    assert capsys.readouterr().err.count(told) == 1


def test_clicks_and_drags_choose_and_enter_keeps(asked):
    window = Window()
    tool = make_tool(select_subject.RESTAGE4D_OT_select_subject, window)
    chosen, context = bpy.context.scene.restage4d, window.context()
    x, y, scale = frame_view.find_frame(window.area, window.area.regions[0], (360, 240))
    here = (round(100 + x + 90 * scale), round(50 + y + 60 * scale))  # 180 from the top
    there = (round(100 + x + 270 * scale), round(50 + y + 180 * scale))
    tool.modal(context, event("LEFTMOUSE", at=here))
    tool.modal(context, event("LEFTMOUSE", "RELEASE", at=here))
    assert chosen.selection == "POINT"
    np.testing.assert_allclose(asked[-1]["point"], (90, 180), atol=2)
    tool.modal(context, event("LEFTMOUSE", at=here))
    tool.modal(context, event("MOUSEMOVE", "NOTHING", at=there))
    tool.modal(context, event("LEFTMOUSE", "RELEASE", at=(450, 100)))  # let go over the sidebar
    assert chosen.selection == "BOX"
    np.testing.assert_allclose(asked[-1]["box"], (90, 60, 270, 180), atol=2)
    assert tool.modal(context, event("RET")) == {"FINISHED"}
    assert len(asked) == 2
    assert chosen.selection == "BOX"


def test_esc_takes_back_what_was_clicked(asked):
    window = Window()
    tool = make_tool(select_subject.RESTAGE4D_OT_select_subject, window)
    chosen, context = bpy.context.scene.restage4d, window.context()
    for value in ("PRESS", "RELEASE"):
        tool.modal(context, event("LEFTMOUSE", value))
    assert chosen.selection == "POINT"
    assert tool.modal(context, event("ESC")) == {"CANCELLED"}
    assert (chosen.selection, asked[-1]) == ("MOTION", {})


@pytest.mark.parametrize("operator", TOOLS)
def test_a_view_that_is_gone_ends_the_tool(operator, asked):
    """Its editor became another one, its area was joined, its window closed, a file was loaded."""
    for leave in ("type", "areas", "window"):
        window = Window()
        tool, context = make_tool(operator, window), window.context()
        if leave == "type":
            window.area.type = "IMAGE_EDITOR"
        elif leave == "areas":
            window.screen.areas.clear()
        if leave == "window":
            context.window = None
            tool.cancel(context)
        else:
            assert tool.modal(context, event("MOUSEMOVE")) == {"FINISHED"}
        assert tool.closed == [1] * hasattr(tool, "overlay")
    assert asked == []


def test_long_work_lets_no_key_through(monkeypatch):
    window = Window()
    tool = type("Work", (stepped.Stepped,), {"report": lambda *a: None})()
    monkeypatch.setattr(running_work, "current", RunningWork("Export"))
    for kind in KEYS:
        assert tool.modal(window.context(), event(kind, ctrl=True)) == {"RUNNING_MODAL"}
    assert not running_work.current.cancelled
    assert tool.modal(window.context(), event("ESC")) == {"RUNNING_MODAL"}
    assert running_work.current.cancelled
    ended, timers, context = [], ["timer"], window.context()
    context.window_manager = SimpleNamespace(event_timer_remove=timers.remove)
    tool._steps, tool._timer = SimpleNamespace(close=lambda: ended.append(1)), "timer"
    tool.cancel(context)
    assert (ended, timers) == ([1], [])
    assert running_work.current is None


def test_these_are_all_modal_tools():
    """Another one must be looked at, too. Gizmos are looked at in test_dragging."""
    operators = {c for c in blender_addon._classes() if issubclass(c, bpy.types.Operator)}
    modal = {c for c in operators if "modal" in dir(c)}
    assert modal - {c for c in modal if issubclass(c, stepped.Stepped)} == set(TOOLS)


@pytest.mark.parametrize("how", ["is_repeat", "is_repeat_last"])
def test_redo_and_repeat_last_do_long_work_at_once(monkeypatch, how):
    """They call an operator that was invoked once more, without a window manager to go on with."""
    tool, done = type("Work", (stepped.Stepped,), {"report": lambda *a: None})(), []
    again = {"is_repeat": False, "is_repeat_last": False} | {how: True}
    tool.options = SimpleNamespace(is_invoke=True, **again)
    tool.steps = lambda context: (done.append(i) or (i, 3) for i in range(3))
    monkeypatch.setattr(stepped, "bpy", SimpleNamespace(app=SimpleNamespace(background=False)))
    assert tool.execute(SimpleNamespace()) == {"FINISHED"}
    assert done == [0, 1, 2]
    assert running_work.current is None
