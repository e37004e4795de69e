"""Sets up what Restage4D needs in this checkout, then runs the main job, the tests or the backend.
Standard library only.

    python scripts/bootstrap.py run [VIDEO "PROMPT" [options of `restage4d run`]]
    python scripts/bootstrap.py test [--ci] [options of pytest]
    python scripts/bootstrap.py serve [options of `restage4d serve`]
"""

# so that an old Python gets as far as the sentence that it is too old
from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from setup_environment import (
    BACKEND,
    BLENDER,
    GPU,
    MAIN,
    NEWER_BLENDERS,
    ROOT,
    SetupError,
    check_python,
    ensure,
    ensure_libraries,
    find_missing_packages,
    find_python,
    is_up_to_date,
    python311_remedy,
    this_python,
)

DEMO = ROOT / "scripts" / "demo_clip"
DEMO_PROMPT = "it crouches, then jumps and nods"


def main(argv: Sequence[str]) -> int:
    if not argv or argv[0] not in ("run", "test", "serve"):
        print(__doc__, file=sys.stderr)
        return 2
    command, arguments = argv[0], list(argv[1:])
    try:
        if command == "serve":
            return serve(arguments)
        set_up(blender_required=command == "test")
        return run(arguments) if command == "run" else test(arguments)
    except SetupError as error:
        print(f"\nrestage4d: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\nrestage4d: the set-up was stopped; the same command makes it anew.", file=sys.stderr
        )
        return 130


def run(arguments: list[str]) -> int:
    """`restage4d run`, with the demo clip where no video is given."""
    return call([MAIN.python, "-m", "restage4d.cli", "run", *add_demo(arguments)])


def add_demo(arguments: list[str]) -> list[str]:
    """VIDEO and PROMPT stand first; where they do not, the project's own clip, its prompt and its
    true masks."""
    if arguments and (not arguments[0].startswith("-") or arguments[0] in ("-h", "--help")):
        return arguments
    return [str(DEMO / "base.mp4"), DEMO_PROMPT, "--true-masks", str(DEMO / "masks"), *arguments]


def test(arguments: list[str]) -> int:
    """Linter, formatter, types, then pytest with a worker per core (four at most, for their
    memory); stops at the first that fails. `--ci` takes the slow tests in too."""
    slow = ["-m", "slow or not slow"] if "--ci" in arguments else []
    arguments = [a for a in arguments if a != "--ci"]
    workers = min(os.cpu_count() or 1, 4)
    steps = (
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["pyright"],
        ["pytest", "-n", str(workers), "--dist", "loadgroup", *slow, *arguments],
    )
    for step in steps:
        print(f"\n== {' '.join(step)}", flush=True)
        code = call([MAIN.python, "-m", *step], cwd=ROOT)
        if code != 0:
            return code
    return 0


def serve(arguments: list[str]) -> int:
    """`restage4d serve`: the backend that Blender's panel talks to. Needs no test tools and no
    Blender."""
    check_python(sys.version_info[:2])
    if not any(is_up_to_date(environment) for environment in (MAIN, BACKEND)):
        ensure(BACKEND, this_python())
    prepare_gpu()
    return call([BACKEND.python, "-m", "backend", *arguments], cwd=ROOT)


def call(command: Sequence[str | Path], cwd: Path | None = None) -> int:
    """Runs a program of the project to its end; Ctrl-C is the program's own business."""
    with subprocess.Popen([str(part) for part in command], cwd=cwd) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue


def set_up(*, blender_required: bool) -> None:
    """Makes or updates the environments. Without Python 3.11 the Blender one is left out, unless it
    is required; those of newer Blenders are for tests, and made where there is Python 3.13."""
    check_python(sys.version_info[:2])
    ensure(MAIN, this_python())
    prepare_gpu()
    python311 = find_python("3.11")
    if python311 is None:
        text = (
            "Blender's Python module needs Python 3.11, which was not found. " + python311_remedy()
        )
        if blender_required:
            raise SetupError(text)
        print(f"Warning: {text} Until then there will be no .blend file.", file=sys.stderr)
        return
    if sys.platform == "linux":
        ensure_libraries(find_missing_packages())
    ensure(BLENDER, python311)
    if blender_required:
        add_newer_blenders()


def prepare_gpu() -> None:
    """Compiles the drawing kernels of an NVIDIA GPU, once: a job would do it at its start."""
    if GPU:
        script = "from restage4d.splatting import prepare_drawing; prepare_drawing(print)"
        call([MAIN.python, "-c", script], cwd=ROOT)


def add_newer_blenders() -> None:
    """The environments of newer Blenders; without one, its tests are left out."""
    python313 = find_python("3.13")
    for environment in NEWER_BLENDERS:
        try:
            if python313 is None:
                raise SetupError("Python 3.13 was not found.")
            ensure(environment, python313)
        except SetupError as error:
            text = f"Tests with {environment.folder.name} are left out."
            print(f"Warning: {error} {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
