"""SHA-256 of files in slices, one after the other in turn: a large file does not keep a small one
waiting, and a file that several ask for is read once."""

import hashlib
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SLICE = 8 << 20  # bytes


@dataclass
class _Task:
    path: Path
    length: int
    file: Any = None
    done: int = 0
    sha: Any = field(default_factory=hashlib.sha256)
    future: Future = field(default_factory=Future)


class Hashing:
    """A thread that hashes files; it is made when it is first needed."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[Path, int], _Task] = {}
        self._turn: deque[_Task] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def submit(self, path: Path, length: int = -1) -> "Future[Any]":
        """The hash of a file's first ``length`` bytes (-1: of all), as a hashlib object. The
        future raises OSError where the file cannot be read. Only one is made for the same file."""
        with self._changed:
            task = self._tasks.get((path, length))
            if task is None:
                task = self._tasks[path, length] = _Task(path, length)
                self._turn.append(task)
                self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hashing", daemon=True)
                self._thread.start()
            return task.future

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._turn))
                task = self._turn.popleft()
            try:
                done = self._hash_slice(task)
                error = None
            except OSError as failure:
                done, error = True, failure
            if not done:
                self._turn.append(task)
                continue
            if task.file is not None:
                task.file.close()
            with self._changed:
                del self._tasks[task.path, task.length]
            if error is None:
                task.future.set_result(task.sha)
            else:
                task.future.set_exception(error)

    @staticmethod
    def _hash_slice(task: _Task) -> bool:
        """Whether it was the last one."""
        if task.file is None:
            task.file = task.path.open("rb", buffering=0)
        wanted = _SLICE if task.length < 0 else min(_SLICE, task.length - task.done)
        block = task.file.read(wanted) if wanted else b""
        task.sha.update(block)
        task.done += len(block)
        return not block or task.done == task.length
