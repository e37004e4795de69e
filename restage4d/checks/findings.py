"""What becomes of what the checks found."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from restage4d.errors import InputError
from restage4d.finding import Finding, Severity

__all__ = ["Finding", "FindingLog", "Severity", "describe_frames", "find_runs"]


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
