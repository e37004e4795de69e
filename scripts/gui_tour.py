"""A walk through the panel in a real Blender window with a live backend: from the demo clip to an export, with screenshots.

    python scripts/gui_tour.py --out DIR [--root ROOT] [--longer-side 192] [--frames 16] [--quality draft] [--steps 150]

Without ``--root``: the ``blender`` on the path, under Xvfb where there is no display. With it: the Blender of another system in
that folder (debootstrap with blender, xvfb, imagemagick, xdotool; needs root), whose backend runs in this checkout.
The backend is started by the panel, killed in the middle and must come back by itself. The walk prints what it did and how long
the extension held the interface; figures.json has the same. Exit code 1: something did not happen.
"""

import json
import os
import sys
from pathlib import Path

if "bpy" not in sys.modules:  # the side that starts Blender
    import argparse
    import shutil
    import signal
    import subprocess
    from contextlib import contextmanager, suppress

    ROOT = Path(__file__).resolve().parent.parent

    def main() -> int:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing stays mounted
        parser = argparse.ArgumentParser(description="Walk through the panel in a real window.")
        parser.add_argument("--out", type=Path, required=True, help="folder for screenshots and figures.json")
        parser.add_argument("--root", type=Path, help="folder of a system with Blender")
        parser.add_argument("--zip", type=Path, help="the extension (default: built now)")
        parser.add_argument("--longer-side", type=int, default=192)
        parser.add_argument("--frames", type=int, default=16)
        parser.add_argument("--quality", default="draft")
        parser.add_argument("--steps", type=int, default=150, help="of the fit; 0: what the quality has")
        parser.add_argument("--limit", type=float, default=600, help="seconds for the whole walk")
        given = parser.parse_args()
        place = given.root or Path("/")
        extra = given.out.resolve() / "inside"
        shutil.rmtree(extra, ignore_errors=True)
        (extra / "shots").mkdir(parents=True)
        package = given.zip
        if package is None:
            sys.path.insert(0, str(ROOT / "scripts"))
            import build_extension

            package = build_extension.build(given.out.resolve())
        shutil.copy(package, extra / "extension.zip")
        shutil.copy(ROOT / "scripts" / "demo_clip" / "base.mp4", extra / "base.mp4")
        shutil.copy(__file__, extra / "tour.py")
        seen = Path("/extra") if given.root else extra  # the same folder as Blender's side sees it
        folder = ROOT
        if given.root:
            folder = extra / "checkout"
            (folder / "scripts").mkdir(parents=True)
            (folder / ".venv").mkdir()
            (folder / "scripts" / "bootstrap.py").write_text(
                _SHIM.format(root=str(ROOT), home=str(extra / "home"), path=os.environ["PATH"])
            )
            folder = seen / "checkout"
        wanted = {"folder": str(folder), "inside": str(seen), "limit": given.limit}
        wanted |= {"longer_side": given.longer_side, "frames": given.frames, "quality": given.quality, "steps": given.steps}
        (extra / "wanted.json").write_text(json.dumps(wanted))
        variables = {
            "BLENDER_USER_RESOURCES": str(seen / "user"),
            "RESTAGE4D_TOUR": str(seen),
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "LC_ALL": "C.UTF-8",
            "XDG_RUNTIME_DIR": "/tmp",
        }
        prefix = [*(["chroot", str(given.root)] if given.root else []), "env", *(f"{k}={v}" for k, v in variables.items())]
        window = (
            []
            if os.environ.get("DISPLAY") and not given.root
            else ["xvfb-run", "-a", "-s", "-screen 0 1440x1000x24 +extension GLX"]
        )
        blender = [
            "blender",
            "--window-geometry",
            "0",
            "0",
            "1440",
            "1000",
            "--python-exit-code",
            "3",
            "--python",
            str(seen / "tour.py"),
        ]
        install = ["blender", "--command", "extension", "install-file", "-r", "user_default", "-e", str(seen / "extension.zip")]
        with mounted(place, extra) if given.root else _nothing():
            subprocess.run([*prefix, *install], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120)
            with subprocess.Popen([*prefix, *window, *blender], start_new_session=True) as process:
                try:
                    code = process.wait(given.limit + 60)
                except subprocess.TimeoutExpired:
                    code = 1
                finally:
                    with suppress(ProcessLookupError):  # Xvfb, too
                        os.killpg(process.pid, signal.SIGTERM)
        for picture in sorted((extra / "shots").iterdir()):
            shutil.copy(picture, given.out)
        stop_backend(extra / "home")
        print(f"exit code {code}; pictures in {given.out}")
        return code

    # Blender's own Python runs this instead of scripts/bootstrap.py: out of its system, into this one.
    _SHIM = """
import os, sys
os.environ["RESTAGE4D_HOME"] = {home!r}
os.environ["PATH"] = {path!r}
print("starting", flush=True)
os.execv("/usr/sbin/chroot", ["chroot", "/host", {root!r} + "/.venv/bin/python", "-c",
    "import os, runpy, sys; os.chdir({root!r}); sys.path.insert(0, {root!r}); sys.argv[1:] = " + repr(sys.argv[2:]) +
    "; runpy.run_module('backend', run_name='__main__')"])
"""

    def stop_backend(home: Path) -> None:
        """Ends the backend that the walk started."""
        os.environ["RESTAGE4D_HOME"] = str(home)
        command = [
            str(ROOT / ".venv" / "bin" / "python"),
            "-c",
            "from restage4d.wire.service import stop_service; stop_service()",
        ]
        subprocess.run(command, check=False, cwd=ROOT, timeout=60)

    @contextmanager
    def _nothing():
        yield

    @contextmanager
    def mounted(place: Path, extra: Path):
        """/proc and /dev for Blender, this system at /host, and the walk's folder at /extra."""
        binds = [("/dev", "dev"), (str(extra), "extra"), ("/", "host"), ("/proc", "host/proc"), ("/dev", "host/dev")]
        if os.path.ismount("/tmp"):
            binds.append(("/tmp", "host/tmp"))
        done = []
        try:
            (place / "host").mkdir(exist_ok=True)
            (place / "extra").mkdir(exist_ok=True)
            subprocess.run(["mount", "-t", "proc", "proc", str(place / "proc")], check=True)
            done.append("proc")
            for source, target in binds:
                subprocess.run(["mount", "--bind", source, str(place / target)], check=True)
                done.append(target)
            yield
        finally:
            for target in reversed(done):
                subprocess.run(["umount", "-l", str(place / target)], check=False)

    if __name__ == "__main__":
        sys.exit(main())

