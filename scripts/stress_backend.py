"""Load and faults for the service: prints every figure it must reach and ends with 1 where one falls short.

    .venv/bin/python scripts/stress_backend.py [--json OUT] [--short] [--only transfer,load,kills,network,disk,fuzz,security]

Everything runs against services of its own in temporary folders. The long form takes about an hour on two quiet cores; the short
one (three minutes) does the same with fewer repetitions and is what CI runs. Needs the extras "backend" and "dev".
"""

import argparse
import hashlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import psutil
import zmq

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from protocol.conftest import Raw, Service  # noqa: E402
from protocol.test_fuzz import ARRAYS, GOOD  # noqa: E402

from restage4d.puppet import Puppet  # noqa: E402
from restage4d.wire import framing  # noqa: E402
from restage4d.wire.client import Client  # noqa: E402
from restage4d.wire.connection import Connection  # noqa: E402
from restage4d.wire.errors import Refused, WireError  # noqa: E402
from restage4d.wire.messages import Error, Hello, Submit, UploadBegin, UploadChunk, UploadReady  # noqa: E402

TOML = "slots = 2\nattempts = 1000\n[limits]\njobs_per_client = 1000\n"
LONG = {"fusion.steps": 100_000}


@dataclass
class Figure:
    """One line of the report. ``limit`` is the most or the least that is allowed, as ``least`` says; None: for the record."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    least: bool = False

    @property
    def good(self) -> bool:
        return self.limit is None or (self.value >= self.limit if self.least else self.value <= self.limit)


class Stress:
    """All sections; each adds its figures."""

    def __init__(self, place: Path, short: bool) -> None:
        self.place, self.short = place, short
        self.figures: list[Figure] = []
        self.random = random.Random(7)
        self.repeats = 2 if short else 20

    def add(self, name: str, value: float, unit: str, limit: float | None = None, least: bool = False) -> None:
        figure = Figure(name, value, unit, limit, least)
        self.figures.append(figure)
        bound = "" if limit is None else f"   ({'at least' if least else 'at most'} {limit:g})"
        print(f"{'  ' if figure.good else 'X '}{name:<62} {value:12.4g} {unit}{bound}", flush=True)

    def service(self, name: str, toml: str = TOML) -> Service:
        return Service(self.place / name, toml).start()

    # --- speed ------------------------------------------------------------------------------------------------------------

    def transfer(self) -> None:
        service = self.service("transfer", "slots = 1\n")
        megabytes = 200 if self.short else 1000
        path = self.place / "big.bin"
        with path.open("wb") as file:
            for _ in range(megabytes // 50):
                file.write(os.urandom(50_000_000))
        try:
            with service.client() as client:
                times, stop = [], threading.Event()
                poll = threading.Thread(target=self._poll, args=(client, times, stop))
                poll.start()
                began = time.perf_counter()
                content = client.upload(path)
                seconds = time.perf_counter() - began
                stop.set()
                poll.join()
                self.add("upload, hashed on both sides", megabytes / seconds, "MB/s", 400, least=True)
                self.add("status round trip p99 during the upload", 1e3 * _p99(times), "ms", 20)
                began = time.perf_counter()
                client.fetch(content, self.place / "back.bin")
                self.add("fetch, hashed", megabytes / (time.perf_counter() - began), "MB/s", 400, least=True)
                same = _sha(self.place / "back.bin") == content == _sha(path)
                self.add("bytes came back the same", float(same), "", 1, least=True)
                (self.place / "back.bin").unlink()
                job = client.submit(Submit(job_kind="standin", settings=LONG))
                _until(lambda: client.status(job).step > 5)
                times, stop = [], threading.Event()
                poll = threading.Thread(target=self._poll, args=(client, times, stop))
                poll.start()
                time.sleep(5 if self.short else 20)
                stop.set()
                poll.join()
                self.add("status round trip p99 while a fit runs", 1e3 * _p99(times), "ms", 20)
                acks, gone = [], []
                for i in range(self.repeats):
                    if i:
                        job = client.submit(Submit(job_kind="standin", settings=LONG))
                        _until(lambda job=job: client.status(job).state == "running" and self._pid(service, job))
                        time.sleep(self.random.uniform(0, 6))
                    pid = self._pid(service, job)
                    began = time.perf_counter()
                    client.cancel(job)
                    acks.append(time.perf_counter() - began)
                    _until(lambda pid=pid: not _runs(pid))
                    gone.append(time.perf_counter() - began)
                    _until(lambda job=job: client.status(job).state == "cancelled")
                self.add("cancel acknowledged, slowest", 1e3 * max(acks), "ms", 200)
                self.add("cancelled job's process gone, slowest", max(gone), "s", 5)
        finally:
            path.unlink()
            service.end()

    @staticmethod
    def _poll(client: Client, times: list[float], stop: threading.Event) -> None:
        while not stop.is_set():
            began = time.perf_counter()
            client.jobs()
            times.append(time.perf_counter() - began)
            time.sleep(0.005)

    @staticmethod
    def _pid(service: Service, job: str) -> int:
        try:
            return int((service.home / "jobs" / job / "pid").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return 0

    # --- load -------------------------------------------------------------------------------------------------------------

    def load(self) -> None:
        service = self.service("load")
        n_clients, n_jobs, n_messages = (16, 8, 3000) if self.short else (64, 200, 10_000)
        try:
            clients = [service.client() for _ in range(n_clients)]
            keys = [framing.new_id() for _ in range(n_jobs)]
            failures: list[Exception] = []

            def hand_in(i: int) -> None:
                try:
                    for key in keys[i::n_clients]:
                        for _ in range(2):  # each twice: the second must not make another job
                            clients[i].submit(Submit(key=key, job_kind="standin", settings={"fusion.steps": 10}))
                except Exception as error:
                    failures.append(error)

            threads = [threading.Thread(target=hand_in, args=(i,)) for i in range(n_clients)]
            [t.start() for t in threads]
            [t.join() for t in threads]
            self.add("clients connected", len(clients), "")
            self.add("submits that failed", len(failures), "", 0)
            process = psutil.Process(Connection.read(service.file).pid)
            for client in clients:
                [client.hello() for _ in range(20)]
            before = process.memory_info().rss
            for i in range(n_messages):
                clients[i % n_clients].status(keys[i % n_jobs])
            self.add(f"memory growth over {n_messages} messages", 100 * (process.memory_info().rss / before - 1), "%", 10)
            jobs = [s.id for s in clients[0].jobs()]
            self.add("jobs lost", len(set(keys) - set(jobs)), "", 0)
            self.add("jobs twice", len(jobs) - len(set(jobs)) + len(set(jobs) - set(keys)), "", 0)
            _until(lambda: all(s.state == "done" for s in clients[0].jobs()), 30.0 * n_jobs)
            statuses = clients[0].jobs()
            self.add("jobs done", sum(s.state == "done" for s in statuses), "", n_jobs, least=True)
            self.add("jobs started more than once", sum(s.attempts != 1 for s in statuses), "", 0)
            [client.close() for client in clients]
        finally:
            service.end()

    # --- faults -----------------------------------------------------------------------------------------------------------

    def _check_done(self, client: Client, jobs: list[str], what: str) -> None:
        """All jobs end well, and every puppet that is handed out is one."""
        _until(lambda: all(client.status(job).state == "done" for job in jobs), 60.0 * len(jobs) + 300)
        bad = 0
        for job in jobs:
            try:
                Puppet.load(client.fetch_puppet(job, self.place / "one.puppet"))
            except Exception as error:
                print(f"  {job}: {error}")
                bad += 1
        self.add(f"{what}: jobs lost", len(set(jobs) - {s.id for s in client.jobs()}), "", 0)
        self.add(f"{what}: corrupt puppets handed out", bad, "", 0)

    def kills(self) -> None:
        service = self.service("kills")
        spec = Submit(job_kind="standin", settings={"fusion.steps": 400})
        try:
            with service.client() as client:
                jobs = [client.submit(spec) for _ in range(max(self.repeats // 4, 1))]
                for _ in range(self.repeats):
                    time.sleep(self.random.uniform(0, 2))
                    service.kill()
                    service.start()
                    jobs.append(client.submit(spec)) if self.random.random() < 0.1 else client.jobs()
                self.add("kill -9 of the service: times", self.repeats, "")
                self._check_done(client, jobs, "kill -9 of the service")
                jobs, killed = [client.submit(spec) for _ in range(max(self.repeats // 4, 1))], 0
                while killed < self.repeats:
                    if all(client.status(job).state == "done" for job in jobs):
                        jobs.append(client.submit(spec))
                    running = [s.id for s in client.jobs() if s.state == "running" and s.id in jobs]
                    pid = self._pid(service, self.random.choice(running)) if running else 0
                    time.sleep(self.random.uniform(0.2, 4))
                    if pid and _runs(pid):
                        psutil.Process(pid).kill()
                        killed += 1
                self.add("kill -9 of a worker: times", killed, "")
                self._check_done(client, jobs, "kill -9 of a worker")
                self._kill_clients(service, client)
                self._corrupt(service, client, spec)
        finally:
            service.end()

    def _kill_clients(self, service: Service, client: Client) -> None:
        path = self.place / "clip.bin"
        path.write_bytes(os.urandom(60_000_000))
        submitted = framing.new_id()
        code = (
            "import sys; from pathlib import Path; from restage4d.wire.client import Client; "
            "from restage4d.wire.messages import Submit\n"
            "c = Client.connect(Path(sys.argv[1])); print('up', flush=True)\n"
            "c.upload(Path(sys.argv[2])); j = c.submit(Submit(key=sys.argv[3], job_kind='standin'))\n"
            "c.watch(j, lambda e, a: None)"
        )
        for _ in range(self.repeats):
            command = [sys.executable, "-c", code, str(service.file), str(path), submitted]
            child = subprocess.Popen(command, stdout=subprocess.PIPE)
            assert child.stdout
            child.stdout.readline()
            time.sleep(self.random.uniform(0, 0.5))
            child.kill()
            child.wait()
        self.add("kill -9 of a client: times", self.repeats, "")
        content = client.upload(path)
        client.fetch(content, self.place / "back.bin")
        same = _sha(self.place / "back.bin") == _sha(path)
        self.add("kill -9 of a client: its upload goes on and is whole", float(same), "", 1, least=True)
        client.submit(Submit(key=submitted, job_kind="standin"))
        self._check_done(client, [submitted], "kill -9 of a client")

    def _corrupt(self, service: Service, client: Client, spec: Submit) -> None:
        jobs = []
        for i in range(self.repeats):
            job = client.submit(spec)
            jobs.append(job)
            _until(lambda job=job: client.status(job).stage == "photometric fusion")
            client.pause(job)
            _until(lambda job=job: client.status(job).state in ("paused", "done"))
            path = service.home / "jobs" / job / "work" / "checkpoint.safetensors"
            if path.exists():
                data = bytearray(path.read_bytes())
                if i % 2:
                    del data[self.random.randrange(len(data)) :]
                else:
                    data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
                path.write_bytes(data)
                client.resume(job)
        self.add("corrupt checkpoint: times", self.repeats, "")
        self._check_done(client, jobs, "corrupt checkpoint")

    def network(self) -> None:
        """Uploads, fetches and watching through a proxy that delays and cuts."""
        service = self.service("network")
        connection = Connection.read(service.file)
        proxies = {name: Proxy(port) for name, port in connection.ports.items()}
        replace(connection, ports={name: p.port for name, p in proxies.items()}).write(self.place / "proxy.json")
        path = self.place / "clip.bin"
        path.write_bytes(os.urandom(40_000_000))
        told, stop = [0], threading.Event()

        def cut() -> None:
            while not stop.wait(self.random.uniform(0.5, 2.0)):
                told[0] += sum(p.cut() for p in proxies.values())

        try:
            with Client.connect(self.place / "proxy.json", timeout_s=20) as client:
                threading.Thread(target=cut, daemon=True).start()
                wrong, rounds = 0, 0
                while told[0] < self.repeats:
                    path.write_bytes(os.urandom(8_000_000))
                    content = _again(lambda: client.upload(path))
                    _again(lambda content=content: client.fetch(content, self.place / "back.bin"))
                    wrong += _sha(self.place / "back.bin") != _sha(path)
                    rounds += 1
                job = framing.new_id()
                _again(lambda: client.submit(Submit(key=job, job_kind="standin", settings={"fusion.steps": 300})))
                status = _again(lambda: client.watch(job, lambda e, a: None))
                stop.set()
                self.add("cut and slow network: connections cut", told[0], "")
                self.add("cut and slow network: transfers that came out wrong", wrong, f"of {rounds}", 0)
                self.add("cut and slow network: watched job done", float(status.state == "done"), "", 1, least=True)
                self._check_done(client, [job], "cut and slow network")
        finally:
            stop.set()
            [p.close() for p in proxies.values()]
            service.end()

    def disk(self) -> None:
        """A full disk, as a limit on the size of files; at random moments, for the service and the workers."""
        if not hasattr(psutil.Process, "rlimit"):
            print("  full disk: left out, this system has no limit on the size of files")
            return
        service = self.service("disk")
        free = (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY)
        path = self.place / "clip.bin"
        untold, jobs = 0, []
        try:
            with service.client() as client:
                process = psutil.Process(Connection.read(service.file).pid)
                for _ in range(self.repeats):
                    path.write_bytes(os.urandom(12_000_000))
                    job = client.submit(Submit(job_kind="standin", settings={"fusion.steps": 400}))
                    jobs.append(job)
                    _until(lambda job=job: self._pid(service, job))
                    time.sleep(self.random.uniform(0, 4))
                    pid = self._pid(service, job)
                    process.rlimit(psutil.RLIMIT_FSIZE, (self.random.randrange(4096, 5_000_000), psutil.RLIM_INFINITY))
                    if _runs(pid):
                        psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE, (1000, psutil.RLIM_INFINITY))
                    try:
                        client.upload(path)
                        untold += 1
                    except WireError as error:
                        untold += error.code != "no_room"
                    time.sleep(self.random.uniform(0, 2))
                    process.rlimit(psutil.RLIMIT_FSIZE, free)
                    if _runs(pid):
                        psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE, free)
                    _until(lambda job=job: client.status(job).state in ("done", "paused", "failed"))
                    status = client.status(job)
                    if status.state != "done":
                        untold += status.error is None or status.error.code != "no_room"
                        client.resume(job)
                    client.upload(path)
                self.add("full disk: times", self.repeats, "")
                self.add("full disk: clients that were not told", untold, "", 0)
                self._check_done(client, jobs, "full disk")
        finally:
            service.end()

    # --- malice -----------------------------------------------------------------------------------------------------------

    def fuzz(self) -> None:
        service = self.service("fuzz")
        connection = Connection.read(service.file)
        process = psutil.Process(connection.pid)
        total = 4000 if self.short else 100_000
        try:
            with service.client() as client:
                before, peak, slowest = process.memory_info().rss, 0, 0.0
                raws = [Raw(connection, name) for name in ("work", "control")]
                for i in range(total):
                    raw = raws[i % 2]
                    raw.socket.send_multipart(mutated(self.random))
                    while raw.socket.poll(0):
                        raw.socket.recv_multipart()
                    if i % 1000 == 999:
                        peak = max(peak, process.memory_info().rss)
                        began = time.perf_counter()
                        client.hello()
                        slowest = max(slowest, time.perf_counter() - began)
                [raw.close() for raw in raws]
                sockets = total // 100
                for i in range(sockets):
                    _raw_socket(connection.ports[("work", "control", "progress", "heartbeat")[i % 4]], self.random)
                alive = client.hello().pid == connection.pid and process.is_running()
                growth = (max(peak, process.memory_info().rss) - before) / 2**20
                self.add("mutated messages", total, "")
                self.add("raw connections with garbage", sockets, "")
                self.add("the same service still answers", float(alive), "", 1, least=True)
                self.add("slowest hello between them", slowest, "s", 5)
                self.add("memory growth", growth, "MiB", 200)
        finally:
            service.end()

    def security(self) -> None:
        service = self.service("security")
        right = Connection.read(service.file)
        try:
            public, secret = (k.decode() for k in zmq.curve_keypair())
            curve = {"mechanism": "curve", "server_key": public, "public_key": public, "secret_key": secret}
            for name, wrong in (("wrong key", {"secret": "0" * 64}), ("no key", {"secret": ""}), ("another kind of key", curve)):
                replace(right, **wrong).write(self.place / "wrong.json")
                began = time.perf_counter()
                refused = _raises(Refused, lambda: Client.connect(self.place / "wrong.json", timeout_s=20).close())
                seconds = time.perf_counter() - began
                self.add(f"{name}: refused and told within", seconds if refused else float("inf"), "s", 5)
            self.add("refusals logged", (service.home / "service.log").read_text().count("refused a client"), "", 2, least=True)
            control, work = Raw(right, "control"), Raw(right, "work")
            old = framing.encode(Hello())
            old[0] = framing.SIGNATURE + b"\x00"
            reply = control.ask(old)
            told = reply is not None and isinstance(reply.body, Error) and reply.body.code == "version"
            self.add("old protocol version: told", float(told), "", 1, least=True)
            data = np.frombuffer(os.urandom(1000), np.uint8)
            ready = work.ask(framing.encode(UploadBegin(content=hashlib.sha256(data).hexdigest(), size=1000))).body
            assert isinstance(ready, UploadReady)
            chunk = framing.encode(UploadChunk(token=ready.token, offset=0), [data])
            work.ask(chunk)
            reply = work.ask(chunk).body
            told = isinstance(reply, Error) and reply.code == "refused"
            logged = "spent upload token" in (service.home / "service.log").read_text()
            self.add("replayed upload token: refused, logged, told", float(told and logged), "", 1, least=True)
            control.close(), work.close()
        finally:
            service.end()


class Proxy:
    """A TCP proxy to a local port that delays what passes and cuts its connections when told to."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                ours, _ = self.listener.accept()
                theirs = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            self._open |= {ours, theirs}
            for a, b in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=self._pass, args=(a, b), daemon=True).start()

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(1 << 18):
                time.sleep(random.uniform(0, 0.02))
                target.sendall(data)
        except OSError:
            pass
        finally:
            source.close(), target.close()

    def cut(self) -> int:
        """Cuts all connections; how many."""
        gone, self._open = self._open, set()
        for one in gone:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        return len(gone) // 2

    def close(self) -> None:
        self.listener.close()
        self.cut()


