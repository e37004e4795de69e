"""The walk of scripts/gui_tour.py, inside Blender."""

import dataclasses
import importlib
import json
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

import bpy

INSIDE = Path(os.environ["RESTAGE4D_TOUR"])
sys.path.insert(0, str(INSIDE))
from gui_watch import Watch  # noqa: E402

bpy.context.preferences.view.show_splash = False
WANTED = json.loads((INSIDE / "wanted.json").read_text())
MODULE = "bl_ext.user_default.restage4d"
runtime = importlib.import_module(f"{MODULE}.runtime")
orders = importlib.import_module(f"{MODULE}.orders")
takes = importlib.import_module(f"{MODULE}.takes")
running_work = importlib.import_module(f"{MODULE}.session.running_work")
watch = Watch(MODULE)
figures: dict[str, object] = {"blender": bpy.app.version_string}
began = time.monotonic()

ENOUGH = 50.0  # ms that nothing of the extension may hold the interface longer than
PATIENCE = 3  # times as long on a machine that others use, too


def say(text: str) -> None:
    print(f"[{time.monotonic() - began:6.1f} s] {text}", flush=True)


def picture(name: str) -> None:
    subprocess.run(["import", "-window", "root", str(INSIDE / "shots" / f"{name}.png")], check=True)
    say(f"picture {name}")


def view():
    """The 3D view's area, region and space."""
    area = next(
        a for a in bpy.context.window_manager.windows[0].screen.areas if a.type == "VIEW_3D"
    )
    return area, next(r for r in area.regions if r.type == "WINDOW"), area.spaces.active


