"""Writing files so that nothing half-written stays."""

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from restage4d.errors import InputError

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
}


@contextmanager
def explaining_write_errors(path: Path) -> Iterator[None]:
    """Raises `InputError` where ``path`` cannot be written: the disk is full, or it is not
    allowed."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise InputError(
                f"There is no room left to write {path}.", "Free some space, or write elsewhere."
            ) from error
        if error.errno in _NOT_ALLOWED:
            why = error.strerror or "not allowed"
            raise InputError(
                f"{path} cannot be written: {why}.", "Choose a place that may be written to."
            ) from error
        raise


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path beside ``path`` with its suffix; renamed over ``path`` on success,
    removed on any error.

    Raises:
        InputError: the disk is full or the place cannot be written to.
    """
    path = Path(path)
    # Not tempfile.mkstemp, whose files nobody but the user may read.
    temporary = path.with_name(f".{path.stem[:64]}.{uuid.uuid4().hex}{path.suffix}")
    try:
        with explaining_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def replacing_files(
    folder: Path, superseded: Iterable[Path] = (), check: Callable[[], None] = lambda: None
) -> Iterator[Path]:
    """Gives a temporary folder inside ``folder``; on success its files take the places of those of
    their names in ``folder``, all or none. On any error the old files are back where they were.

    Args:
        folder: made where missing.
        superseded: further files of ``folder``, removed as the new ones come.
        check: called before each file is moved; what it raises ends that.

    Raises:
        InputError: the disk is full or the place cannot be written to.
    """
    mark = uuid.uuid4().hex
    new, old = folder / f".{mark}.new", folder / f".{mark}.old"
    try:
        with explaining_write_errors(folder):
            new.mkdir(parents=True)
            yield new
            old.mkdir()
            _swap_in(folder, new, old, superseded, check)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        with suppress(OSError):
            old.rmdir()  # where something is left in it that could not be moved back, it stays


def _swap_in(
    folder: Path, new: Path, old: Path, superseded: Iterable[Path], check: Callable[[], None]
) -> None:
    arriving = sorted(new.iterdir())
    leaving = {folder / path.name for path in arriving} | set(superseded)
    moves = [(path, old / path.name) for path in sorted(leaving) if path.is_file()]
    moves += [(path, folder / path.name) for path in arriving]
    done: list[tuple[Path, Path]] = []
    try:
        for source, target in moves:
            check()
            os.replace(source, target)
            done.append((source, target))
    except BaseException:
        for source, target in reversed(done):
            os.replace(target, source)
        raise