def mutated(rng: random.Random) -> list[bytes]:
    """A good message in which bits, fields, arrays or frames were changed."""
    frames = [bytes(f) for f in framing.encode(rng.choice(GOOD), rng.sample(ARRAYS, rng.randrange(3)))]
    way = rng.randrange(6)
    if way < 2:
        at = rng.randrange(len(frames))
        data = bytearray(frames[at])
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        frames[at] = bytes(data)
    elif way == 2:
        header = msgspec.msgpack.decode(frames[1])
        place = rng.choice([header, header["body"]])
        odd = [None, -1, 2**63, 1.5, float("nan"), "x" * 5000, b"\xff" * 9, [], {}, [["u1", [2**31] * 4]], "../" * 20, True]
        place[rng.choice(sorted(place))] = rng.choice(odd)
        frames[1] = msgspec.msgpack.encode(header)
    elif way == 3:
        frames = [rng.choice(frames) for _ in range(rng.randint(1, 30))]
    elif way == 4:
        frames[1] = frames[1][: rng.randrange(len(frames[1]))]
    else:
        frames = [rng.randbytes(rng.randrange(200)) for _ in range(rng.randint(1, 5))]
    return frames


def _raw_socket(port: int, rng: random.Random) -> None:
    """Bytes that are no ZMTP, or break off within its greeting."""
    greeting = b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x01PLAIN" + bytes(15 + 1 + 31)
    data = rng.choice([b"GET / HTTP/1.1\r\n\r\n", rng.randbytes(rng.randrange(1, 3000)), greeting + rng.randbytes(100), greeting])
    with socket.create_connection(("127.0.0.1", port)) as one:
        try:
            one.sendall(data[: rng.randint(1, len(data))])
        except OSError:
            return


