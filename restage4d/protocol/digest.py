"""SHA-256 beside other work: hashlib lets go of Python's lock, so a block is hashed while it is
written or sent."""

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

_WORTH_A_THREAD = 256 << 10  # bytes; less is hashed before a thread has woken up
_hashers = ThreadPoolExecutor(4, "sha256")  # its threads are made when they are first needed


class Digest:
    """The SHA-256 of blocks in the order of `update`. For one thread at a time.

    Args:
        begun: a hashlib object that has the blocks before already.
    """

    def __init__(self, begun: Any = None) -> None:
        self._sha = hashlib.sha256() if begun is None else begun.copy()
        self._under_way: Future[None] | None = None

    def update(self, block: bytes | memoryview) -> None:
        """Takes the next block, which must not change until the next call of `update` or
        `hexdigest` has returned."""
        self._wait()
        if len(block) < _WORTH_A_THREAD:
            self._sha.update(block)
        else:
            self._under_way = _hashers.submit(self._sha.update, block)

    def hexdigest(self) -> str:
        """64 hexadecimal digits of all blocks so far."""
        self._wait()
        return self._sha.hexdigest()

    def _wait(self) -> None:
        if self._under_way is not None:
            self._under_way.result()
            self._under_way = None
