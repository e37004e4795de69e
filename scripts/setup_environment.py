"""The environments of this checkout: made, found right, or made again. Standard library only.

`.venv` is for Restage4D itself, `.venv-blender` for Blender as a Python module, which needs Python
3.11 and its own numpy, `.venv-blender-lts` and `.venv-blender-newest` for tests in newer Blenders.
Each is reused while pyproject.toml asks for the same packages.
"""

# so that an old Python gets as far as the sentence that it is too old
from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
STAMP = "restage4d-setup"  # in an environment: the hash of what is installed, or INSTALLING
INSTALLING = "installing"

# What Blender's Python module links to but does not bring, and the Debian/Ubuntu package of each.
LIBRARIES = {
    "libX11.so.6": "libx11-6",
    "libXrender.so.1": "libxrender1",
    "libXfixes.so.3": "libxfixes3",
    "libXi.so.6": "libxi6",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libSM.so.6": "libsm6",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libgomp.so.1": "libgomp1",
}
# draws without a graphics card; no library of its own to look for, but this folder
DRIVERS = "libgl1-mesa-dri"


class SetupError(Exception):
    """Says what is missing and what to do about it."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment of the checkout: its folder, the extras of pyproject.toml installed in
    it, and what for."""

    folder: Path
    extras: tuple[str, ...]
    purpose: str
    gigabytes: float  # on disk, with what pip downloads meanwhile

    @property
    def python(self) -> Path:
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def stamp(self) -> Path:
        return self.folder / STAMP


GPU = ("cuda",) if shutil.which("nvidia-smi") else ()
CUDA_GIGABYTES = 6 if GPU else 0  # NVIDIA's libraries, which PyTorch's builds for CUDA bring
MAIN = Environment(
    ROOT / ".venv",
    ("backend", *GPU, "models", "hosted", "evaluate", "dev"),
    "Restage4D: PyTorch, numba, OpenCV, COLMAP, libraries of models and services, and the test "
    "tools",
    4 + CUDA_GIGABYTES,
)
BACKEND = Environment(
    ROOT / ".venv",
    ("backend", *GPU),
    "Restage4D's backend: PyTorch, numba, OpenCV, COLMAP",
    4 + CUDA_GIGABYTES,
)
BLENDER = Environment(
    ROOT / ".venv-blender",
    ("blender",),
    "Blender as a Python module, for .blend files and its tests",
    2,
)
# which need Python 3.13
NEWER_BLENDERS = tuple(
    Environment(ROOT / f".venv-{extra}", (extra,), f"{name} as a Python module, for its tests", 2)
    for extra, name in (("blender-lts", "Blender 5.2 LTS"), ("blender-newest", "Blender 5.3"))
)


def check_python(version: tuple[int, int]) -> None:
    if version < OLDEST:
        raise SetupError(
            f"This is Python {version[0]}.{version[1]}; Restage4D needs {OLDEST[0]}.{OLDEST[1]} "
            "or newer. " + python311_remedy()
        )


def is_up_to_date(environment: Environment) -> bool:
    """Whether the environment is there and what pyproject.toml asks for, whichever Python it was
    made with."""
    version = python_version(environment.python) if environment.stamp.is_file() else None
    return version is not None and environment.stamp.read_text().strip() == compute_fingerprint(
        read_requirements(environment.extras), version
    )


