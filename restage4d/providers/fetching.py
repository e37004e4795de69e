"""Recommended weights fetched into a folder of the computer: resumed where it was interrupted, each
file checked by its hash, and again whenever asked. Nothing goes online but `fetch_model`."""

import hashlib
import json
import os
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from restage4d.errors import InputError
from restage4d.io.atomic import NO_ROOM, explaining_write_errors, replacing
from restage4d.providers.entry import Entry
from restage4d.providers.weights import explain_fetch_error

_TRIES = 5
Advance = Callable[[str, int, int], None]  # (model, bytes here, bytes of this file)
RECORD = "restage4d-weights.json"  # in a model's folder: where it came from, and its hashes


def fetch_model(entry: Entry, folder: Path, advance: Advance) -> Path:
    """Fetches an entry's files from the Hugging Face hub into ``folder``/NAME; ``advance`` is told
    of every file how far it is.

    A file that was interrupted goes on where it stopped; one that is there and right is not fetched
    again. The hub names the SHA-256 of large files and git's SHA-1 of small ones; all are of one
    revision.

    Raises:
        InputError: the hub cannot be reached or refuses, or a file is not what the hub says.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    place = folder / entry.name
    record: dict[str, Any] = _read_record(place) or {
        "repo": entry.repo,
        "revision": None,
        "licence": entry.licence,
        "files": {},
    }
    for name in entry.files:
        path = place / name
        known = record["files"].get(name)
        if path.is_file() and known == compute_sha256(path):
            continue
        try:
            about = get_hf_file_metadata(
                hf_hub_url(entry.repo, name, revision=record["revision"] or "main")
            )
        except Exception as error:  # the hub's client raises what it likes
            raise explain_fetch_error(error, entry.repo, name) from error
        record["revision"] = record["revision"] or about.commit_hash
        etag = about.etag or ""
        if path.is_file() and not known and not _is_as_told(path, etag):
            raise InputError(
                f"{path} is there and is not what {entry.repo} has.", "Move it away first."
            )
        if not path.is_file() or not _is_as_told(path, etag):
            url = hf_hub_url(entry.repo, name, revision=record["revision"])
            _download(url, path, etag, about.size or 0, advance)
        record["files"][name] = compute_sha256(path)
        with replacing(place / RECORD) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return place


def _download(url: str, path: Path, etag: str, size: int, advance: Advance) -> None:
    """Fetches a file, going on where an earlier try stopped; its name tells of which content."""
    part = path.with_name(f"{path.name}.{etag[:16]}.part")
    with explaining_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
    for attempt in range(_TRIES):
        try:
            _download_rest(
                url, part, size, lambda here: advance(path.parent.name, here, size or here)
            )
            break
        except (OSError, HTTPException) as error:
            if attempt == _TRIES - 1 or getattr(error, "errno", None) in NO_ROOM:
                raise InputError(
                    f"{url} could not be fetched: {error}.",
                    "Check the network and the disk, then start again: it goes on from there.",
                ) from error
            time.sleep(2**attempt)
    if not _is_as_told(part, etag):
        part.unlink()
        raise InputError(
            f"{url} is not what the hub says: its hash differs.", "Start again: it is fetched anew."
        )
    os.replace(part, path)


def _download_rest(url: str, part: Path, size: int, tell: Callable[[int], None]) -> None:
    here = part.stat().st_size
    if size and here >= size:
        return
    request = Request(url, headers={"Range": f"bytes={here}-"} if here else {})
    with urlopen(request, timeout=60) as answer:
        goes_on = answer.status == 206  # a server may send the whole again
        here = here if goes_on else 0
        with part.open("ab" if goes_on else "wb") as file:
            while data := answer.read(1 << 20):
                file.write(data)
                here += len(data)
                tell(here)
    if size and here < size:
        raise HTTPException("the connection ended early")


def find_damaged(place: Path) -> list[str] | None:
    """The files of a fetched model that are missing or differ from what was fetched; None where
    nothing was fetched into this folder."""
    record = _read_record(place)
    if record is None:
        return None
    return [
        name
        for name, digest in record["files"].items()
        if not (place / name).is_file() or compute_sha256(place / name) != digest
    ]


def compute_sha256(path: Path) -> str:
    """Of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_as_told(path: Path, etag: str) -> bool:
    """Whether a file has the hash that the hub gives as its etag: SHA-256 of a large file, git's
    SHA-1 of a small one."""
    if len(etag) == 64:
        return compute_sha256(path) == etag
    content = path.read_bytes()
    blob = b"blob %d\0" % len(content) + content
    return hashlib.sha1(blob, usedforsecurity=False).hexdigest() == etag


def _read_record(place: Path) -> dict[str, Any] | None:
    try:
        record = json.loads((place / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = isinstance(record, dict) and isinstance(record.get("files"), dict)
    return record if known else None
