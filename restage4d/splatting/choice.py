"""On which device Gaussians are drawn and fitted, by which kernels, and why.

On an NVIDIA GPU gsplat draws where its kernels are compiled or can be (that takes a CUDA toolkit),
else Warp, which compiles its own with nothing but pip's packages. On the CPU numba draws: Warp's
kernels run there too, but take 7 to 14 times as long (docs/results.md).
"""

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from restage4d.io.content_cache import Cache
from restage4d.splatting import gsplat_backend, warp_backend

_GPU_BACKENDS = (  # best first; how long compiling takes
    ("gsplat", "gsplat", gsplat_backend, "minutes"),
    ("warp", "warp-lang", warp_backend, "about a minute"),
)


@dataclass(frozen=True)
class DrawingChoice:
    """``device`` is "cuda" or "cpu", ``backend`` one of `restage4d.splatting.BACKENDS`; ``why`` is
    for a person: "on CARD by Warp: gsplat finds ..."."""

    device: str
    backend: str
    why: str


@cache
def choose_drawing() -> DrawingChoice:
    """Who draws on this computer. Where kernels are not compiled yet it compiles them, and warns;
    `prepare_drawing` does it before a job."""
    _compile(lambda text: warnings.warn(text, stacklevel=4))
    return _choose(gsplat_backend.obstacle(), warp_backend.obstacle)


def expect_drawing() -> DrawingChoice:
    """Who will draw unless kernels turn out not to compile. Compiles nothing."""
    return _choose(gsplat_backend.find_missing(), warp_backend.find_missing)


def prepare_drawing(say: Callable[[str], None]) -> DrawingChoice:
    """Compiles the GPU's kernels where that was not done yet, so that no job stops in its middle
    for it.

    Args:
        say: told before kernels are compiled, and which GPU draws.
    """
    _compile(say)
    choice = choose_drawing()
    if torch.cuda.is_available():
        say(f"Gaussians are drawn and fitted {choice.why}.")
    return choice


@cache
def drawing_device() -> str:
    """Where drawing is fastest: "cuda" or "cpu". Warns where a GPU must stay idle."""
    choice = choose_drawing()
    if choice.device == "cpu" and torch.cuda.is_available():
        warnings.warn(f"Gaussians are drawn and fitted {choice.why}", stacklevel=2)
    return choice.device


def _choose(gsplat_obstacle: str, warp_obstacle: Callable[[], str]) -> DrawingChoice:
    if not torch.cuda.is_available():
        build = "" if torch.version.cuda else ", being the build for CPUs"
        return DrawingChoice("cpu", "cpu", f"on the CPU: torch finds no NVIDIA GPU{build}")
    card = torch.cuda.get_device_name()
    if not gsplat_obstacle:
        return DrawingChoice("cuda", "gsplat", f"on {card} by gsplat")
    if obstacle := warp_obstacle():
        why = f"on the CPU, not on {card}: {gsplat_obstacle}; {obstacle}"
        return DrawingChoice("cpu", "cpu", why)
    return DrawingChoice("cuda", "warp", f"on {card} by Warp: {gsplat_obstacle}")


def _compile(say: Callable[[str], None]) -> None:
    """Compiles the kernels of the first backend that can; says so where it was not done before."""
    for name, package, backend, time in _GPU_BACKENDS:
        if backend.find_missing():
            continue
        stamp = _stamp(name, package)
        known = backend.obstacle.cache_info().currsize  # this process has tried already
        if not known and not stamp.is_file():
            say(f"Compiling {package}'s kernels for this GPU, once: this takes {time}.")
        if not backend.obstacle():
            stamp.parent.mkdir(parents=True, exist_ok=True)
            stamp.touch()
            return


def _stamp(name: str, package: str) -> Path:
    """The file that tells that these kernels were compiled for this GPU."""
    about = [version(package), torch.__version__, torch.cuda.get_device_name()]
    sources = sorted(Path(__file__).parent.rglob("*.py")) if name == "warp" else []
    digest = hashlib.sha256(repr(about).encode() + b"".join(p.read_bytes() for p in sources))
    return Cache().folder / "kernels" / f"{name}-{digest.hexdigest()[:16]}"
