# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel's link to the backend, without Blender: requests that return at once, threads that do them.

The interface's thread calls the requests and `Session.drain`, and reads `backend`, `shot` and `job` (see `state`). Threads
never write those: they put changes into a queue, and `drain` applies them. So the interface never waits, and nothing
changes while it draws.
"""

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from restage4d.errors import Cancelled, InputError
from restage4d.puppet import Puppet

from .lane import Lane
from .state import Backend, Fault, Job, Order, Provider, Shot, thinned

LOOK_LIMIT = 150.0  # seconds: the first look starts a process, which takes long on a busy machine
LOST = "It ended unexpectedly. Its jobs go on where they stood."


class Starter(Protocol):
    """Starts the backend and returns when it answers, see `launching.start`; raises `InputError`."""

    def __call__(self, answers: Callable[[], bool], stopped: threading.Event, say: Callable[[str, bool], None]) -> None: ...


@dataclass
class Link:
    """How to reach a backend.

    Attributes:
        connect: returns a connected `restage4d.wire.client.Client`; raises `WireError`.
        start: starts the backend; None where it is not ours to start.
        restart: whether a backend that was lost is started again unasked.
    """

    connect: Callable[[], Any]
    start: Starter | None = None
    restart: bool = True


class Session:
    """One backend, one shot, one job at a time. Made in the interface's thread, closed with `close`."""

    def __init__(self, link: Link) -> None:
        self.backend, self.shot, self.job = Backend(), None, None
        self.revision = 0  # counts changes
        self._link = link
        self._changes: queue.SimpleQueue[tuple[Any, dict[str, Any]]] = queue.SimpleQueue()
        self._ending = threading.Event()
        self._ready = threading.Event()  # the control thread is connected
        self._generation = 0  # of the connection: a thread whose client is older makes a new one
        self._lanes = {name: Lane(self._ending, self._failed) for name in ("control", "work", "select")}
        self._lanes["control"].start(self._beat)
        self._lanes["work"].start()
        self._lanes["select"].start()
        self._watched: threading.Event | None = None

    shot: Shot | None
    job: Job | None

    # --- of the interface's thread ----------------------------------------------------------------------------------------

    def drain(self, seconds: float = 0.004) -> bool:
        """Applies what the threads found, for at most ``seconds``; True where something changed."""
        until, before = time.perf_counter() + seconds, self.revision
        with suppress(queue.Empty):
            while time.perf_counter() < until:
                target, values = self._changes.get_nowait()
                for name, value in values.items():
                    setattr(target, name, value)
                self.revision += 1
        return self.revision != before

    def close(self) -> None:
        """Ends the threads; the backend and its jobs go on. Waits for at most a moment."""
        self._ending.set()
        self._ready.set()
        if self._watched is not None:
            self._watched.set()
        for lane in self._lanes.values():
            lane.end()

    def use(self, link: Link) -> None:
        """Another backend."""
        self._link = link
        self.backend = Backend()
        self._lanes["control"].put(self._reconnect)

    def start(self) -> None:
        """Starts the backend."""
        if self._link.start is not None:
            self.backend.phase, self.backend.fault, self.backend.said = "starting", None, ""
            self._lanes["control"].put(self._start)

    def stop(self) -> None:
        """Stops the backend; its jobs go on with its next start."""
        self._lanes["control"].put(self._stop)

    def open_shot(
        self, path: Path, frames: tuple[int, int] | None, longer_side: int, place: dict[str, tuple[float, ...]]
    ) -> Shot:
        """Sends a video, so that it is there when it is needed, and looks at its first frame and the subject in it."""
        self.shot = Shot(path, frames, longer_side, place)
        self._lanes["work"].put(self._send_shot, self.shot)
        return self.shot

    def select(self, place: dict[str, tuple[float, ...]]) -> None:
        """Asks for the subject's mask in the first frame; {}: the subject is what moves."""
        if self.shot is not None and self.shot.content:
            self.shot.place, self.shot.mask, self.shot.fault, self.shot.phase = place, None, None, "selecting"
            self._lanes["select"].put(self._look, self.shot, place, self.shot.content)

    def restage(self, order: Order) -> Job:
        """Hands in a job for the shot. Its id is known at once and stays the same whatever breaks."""
        assert self.shot is not None
        from restage4d.wire.framing import new_id

        self.job = Job(new_id(), order.prompt)
        self._lanes["work"].put(self._submit, self.shot, self.job, order)
        return self.job

    def attach(self, job: str, prompt: str = "") -> Job:
        """Follows a job that was handed in before."""
        self.job = Job(job, prompt, state="queued", stage="Looking for it")
        self._watch(self.job)
        return self.job

    def forget(self) -> None:
        """Follows no job any more; it goes on."""
        self.job = None
        if self._watched is not None:
            self._watched.set()

    def cancel(self) -> None:
        self._ask_of_job("cancel")

    def pause(self) -> None:
        self._ask_of_job("pause")

    def resume(self) -> None:
        self._ask_of_job("resume")

    def fetch(self, folder: Path) -> None:
        """Fetches the finished job's puppet and its footage into ``folder``; `Job.puppet` then tells where it is."""
        assert self.job is not None
        self.job.fetching = True
        self._lanes["work"].put(self._fetch, self.job, folder)

    # --- of the control thread --------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        """Finds the backend, or that it is gone."""
        lane = self._lanes["control"]
        if lane.client is None:
            self._find(lane)
        elif not lane.client.alive(1.5) and not lane.client.alive(1.5):
            self._lose(lane)

    def _find(self, lane: Lane) -> None:
        from restage4d.wire.errors import NotRunning

        try:
            self._connected(lane, self._link.connect())
        except NotRunning:
            self._change(self.backend, phase="absent")
        except ImportError as error:
            remedy = "Install the extension again from its zip: it brings what it needs."
            self._change(self.backend, phase="refused", fault=Fault(f"A part of this extension is missing: {error}.", remedy))
        except InputError as error:
            self._change(self.backend, phase="refused", fault=Fault.of(error))

    def _connected(self, lane: Lane, client: Any) -> None:
        welcome = client.hello()
        lane.use(client)
        self._generation += 1
        self._change(
            self.backend,
            phase="ready",
            fault=None,
            said="",
            version=welcome.version,
            devices=[f"{d.name}, {d.memory / 2**30:.0f} GB" for d in welcome.devices],
            providers=[Provider.named(name) for name in welcome.providers.get("driving", [])],
        )
        self._ready.set()

    def _lose(self, lane: Lane) -> None:
        self._ready.clear()
        lane.use(None)
        if self._link.start is not None and self._link.restart:
            self._change(self.backend, phase="lost", said=LOST)
            self._start(again=True)
        else:
            fault = Fault("The backend does not answer any more.", "Jobs go on when it is back; the panel looks for it.")
            self._change(self.backend, phase="absent", fault=fault)

    def _start(self, again: bool = False) -> None:
        from restage4d.wire.errors import WireError

        lane = self._lanes["control"]
        assert self._link.start is not None
        found: list[Any] = []

        def answers() -> bool:
            with suppress(WireError):
                found.append(self._link.connect())
            return bool(found)

        def say(line: str, setting_up: bool) -> None:
            phase = "setting up" if setting_up else "lost" if again else "starting"
            self._change(self.backend, phase=phase, said=LOST if phase == "lost" else line)

        try:
            if not answers():
                self._link.start(answers, self._ending, say)
            self._connected(lane, found[0])
        except (InputError, OSError, IndexError) as error:
            if not self._ending.is_set():
                self._change(self.backend, phase="absent", fault=Fault.of(error))

    def _stop(self) -> None:
        lane = self._lanes["control"]
        if lane.client is not None:
            lane.client.shutdown()
            self._ready.clear()
            lane.use(None)
        self._change(self.backend, phase="absent", fault=None)

    def _reconnect(self) -> None:
        self._ready.clear()
        self._lanes["control"].use(None)

    def _ask_of_job(self, what: str) -> None:
        if self.job is not None:
            self._lanes["control"].put(self._tell_job, self.job, what)

    def _tell_job(self, job: Job, what: str) -> None:
        if what == "cancel":
            job.unwanted.set()
        client = self._lanes["control"].client
        if client is None:
            raise InputError(f"Nobody is there to {what} it.", "Start the backend.")
        if job.handed_in.is_set():
            self._apply(job, getattr(client, what)(job.id))
        if what == "resume":
            self._watch(job)

    # --- of the work and select threads ------------------------------------------------------------------------------------

    def _client(self, lane: str, wanted: Callable[[], bool]) -> Any:
        """This thread's own client, once there is a backend. Raises `Cancelled` when it is not ``wanted`` any more."""
        while not self._ready.wait(0.2):
            if self._ending.is_set() or not wanted():
                raise Cancelled
        if self._ending.is_set():
            raise Cancelled
        return self._lanes[lane].client_of(self._generation, self._link.connect)

    def _send_shot(self, shot: Shot) -> None:
        def wanted() -> bool:
            return self.shot is shot

        try:
            client = self._client("work", wanted)
            self._change(shot, phase="uploading")
            content = client.upload(shot.path, self._meter(shot, wanted))
            looked, frame, _ = client.look(content, first=shot.first_frame, longer_side=shot.longer_side, timeout_s=LOOK_LIMIT)
            about = f"{looked.width} x {looked.height}, {looked.fps:.4g} fps, {looked.frames} frames"
            size = (looked.width, looked.height)
            self._change(shot, content=content, first=frame, size=size, about=about, phase="selecting")
            self._lanes["select"].put(self._look, shot, shot.place, content)
        except Cancelled:
            pass
        except (InputError, OSError) as error:
            self._change(shot, phase="failed", fault=Fault.of(error))

    def _look(self, shot: Shot, place: dict[str, tuple[float, ...]], content: str) -> None:
        """The subject in the shot's first frame."""
        from restage4d.wire.messages import Selection

        values: dict[str, Any] = {"fault": None}
        try:
            client = self._client("select", lambda: self.shot is shot)
            selection = Selection(**place)  # pyright: ignore
            side = shot.longer_side
            _, _, mask = client.look(
                content, first=shot.first_frame, longer_side=side, selection=selection, find=True, timeout_s=LOOK_LIMIT
            )
            values["mask"] = mask > 127
        except Cancelled:
            return
        except InputError as error:
            values["fault"] = Fault.of(error)
        if place == shot.place:  # not asked for another meanwhile
            self._change(shot, phase="ready", **values)

    def _submit(self, shot: Shot, job: Job, order: Order) -> None:
        from restage4d.wire.messages import Selection, Submit

        def wanted() -> bool:
            return not job.unwanted.is_set()

        try:
            client = self._client("work", wanted)
            content = client.upload(shot.path, self._meter(job, wanted))  # sends nothing where the backend has it already
            driving: Any = order.provider
            if order.driving is not None:
                self._change(job, stage="Sending the driving video")
                driving = [client.upload(order.driving, self._meter(job, wanted))]
            first, last = shot.frames or (1, None)
            submit = Submit(
                key=job.id,
                base=content,
                prompt=order.prompt,
                name=shot.path.stem,
                selection=Selection(**order.selection),  # pyright: ignore
                driving=driving,
                quality=order.quality,  # pyright: ignore
                settings=order.settings,
                longer_side=order.longer_side,
                first=first - 1,
                frames=None if last is None else last - first + 1,
            )
            job.handed_in.set()
            client.submit(submit)
            self._change(job, state="queued", stage="")
            self._watch(job)
        except Cancelled:
            self._change(job, state="cancelled")
        except (InputError, OSError) as error:
            self._change(job, state="failed", fault=Fault.of(error))

    def _fetch(self, job: Job, folder: Path) -> None:
        try:
            client = self._client("work", lambda: self.job is job)
            self._change(job, stage="Fetching the puppet")
            status = client.status(job.id)
            footage = {}
            for name in status.artefacts:
                if name.startswith("footage/"):
                    footage[Path(name).stem] = client.fetch_artefact(job.id, name, folder / "footage" / Path(name).name)
            puppet = client.fetch_puppet(job.id, folder / "puppet.puppet", self._meter(job, lambda: self.job is job))
            self._change(job, puppet=puppet, footage=footage, loaded=Puppet.load(puppet), fetching=False, stage="")
        except Cancelled:
            pass
        except (InputError, OSError) as error:
            self._change(job, fetching=False, fault=Fault.of(error))

    # --- of the watching threads -------------------------------------------------------------------------------------------

    def _watch(self, job: Job) -> None:
        """Follows the job in a thread of its own until it ends, or another is followed."""
        if self._watched is not None:
            self._watched.set()
        stop = self._watched = threading.Event()
        threading.Thread(target=self._follow, args=(job, stop), name="restage4d watch", daemon=True).start()

    def _follow(self, job: Job, stop: threading.Event) -> None:
        def ended() -> bool:
            return stop.is_set() or self._ending.is_set()

        while not ended():
            if not self._ready.wait(0.2):
                continue
            try:
                with self._link.connect() as client:
                    for event, arrays in client.events(job.id, ended):
                        self._note(job, event, arrays)
                    return
            except InputError as error:
                if getattr(error, "code", "") == "not_found":
                    remedy = "It was deleted, or another backend has it. Restage again, or choose that backend."
                    self._change(job, state="failed", fault=Fault("The backend does not know this restaging.", remedy))
                    return
                stop.wait(1.0)

    def _note(self, job: Job, event: Any, arrays: dict[str, Any]) -> None:
        """One event of the job."""
        kind = type(event).__name__
        if kind == "StateChanged":
            self._apply(job, event.status)
        elif kind == "Progress":
            fields = {"stage": event.stage, "fraction": event.percent / 100, "seconds_left": event.time_left_s}
            self._change(job, **fields, figures=event.losses)
        elif kind == "Preview":
            self._change(job, picture=arrays["png"].tobytes())
        elif kind == "Points":
            self._change(job, points=thinned(arrays, event.fps))
        elif kind == "Lost":
            self._change(job, stage="Waits for the backend", seconds_left=None)

    def _apply(self, job: Job, status: Any) -> None:
        fault = None if status.error is None else Fault(status.error.what, status.error.remedy)
        stage = f"{status.ahead} before it" if status.state == "queued" and status.ahead else status.stage
        self._change(
            job,
            state=status.state,
            stopping=status.stopping,
            stage=stage,
            fraction=status.percent / 100,
            seconds_left=status.time_left_s,
            prompt=status.prompt or job.prompt,
            fault=fault,
        )
        job.handed_in.set()

    # --- of all threads ----------------------------------------------------------------------------------------------------

    def _failed(self, error: Exception) -> None:
        self._change(self.job or self.backend, fault=Fault.of(error))

    def _change(self, target: Any, **values: Any) -> None:
        self._changes.put((target, values))

    def _meter(self, target: Any, wanted: Callable[[], bool]) -> Callable[[int, int], None]:
        """Tells the fraction sent or fetched, ten times a second at most; ends what is not wanted any more."""
        told = 0.0

        def advance(done: int, total: int) -> None:
            nonlocal told
            if not wanted() or self._ending.is_set():
                raise Cancelled
            if time.monotonic() - told > 0.1 or done >= total:
                told = time.monotonic()
                self._change(target, fraction=done / max(total, 1))

        return advance
