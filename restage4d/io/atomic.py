"""Writing files so that nothing half-written stays."""

import errno
import os
import uuid
from collections.abc import Iterator
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
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
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
    finally:
        with suppress(OSError):
            temporary.unlink()
