# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line in the backend's environment: what needs libraries that Blender lacks, in a
process of its own. Needs no Blender."""

import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from restage4d.errors import InputError

from . import launcher
from .steps import Steps

_PATIENCE, _GRACE = 0.01, 3.0  # seconds that a step waits, and that an ended process has
_NAME = "restage4d: "  # begins the sentence that the command line ends with
_SHARE = re.compile(r"\s*(\d{1,3}) %")


def check_environment(root: Path | None) -> Path:
    """The folder whose environment can run commands. Raises `InputError` where there is none."""
    if root is None or not launcher.get_own_python(root).is_file():
        raise InputError(
            "This needs the backend's libraries, and the backend is not set up on this computer.",
            "Press Set Up and Start in the Restage4D sidebar, then try again.",
        )
    return root


def command_steps(root: Path, arguments: Sequence[str]) -> Steps[None]:
    """Runs ``restage4d ARGUMENTS`` in the environment of ``root``; yields the percent that it says
    are done. Closed early, it ends the process and waits for that; the caller takes back what was
    written.

    Raises:
        InputError: what the command line says is wrong.
        RuntimeError: it failed in another way; its last line.
    """
    python = launcher.get_own_python(root)
    hidden: dict[str, Any] = {"creationflags": 0x08000000} if sys.platform == "win32" else {}
    try:
        process = subprocess.Popen(
            [str(python), "-m", "restage4d.cli", *arguments],
            cwd=root,
            env=launcher.make_environment() | {"PYTHONUTF8": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **hidden,  # CREATE_NO_WINDOW
        )
    except OSError as error:  # no error in writing
        raise RuntimeError(f"{python} cannot be run: {error.strerror}") from error
    lines: list[str] = []
    thread = threading.Thread(
        target=_read, args=(process.stdout, lines), name="restage4d command", daemon=True
    )
    thread.start()
    try:
        yield 0, 100
        while thread.is_alive():
            thread.join(_PATIENCE)
            yield _find_share(lines), 100
        process.wait()
    finally:
        _end(process)
        thread.join()
        assert process.stdout is not None
        process.stdout.close()
    if process.returncode:
        raise _explain(lines, process.returncode)


def _read(output: Any, lines: list[str]) -> None:
    for line in output:
        text = line.decode("utf-8", "replace").rstrip()
        if text:
            lines.append(text)


def _find_share(lines: list[str]) -> int:
    shares = [int(found[1]) for line in lines[-20:] if (found := _SHARE.match(line))]
    return min(shares[-1], 100) if shares else 0


def _end(process: subprocess.Popen[Any]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _explain(lines: list[str], code: int) -> Exception:
    """The error of a process that failed."""
    named = [i for i, line in enumerate(lines) if line.startswith(_NAME)]
    if code == 1 and named:
        said = " ".join(lines[named[-1] :]).removeprefix(_NAME)
        what, dot, remedy = said.rpartition(". ")
        return InputError(f"{what}.", remedy) if dot else InputError(said)
    return RuntimeError(lines[-1] if lines else f"the process ended with code {code}")
