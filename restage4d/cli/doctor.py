"""`restage4d doctor`: what this computer has, which providers could run, and what the others
lack."""

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from restage4d import __version__
from restage4d.io.content_cache import Cache
from restage4d.providers.api_keys import find_key, how_to_set
from restage4d.providers.registry import ENTRIES, Entry
from restage4d.providers.settings import Settings, read_settings, settings_file
from restage4d.providers.weights import Weights, missing, module_there

_PACKAGES = (
    "torch",
    "numba",
    "opencv-python-headless",
    "pycolmap",
    "av",
    "gsplat",
    "transformers",
    "diffusers",
    "google-genai",
    "runwayml",
    "openai",
)
_KINDS = {"masks": "Masks (--masks)", "cameras": "Cameras (--cameras)", "depth": "Depth (--depth)",
"tracks": "Tracks (--tracks)",
          "driving": "Driving videos (--driver)"}  # fmt: skip


def report() -> str:
    """The whole report as text; needs nothing but what the package itself needs, and never prints a
    key."""
    settings = read_settings()
    weights = Weights.chosen(None, False)
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


def lacks(found: Entry, weights: Weights, settings: Settings) -> list[str]:
    """What the provider still needs, each with how to get it; empty if it could run now."""
    absent = [m for m in found.modules if not module_there(m)]
    needs = []
    if absent:
        ours = f'pip install "restage4d[{found.extra}]"' if found.extra else ""
        needs.append(
            f"Python modules {', '.join(absent)}: {'; '.join(p for p in (ours, found.get) if p)}"
        )
    if found.name == "depth-anything-3" and not Path(settings.da3_python or "-").is_file():
        needs.append(found.get)
    if found.files and weights.local(found) is None:
        place = weights.folder / found.name if weights.folder else None
        files = missing(place, found.files) if place else list(found.files)
        source = f" of {found.repo}" if found.repo else ""
        where = f"into {place}" if place else f"into {found.name}/ of the weights folder"
        other = ", or allow --download" if found.repo else f" ({found.get})" if not absent else ""
        needs.append(f"{', '.join(files)}{source} {where}{other}")
    if found.key and not find_key(found.key):
        needs.append(how_to_set(found.key))
    return needs


def _provider(found: Entry, weights: Weights, settings: Settings) -> list[str]:
    needs = lacks(found, weights, settings)
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
    if not module_there("torch"):
        return 'torch is not installed: pip install "restage4d[backend]"'
    import torch

    if not torch.cuda.is_available():
        return (
            "no NVIDIA GPU that torch can use: models run on the CPU, slowly; the fit runs on the "
            "CPU as it is meant to"
        )
    found = torch.cuda.get_device_properties(0)
    card = f"{found.name}, {found.total_memory / 2**30:.0f} GiB"
    if not module_there("gsplat"):
        return (
            f"{card}; models run there, the fit on the CPU as gsplat is missing: pip install "
            '"restage4d[cuda]"'
        )
    if not shutil.which("nvcc") and not os.environ.get("CUDA_HOME"):
        return (
            f"{card}; models run there, the fit too where gsplat's kernels are compiled: no CUDA "
            "toolkit (nvcc) is on the path"
        )
    return card


def _places(settings: Settings) -> list[str]:
    cache = Cache().folder
    cache_disk = next(p for p in (cache, *cache.parents) if p.exists())
    return [
        f"Settings: {settings_file()}"
        + ("" if settings_file().is_file() else " (not there; see docs/providers.md)"),
        f"Weights: {settings.weights or 'no folder set (--weights, RESTAGE4D_WEIGHTS)'}; "
        f"fetching them is {'allowed' if settings.download else 'not allowed without --download'}",
        f"Cache: {cache} ({shutil.disk_usage(cache_disk).free / 2**30:.0f} GiB free on its disk)",
        "Prompt refinement: "
        + (
            f"{settings.refine_model} at {settings.refine_url}"
            if settings.refine_url
            else "by a fixed template"
        ),
    ]
