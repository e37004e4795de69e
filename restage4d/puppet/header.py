"""The header of a ``.puppet`` file (docs/puppet_format.md)."""

import json
import struct
from pathlib import Path
from typing import Any

from restage4d.errors import InputError

FORMAT_VERSION = 1
_HEADER_LIMIT = 16 << 20  # bytes of JSON header; a real one has a few kB


def read_metadata(path: Path) -> dict[str, Any]:
    """The JSON metadata of a ``.puppet`` file, read without touching its tensors.

    Raises:
        InputError: it cannot be read, is no puppet, or has another version; says which.
    """
    try:
        with path.open("rb") as file:
            head = file.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
            if not 2 <= length <= _HEADER_LIMIT:
                raise InputError(
                    f"{path} is not a puppet file.", "Pick a file that ends in .puppet."
                )
            about = json.loads(json.loads(file.read(length))["__metadata__"]["restage4d.puppet"])
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path} is not a puppet file.", "Pick a file that ends in .puppet."
        ) from error
    version = about.get("format_version") if isinstance(about, dict) else None
    if type(version) is not int or version != FORMAT_VERSION:
        raise InputError(
            f"{path} has puppet format {version}; this version of Restage4D reads format "
            f"{FORMAT_VERSION}.",
            "Install the version of Restage4D that wrote it, or a newer one.",
        )
    assert isinstance(about, dict)
    _check_performances(path, about.get("performances"))
    return about


def _check_performances(path: Path, performances: Any) -> None:
    """JSON's own types: a rate that is a number, a size of two whole numbers."""
    for record in performances if isinstance(performances, list) else ():
        if not isinstance(record, dict):
            continue  # whoever builds the performances says so
        fps, size = record.get("fps"), record.get("size")
        if isinstance(fps, bool) or not isinstance(fps, int | float):
            what = f"a performance's fps is {fps!r}"
        elif not (isinstance(size, list) and len(size) == 2 and all(type(n) is int for n in size)):
            what = f"a performance's size is {size!r}"
        else:
            continue
        raise InputError(f"{path} is not a valid puppet: {what}.", "Make it again.")
