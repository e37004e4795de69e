"""Who may follow which job, also before it is handed in."""

import threading
from collections import Counter
from collections.abc import Callable

_MOST_EARLY = 256  # jobs of one user that are followed and not there yet


class Subscriptions:
    """A client follows its own jobs by their full ids, and ids that nobody has used yet: nobody
    else may hand in a job under one of these.

    Args:
        find_owner: whose a job is, None where there is none.
    """

    def __init__(self, find_owner: Callable[[str], str | None]) -> None:
        self._find_owner = find_owner
        self._early: dict[str, str] = {}  # id -> who waits for it
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def may_follow(self, user: str, job: str, is_owner: bool) -> bool:
        """Whether a user may follow a job; one that is not there yet is kept for them."""
        whose = self._find_owner(job)
        if whose is not None:
            return is_owner or whose == user
        with self._lock:
            if job in self._early:
                return self._early[job] == user
            if self._counts[user] >= _MOST_EARLY:
                return False
            self._early[job] = user
            self._counts[user] += 1
        return True

    def may_submit(self, user: str, job: str) -> bool:
        """Whether a user may hand in a job under an id: nobody else waits for it."""
        with self._lock:
            waiting = self._early.get(job)
            if waiting == user:
                self._forget(job)
        return waiting in (None, user)

    def end(self, job: str) -> None:
        """Nobody follows this id any more."""
        with self._lock:
            self._forget(job)

    def _forget(self, job: str) -> None:
        user = self._early.pop(job, None)
        if user is not None:
            self._counts[user] -= 1
