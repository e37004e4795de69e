"""Work in a window, step by step: it always ends, with a sentence, and asks before it replaces
anything."""

import os
import threading
from types import SimpleNamespace

import bpy
import pytest

from blender_addon import failures, paths
from blender_addon.operators import stepped, writing
from blender_addon.puppet.output import sequences
from blender_addon.session import running_work

pytestmark = pytest.mark.usefixtures("registered")

resource = pytest.importorskip("resource")  # full disks are simulated by a limit of Unix


OUT = bpy.ops.restage4d


class Window:
    """What `Stepped` uses of a context in a window."""

    def __init__(self):
        self.timers, self.text = [], ""
        self.window = None
        self.window_manager, self.workspace = self, self

    def event_timer_add(self, seconds, window):
        self.timers.append("timer")
        return "timer"

    def event_timer_remove(self, timer):
        self.timers.remove(timer)

    def modal_handler_add(self, operator):
        pass

    def status_text_set(self, text):
        self.text = text


FIRST = {"is_invoke": True, "is_repeat": False, "is_repeat_last": False}  # `Operator.options`


class Work(stepped.Stepped):
    """As an operator in a window."""

    bl_label = "Work"

    def __init__(self, steps):
        self.steps, self.reports = steps, []
        self.options = SimpleNamespace(**FIRST)

    def report(self, kind, text):
        self.reports.append((*kind, text))


def begin(monkeypatch, steps):
    monkeypatch.setattr(
        stepped, "bpy", SimpleNamespace(app=SimpleNamespace(background=False), types=bpy.types)
    )
    window, work = Window(), Work(steps)
    assert work.execute(window) == {"RUNNING_MODAL"}
    assert running_work.current is not None
    return window, work


TIMER = SimpleNamespace(type="TIMER")


@pytest.mark.parametrize("ending", ["error", "error in cleaning up", "cancel", "lost", "none"])
def test_work_in_a_window_always_ends(monkeypatch, ending):
    def steps(context):
        try:
            yield 0, 2
            if ending == "error":
                raise RuntimeError("Error: no context\n")
        finally:
            if ending == "error in cleaning up":
                raise KeyError("lost")

    monkeypatch.setattr(stepped, "SLICE", -1.0)  # a step a turn
    window, work = begin(monkeypatch, steps)
    assert work.modal(window, TIMER) == {"RUNNING_MODAL"}
    assert window.text.startswith("Work: 0%")
    if ending == "cancel":
        work.cancel(window)
    elif ending == "lost":
        running_work.current = None
        assert work.modal(window, TIMER) == {"CANCELLED"}
    else:
        want = {"FINISHED"} if ending == "none" else {"CANCELLED"}
        assert work.modal(window, TIMER) == want
    assert running_work.current is None
    assert window.timers == []
    assert window.text is None
    assert [kind for kind, _ in work.reports] == {
        "error": ["ERROR"],
        "error in cleaning up": ["ERROR"],
        "cancel": [],
        "lost": ["WARNING"],
        "none": ["INFO"],
    }[ending]
    work.cancel(window)  # of a dialog that was closed after it was over


class Asking(writing.WritesFiles):
    """As an operator that the file browser has called."""

    bl_label, suffixes = "Write", (".ply",)
    overwrite = False

    def __init__(self, path):
        self.filepath, self.options, self.reports = str(path), SimpleNamespace(**FIRST), []

    def list_files(self, context):
        return list(sequences.list_frames(self.place, range(1, 5)).values())

    def report(self, kind, text):
        self.reports.append(text)


def test_in_a_window_a_dialog_asks_before_a_sequence_is_replaced(out, monkeypatch):
    asked = []

    def invoke_confirm(operator, event, **words):
        asked.append(words)
        return {"RUNNING_MODAL"}

    context = SimpleNamespace(window_manager=SimpleNamespace(invoke_confirm=invoke_confirm))
    app = SimpleNamespace(background=False)
    monkeypatch.setattr(stepped, "bpy", SimpleNamespace(app=app))
    many, single = Asking(out / "fox"), Asking(out / "fox.ply")
    many.is_sequence = True
    assert many.ask(context) is None
    for frame in (2, 3, 4):
        (out / f"fox_{frame:04d}.ply").write_text("mine")
    assert single.ask(context) is None  # the file browser has said it
    assert many.ask(context) == {"RUNNING_MODAL"}
    assert asked[0]["message"] == (
        f"3 files from fox_0002.ply to fox_0004.ply are there already, in {out}."
    )
    assert asked[0]["confirm_text"] == "Replace 3"
    assert many.ask(context) is None  # the dialog has called again
    assert len(asked) == 1
    for operator in (many, single):  # run again by *Repeat Last*, with nobody to answer
        operator.options.is_repeat_last = True
        (out / "fox.ply").write_text("mine")
        assert operator.ask(context) == {"CANCELLED"}
        assert "already. Give overwrite=True, or another name." in operator.reports[-1]
    assert len(asked) == 1


@pytest.mark.parametrize("stop_after", [0, 1, 3, None])
def test_files_take_their_places_in_a_thread_all_or_none(out, monkeypatch, stop_after):
    """Ended while they are moved, the old ones are back."""
    (out / "a_0001.ply").write_text("mine")
    (out / "notes.txt").write_text("mine")
    names, moved, go_on = [f"a_{i:04d}.ply" for i in range(1, 5)], [], threading.Event()
    replace = os.replace

    def slowly(source, target):
        if threading.current_thread() is not threading.main_thread():
            moved.append(source)
            if len(moved) - 1 == stop_after:
                assert go_on.wait(10)
        replace(source, target)

    def make(folder):
        for name in names:
            (folder / name).write_text("new")
            yield 0, 4

    monkeypatch.setattr(os, "replace", slowly)
    steps = sequences.sequence_steps(out, (4, 4), make)
    for told in steps:
        if told == (4, 4) and stop_after is not None and len(moved) == stop_after + 1:
            threading.Timer(0.1, go_on.set).start()
            steps.close()  # waits for the thread
    there = {path.name: path.read_text() for path in out.iterdir()}
    if stop_after is None:
        assert there == dict.fromkeys(names, "new") | {"notes.txt": "mine"}
        assert len(moved) == 5, "one left, four came"
    else:
        assert there == {"a_0001.ply": "mine", "notes.txt": "mine"}


def test_a_log_of_failures_stays_small(tmp_path):
    for _ in range(3):
        failures.record(ValueError("x" * failures.KEPT))
    text = paths.failure_log().read_text()
    assert failures.KEPT < len(text) < 2 * failures.KEPT
