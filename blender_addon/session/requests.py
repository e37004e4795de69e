# SPDX-License-Identifier: GPL-3.0-or-later
"""What the work and the select thread do: send videos, look at them, submit jobs, fetch what came
of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from restage4d.errors import Cancelled, InputError
from restage4d.jobs import mask_file
from restage4d.puppet import Puppet

from .connection import BackendConnection
from .job_watcher import JobWatcher
from .models import (
    Candidate,
    Fault,
    FrameLook,
    Order,
    Preparation,
    Shot,
    WatchedJob,
)
from .update_queue import UpdateQueue
from .worker_thread import WorkerThread

LOOK_LIMIT = 150.0  # seconds: the first look starts a process, which takes long on a busy machine


class Requests:
    """Requests return at once; results are put into ``updates``.

    Args:
        connection: has the clients.
        watcher: of jobs that were submitted.
        updates: where what is found is put.
        report: called with an error that a request did not expect.
    """

    def __init__(
        self,
        connection: BackendConnection,
        watcher: JobWatcher,
        updates: UpdateQueue,
        report: Callable[[Exception], None],
    ) -> None:
        self._connection, self._watcher, self._updates = connection, watcher, updates
        self._work, self._select = (WorkerThread(updates.ending, report) for _ in range(2))
        self._work.start()
        self._select.start()
        self._shot: Shot | None = None  # the one that is wanted

    def send_shot(self, shot: Shot) -> None:
        """Sends a video and looks at its first frame and the subject in it."""
        self._shot = shot
        self._work.put(self._send_shot, shot)

    def look(self, shot: Shot, place: dict[str, tuple[float, ...]]) -> None:
        """Looks for the subject of a shot that was sent."""
        self._select.put(self._look, shot, place, shot.content)

    def look_at_frame(self, shot: Shot, look: FrameLook) -> None:
        """Looks at a later frame of a shot that was sent."""
        self._select.put(self._look_at_frame, shot, look)

    def prepare(self, shot: Shot, order: Order, preparation: Preparation) -> None:
        """Asks what the provider would be asked for."""
        self._select.put(self._prepare, shot, order, preparation)

    def submit(self, shot: Shot, job: WatchedJob, order: Order) -> None:
        self._work.put(self._submit, shot, job, order)

    def fetch(self, job: WatchedJob, folder: Path, is_wanted: Callable[[], bool]) -> None:
        """Fetches a finished job's puppet and footage, or its driving videos."""
        self._work.put(
            self._fetch_puppet if job.kind == "restage" else self._fetch_candidates,
            job,
            folder,
            is_wanted,
        )

    def end(self) -> None:
        self._work.end()
        self._select.end()

    # --- of the threads ---------------------------------------------------------------------------

    def _send_shot(self, shot: Shot) -> None:
        def is_wanted() -> bool:
            return self._shot is shot

        try:
            client = self._connection.get_client(self._work, is_wanted)
            self._updates.put(shot, phase="uploading")
            content = client.upload(shot.path, self._updates.make_meter(shot, is_wanted))
            seen, frame, _ = client.look(
                content, first=shot.first_frame, longer_side=shot.longer_side, timeout_s=LOOK_LIMIT
            )
            about = f"{seen.width} x {seen.height}, {seen.fps:.4g} fps, {seen.frames} frames"
            size = (seen.width, seen.height)
            self._updates.put(
                shot, content=content, first=frame, size=size, about=about, phase="selecting"
            )
            self._select.put(self._look, shot, shot.place, content)
        except Cancelled:
            pass
        except (InputError, OSError) as error:
            self._updates.put(shot, phase="failed", fault=Fault.of(error))

    def _look(self, shot: Shot, place: dict[str, tuple[float, ...]], content: str) -> None:
        """The subject in the shot's first frame."""
        from restage4d.protocol.messages import SubjectSelection

        values: dict[str, Any] = {"fault": None}
        try:
            client = self._connection.get_client(self._select, lambda: self._shot is shot)
            selection = SubjectSelection(**place)  # pyright: ignore
            side = shot.longer_side
            _, _, mask = client.look(
                content,
                first=shot.first_frame,
                longer_side=side,
                selection=selection,
                find=True,
                timeout_s=LOOK_LIMIT,
            )
            values["mask"] = mask > 127
        except Cancelled:
            return
        except InputError as error:
            values["fault"] = Fault.of(error)
        if place == shot.place:  # not asked for another meanwhile
            self._updates.put(shot, phase="ready", **values)

    def _look_at_frame(self, shot: Shot, look: FrameLook) -> None:
        from restage4d.protocol.messages import SubjectSelection

        try:
            client = self._connection.get_client(self._select, lambda: self._shot is shot)
            _, picture, mask = client.look(
                shot.content,
                first=look.number,
                longer_side=shot.longer_side,
                selection=SubjectSelection(**look.place),  # pyright: ignore
                timeout_s=LOOK_LIMIT,
            )
            found = mask > 127 if mask.size else look.mask
            self._updates.put(look, phase="ready", picture=picture, mask=found)
        except Cancelled:
            pass
        except InputError as error:
            self._updates.put(look, phase="failed", fault=Fault.of(error))

    def _prepare(self, shot: Shot, order: Order, preparation: Preparation) -> None:
        from restage4d.protocol.messages import Prepare

        side, first = shot.longer_side, shot.first_frame
        last = shot.frames[1] if shot.frames else None
        try:
            client = self._connection.get_client(self._select, lambda: self._shot is shot)
            request = Prepare(
                content=shot.content,
                prompt=order.prompt,
                driving=order.provider,
                first=first,
                frames=None if last is None else last - first,
                longer_side=side,
            )
            answer = client.prepare(request)
            self._updates.put(preparation, phase="ready", refined=answer.prompt, terms=answer.terms)
        except Cancelled:
            pass
        except InputError as error:
            self._updates.put(preparation, phase="failed", fault=Fault.of(error))

    def _submit(self, shot: Shot, job: WatchedJob, order: Order) -> None:
        from restage4d.protocol.messages import SubjectSelection, Submit

        def is_wanted() -> bool:
            return not job.unwanted.is_set()

        try:
            client = self._connection.get_client(self._work, is_wanted)
            content = client.upload(
                shot.path, self._updates.make_meter(job, is_wanted)
            )  # sends nothing where the backend has it already
            driving: Any = order.provider
            if order.driving is not None:
                self._updates.put(job, stage="Sending the driving video")
                driving = [client.upload(order.driving, self._updates.make_meter(job, is_wanted))]
            masks = {n: client.upload(path) for n, path in order.corrections.items()}
            into = ""
            if order.into is not None:
                into = client.upload(order.into, self._updates.make_meter(job, is_wanted))
            first, last = shot.frames or (1, None)
            submit = Submit(
                key=job.id,
                job_kind=job.kind,  # pyright: ignore
                base=content,
                prompt=order.prompt,
                name=shot.path.stem,
                selection=SubjectSelection(**order.selection, corrections=masks),  # pyright: ignore
                head=order.head,
                driving=driving,
                candidates=order.candidates,
                refined_prompt=order.refined_prompt,
                made_by=order.made_by,
                into=into,
                providers=order.priors,  # pyright: ignore
                quality=order.quality,  # pyright: ignore
                settings=order.settings,
                longer_side=order.longer_side,
                first=first - 1,
                frames=None if last is None else last - first + 1,
            )
            job.submitted.set()
            client.submit(submit)
            self._updates.put(job, state="queued", stage="")
            self._watcher.watch(job)
        except Cancelled:
            self._updates.put(job, state="cancelled")
        except (InputError, OSError) as error:
            self._updates.put(job, state="failed", fault=Fault.of(error))

    def _fetch_puppet(self, job: WatchedJob, folder: Path, is_wanted: Callable[[], bool]) -> None:
        try:
            client = self._connection.get_client(self._work, is_wanted)
            self._updates.put(job, stage="Fetching the puppet")
            status = client.status(job.id)
            footage = {}
            for name in status.artefacts:
                if name.startswith("footage/"):
                    footage[Path(name).stem] = client.fetch_artefact(
                        job.id, name, folder / "footage" / Path(name).name
                    )
            masks = None
            if mask_file.NAME in status.artefacts:  # services of before make none
                masks = client.fetch_artefact(job.id, mask_file.NAME, folder / mask_file.NAME)
            puppet = client.fetch_puppet(
                job.id, folder / "puppet.puppet", self._updates.make_meter(job, is_wanted)
            )
            self._updates.put(
                job,
                puppet=puppet,
                footage=footage,
                masks=masks,
                loaded=Puppet.load(puppet),
                fetching=False,
                stage="",
            )
        except Cancelled:
            pass
        except (InputError, OSError) as error:
            self._updates.put(job, fetching=False, fault=Fault.of(error))

    def _fetch_candidates(
        self, job: WatchedJob, folder: Path, is_wanted: Callable[[], bool]
    ) -> None:
        try:
            client = self._connection.get_client(self._work, is_wanted)
            self._updates.put(job, stage="Fetching the driving video")
            report = json.loads(
                client.fetch_artefact(
                    job.id, "candidates.json", folder / "candidates.json"
                ).read_bytes()
            )
            found = []
            for figures in report["candidates"]:
                number = int(figures.pop("candidate"))
                name = f"candidates/{number}.mp4"
                found.append(
                    Candidate(number, client.fetch_artefact(job.id, name, folder / name), figures)
                )
            self._updates.put(
                job,
                candidates=found,
                made_by=report["provider"],
                refined_prompt=report["refined_prompt"],
                fetching=False,
                stage="",
            )
        except Cancelled:
            pass
        except (InputError, OSError) as error:
            self._updates.put(job, fetching=False, fault=Fault.of(error))
