"""Room that is kept for a full disk: given back so that jobs can still be cancelled and deleted."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from backend.store.content_store import is_disk_full

_BYTES = 16 << 20
Result = TypeVar("Result")


class Reserve:
    """A file that only takes room.

    Args:
        path: of the file; on the disk that may become full.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def keep(self) -> bool:
        """Makes the file where it is missing and there is room for it; whether it is there."""
        try:
            if self.path.is_file() and self.path.stat().st_size == _BYTES:
                return True
            with self.path.open("wb") as file:
                for _ in range(_BYTES >> 20):  # written, not a hole
                    file.write(bytes(1 << 20))
            return True
        except OSError:
            with suppress(OSError):
                self.path.unlink()
            return False

    def use(self, do: Callable[[], Result]) -> Result:
        """Does what frees room in the end; once more, with the reserve given back, where the disk
        is full."""
        try:
            return do()
        except Exception as error:
            if not is_disk_full(error) or not self.path.exists():
                raise
            with suppress(OSError):
                self.path.unlink()
            return do()
