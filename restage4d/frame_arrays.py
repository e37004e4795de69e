"""Arrays with an entry per frame (pictures, masks, depth, optical flow): in memory while they are
small, in a file where they are large, the same to whoever uses them.

Such a file has no name once it is open: it ends with its array or with the process, also one that
is killed. What of it was read or written does not stay with the process; the system keeps it in
memory as long as there is room. The clearest twin of each function is numpy's own, named there.
"""

import mmap
import os
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray
from platformdirs import user_cache_path

from restage4d.threads import map_on_cores

T = TypeVar("T")

# bytes of an array from which it lies in a file; a job holds about twenty of them at a time
IN_MEMORY = 96 << 20
_EVERY = 0.2  # seconds between two times that pages are let go

_mapped: "weakref.WeakSet[mmap.mmap]" = weakref.WeakSet()
_lock = threading.Lock()
_releaser: threading.Thread | None = None


def find_cache_folder() -> Path:
    """Where large things are kept that can be made again: ``RESTAGE4D_CACHE``, or the user's cache
    folder."""
    return Path(os.environ.get("RESTAGE4D_CACHE") or user_cache_path("restage4d")).absolute()


def make_frames(
    shape: tuple[int, ...], dtype: DTypeLike = np.float32, fill: float = 0
) -> NDArray:  # (T, ...)
    """``np.full(shape, fill, dtype)``. Where the disk has no room for a file, in memory.

    Example:
        >>> masks = make_frames((400, 480, 854), np.float32)
        >>> masks[7] = mask
    """
    kind = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64))
    pages = _map_file(count * kind.itemsize) if count * kind.itemsize > IN_MEMORY else None
    if pages is None:
        return np.full(shape, fill, kind) if fill != 0 else np.zeros(shape, kind)
    frames = np.frombuffer(pages, kind, count).reshape(shape)
    for frame in frames if fill != 0 else ():
        frame[...] = fill
    return frames


def stack_on_cores(
    function: Callable[[T], NDArray], items: Iterable[T], advance: Callable[[], None] = lambda: None
) -> NDArray:
    """``np.stack([function(item) for item in items])``, the items shared out to the cores as
    `map_on_cores` does. Raises `ValueError` where there are none."""
    items = list(items)
    if not items:
        raise ValueError("there is nothing to stack")
    first = np.asarray(function(items[0]))
    frames = make_frames((len(items), *first.shape), first.dtype)
    frames[0] = first
    advance()

    def put(i: int) -> None:
        frames[i] = function(items[i])

    map_on_cores(put, range(1, len(items)), advance)
    return frames


def take_frames(frames: NDArray, which: NDArray) -> NDArray:  # (T, ...), (N,) -> (N, ...)
    """``frames[which]``, a copy; ``which`` are numbers or (T,) bool."""
    rows = np.flatnonzero(which) if which.dtype == bool else which
    taken = make_frames((len(rows), *frames.shape[1:]), frames.dtype)
    for out, row in zip(taken, rows, strict=True):
        out[...] = frames[row]
    return taken


def _map_file(size: int) -> mmap.mmap | None:
    """A mapping of a new file of zeros that nobody else sees; None where there is no room."""
    folder = find_cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            _reserve(file.fileno(), size)
            pages = mmap.mmap(file.fileno(), size)
    except OSError:
        return None
    if hasattr(pages, "madvise"):
        _let_go_of(pages)
    return pages


def _reserve(file: int, size: int) -> None:
    """Takes the room now: a page that the disk cannot hold later would end the process. Raises
    `OSError` where there is none."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
        return
    block = bytes(1 << 20)
    for start in range(0, size, len(block)):
        os.write(file, block[: size - start])


def _let_go_of(pages: mmap.mmap) -> None:
    global _releaser
    with _lock:
        _mapped.add(pages)
        if _releaser is None or not _releaser.is_alive():
            _releaser = threading.Thread(target=_release, name="frame arrays", daemon=True)
            _releaser.start()


def _release() -> None:
    """Again and again hands the pages of all files to the system, which writes them and keeps them
    as it likes; nothing of them is lost, also while somebody writes."""
    global _releaser
    while True:
        time.sleep(_EVERY)
        with _lock:
            if not _mapped:
                _releaser = None
                return
            _hand_over()


def _hand_over() -> None:  # apart from the loop, which would keep the last file alive
    for pages in list(_mapped):
        pages.madvise(mmap.MADV_DONTNEED)
