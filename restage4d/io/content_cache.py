"""Estimated priors kept by content: the same frames and settings are never worked on twice."""

import hashlib
import os
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restage4d.errors import InputError
from restage4d.frame_arrays import find_cache_folder, make_frames
from restage4d.io.atomic import replacing

_BLOCK = 1 << 20  # bytes read at a time
_LIMIT = 4 << 30  # bytes; beyond it the entries unused for longest go


def content_key(*parts: Any) -> str:
    """SHA-256 over arrays (shape, dtype and bytes) and the ``repr`` of everything else."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.shape}{part.dtype}".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()


class Cache:
    """Sets of arrays on disk by content key.

    Args:
        folder: where; default ``RESTAGE4D_CACHE`` or the user's cache folder.
        limit: bytes kept at most.
    """

    def __init__(self, folder: Path | None = None, limit: int = _LIMIT) -> None:
        self.folder = folder or find_cache_folder()
        self.limit = limit

    def get(self, key: str) -> dict[str, NDArray] | None:
        """The arrays under ``key``; None where there are none or they are damaged (those are
        removed)."""
        path = self.folder / f"{key}.npz"
        try:
            with zipfile.ZipFile(path) as file:
                arrays = {name.removesuffix(".npy"): _read(file, name) for name in file.namelist()}
            os.utime(path)
            return arrays
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            with suppress(OSError):
                path.unlink(missing_ok=True)
            return None

    def put(self, key: str, arrays: dict[str, NDArray]) -> None:
        """Keeps ``arrays``; a disk that is full or read-only only costs the next run its time."""
        with suppress(OSError, InputError):
            with replacing(self.folder / f"{key}.npz") as temporary, temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
            self._trim()

    def _trim(self) -> None:
        entries = sorted(
            ((p.stat().st_mtime, p.stat().st_size, p) for p in self.folder.glob("*.npz")),
            reverse=True,
        )
        total = 0
        for _, size, path in entries:
            total += size
            if total > self.limit:
                path.unlink(missing_ok=True)


def _read(file: zipfile.ZipFile, name: str) -> NDArray:
    """One array of an .npz, a large one into a file of its own. Raises `ValueError` for a pickle
    and where it is cut off."""
    with file.open(name) as part:
        version = np.lib.format.read_magic(part)
        read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
            version, np.lib.format.read_array_header_2_0
        )
        shape, by_columns, dtype = read(part)
        if dtype.hasobject:
            raise ValueError("a pickle")
        array = make_frames(shape[::-1] if by_columns else shape, dtype)
        rest = array.reshape(-1).view(np.uint8)
        while len(rest):
            data = part.read(min(_BLOCK, len(rest)))
            if not data:
                raise ValueError("the file ends early")
            rest[: len(data)] = np.frombuffer(data, np.uint8)
            rest = rest[len(data) :]
        return array.T if by_columns else array
