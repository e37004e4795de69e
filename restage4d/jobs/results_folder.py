"""The folder of a job's results: job.json in it says what was asked, so that no run writes over
another's results unasked."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from restage4d.errors import InputError
from restage4d.io.atomic import replacing

RECORD = "job.json"
# what a run writes; a folder that holds none of these is free
_RESULTS = (
    "puppet.puppet",
    "puppet.blend",
    "checkpoint.safetensors",
    "report.json",
    "body_plan.png",
    "contact_sheet.png",
    "base_masks.npz",
    "preview.mp4",
    "footage",
    "candidates",
)
# what cannot be shown in a sentence
_NAMES = {
    "video": "another video",
    "driving": "other driving videos",
    "selection": "another selection",
    "priors": "other priors",
}


@contextmanager
def claim_folder(out: Path, asked: dict[str, Any], *, overwrite: bool) -> Iterator[None]:
    """Holds ``out`` for a run. Where the run fails before it has written any result, the folder is
    left as it was.

    Args:
        out: folder for the results; made where missing.
        asked: all that decides the results, as JSON takes it.
        overwrite: results of another run may be written over.

    Raises:
        InputError: ``out`` holds the results of another run, or of nobody knows which; or it cannot
            be written to.
    """
    asked = json.loads(json.dumps(asked))
    before = _stamps(out)
    record = _read_record(out)
    if before and not overwrite:
        _check_same(out, asked, record, before)
    made = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        with replacing(out / RECORD) as temporary:
            temporary.write_text(json.dumps(asked, indent=2) + "\n", encoding="utf-8")
    except (OSError, InputError) as error:
        why = error.what if isinstance(error, InputError) else str(error.strerror)
        raise InputError(
            f"--out {out} cannot be written: {why.rstrip('.')}.",
            "Give another folder or free some space.",
        ) from error
    try:
        yield
    except BaseException:
        if _stamps(out) == before:
            with suppress(OSError, InputError):
                _restore(out, record)
                if made:
                    out.rmdir()
        raise


def hash_path(path: Path) -> str:
    """SHA-256 of a file's bytes, or of the names and bytes of all files of a folder. Raises
    `InputError` where one cannot be read."""
    try:
        if not path.is_dir():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256()
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(f"{file.relative_to(path).as_posix()}\n{hash_path(file)}\n".encode())
        return digest.hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error


def is_blend_edited(out: Path) -> bool:
    """Whether puppet.blend was saved after the run that made it, which writes report.json last."""
    try:
        blend = (out / "puppet.blend").stat().st_mtime_ns
    except OSError:
        return False
    try:
        return blend > (out / "report.json").stat().st_mtime_ns
    except OSError:
        return True


def set_blend_aside(out: Path) -> Path:
    """Moves puppet.blend to the next free name puppet_1.blend, puppet_2.blend ..., which is
    returned. Raises OSError."""
    number = 1
    while (kept := out / f"puppet_{number}.blend").exists():
        number += 1
    return (out / "puppet.blend").rename(kept)


def _stamps(out: Path) -> dict[str, int]:
    """When each result that is there was last changed."""
    stamps = {}
    for name in _RESULTS:
        with suppress(OSError):
            stamps[name] = (out / name).stat().st_mtime_ns
    return stamps


def _read_record(out: Path) -> bytes | None:
    try:
        return (out / RECORD).read_bytes()
    except OSError:
        return None


def _restore(out: Path, record: bytes | None) -> None:
    if record is None:
        (out / RECORD).unlink()
        return
    with replacing(out / RECORD) as temporary:
        temporary.write_bytes(record)


def _check_same(
    out: Path, asked: dict[str, Any], record: bytes | None, results: dict[str, int]
) -> None:
    """Raises `InputError` unless ``record`` asks for the same; says what differs."""
    remedy = "Give another --out, or --overwrite to write over it."
    held = "a puppet" if "puppet.puppet" in results else next(iter(results))
    try:
        there = json.loads(record or b"")
        if not isinstance(there, dict):
            raise ValueError
    except ValueError as error:
        raise InputError(
            f"--out {out} already holds {held}, and no {RECORD} says of which run.", remedy
        ) from error
    differences = [
        _NAMES.get(name)
        or f"{name} {json.dumps(there.get(name), ensure_ascii=False)}, "
        f"here {json.dumps(value, ensure_ascii=False)}"
        for name, value in asked.items()
        if there.get(name) != value
    ]
    if differences:
        raise InputError(
            f"--out {out} already holds {held} of another run ({'; '.join(differences)}).", remedy
        )