def ensure(environment: Environment, python: Path) -> None:
    """Makes the environment what pyproject.toml asks for, or finds that it is."""
    version = python_version(python)
    if version is None:
        raise SetupError(f"{python} does not run. Repair or replace that Python, then start again.")
    lines = read_requirements(environment.extras)
    goal = compute_fingerprint(lines, version)
    name = environment.folder.name
    state = environment.stamp.read_text().strip() if environment.stamp.is_file() else None
    if state == goal and environment.python.exists():
        return
    if state == INSTALLING:
        print(f"{name}: an earlier set-up was interrupted; making it again.", flush=True)
        shutil.rmtree(environment.folder)
    elif environment.folder.exists() and python_version(environment.python) != version:
        print(f"{name}: made with another Python or broken; making it again.", flush=True)
        shutil.rmtree(environment.folder)
    elif environment.folder.exists() and state is None and is_installed(environment.python, lines):
        environment.stamp.write_text(goal + "\n")  # made by hand, and right
        return
    check_room(environment)
    began = time.monotonic()
    exists = environment.folder.exists()
    print(
        f"{name}: {'updating' if exists else 'making'} it with Python {version} for "
        f"{environment.purpose}."
    )
    print(f"{name}: installing {', '.join(lines)}", flush=True)
    environment.folder.mkdir(exist_ok=True)
    environment.stamp.write_text(INSTALLING + "\n")
    if not environment.python.exists():
        make_venv(environment, python)
    install_torch(environment, lines)
    target = f"{ROOT}[{','.join(environment.extras)}]" if environment.extras else str(ROOT)
    if not install(environment, "--editable", target):
        raise SetupError(
            f"pip could not install into {name}; its own words stand above. Check the network, "
            "then start again."
        )
    environment.stamp.write_text(goal + "\n")
    print(f"{name}: ready after {time.monotonic() - began:.0f} s.", flush=True)


def install(environment: Environment, *arguments: str) -> bool:
    """pip install, in its own words; whether it could."""
    quiet = [] if sys.stdout.isatty() else ["--quiet"]
    pip = [environment.python, "-m", "pip", "install", "--disable-pip-version-check", *quiet]
    return subprocess.run([*pip, *arguments], check=False).returncode == 0


def install_torch(environment: Environment, lines: Sequence[str]) -> None:
    """PyTorch in the build that this computer's graphics driver can run, before everything else;
    where its index cannot be reached, the public index's build comes with the rest."""
    pinned = next((line for line in lines if line.startswith("torch==")), None)
    if pinned is None:
        return
    name, build = environment.folder.name, choose_torch_build()
    print(f"{name}: PyTorch: {build.why}.", flush=True)
    if build.tag and not install(
        environment, "--retries", "1", "--index-url", build.index, f"{pinned}+{build.tag}"
    ):
        but = "bring gigabytes of CUDA along" if build.tag == "cpu" else "not use the GPU"
        print(
            f"Warning: {name}: {build.index} has no such build for this Python, or cannot be "
            f"reached. The public index's build is taken, which may {but}.",
            file=sys.stderr,
            flush=True,
        )


