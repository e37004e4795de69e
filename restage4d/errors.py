"""Errors that a person reads: what is wrong, where, and what to do."""


class InputError(Exception):
    """Something the user gave cannot be used. Raised before work starts, shown as one sentence and
    a remedy.

    Args:
        what: one sentence that says what is wrong and where.
        remedy: one sentence that says what to do about it.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what} {remedy}".strip())


class Cancelled(Exception):
    """The user asked the work to stop; the last checkpoint is kept."""


class FitError(Exception):
    """The fit could not go on (repeated NaNs, nothing to fit); says at which stage and step."""
