"""Whose job is next: users take turns, each with the most urgent and then the oldest of its own."""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Waiting(NamedTuple):
    """A queued job."""

    id: str
    owner: str
    priority: int  # of its owner's jobs; more goes first
    queued: float  # the owner's place in the queue


def order_queue(waiting: Iterable[Waiting], running: Mapping[str, int]) -> list[str]:
    """Ids of queued jobs in the order in which they start, if none of those that run ends.

    Whoever has the fewest jobs that run or were taken from the queue already is next; of several,
    the one whose job has waited the longest.

    Args:
        waiting: all queued jobs.
        running: how many jobs of each user run.

    Example:
        >>> jobs = [Waiting("a1", "anna", 0, 1), Waiting("a2", "anna", 0, 2),
        ...         Waiting("b1", "ben", 0, 3)]
        >>> order_queue(jobs, {})
        ['a1', 'b1', 'a2']
    """
    theirs: dict[str, list[Waiting]] = defaultdict(list)
    for job in waiting:
        theirs[job.owner].append(job)
    for jobs in theirs.values():
        jobs.sort(key=lambda job: (job.priority, -job.queued))  # the next one is the last
    heads = [(running.get(owner, 0), jobs[-1].queued, owner) for owner, jobs in theirs.items()]
    heapq.heapify(heads)
    order = []
    while heads:
        served, _, owner = heapq.heappop(heads)
        order.append(theirs[owner].pop().id)
        if theirs[owner]:
            heapq.heappush(heads, (served + 1, theirs[owner][-1].queued, owner))
    return order
