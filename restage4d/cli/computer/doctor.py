"""`restage4d doctor`: what this computer has, which providers could run, and what the others
lack."""

import argparse
import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from restage4d import __version__
from restage4d.io.content_cache import Cache
from restage4d.protocol.connection import home
from restage4d.protocol.private_folder import is_private
from restage4d.providers.availability import find_needs
from restage4d.providers.entry import Entry
from restage4d.providers.modules import is_importable
from restage4d.providers.nvidia_driver import choose_torch_build, read_driver
from restage4d.providers.registry import ENTRIES
from restage4d.providers.settings import UserSettings, read_settings, settings_file
from restage4d.providers.weights import Weights

_PACKAGES = (
    "torch",
    "numba",
    "opencv-python-headless",
    "pycolmap",
    "av",
    "gsplat",
    "warp-lang",
    "transformers",
    "diffusers",
    "google-genai",
    "runwayml",
    "openai",
)
_KINDS = {"masks": "Masks (--masks)", "cameras": "Cameras (--cameras)", "depth": "Depth (--depth)",
"tracks": "Tracks (--tracks)",
          "driving": "Driving videos (--driver)"}  # fmt: skip


def add(commands: Any) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser("doctor", help="what is here, what is missing, and how to get it")
    parser.set_defaults(do=_doctor)


def _doctor(arguments: argparse.Namespace) -> None:
    print(report())


def report() -> str:
    """The whole report as text; needs nothing but what the package itself needs, and never prints a
    key."""
    settings = read_settings()
    weights = Weights.from_settings(None, False)
    lines = [f"Restage4D {__version__}", "", *_computer(), "", *_places(settings), ""]
    for kind, title in _KINDS.items():
        lines.append(title)
        for found in (e for e in ENTRIES if e.kind == kind):
            lines += _provider(found, weights, settings)
        lines.append("")
    lines.append(
        "Sizes of weights are on disk; GPU memory is about what the model's own page says, not "
        "measured here."
    )
    return "\n".join(lines)


def _provider(found: Entry, weights: Weights, settings: UserSettings) -> list[str]:
    needs = find_needs(found, weights, settings)
    size = f", {found.size:g} GB" if found.size else ""
    memory = f", {found.memory:g} GB on the GPU" if found.memory else ""
    limits = "" if found.commercial else ", NOT for everybody's commercial use"
    lines = [
        f"  {'ready  ' if not needs else 'missing'} {found.name:<24} {found.title} "
        f"({found.licence}{size}{memory}{limits})"
    ]
    if found.terms:
        lines.append(f"{'':10}{found.terms}")
    return lines + [f"{'':10}needs {need}" for need in needs]


def _computer() -> list[str]:
    memory = psutil.virtual_memory()
    lines = [
        f"Python {platform.python_version()} at {sys.executable}",
        f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, "
        f"{memory.total / 2**30:.0f} GiB memory "
        f"({memory.available / 2**30:.0f} free)",
        f"Graphics: {_graphics()}",
    ]
    installed = []
    for name in _PACKAGES:
        try:
            installed.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            installed.append(f"{name} -")
    return [*lines, "Packages: " + ", ".join(installed)]


def _graphics() -> str:
    if not is_importable("torch"):
        return 'torch is not installed: pip install "restage4d[backend]"'
    import torch

    from restage4d.splatting.choice import expect_drawing

    fits = f"fits run {expect_drawing().why}"
    if torch.cuda.is_available():
        found = torch.cuda.get_device_properties(0)
        return f"{found.name}, {found.total_memory / 2**30:.0f} GiB; models run there; {fits}"
    driver = read_driver()
    if driver is None:
        return f"no NVIDIA GPU; models run on the CPU, slowly; {fits}"
    build = choose_torch_build(driver, platform.system(), platform.machine())
    advice = (
        f"this torch ({torch.__version__}) cannot use it. Run the set-up again: it takes "
        f"{build.why}"
        if build.tag.startswith("cu")
        else f"it stays idle: {build.why}"
    )
    return f"{driver.gpus[0].name}, but {advice}; {fits}"


def _places(settings: UserSettings) -> list[str]:
    cache = Cache().folder
    cache_disk = next(p for p in (cache, *cache.parents) if p.exists())
    return [
        f"UserSettings: {settings_file()}"
        + ("" if settings_file().is_file() else " (not there; see docs/providers.md)"),
        f"Weights: {settings.weights or 'no folder set (--weights, RESTAGE4D_WEIGHTS)'}; "
        f"fetching them is {'allowed' if settings.download else 'not allowed without --download'}",
        f"Cache: {cache} ({shutil.disk_usage(cache_disk).free / 2**30:.0f} GiB free on its disk)",
        _describe_service_folder(home()),
        "Prompt refinement: "
        + (
            f"{settings.refine_model} at {settings.refine_url}"
            if settings.refine_url
            else "by a fixed template"
        ),
    ]


def _describe_service_folder(folder: Path) -> str:
    """Where the service keeps prompts, uploads and keys, and whether others can read them."""
    if not folder.is_dir():
        return f"Service: {folder} (not there yet)"
    try:
        private = is_private(folder)
    except OSError as error:
        return f"Service: {folder} (who can read it is not known: {error})"
    if not private:
        how = "" if os.name == "nt" else f"chmod 700 {folder}, or "
        return (
            f"Service: {folder} CAN BE READ BY OTHERS on this computer: {how}start the service, "
            "which does it"
        )
    return f"Service: {folder} (its user's alone)"
