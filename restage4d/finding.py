"""What a check found in a clip or puppet, said in a sentence. Standard library only."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

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
        """As report.json and the ``.puppet`` file have it."""
        return asdict(self)

    @staticmethod
    def from_record(record: dict[str, Any]) -> "Finding":
        """From `to_record`; further keys are ignored.

        Raises:
            KeyError, TypeError: a field is missing or of another type; says which.
        """
        finding = Finding(**{field.name: record[field.name] for field in fields(Finding)})
        for field in fields(Finding):
            value = getattr(finding, field.name)
            if type(value) is not (int if field.name.endswith("_frame") else str):
                raise TypeError(f"a finding's {field.name} is {value!r}")
        return finding

    def __str__(self) -> str:
        return f"{self.severity.capitalize()}: {self.text} {self.remedy}".rstrip()