def choose_torch_build():
    """See `restage4d.providers.nvidia_driver`, which is loaded as a file: nothing is installed
    yet."""
    path = ROOT / "restage4d" / "providers" / "nvidia_driver.py"
    spec = importlib.util.spec_from_file_location("nvidia_driver", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module.choose_torch_build(module.read_driver(), platform.system(), platform.machine())


def make_venv(environment: Environment, python: Path) -> None:
    """`python -m venv`, which Debian and Ubuntu ship as a package of its own."""
    if (
        subprocess.run(
            [python, "-c", "import ensurepip, venv"], capture_output=True, check=False
        ).returncode
        != 0
    ):
        version = python_version(python)
        install_packages(
            [f"python{version}-venv"], f"Python {version} cannot make virtual environments here"
        )
    if subprocess.run([python, "-m", "venv", environment.folder], check=False).returncode != 0:
        raise SetupError(
            f"{python} could not make {environment.folder}; its own words stand above."
        )


def check_room(environment: Environment) -> None:
    free = shutil.disk_usage(ROOT).free / 2**30
    if free < environment.gigabytes:
        raise SetupError(
            f"{environment.folder.name} needs about {environment.gigabytes} GiB; {free:.1f} GiB "
            f"are free on the disk of {ROOT}. "
            "Free some space, then start again."
        )


def read_requirements(extras: Sequence[str]) -> list[str]:
    """The project's own requirement lines and those of its extras."""
    import tomllib  # Python 3.11 and newer only: `check_python` comes first

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [
        *project["dependencies"],
        *(line for extra in extras for line in project["optional-dependencies"][extra]),
    ]


def compute_fingerprint(lines: Sequence[str], version: str) -> str:
    """Changes with the requirements, the Python, the build of PyTorch for this graphics driver, and
    the place of the checkout, which an editable install remembers."""
    torch = [choose_torch_build().tag for line in lines if line.startswith("torch==")]
    parts = [*lines, *torch, version, platform.machine(), str(ROOT)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def is_installed(python: Path, lines: Sequence[str]) -> bool:
    """Whether an environment that was made by hand has the project and every pinned package in its
    version."""
    pins = [line.split(";")[0].strip() for line in lines if "==" in line]
    script = (
        "import sys; from importlib.metadata import version; import restage4d; "
        "sys.exit(any(version(n.split('[')[0]).split('+')[0] != v for n, v in (p.split('==') for "
        "p in sys.argv[1:])))"
    )
    return (
        subprocess.run(
            [python, "-c", script, *pins], capture_output=True, check=False, cwd=ROOT
        ).returncode
        == 0
    )


def python_version(python: Path) -> str | None:
    """ "3.11" of an interpreter, None where it does not run."""
    script = "import sys; print(f'{sys.version_info[0]}.{sys.version_info[1]}')"
    try:
        done = subprocess.run(
            [python, "-c", script], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def this_python() -> Path:
    """The Python that runs this; where an environment is active, the one it was made from, as it
    may be made again itself."""
    return Path(getattr(sys, "_base_executable", None) or sys.executable)


def find_python(version: str) -> Path | None:
    """This Python where it is ``version`` ("3.11"), else one on the path, of Windows' launcher, of
    pyenv or of uv."""
    if f"{sys.version_info[0]}.{sys.version_info[1]}" == version:
        return this_python()
    home, name = Path.home(), f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv")
    candidates = [shutil.which(name), *sorted(pyenv.glob(f"versions/{version}.*/bin/{name}"))]
    candidates += sorted(home.glob(f".local/share/uv/python/cpython-{version}*/bin/{name}"))
    if launcher := shutil.which("py"):
        script = "import sys; print(sys.executable)"
        done = subprocess.run(
            [launcher, f"-{version}", "-c", script], capture_output=True, text=True, check=False
        )
        candidates.append(done.stdout.strip() or None)
    return next((Path(c) for c in candidates if c and python_version(Path(c)) == version), None)


def python311_remedy() -> str:
    if sys.platform == "win32":
        return (
            "Install Python 3.11 from python.org (or: winget install Python.Python.3.11), then "
            "start again."
        )
    if sys.platform == "darwin":
        return "Install it (brew install python@3.11), then start again."
    return (
        "Install it, then start again: on Debian 12 with apt-get install python3.11 "
        "python3.11-venv, on Ubuntu the same after "
        "add-apt-repository ppa:deadsnakes/ppa, anywhere with pyenv install 3.11 or uv python "
        "install 3.11."
    )


# --- system packages (Linux) ----------------------------------------------------------------------


def find_missing_packages() -> list[str]:
    """Debian/Ubuntu packages of the libraries that Blender's Python module cannot find here."""
    missing = [package for library, package in LIBRARIES.items() if not can_load(library)]
    folders = (Path("/usr/lib"), Path("/usr/lib64"))
    if not any(
        next(folder.glob(pattern), None)
        for folder in folders
        for pattern in ("dri/*_dri.so", "*/dri/*_dri.so")
    ):
        missing.append(DRIVERS)
    return missing


def can_load(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def ensure_libraries(packages: Sequence[str]) -> None:
    if packages:
        install_packages(packages, "Blender's Python module lacks system libraries")


def install_packages(packages: Sequence[str], why: str) -> None:
    """By apt-get where this is root on Debian or Ubuntu; else says which command does it."""
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if not shutil.which("apt-get"):
        raise SetupError(
            f"{why}. Install what your system calls these Debian packages: {' '.join(packages)}; "
            "then start again."
        )
    if os.geteuid() != 0:
        raise SetupError(f"{why}. Run: sudo {' '.join(command)}; then start again.")
    print(f"{why}: installing {' '.join(packages)}", flush=True)
    quiet = {
        "stdout": subprocess.DEVNULL,
        "env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
    }
    if (
        subprocess.run(command, **quiet, stderr=subprocess.DEVNULL, check=False).returncode != 0
    ):  # often no lists yet
        subprocess.run(["apt-get", "update"], **quiet, check=False)
        if subprocess.run(command, **quiet, check=False).returncode != 0:
            raise SetupError(
                f"{why}, and apt-get could not install them. Run: {' '.join(command)}; then start "
                "again."
            )
