"""A folder that its user alone can read: mode 0700, or on Windows an access list with one entry.
Standard library only.

On Windows the system's own ``icacls`` is asked, with SIDs instead of names, which are translated.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

_SID = re.compile(r"S-1-[0-9-]+")
# of a security descriptor, as its definition language (SDDL) writes the access list
_ACCESS_LIST = re.compile(r"D:([A-Z]*)((?:\([^()]*\))+)")
_BUILT_IN_ADMINISTRATOR = "-500"  # ends its SID; SDDL calls it LA
_TIMEOUT_S = 120.0  # of a command: there may be ten thousand files

Run = Callable[[list[str]], str]


def make_private(folder: Path) -> None:
    """Makes a folder where there is none, and shuts everybody else out of it and of what is made in
    it.

    Raises:
        OSError: it cannot be made, or not made private.
    """
    if os.name == "nt":
        folder.mkdir(parents=True, exist_ok=True)
        shut_on_windows(folder)
    else:
        os.umask(0o077)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)


def is_private(folder: Path) -> bool:
    """Whether its user alone can read a folder. Raises OSError where that cannot be found out."""
    if os.name == "nt":
        return is_shut_on_windows(folder)
    return not folder.stat().st_mode & 0o77


def _run(command: list[str]) -> str:
    """What a program of Windows says. Raises OSError where it fails."""
    program = Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32" / command[0]
    try:
        done = subprocess.run(
            [str(program), *command[1:]], capture_output=True, timeout=_TIMEOUT_S, check=True
        )
    except subprocess.SubprocessError as error:
        said = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip()
        raise OSError(f"{command[0]} failed: {said or error}") from error
    return done.stdout.decode(errors="replace")


def is_shut_on_windows(folder: Path, run: Run = _run) -> bool:
    """Whether a folder's access list takes nothing from the folder above and lets this user alone
    in. Raises OSError."""
    found = _ACCESS_LIST.search(_read_access(folder, run))
    if found is None:  # no list at all: everybody may come in
        return False
    sid = _find_own_sid(run)
    own = {sid, "LA"} if sid.endswith(_BUILT_IN_ADMINISTRATOR) else {sid}
    entries = [entry.split(";") for entry in re.findall(r"\(([^()]*)\)", found[2])]
    let_in = {entry[5] for entry in entries if entry[0].startswith("A") and len(entry) > 5}
    return "P" in found[1] and bool(let_in) and let_in <= own


def shut_on_windows(folder: Path, run: Run = _run) -> None:
    """Leaves one entry in a folder's access list, this user's; what lies in it inherits that.

    Raises:
        OSError: the folder's disk has no access lists, or they may not be changed.
    """
    if is_shut_on_windows(folder, run):
        return
    run(["icacls.exe", str(folder), "/reset", "/q"])  # entries of its own go
    entry = f"*{_find_own_sid(run)}:(OI)(CI)F"  # for files and folders in it, everything
    run(["icacls.exe", str(folder), "/inheritance:r", "/grant:r", entry, "/q"])
    if any(folder.iterdir()):
        run(["icacls.exe", str(folder / "*"), "/reset", "/t", "/c", "/q"])
    if not is_shut_on_windows(folder, run):
        raise OSError(f"{folder} still lets others in")


def _find_own_sid(run: Run) -> str:
    """``whoami`` says ``"computer\\anna","S-1-5-21-...-1001"``."""
    found = _SID.search(run(["whoami.exe", "/user", "/fo", "csv", "/nh"]))
    if found is None:
        raise OSError("whoami told no SID")
    return found[0]


def _read_access(folder: Path, run: Run) -> str:
    """A folder's access list in SDDL, which ``icacls`` saves in UTF-16 behind the folder's name."""
    with tempfile.TemporaryDirectory(prefix="restage4d_") as place:
        saved = Path(place) / "access"
        run(["icacls.exe", str(folder), "/save", str(saved), "/q"])
        data = saved.read_bytes()
    text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-16-le")
    return text.strip().splitlines()[-1] if text.strip() else ""
