"""Programs run in a Python of their own, where a library's needs do not go together with ours."""

import subprocess
import tempfile
import time
from pathlib import Path

from restage4d.progress import Progress

# not as a script: Python would then look for its own modules in the program's folder first
_START = (
    "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)


def run_program(
    python: Path, program: Path, arguments: list[str], timeout: float, progress: Progress
) -> str | None:
    """Runs ``program`` in ``python``; None, or the last words of one that failed or took longer
    than ``timeout`` seconds. Cancelled work ends it."""
    with tempfile.TemporaryFile() as words:
        command = [str(python), "-c", _START, str(program), *arguments]
        with subprocess.Popen(command, stdout=words, stderr=subprocess.STDOUT) as process:
            try:
                until = time.monotonic() + timeout
                while process.poll() is None and time.monotonic() < until:
                    progress.check()
                    time.sleep(0.05)
                late = process.poll() is None
            finally:
                process.kill()
        words.seek(0)
        message = words.read().decode("utf-8", "replace").strip()
    if late:
        return f"it took longer than {timeout:g} s"
    if process.returncode == 0:
        return None
    return message or f"it ended with code {process.returncode}"
