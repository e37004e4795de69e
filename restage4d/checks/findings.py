"""What a check found, said in a sentence, and what becomes of it."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from restage4d.errors import InputError

Severity = Literal["note", "warning", "refuse"]


@dataclass(frozen=True)
class Finding:
    """Something in a clip or puppet that a person should know.

    Attributes:
        code: what it is, for programs, e.g. "hard-cut".
        severity: "note" (nothing to do), "warning" (the result is doubtful), "refuse" (cannot
            work).
        text: one sentence for people.
        remedy: one sentence that says what to do about it, "" for nothing.
        first_frame, last_frame: where, both included; frames of ``video``, b_0 is 0.
        video: "base", or the performance of a driving video.
    """

    code: str
    severity: Severity
    text: str
    remedy: str
    first_frame: int
    last_frame: int
    video: str = "base"

    def to_record(self) -> dict[str, Any]:
        """As report.json has it."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.severity.capitalize()}: {self.text} {self.remedy}".rstrip()


@dataclass
class FindingLog:
    """All findings of a run in the order in which they were made; each is told to ``say`` at once.

    Example:
        >>> log = FindingLog(print)
        >>> log.add(check_frames(base))  # ends with `InputError` where the clip cannot work
    """

    say: Callable[[str], None] = lambda text: None
    findings: list[Finding] = field(default_factory=list)

    def add(self, found: Iterable[Finding]) -> None:
        """Keeps and says what was found. Raises `InputError` with all refusals among it as one
        text; these are not said."""
        found = list(found)
        self.findings += found
        refused = [f for f in found if f.severity == "refuse"]
        for finding in found:
            if finding.severity != "refuse":
                self.say(str(finding))
        if refused:
            raise InputError(
                " ".join(dict.fromkeys(f.text for f in refused)),
                " ".join(dict.fromkeys(f.remedy for f in refused if f.remedy)),
            )

    @property
    def doubts(self) -> list[Finding]:
        """The warnings."""
        return [f for f in self.findings if f.severity == "warning"]


def find_runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:  # (T,)
    """(first, last) of every unbroken run of True, both included."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(flags, int), [0]])))
    return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def describe_frames(flags: NDArray[np.bool_]) -> tuple[str, int, int]:  # (T,)
    """The flagged frames in words, the first and the last: ("frames 3-7 and 12", 3, 12). More than
    three runs are counted instead of listed."""
    runs = find_runs(flags)
    first, last = runs[0][0], runs[-1][1]
    if len(runs) > 3:
        return f"{int(np.sum(flags))} frames from {first} to {last}", first, last
    spans = [str(a) if a == b else f"{a}-{b}" for a, b in runs]
    word = "frame" if first == last else "frames"
    listed = spans[0] if len(spans) == 1 else f"{', '.join(spans[:-1])} and {spans[-1]}"
    return f"{word} {listed}", first, last
