"""Running learned models: which device, which precision, and what to do when memory runs out. Needs
torch."""

import gc
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from restage4d.errors import InputError

A = TypeVar("A")
T = TypeVar("T")


def best_device() -> torch.device:
    """An NVIDIA GPU where there is one, else the CPU (Apple's GPU lacks operations that these
    models need)."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision(device: torch.device) -> torch.dtype:
    """Half precision on a GPU (bfloat16 where it has it), full precision on the CPU, where half is
    slower."""
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def devices() -> list[torch.device]:
    """What to try, best first; the CPU is always the last resort."""
    best = best_device()
    return [best] if best.type == "cpu" else [best, torch.device("cpu")]


def until_it_fits(attempts: Sequence[A], run: Callable[[A], T], what: str) -> T:
    """``run`` on the first of ``attempts`` (most demanding first) that does not run out of memory.

    Raises:
        InputError: none fits.
    """
    for attempt in attempts:
        try:
            return run(attempt)
        except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    raise InputError(
        f"{what} does not fit into memory.", "Take a smaller model or a smaller --longer-side."
    )


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return "out of memory" in str(error).lower() or "can't allocate memory" in str(
        error
    )  # cuBLAS, the CPU's allocator