else:  # inside Blender
    import dataclasses
    import importlib
    import subprocess
    import time
    import traceback

    import bpy

    bpy.context.preferences.view.show_splash = False
    INSIDE = Path(os.environ["RESTAGE4D_TOUR"])
    WANTED = json.loads((INSIDE / "wanted.json").read_text())
    MODULE = "bl_ext.user_default.restage4d"
    pump = importlib.import_module(f"{MODULE}.pump")
    # Longest time in ms that each part of the extension held the interface: by the clock, where other programs count too, and
    # of the processor.
    held: dict[str, float] = {}
    worked: dict[str, float] = {}
    figures: dict[str, object] = {"blender": bpy.app.version_string}
    began = time.monotonic()

    PATIENCE = 3  # times as long on a machine that others use, too

    def timed(owner, name: str, label: str) -> None:
        """Notes how long a function of the extension takes."""
        inner = getattr(owner, name)

        def outer(*arguments):
            start, cpu = time.perf_counter(), time.thread_time()
            try:
                return inner(*arguments)
            finally:
                held[label] = max(held.get(label, 0.0), round(1000 * (time.perf_counter() - start), 2))
                worked[label] = max(worked.get(label, 0.0), round(1000 * (time.thread_time() - cpu), 2))

        def drawn(self, context):  # Blender counts a panel's arguments
            return outer(self, context)

        setattr(owner, name, drawn if inner.__code__.co_varnames[:2] == ("self", "context") else outer)

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:6.1f} s] {text}", flush=True)

    def picture(name: str) -> None:
        subprocess.run(["import", "-window", "root", str(INSIDE / "shots" / f"{name}.png")], check=True)
        say(f"picture {name}")

    def view():
        """The 3D view's area, region and space."""
        area = next(a for a in bpy.context.window_manager.windows[0].screen.areas if a.type == "VIEW_3D")
        return area, next(r for r in area.regions if r.type == "WINDOW"), area.spaces.active

    def drag(first: tuple[float, float], last: tuple[float, float]) -> None:
        """A real drag of the mouse between two pixels of the shot's first frame."""
        selecting = importlib.import_module(f"{MODULE}.selecting")
        area, region, _ = view()
        size = pump.session().shot.size
        x, y, scale = selecting.frame_of(area, region, size)
        height = bpy.context.window_manager.windows[0].height
        at = [
            (str(round(region.x + x + u * scale)), str(round(height - region.y - y - (size[1] - v) * scale)))
            for u, v in (first, last)
        ]
        half = [str((int(a) + int(b)) // 2) for a, b in zip(*at, strict=True)]
        pause = ["sleep", "1.5"]  # a software renderer is slow to see the mouse
        moves = ["mousemove", *at[0], *pause, "mousedown", "1", *pause, "mousemove", *half, *pause, "mousemove", *at[1], *pause]
        subprocess.Popen(["xdotool", *moves, "mouseup", "1"])  # meanwhile Blender must see where the mouse is

    def in_view(operator, *arguments, **keywords):
        area, region, _ = view()
        with bpy.context.temp_override(window=bpy.context.window_manager.windows[0], area=area, region=region):
            return operator(*arguments, **keywords)

    def scroll(steps: int) -> None:
        """Scrolls the sidebar down, or up where negative."""
        area, _, _ = view()
        region = next(r for r in area.regions if r.type == "UI")
        operator = bpy.ops.view2d.scroll_down if steps > 0 else bpy.ops.view2d.scroll_up
        with bpy.context.temp_override(window=bpy.context.window_manager.windows[0], area=area, region=region):
            for _ in range(abs(steps)):
                operator(deltay=40, page=False)

    def job():
        return pump.session().job

    def walk():
        """Yields seconds to wait, or (condition, seconds at most, what is waited for)."""
        preferences = bpy.context.preferences
        mine = preferences.addons[MODULE].preferences
        mine.folder, mine.store, mine.longer_side = WANTED["folder"], str(INSIDE / "home"), WANTED["longer_side"]
        for obj in list(bpy.data.objects):
            bpy.data.objects.remove(obj)
        area, _, space = view()
        space.show_region_ui = True
        yield 1.0
        sidebar = next(r for r in area.regions if r.type == "UI")
        sidebar.active_panel_category = "Restage4D"
        chosen = bpy.context.scene.restage4d
        yield lambda: pump.session().backend.phase == "absent", 30, "the panel to see that there is no backend"
        yield 0.5
        picture("01_no_backend")
        bpy.ops.restage4d.start_backend()
        yield lambda: pump.session().backend.phase == "ready", 120, "the backend"
        bpy.ops.restage4d.pick_video(filepath=str(INSIDE / "base.mp4"))
        yield lambda: pump.session().shot is not None and pump.session().shot.first is not None, 60, "the first frame"
        yield lambda: pump.session().shot.phase == "ready", 60, "the subject"
        chosen.use_range, chosen.last_frame = True, WANTED["frames"]
        yield 2.0
        yield lambda: pump.session().shot.phase == "ready", 60, "the subject again"
        yield 1.0
        picture("02_shot")
        in_view(bpy.ops.restage4d.select_subject, "INVOKE_DEFAULT")
        yield 1.5
        picture("03_select")
        drag((56, 26), (330, 262))  # around the demo clip's fox, in the video's pixels
        yield lambda: chosen.selection == "BOX" and pump.session().shot.phase == "ready", 60, "the subject in the box"
        yield 1.0
        picture("04_selected")
        assert pump.session().shot.mask is not None, pump.session().shot.fault
        subprocess.run(["xdotool", "key", "Return"], check=True)
        yield 1.0
        chosen.prompt, chosen.quality = "it crouches, then jumps and nods", WANTED["quality"]
        yield lambda: pump.session().shot.phase == "ready", 60, "the subject"
        yield 0.5
        picture("05_direction")
        if steps := WANTED["steps"]:  # nothing an artist would set
            whole = pump.order
            few = {"fusion.steps": steps, "motion.steps": steps}
            pump.order = lambda chosen: dataclasses.replace(whole(chosen), settings=few)
        bpy.ops.restage4d.restage()
        yield lambda: job().state == "running" and job().fraction > 0.1, 300, "the job to run"
        picture("06_running")
        blend, known = str(INSIDE / "shot.blend"), job().id
        bpy.ops.wm.save_as_mainfile(filepath=blend)
        bpy.ops.wm.read_homefile(app_template="")
        yield 1.0
        assert job() is None, "another file shows the job"
        bpy.ops.wm.open_mainfile(filepath=blend)
        yield lambda: job() is not None and job().id == known and job().state == "running", 60, "the file to find its job"
        say("opened again: the job is found")
        area, _, space = view()
        space.show_region_ui = True
        chosen = bpy.context.scene.restage4d
        yield lambda: job().points is not None, 600, "points"
        yield 1.0
        bpy.ops.restage4d.look_at_it()
        scroll(12)
        yield 12.0
        picture("07_converging")
        scroll(-12)
        os.kill(json.loads((INSIDE / "home" / "connection.json").read_text())["pid"], 9)
        killed = time.monotonic()
        yield lambda: pump.session().backend.phase == "lost", 30, "the panel to see that the backend is gone"
        figures["lost_seen_s"] = round(time.monotonic() - killed, 1)
        yield 0.5
        picture("08_lost")
        yield lambda: pump.session().backend.phase == "ready", 120, "the backend to be started again"
        figures["back_s"] = round(time.monotonic() - killed, 1)
        yield 2.0
        picture("09_back")
        yield lambda: job() is None or job().state == "done" or job().fault is not None, 600, "the job to end"
        yield lambda: job().brought_in or job().fault is not None, 60, "the puppet"
        assert job().fault is None, job().fault
        scroll(25)
        yield 3.0
        picture("10_puppet")
        scene = bpy.context.scene
        scene.frame_set(scene.frame_start + (scene.frame_end - scene.frame_start) // 2)
        yield 2.0
        picture("11_scrubbed")
        armature = next(o for o in scene.objects if o.type == "ARMATURE")
        bpy.context.view_layer.objects.active = armature
        armature.select_set(True)
        _, _, space = view()
        space.region_3d.view_perspective = "PERSP"
        in_view(bpy.ops.object.mode_set, mode="POSE")
        bone = max(armature.pose.bones, key=lambda b: b.head.z)
        before = bone.matrix.translation.copy()
        bone.location.z += 0.2
        yield 2.0
        assert (bone.matrix.translation - before).length > 0.01
        picture("12_moved_bone")
        in_view(bpy.ops.object.mode_set, mode="OBJECT")
        bpy.ops.restage4d.export_puppet(filepath=str(INSIDE / "tweaked.puppet"))
        bpy.ops.restage4d.export_npz(filepath=str(INSIDE / "tweaked.npz"))
        for name in ("tweaked.puppet", "tweaked_0001.npz"):
            assert (INSIDE / name).stat().st_size > 1000, name
        sidebar = next(r for r in view()[0].regions if r.type == "UI")
        yield 1.0
        picture("13_exported")
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
                        session = pump.session()
                        raise TimeoutError(
                            f"no sign of {what}: {session.backend}, {session.shot and session.shot.fault}, {session.job}"
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
        figures["held_ms"], figures["processor_ms"] = dict(sorted(held.items())), dict(sorted(worked.items()))
        figures["seconds"] = round(time.monotonic() - began, 1)
        (INSIDE / "shots" / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
        print(json.dumps(figures, indent=2), flush=True)
        os._exit(code)

    timed(pump, "_follow_shot", "follow shot")
    timed(pump, "_show", "show")
    timed(pump, "_bring_in_when_possible", "bring in")
    timed(type(pump.live), "draw", "draw live points")
    for panels in ("panel", "puppet_panel"):
        for panel in importlib.import_module(f"{MODULE}.{panels}").CLASSES:
            timed(panel, "draw", f"draw {panel.bl_label}")
    steps = walk()
    bpy.app.timers.register(lambda: drive(steps), first_interval=3, persistent=True)