def _p99(times: list[float]) -> float:
    return float(np.percentile(times, 99))


def _sha(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _until(condition: Callable[[], object], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("it did not happen in time")
        time.sleep(0.05)


def _again(do: Callable):
    """As a person would: once more where the network gave up."""
    for attempt in range(20):
        try:
            return do()
        except WireError as error:
            if error.code not in ("timeout", "not_running") or attempt == 19:
                raise


def _raises(kind: type[Exception], do: Callable[[], object]) -> bool:
    try:
        do()
    except kind:
        return True
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description="Load and faults for the service.")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--short", action="store_true", help="fewer repetitions, three minutes")
    parser.add_argument("--only", default="security,transfer,fuzz,network,load,disk,kills", help="sections, with commas between")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="restage4d_stress_", ignore_cleanup_errors=True) as place:
        stress = Stress(Path(place), options.short)
        for section in options.only.split(","):
            print(f"{section}:", flush=True)
            try:
                getattr(stress, section)()
            except Exception as error:
                stress.add(f"{section} broke off: {type(error).__name__}: {error}", 1, "", 0)
    if options.json:
        report = [asdict(f) | {"good": f.good} for f in stress.figures]
        options.json.write_text(json.dumps({"short": options.short, "cores": os.cpu_count(), "figures": report}, indent=2) + "\n")
    short = [f.name for f in stress.figures if not f.good]
    print("\nAll figures are reached." if not short else f"\nNot reached: {', '.join(short)}")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
