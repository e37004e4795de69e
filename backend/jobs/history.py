"""What happened to a job, kept in its folder, so that whoever comes late can have it told again
from any point."""

import time
from pathlib import Path

import msgspec

from backend.jobs.job_folder import Folder
from restage4d.protocol.messages import HistoryEntry, JobStatus

_EVERY_S = 5.0  # between two entries of the same stage
_MOST = 20_000  # entries of a job; then nothing more is written down
_NAME = "history.jsonl"
_decoder = msgspec.json.Decoder(HistoryEntry)


class History:
    """The histories of all jobs; entries are appended by one thread."""

    def __init__(self) -> None:
        # job -> number of the last entry, its state and stage, when it was written
        self._last: dict[str, tuple[int, str, str, float]] = {}

    def note(self, folder: Folder, status: JobStatus) -> None:
        """Appends an entry where state or stage changed, else every few seconds. Raises OSError."""
        number, state, stage, when = self._last.get(status.id) or _find_last(folder.path / _NAME)
        same = (state, stage) == (status.state, status.stage)
        if number >= _MOST or (same and time.monotonic() - when < _EVERY_S):
            return
        entry = HistoryEntry(
            number=number + 1,
            time=time.time(),
            state=status.state,
            stage=status.stage,
            step=status.step,
            steps=status.steps,
            percent=status.percent,
            losses=status.losses,
            error=status.error,
        )
        with (folder.path / _NAME).open("ab") as file:
            file.write(msgspec.json.encode(entry) + b"\n")
        self._last[status.id] = number + 1, status.state, status.stage, time.monotonic()

    def forget(self, job: str) -> None:
        self._last.pop(job, None)


def read_history(folder: Folder, after: int, most: int) -> list[HistoryEntry]:
    """Entries behind number ``after``, at most ``most``; lines that a full disk broke off are left
    out."""
    found = []
    try:
        with (folder.path / _NAME).open("rb") as file:
            for line in file:
                try:
                    entry = _decoder.decode(line)
                except msgspec.MsgspecError:
                    continue
                if entry.number > after:
                    found.append(entry)
                if len(found) == most:
                    break
    except FileNotFoundError:
        pass
    return found


def _find_last(path: Path) -> tuple[int, str, str, float]:
    last = (0, "", "", float("-inf"))
    try:
        for line in path.read_bytes().splitlines():
            try:
                entry = _decoder.decode(line)
            except msgspec.MsgspecError:
                continue
            last = entry.number, entry.state, entry.stage, float("-inf")
    except FileNotFoundError:
        pass
    return last
