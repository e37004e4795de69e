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
    fault = _find_fault(about)
    if fault:
        raise InputError(f"{path} is not a valid puppet: {fault}.", "Make it again.")
    return about


def _find_fault(about: dict[str, Any]) -> str:
    """What of the metadata is missing or of another of JSON's types; "" where nothing is. Ranges
    and names are `validity.check`'s."""
    for key, kind in (("performances", list), ("provenance", dict), ("metrics", dict)):
        if not isinstance(about.get(key), kind):
            return f"{key} is {_show(about, key)}"
    for key in ("findings", "body"):
        records = about.get(key, [])
        if not (isinstance(records, list) and all(isinstance(r, dict) for r in records)):
            return f"{key} is {_show(about, key)}"
    if not _is_number(about.get("metres_per_unit")):
        return f"metres_per_unit is {_show(about, 'metres_per_unit')}"
    for record in about["performances"]:
        if not isinstance(record, dict):
            return f"a performance is {record!r:.80}"
        size = record.get("size")
        for key, fits in (
            ("name", isinstance(record.get("name"), str)),
            ("prompt", isinstance(record.get("prompt"), str)),
            ("fps", _is_number(record.get("fps"))),
            (
                "size",
                isinstance(size, list) and len(size) == 2 and all(type(n) is int for n in size),
            ),
        ):
            if not fits:
                return f"a performance's {key} is {_show(record, key)}"
    return ""


def _is_number(value: object) -> bool:
    """Whether it is one that a float holds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e300  # neither infinite nor NaN


def _show(record: dict[str, Any], key: str) -> str:
    return f"{record[key]!r:.80}" if key in record else "missing"
