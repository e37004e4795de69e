"""A thousand shots on two hundred nodes that only pretend to work: what the queue itself costs."""

import time
from collections import Counter
from pathlib import Path

from backend.jobs.executors import LocalExecutor
from backend.jobs.job_folder import Folder, Result
from backend.jobs.job_table import JobTable
from backend.jobs.supervisor import Supervisor
from backend.settings import ServiceSettings
from backend.store.content_store import Store
from restage4d.protocol.messages import Artefact, Submit

from .run import Run

_USERS = ("anna", "ben", "cleo", "dan")


class StandInNodes(LocalExecutor):
    """Nodes on which a shot takes a few looks; one in twelve dies before the end.

    Args:
        store: not used.
        nodes: how many there are.
        random: says which die.
    """

    def __init__(self, store: Store, nodes: int, random) -> None:
        super().__init__(store, nodes)
        self.random, self.left, self.died = random, {}, 0
        self.at_once = 0

    def start(self, job: str, folder: Folder, slot: str, ahead: bool = False) -> None:
        self.left[job] = self.random.randint(2, 6)
        self.at_once = max(self.at_once, len(self.left))

    def is_alive(self, job: str, folder: Folder) -> bool:
        if job not in self.left:
            return False
        self.left[job] -= 1
        if self.left[job] > 0:
            return True
        del self.left[job]
        if self.random.random() < 1 / 12:
            self.died += 1
        else:
            artefact = Artefact(content=f"{int(job, 16):064x}", size=1)
            folder.write_result(Result(outcome="done", artefacts={"puppet": artefact}))
        return False


def farm(run: Run) -> None:
    """Queue, failures, retries; nothing lost, nothing twice, users served alike."""
    shots, nodes = (100, 20) if run.short else (1000, 200)
    home: Path = run.place / "farm"
    home.mkdir()
    jobs = JobTable(home / "jobs.sqlite")
    executor = StandInNodes(Store(home / "store"), nodes, run.random)
    supervisor = Supervisor(
        jobs, home / "jobs", executor, ServiceSettings(attempts=20), lambda job, frames: None
    )
    began = time.perf_counter()
    for i in range(shots):
        # one user hands in all at once, before the others
        user = _USERS[i * len(_USERS) // shots]
        jobs.add(user, Submit(key=f"{i:032x}", base="0" * 64, name=f"shot {i}"), shots)
    handed_in = time.perf_counter() - began
    ticks, slowest, first = 0, 0.0, Counter()
    while True:
        tick = time.perf_counter()
        supervisor.tick()
        slowest = max(slowest, time.perf_counter() - tick)
        ticks += 1
        states = Counter(state for (_, state), n in jobs.count().items() for _ in range(n))
        if ticks == 1:
            first = Counter({u: n for (u, state), n in jobs.count().items() if state == "running"})
        if states["done"] == shots:
            break
    seconds = time.perf_counter() - began - handed_in
    rows = jobs.list()
    run.add(f"{shots} shots on {nodes} nodes: handed in", 1e3 * handed_in / shots, "ms each", 50)
    run.add("nodes at work at once", executor.at_once, "", nodes, least=True)
    run.add("nodes that died at work", executor.died, "")
    run.add("shots started again", sum(row.attempts - 1 for row in rows), "")
    run.add("shots lost", shots - len({row.id for row in rows}), "", 0)
    run.add("shots done", states["done"], "", shots, least=True)
    uneven = max(first.values()) - min(first.values())
    run.add("difference of nodes between users at the start", uneven, "", 1)
    run.add("the queue's own time", 1e3 * seconds / shots, "ms a shot", 100)
    run.add("slowest look at the queue", slowest, "s")
