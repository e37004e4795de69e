"""Builds the Blender extension: one zip for every system and every Blender from 4.5 on.

    python scripts/build_extension.py [--out dist]

The zip holds the panel's code, the wheels it needs (pyzmq, msgspec, safetensors for each system and
Python, and the project's own numpy-only modules) and the backend's source, which the panel's button
sets up. Built and validated by Blender's own tool, taken from the Blender of ``.venv-blender`` or
from a ``blender`` on the path.
"""

import argparse
import ast
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ADDON = ROOT / "blender_addon"
WHEELS = ROOT / "build" / "wheels"  # downloads are kept here

# What the extension may import beside Blender and the standard library; numpy is Blender's own.
REQUIREMENTS = ("pyzmq==27.3.0", "msgspec==0.22.0", "safetensors==0.8.0")
PYTHONS = ("311", "313", "314")  # Blender 4.5 and 5.0; 5.1 and 5.2; distributions' 5.2
# Blender's systems, and the platform tags that wheels for them carry.
SYSTEMS = {
    "linux-x64": ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"),
    "windows-x64": ("win_amd64",),
    "macos-arm64": ("macosx_11_0_arm64", "macosx_10_15_universal2"),
    "macos-x64": (
        "macosx_10_15_x86_64",
        "macosx_10_15_universal2",
        "macosx_10_12_x86_64",
        "macosx_10_9_x86_64",
    ),
}
LAST_INTEL_MAC = "311"  # Blender 5 does not run there
ALLOWED = {"numpy", "safetensors", "zmq", "msgspec", "restage4d"}
SOURCE = (
    "restage4d",
    "backend",
    "scripts/bootstrap.py",
    "scripts/setup_environment.py",
    "scripts/start_backend*",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)


class BuildError(Exception):
    """Says what is missing and what to do about it."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the Blender extension.")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "dist", help="folder for the zip (default: dist)"
    )
    arguments = parser.parse_args(argv)
    try:
        print(build(arguments.out))
    except BuildError as error:
        print(f"build_extension: {error}", file=sys.stderr)
        return 1
    return 0


def build(out: Path) -> Path:
    """Writes ``out/restage4d-VERSION.zip`` and returns its path."""
    version = project_version()
    out.mkdir(parents=True, exist_ok=True)
    path = (out / f"restage4d-{version}.zip").resolve()
    with tempfile.TemporaryDirectory(prefix="restage4d_build_") as place:
        stage = Path(place) / "restage4d"
        shutil.copytree(ADDON, stage, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        wheels = stage / "wheels"
        wheels.mkdir()
        for wheel in [*download(), own_wheel(version, Path(place) / "own_wheel")]:
            shutil.copy(wheel, wheels)
        pack_source(stage / "backend" / "source.zip")
        complete_manifest(
            stage / "blender_manifest.toml", version, [p.name for p in sorted(wheels.iterdir())]
        )
        blender_tool("build", "--source-dir", str(stage), "--output-filepath", str(path))
    blender_tool("validate", str(path))
    return path


def complete_manifest(manifest: Path, version: str, wheels: list[str]) -> None:
    """Adds what is known only now, before the first table."""
    head, table, rest = manifest.read_text(encoding="utf-8").partition("\n[permissions]")
    lines = "\n".join(f'  "./wheels/{name}",' for name in wheels)
    manifest.write_text(
        f'{head}\nversion = "{version}"\nwheels = [\n{lines}\n]\n{table}{rest}', encoding="utf-8"
    )


def project_version() -> str:
    tree = ast.parse((ROOT / "restage4d" / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__":
            return ast.literal_eval(node.value)
    raise BuildError("restage4d/__init__.py has no __version__.")


def download() -> list[Path]:
    """The wheels of `REQUIREMENTS` for every system and Python; those downloaded before are used
    again."""
    done = WHEELS / "downloaded"
    asked = repr((REQUIREMENTS, PYTHONS, SYSTEMS))
    if not done.is_file() or done.read_text() != asked:
        shutil.rmtree(WHEELS, ignore_errors=True)
        WHEELS.mkdir(parents=True)
        for system, tags in SYSTEMS.items():
            for python in PYTHONS if system != "macos-x64" else (LAST_INTEL_MAC,):
                platforms = [part for tag in tags for part in ("--platform", tag)]
                command = [
                    sys.executable,
                    "-m",
                    "pip",
                    "download",
                    "--quiet",
                    "--disable-pip-version-check",
                    "--no-deps",
                ]
                command += [
                    "--only-binary",
                    ":all:",
                    "--python-version",
                    python,
                    *platforms,
                    "--dest",
                    str(WHEELS),
                ]
                if subprocess.run([*command, *REQUIREMENTS], check=False).returncode != 0:
                    raise BuildError(
                        f"pip found no wheels for {system}, Python {python}; its own words stand "
                        "above."
                    )
        done.write_text(asked)
    return sorted(WHEELS.glob("*.whl"))


def own_wheel(version: str, stage: Path) -> Path:
    """A wheel of the project's modules that the extension imports, made in the folder ``stage``."""
    for path in imported_modules():
        target = stage / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    shutil.copy(ROOT / "LICENSE", stage)
    (stage / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools>=77"]\nbuild-backend = "setuptools.build_meta"\n'
        f'[project]\nname = "restage4d"\nversion = "{version}"\nlicense = "Apache-2.0"\n'
        'license-files = ["LICENSE"]\n'
        'description = "Restage4D: what its Blender extension imports"\n'
        '[tool.setuptools.packages.find]\ninclude = ["restage4d*"]\n',
        encoding="utf-8",
    )
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
    ]
    if (
        subprocess.run(
            [*command, "--wheel-dir", str(stage / "out"), str(stage)], check=False
        ).returncode
        != 0
    ):
        raise BuildError("pip could not build the project's own wheel; its own words stand above.")
    return next((stage / "out").glob("restage4d-*.whl"))


