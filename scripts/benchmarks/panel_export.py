"""How long the exports of Blender's panel hold the interface, for the bpy whose Python runs this.

    .venv-blender/bin/python scripts/benchmarks/panel_export.py [--points 15000 100000] [--bases 30]
        [--frames 30] [--times 3] [--puppet FILE]

Between two steps a window lives; a turn of it runs steps for 15 ms, so it is held for that and one
step. Of every export, shown as Gaussians: how many steps, and the three longest by the clock, in
milliseconds, with what the processor did in them (all threads, also those that write files). Each
is the least of some runs: other programs count in the clock. ``import`` is how it came in, once;
``--puppet`` is measured instead of random points. ``all formats`` is *Export for Other
Programs* without the command line, which is another process.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [
    str(Path(__file__).parents[2]),
    str(Path(__file__).parents[2] / "tests" / "blender"),
]

import bpy  # noqa: E402
import puppets  # noqa: E402

import blender_addon  # noqa: E402
from blender_addon.puppet import importer  # noqa: E402
from blender_addon.puppet.output import export, other_programs  # noqa: E402
from blender_addon.session.steps import Steps  # noqa: E402
from blender_addon.viewport import display  # noqa: E402
from restage4d.puppet import Puppet  # noqa: E402


def list_exports(
    imported: importer.ImportedPuppet, scene: Any, folder: Path
) -> dict[str, Callable[[], Steps[None]]]:
    """What is measured, by its name; each call begins anew."""
    what = export.What(range(1, 11))
    choice = other_programs.Choice("usd-splats", imported.performances[0].name)

    def pretend(arguments: list[str]) -> Steps[None]:
        Path(arguments[5]).write_bytes(b"")
        yield 1, 1

    return {
        ".puppet": lambda: export.puppet_steps(imported, scene, folder / "a.puppet"),
        "ply": lambda: export.ply_steps(imported, scene, folder / "a.ply", what),
        "npz": lambda: export.npz_steps(imported, scene, folder / "a.npz", what),
        "all formats": lambda: other_programs.program_steps(
            imported, scene, folder / "a.usdc", choice, pretend
        ),
    }


def measure(steps: Steps[None]) -> list[tuple[float, float]]:
    """Milliseconds of each step, by the clock and of the processor."""
    taken, done = [], False
    while not done:
        clock, processor = time.perf_counter(), time.process_time()
        done = next(steps, None) is None
        now = time.perf_counter(), time.process_time()
        taken.append((1e3 * (now[0] - clock), 1e3 * (now[1] - processor)))
    return taken


def tell(n: int, name: str, runs: list[list[tuple[float, float]]]) -> None:
    """Prints the longest steps of the runs of one export."""
    ordered = [sorted(run, reverse=True) for run in runs]
    longest = [min(run[i] for run in ordered) for i in range(3)]
    told = ", ".join(f"{clock:.0f} / {busy:.0f}" for clock, busy in longest)
    print(f"| {n} | {name} | {len(runs[0])} | {told} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--points", type=int, nargs="*", default=[15_000, 100_000])
    parser.add_argument("--bases", type=int, default=30)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--puppet", type=Path)
    given = parser.parse_args()
    blender_addon.register()
    version, load = bpy.app.version_string, os.getloadavg()[0]
    print(f"Blender {version}, {given.bases} bases, {given.frames} frames, load {load:.1f}")
    print("| points | export | steps | longest steps (clock / processor) |\n|---|---|---|---|")
    given_puppet = Puppet.load(given.puppet) if given.puppet else None
    for n in [len(given_puppet.subject)] if given_puppet else given.points:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        puppet = given_puppet or puppets.random_puppet(
            n, given.bases, given.frames, names=("base",)
        )
        made: list[importer.ImportedPuppet] = []

        def bring_in(puppet: Puppet = puppet, made: list = made) -> Steps[None]:
            made.append((yield from display.import_steps(puppet, name="bench")))

        tell(n, "import", [measure(bring_in())])
        imported = made[0]
        with tempfile.TemporaryDirectory() as folder:
            exports = list_exports(imported, bpy.context.scene, Path(folder))
            for name, begin in exports.items():
                tell(n, name, [measure(begin()) for _ in range(given.times)])


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)
