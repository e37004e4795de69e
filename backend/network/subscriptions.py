"""Who may follow which job, also before it is handed in."""

import threading
from collections import Counter
from collections.abc import Callable

_MOST_EARLY = 256  # jobs that one connection follows and that are not there yet


class Subscriptions:
    """A client follows its own jobs by their full ids, and ids that nobody has used yet: nobody
    else may hand in a job under one of these.

    Args:
        find_owner: whose a job is, None where there is none.
    """

    def __init__(self, find_owner: Callable[[str], str | None]) -> None:
        self._find_owner = find_owner
        self._early: dict[str, tuple[str, int]] = {}  # id -> who waits for it, and where
        self._counts: Counter[tuple[str, int]] = Counter()
        self._lock = threading.Lock()

    def may_follow(self, user: str, fd: int, job: str, is_owner: bool) -> bool:
        """Whether a user may follow a job over the connection ``fd``; one that is not there yet is
        kept for them. How many such a connection may have is its own: what another connection of
        the same user follows takes nothing from it."""
        whose = self._find_owner(job)
        if whose is not None:
            return is_owner or whose == user
        with self._lock:
            if job in self._early:
                return self._early[job][0] == user
            if self._counts[user, fd] >= _MOST_EARLY:
                return False
            self._early[job] = user, fd
            self._counts[user, fd] += 1
        return True

    def may_submit(self, user: str, job: str) -> bool:
        """Whether a user may hand in a job under an id: nobody else waits for it."""
        with self._lock:
            waiting, _ = self._early.get(job, (user, 0))
            if waiting == user:
                self._forget(job)
        return waiting == user

    def end(self, job: str) -> None:
        """Nobody follows this id any more."""
        with self._lock:
            self._forget(job)

    def _forget(self, job: str) -> None:
        if (whose := self._early.pop(job, None)) is None:
            return
        self._counts[whose] -= 1
        if not self._counts[whose]:  # connections come and go
            del self._counts[whose]