def imported_modules() -> list[Path]:
    """Files of ``restage4d`` that the extension imports, and those that they import.

    Raises:
        BuildError: one of them imports what Blender does not have.
    """
    found: set[Path] = set()
    waiting = list(ADDON.rglob("*.py"))
    while waiting:
        path = waiting.pop()
        for module in imports(path):
            top = module.split(".")[0]
            if (
                path.is_relative_to(ROOT / "restage4d")
                and top not in ALLOWED
                and top not in sys.stdlib_module_names
            ):
                raise BuildError(
                    f"{path.relative_to(ROOT)} imports {top}, which Blender does not have."
                )
            if top == "restage4d":
                new = set(files_of(module)) - found
                found |= new
                waiting += new
    return sorted(found)


def imports(path: Path) -> Iterator[str]:
    """Dotted names that a file imports absolutely when it runs, not for type checkers alone;
    ``from a import b`` gives both a and a.b."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files_of(module: str) -> Iterator[Path]:
    """The file of a module of the project and the __init__.py of the packages above it; nothing for
    a name in a module."""
    parts = module.split(".")
    for i in range(1, len(parts) + 1):
        place = ROOT.joinpath(*parts[:i])
        yield from (p for p in (place / "__init__.py", place.with_suffix(".py")) if p.is_file())


def pack_source(path: Path) -> None:
    """The backend's source, as it lies in the checkout, for a set-up without one."""
    path.parent.mkdir()  # a zip at the top is left out by Blender's tool
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for pattern in SOURCE:
            for place in sorted(ROOT.glob(pattern)):
                files = (
                    sorted(p for p in place.rglob("*") if p.is_file())
                    if place.is_dir()
                    else [place]
                )
                for file in files:
                    if "__pycache__" not in file.parts:
                        archive.write(file, file.relative_to(ROOT))


def blender_tool(*arguments: str) -> None:
    """Blender's extension tool, which needs no Blender to run; its output is shown where it
    fails."""
    tools = sorted(ROOT.glob(".venv-blender/[Ll]ib*/**/bl_pkg/cli/blender_ext.py"))
    if tools:
        command = [sys.executable, str(tools[0])]
    elif blender := shutil.which("blender"):
        command = [blender, "--background", "--command", "extension"]
    else:
        raise BuildError(
            "There is no Blender to build with. Run scripts/test.sh once, which makes "
            ".venv-blender."
        )
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode != 0:
        raise BuildError(f"Blender's tool refuses to {arguments[0]}: {done.stdout}{done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