def drag(first: tuple[float, float], last: tuple[float, float]) -> None:
    """A real drag of the mouse between two pixels of the shot's first frame."""
    frame_view = importlib.import_module(f"{MODULE}.operators.pointing.frame_view")
    area, region, _ = view()
    size = runtime.session().shot.size
    x, y, scale = frame_view.find_frame(area, region, size)
    height = bpy.context.window_manager.windows[0].height
    at = [
        (
            str(round(region.x + x + u * scale)),
            str(round(height - region.y - y - (size[1] - v) * scale)),
        )
        for u, v in (first, last)
    ]
    half = [str((int(a) + int(b)) // 2) for a, b in zip(*at, strict=True)]
    pause = ["sleep", "1.5"]  # a software renderer is slow to see the mouse
    moves = [
        "mousemove",
        *at[0],
        *pause,
        "mousedown",
        "1",
        *pause,
        "mousemove",
        *half,
        *pause,
        "mousemove",
        *at[1],
        *pause,
    ]
    subprocess.Popen(
        ["xdotool", *moves, "mouseup", "1"]
    )  # meanwhile Blender must see where the mouse is


def in_view(operator, *arguments, **keywords):
    area, region, _ = view()
    with bpy.context.temp_override(
        window=bpy.context.window_manager.windows[0], area=area, region=region
    ):
        return operator(*arguments, **keywords)


def scroll(steps: int) -> None:
    """Scrolls the sidebar down, or up where negative."""
    area, _, _ = view()
    region = next(r for r in area.regions if r.type == "UI")
    operator = bpy.ops.view2d.scroll_down if steps > 0 else bpy.ops.view2d.scroll_up
    with bpy.context.temp_override(
        window=bpy.context.window_manager.windows[0], area=area, region=region
    ):
        for _ in range(abs(steps)):
            operator(deltay=40, page=False)


def export(operator, path: Path):
    """An export as the artist does it: Return in the file browser, then step by step. Yields as
    `walk` does."""
    in_view(operator, "INVOKE_DEFAULT", filepath=str(path))
    yield lambda: len(bpy.context.window_manager.windows) > 1, 10, "the file browser"
    yield 1.0
    subprocess.run(["xdotool", "mousemove", "400", "300"], check=True)
    yield 0.5
    subprocess.Popen(["xdotool", "key", "Return"])
    yield (
        lambda: running_work.current is None and len(bpy.context.window_manager.windows) == 1,
        120,
        f"{path.name} to be written",
    )


def phase(name: str) -> None:
    """Notes how long the interface was held since the last call."""
    over = {k: v for k, v in watch.clock.items() if v > ENOUGH}
    figures[name] = {
        "longest_ms": max(watch.clock.values(), default=0.0),
        "over_50_ms": {k: {"clock": v, "processor": watch.processor[k]} for k, v in over.items()},
        "longest_turn_of_blender_ms": round(watch.gap, 1),
        "worst": watch.worst(),
    }
    for line in watch.worst():
        say(f"{name}: {line}")
    watch.clock, watch.processor, watch.gap = {}, {}, 0.0


def job():
    return runtime.session().job


def walk():
    """Yields seconds to wait, or (condition, seconds at most, what is waited for)."""
    preferences = bpy.context.preferences
    mine = preferences.addons[MODULE].preferences
    mine.folder, mine.store, mine.longer_side = (
        WANTED["folder"],
        str(INSIDE / "home"),
        WANTED["longer_side"],
    )
    for obj in list(bpy.data.objects):
        bpy.data.objects.remove(obj)
    area, _, space = view()
    space.show_region_ui = True
    yield 1.0
    sidebar = next(r for r in area.regions if r.type == "UI")
    sidebar.active_panel_category = "Restage4D"
    chosen = bpy.context.scene.restage4d
    yield (
        lambda: runtime.session().backend.phase == "absent",
        30,
        "the panel to see that there is no backend",
    )
    yield 0.5
    picture("01_no_backend")
    bpy.ops.restage4d.start_backend()
    yield lambda: runtime.session().backend.phase == "ready", 120, "the backend"
    bpy.ops.restage4d.pick_video(filepath=str(INSIDE / "base.mp4"))
    yield (
        lambda: runtime.session().shot is not None and runtime.session().shot.first is not None,
        60,
        "the first frame",
    )
    yield lambda: runtime.session().shot.phase == "ready", 60, "the subject"
    chosen.use_range, chosen.last_frame = True, WANTED["frames"]
    yield 2.0
    yield lambda: runtime.session().shot.phase == "ready", 60, "the subject again"
    yield 1.0
    picture("02_shot")
    in_view(bpy.ops.restage4d.select_subject, "INVOKE_DEFAULT")
    yield 1.5
    picture("03_select")
    drag((56, 26), (330, 262))  # around the demo clip's fox, in the video's pixels
    yield (
        lambda: chosen.selection == "BOX" and runtime.session().shot.phase == "ready",
        60,
        "the subject in the box",
    )
    yield 1.0
    picture("04_selected")
    assert runtime.session().shot.mask is not None, runtime.session().shot.fault
    subprocess.run(["xdotool", "key", "Return"], check=True)
    yield 1.0
    chosen.prompt, chosen.quality = "it crouches, then jumps and nods", WANTED["quality"]
    yield lambda: runtime.session().shot.phase == "ready", 60, "the subject"
    yield 0.5
    picture("05_direction")
    preferences.system.use_online_access = (
        True  # the stand-in of a paid service counts as one elsewhere
    )
    bpy.ops.restage4d.use_provider(kind="driving", name="runway")
    chosen.candidates = 2
    bpy.ops.restage4d.refine_prompt()
    yield lambda: orders.get_refined_prompt(chosen) != "", 120, "the refined prompt and the terms"
    chosen.refined += " It is a quiet morning."
    yield 0.5
    picture("06_terms")
    in_view(bpy.ops.restage4d.make_driving, "INVOKE_DEFAULT")
    yield 1.0
    picture("07_agree")
    subprocess.Popen(["xdotool", "key", "Return"])
    yield lambda: chosen.driving_job != "", 30, "the artist to agree"
    preferences.system.use_online_access = False
    yield (
        lambda: takes.find_valid(chosen) or runtime.session().driving_job.fault is not None,
        300,
        "two driving videos to pick from",
    )
    assert takes.find_valid(chosen), runtime.session().driving_job.fault
    scroll(12)
    yield 2.0
    picture("08_takes")
    bpy.ops.restage4d.use_provider(kind="driving", name="kinematic")
    bpy.ops.restage4d.make_driving()
    yield (
        lambda: takes.find_valid(chosen) or runtime.session().driving_job.fault is not None,
        300,
        "the draft driver's video",
    )
    yield 2.0
    picture("09_take")
    scroll(-12)
    if steps := WANTED["steps"]:  # nothing an artist would set
        whole = orders.make_order
        few = {"fusion.steps": steps, "motion.steps": steps}
        orders.make_order = lambda chosen: dataclasses.replace(whole(chosen), settings=few)
    bpy.ops.restage4d.restage()
    yield lambda: job().state == "running" and job().fraction > 0.1, 300, "the job to run"
    picture("10_running")
    blend, known = str(INSIDE / "shot.blend"), job().id
    bpy.ops.wm.save_as_mainfile(filepath=blend)
    bpy.ops.wm.read_homefile(app_template="")
    yield 1.0
    assert job() is None, "another file shows the job"
    bpy.ops.wm.open_mainfile(filepath=blend)
    yield (
        lambda: job() is not None and job().id == known and job().state == "running",
        60,
        "the file to find its job",
    )
    say("opened again: the job is found")
    area, _, space = view()
    space.show_region_ui = True
    chosen = bpy.context.scene.restage4d
    yield lambda: job().points is not None, 600, "points"
    yield 1.0
    bpy.ops.restage4d.look_at_it()
    scroll(12)
    yield 4.0
    picture("11_converging")
    scroll(-12)
    os.kill(json.loads((INSIDE / "home" / "connection.json").read_text())["pid"], 9)
    killed = time.monotonic()
    yield (
        lambda: runtime.session().backend.phase == "lost",
        30,
        "the panel to see that the backend is gone",
    )
    figures["lost_seen_s"] = round(time.monotonic() - killed, 1)
    yield 0.5
    picture("12_lost")
    yield lambda: runtime.session().backend.phase == "ready", 120, "the backend to be started again"
    figures["back_s"] = round(time.monotonic() - killed, 1)
    yield 2.0
    picture("13_back")
    yield (
        lambda: job() is None or job().state == "done" or job().fault is not None,
        600,
        "the job to end",
    )
    phase("job_runs")
    yield lambda: job().brought_in or job().fault is not None, 60, "the puppet"
    yield 0.2
    phase("puppet_comes_in")
    assert job().fault is None, job().fault
    scroll(25)
    yield 3.0
    picture("14_puppet")
    scene = bpy.context.scene
    scene.frame_set(scene.frame_start + (scene.frame_end - scene.frame_start) // 2)
    yield 2.0
    picture("15_scrubbed")
    armature = next(o for o in scene.objects if o.type == "ARMATURE")
    bpy.context.view_layer.objects.active = armature
    armature.select_set(True)
    _, _, space = view()
    space.region_3d.view_perspective = "PERSP"
    in_view(bpy.ops.object.mode_set, mode="POSE")
    bone = max(
        (b for b in armature.pose.bones if b.bone.get("restage4d_role") == "control"),
        key=lambda b: b.head.z,
    )
    before = bone.matrix.translation.copy()
    bone.location.z += 0.15
    bone.rotation_quaternion = (0.94, 0.0, 0.34, 0.0)
    yield 2.0
    assert (bone.matrix.translation - before).length > 0.01
    picture("16_moved_handle")
    in_view(bpy.ops.object.mode_set, mode="OBJECT")
    phase("puppet_is_there")
    yield from export(bpy.ops.restage4d.export_puppet, INSIDE / "tweaked.puppet")
    yield from export(bpy.ops.restage4d.export_npz, INSIDE / "tweaked.npz")
    phase("exports")
    for name in ("tweaked.puppet", "tweaked_0001.npz"):
        assert (INSIDE / name).stat().st_size > 1000, name
    yield 1.0
    picture("17_exported")
    bpy.ops.wm.save_as_mainfile(filepath=blend)
    say("exported and saved")


def drive(steps, state={}):  # noqa: B006
    """Goes on with the walk where its condition holds; the timer's function."""
    try:
        waiting = state.get("for")
        if waiting is not None:
            condition, until, what = waiting
            if not condition():
                if time.monotonic() > until:
                    picture("99_stuck")
                    session = runtime.session()
                    raise TimeoutError(
                        f"no sign of {what}: {session.backend}, "
                        f"{session.shot and session.shot.fault}, {session.job}"
                    )
                return 0.2
            say(what)
        state["for"] = None
        step = next(steps)
        if isinstance(step, tuple):
            state["for"] = (step[0], time.monotonic() + PATIENCE * step[1], step[2])
            return 0.1
        return float(step)
    except StopIteration:
        finish(0)
    except BaseException:
        traceback.print_exc()
        finish(1)
    return None


def finish(code: int) -> None:
    figures["seconds"] = round(time.monotonic() - began, 1)
    (INSIDE / "shots" / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2), flush=True)
    os._exit(code)


watch.everything()
steps = walk()
bpy.app.timers.register(lambda: drive(steps), first_interval=3, persistent=True)
