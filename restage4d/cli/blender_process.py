"""The .blend file of a puppet, made by ``python -m blender_addon.headless`` in a Python that has
bpy: a process of its own, as bpy needs another numpy than the fit."""

import os
import subprocess
from pathlib import Path

from restage4d.errors import InputError

_CHECKOUT = Path(__file__).resolve().parents[2]
_TIMEOUT_S = 600


class BlenderProcess:
    """A `restage4d.jobs.results.BlendMaker`.

    Args:
        python: a Python with bpy; None: the one that scripts/run.sh puts into the checkout.
    """

    def __init__(self, python: Path | None = None) -> None:
        folder = _CHECKOUT / ".venv-blender"
        self.python = (
            python or folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        ).absolute()  # not resolved: an environment's Python is a link

    def __call__(self, puppet: Path, blend: Path, footage: dict[str, Path]) -> None:
        if not self.python.exists():
            raise InputError(
                f"{self.python} is missing.", "Run scripts/run.sh, or give --blender-python."
            )
        # absolute: the process works in the checkout's folder
        command = [str(self.python), "-m", "blender_addon.headless"]
        command += [str(puppet.absolute()), str(blend.absolute())]
        command += [f"--footage={name}={path.absolute()}" for name, path in footage.items()]
        before = _stamp(blend)
        try:
            done = subprocess.run(
                command,
                cwd=_CHECKOUT,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _blend_error(blend, str(error)) from error
        if done.returncode != 0:
            raise _blend_error(blend, done.stderr.strip()[-500:])
        if _stamp(blend) in (None, before):
            raise _blend_error(blend, "it ended without an error and without a file.")


def _stamp(path: Path) -> tuple[int, int] | None:
    """Changes whenever a file is written anew; None where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino


def _blend_error(blend: Path, why: str) -> InputError:
    return InputError(f"Blender could not make {blend}: {why}", "The puppet itself is kept.")
