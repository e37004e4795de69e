"""Many clients, many jobs, many messages."""

import threading

import psutil

from restage4d.protocol import framing
from restage4d.protocol.connection import Connection

from .run import PATIENCE_S, TOML, Run, submit_tiny, until


def load(run: Run) -> None:
    """Nothing is lost, nothing done twice, and memory stays flat."""
    n_clients, n_jobs, n_messages = (16, 8, 3000) if run.short else (64, 200, 10_000)
    with run.service("load", TOML.replace("slots = 2", "slots = 8")) as service:
        clients = [service.client(PATIENCE_S) for _ in range(n_clients)]
        keys = [framing.new_id() for _ in range(n_jobs)]
        failures: list[Exception] = []

        def hand_in(i: int) -> None:
            try:
                for key in keys[i::n_clients]:
                    for _ in range(2):  # each twice: the second must not make another job
                        submit_tiny(clients[i], 10, key)
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=hand_in, args=(i,)) for i in range(n_clients)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        run.add("clients connected", len(clients), "")
        run.add("jobs submitted, each twice", n_jobs, "")
        run.add("submits that failed", len(failures), "", 0)
        process = psutil.Process(Connection.read(service.file).pid)
        for client in clients:
            [client.hello() for _ in range(20)]
        before = process.memory_info().rss
        for i in range(n_messages):
            clients[i % n_clients].status(keys[i % n_jobs])
        run.add(
            f"memory growth over {n_messages} messages",
            100 * (process.memory_info().rss / before - 1),
            "%",
            10,
        )
        jobs = [s.id for s in clients[0].jobs()]
        run.add("jobs lost", len(set(keys) - set(jobs)), "", 0)
        run.add("jobs twice", len(jobs) - len(set(jobs)) + len(set(jobs) - set(keys)), "", 0)
        until(lambda: all(s.state == "done" for s in clients[0].jobs()), 60.0 * n_jobs + 600)
        statuses = clients[0].jobs()
        run.add("jobs done", sum(s.state == "done" for s in statuses), "", n_jobs, least=True)
        run.add("jobs started more than once", sum(s.attempts != 1 for s in statuses), "", 0)
        run.add(
            "memory growth until all were done", 100 * (process.memory_info().rss / before - 1), "%"
        )
        [client.close() for client in clients]
