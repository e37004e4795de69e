"""Kills, cuts, full disks and damaged files, at random moments: no job is lost, no corrupt puppet
handed out, everybody told."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import psutil

from restage4d.protocol import framing
from restage4d.protocol.client import Client
from restage4d.protocol.connection import Connection
from restage4d.protocol.errors import WireError

from .proxy import Proxy
from .run import PATIENCE_S, Run, runs, sha256, submit_tiny, until, worker_pid


def services(run: Run) -> None:
    """kill -9 of the service while its jobs run."""
    with run.service("services") as service, service.client(PATIENCE_S) as client:
        jobs = [submit_tiny(client, 400) for _ in range(max(run.repeats // 4, 1))]
        for _ in range(run.repeats):
            time.sleep(run.random.uniform(0, 2))
            service.kill()
            service.start()
            if all(status.state == "done" for status in client.jobs()):
                jobs.append(submit_tiny(client, 400))
        run.add("kill -9 of the service: times", run.repeats, "")
        run.check_done(client, jobs, "kill -9 of the service")


def workers(run: Run) -> None:
    """kill -9 of the processes of jobs."""
    with run.service("workers") as service, service.client(PATIENCE_S) as client:
        jobs = [submit_tiny(client, 400) for _ in range(max(run.repeats // 4, 1))]
        killed = 0
        while killed < run.repeats:
            statuses = client.jobs()
            if all(status.state == "done" for status in statuses):
                jobs.append(submit_tiny(client, 400))
            running = [status.id for status in statuses if status.state == "running"]
            pid = worker_pid(service, run.random.choice(running)) if running else 0
            time.sleep(run.random.uniform(0.2, 4))
            if pid and runs(pid):
                psutil.Process(pid).kill()
                killed += 1
        run.add("kill -9 of a worker: times", killed, "")
        run.check_done(client, jobs, "kill -9 of a worker")


_CLIENT = """
import sys
from pathlib import Path
from restage4d.protocol.client import Client
from tiny_job import tiny_job
client = Client.connect(Path(sys.argv[1]), timeout_s=60)
print("up", flush=True)
client.upload(Path(sys.argv[2]))
job = client.submit(tiny_job(client.upload, key=sys.argv[3]))
client.watch(job, lambda event, arrays: None)
"""


def clients(run: Run) -> None:
    """kill -9 of a client that uploads, submits and watches."""
    path, back, job = run.place / "clip.bin", run.place / "back.bin", framing.new_id()
    path.write_bytes(os.urandom(60_000_000))
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    with run.service("clients") as service, service.client(PATIENCE_S) as client:
        for _ in range(run.repeats):
            command = [sys.executable, "-c", _CLIENT, str(service.file), str(path), job]
            child = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
            assert child.stdout
            child.stdout.readline()
            time.sleep(run.random.uniform(0, 0.5))
            child.kill()
            child.wait()
        run.add("kill -9 of a client: times", run.repeats, "")
        content = client.upload(path)
        client.fetch(content, back)
        run.add(
            "kill -9 of a client: its upload goes on and is whole",
            float(sha256(back) == sha256(path)),
            "",
            1,
            least=True,
        )
        submit_tiny(client, 30, job)
        run.check_done(client, [job], "kill -9 of a client")


def checkpoints(run: Run) -> None:
    """Checkpoints with a bit turned or an end cut off, of jobs that stand still, which are then
    resumed."""
    jobs, damaged = [], 0
    with run.service("checkpoints") as service, service.client(PATIENCE_S) as client:
        while damaged < run.repeats:
            job = submit_tiny(client, 200)
            jobs.append(job)
            path = service.home / "jobs" / job / "work" / "checkpoint.safetensors"
            until(lambda job=job: client.status(job).stage == "photometric fusion")
            time.sleep(run.random.uniform(0, 1))
            client.pause(job)
            until(lambda job=job: client.status(job).state in ("paused", "done"))
            if client.status(job).state == "paused" and path.exists():
                data = bytearray(path.read_bytes())
                if damaged % 2:
                    del data[run.random.randrange(len(data)) :]
                else:
                    data[run.random.randrange(len(data))] ^= 1 << run.random.randrange(8)
                path.write_bytes(data)
                client.resume(job)
                damaged += 1
        run.add("corrupt checkpoint: times", damaged, "")
        run.check_done(client, jobs, "corrupt checkpoint")


def network(run: Run) -> None:
    """Uploads, fetches and watching through a proxy that delays what passes and cuts all
    connections."""
    path, back = run.place / "clip.bin", run.place / "back.bin"
    cuts, stop = 0, threading.Event()
    with run.service("network") as service:
        connection = Connection.read(service.file)
        proxies = {name: Proxy(port) for name, port in connection.ports.items()}
        replace(connection, ports={name: p.port for name, p in proxies.items()}).write(
            run.place / "proxy.json"
        )

        def cut() -> None:
            nonlocal cuts
            while not stop.wait(run.random.uniform(0.5, 2.0)):
                cuts += sum(p.cut() for p in proxies.values()) > 0

        thread = threading.Thread(target=cut)
        try:
            with Client.connect(run.place / "proxy.json", timeout_s=20) as client:
                thread.start()
                wrong, rounds = 0, 0
                while cuts < run.repeats:
                    path.write_bytes(os.urandom(8_000_000))
                    content = _again(lambda: client.upload(path))
                    _again(lambda content=content: client.fetch(content, back))
                    wrong += sha256(back) != sha256(path)
                    rounds += 1
                job = framing.new_id()
                _again(lambda: submit_tiny(client, 300, job))
                status = _again(lambda: client.watch(job, lambda event, arrays: None))
                stop.set()
                run.add("cut and slow network: all connections cut, times", cuts, "")
                run.add(
                    "cut and slow network: transfers that came out wrong", wrong, f"of {rounds}", 0
                )
                run.add(
                    "cut and slow network: watched job done",
                    float(status.state == "done"),
                    "",
                    1,
                    least=True,
                )
                run.check_done(client, [job], "cut and slow network")
        finally:
            stop.set()
            if thread.is_alive():
                thread.join()
            [p.close() for p in proxies.values()]


def disk(run: Run) -> None:
    """A full disk, as a limit on the size of files; for the service and the workers."""
    if not hasattr(psutil.Process, "rlimit"):
        print("  full disk: left out, this system has no limit on the size of files")
        return
    free = (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY)
    path, untold, jobs = run.place / "clip.bin", 0, []
    with run.service("disk") as service, service.client(PATIENCE_S) as client:
        process = psutil.Process(Connection.read(service.file).pid)
        for _ in range(run.repeats):
            path.write_bytes(os.urandom(12_000_000))
            job = submit_tiny(client, 200)
            jobs.append(job)
            until(lambda job=job: worker_pid(service, job))
            time.sleep(run.random.uniform(0, 3))
            pid = worker_pid(service, job)
            process.rlimit(
                psutil.RLIMIT_FSIZE, (run.random.randrange(4096, 5_000_000), psutil.RLIM_INFINITY)
            )
            if runs(pid):
                psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE, (1000, psutil.RLIM_INFINITY))
            try:
                client.upload(path)
                untold += 1
            except WireError as error:
                untold += error.code != "no_room"
            time.sleep(run.random.uniform(0, 2))
            process.rlimit(psutil.RLIMIT_FSIZE, free)
            if runs(pid):
                psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE, free)
            until(lambda job=job: client.status(job).state in ("done", "paused", "failed"))
            status = client.status(job)
            if status.state != "done":
                untold += status.error is None or status.error.code != "no_room"
                client.resume(job)
            client.upload(path)
        run.add("full disk: times", run.repeats, "")
        run.add("full disk: clients that were not told", untold, "", 0)
        run.check_done(client, jobs, "full disk")


def _again(do: Callable):
    """As a person would: once more where the network gave up."""
    for attempt in range(20):
        try:
            return do()
        except WireError as error:
            if error.code not in ("timeout", "not_running") or attempt == 19:
                raise
