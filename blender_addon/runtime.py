# SPDX-License-Identifier: GPL-3.0-or-later
"""The one timer: takes over what the session found, shows it, and tells the session what the artist
changed.

In the window Blender calls `tick`; without a window, where timers never fire, tests call it
themselves.
"""

import functools
import ipaddress
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
from bpy.app.handlers import persistent

from restage4d.driving.draft.prompt import parse
from restage4d.errors import InputError

from . import paths, preferences, takes
from .session import launcher
from .session.models import (
    DRAFT,
    PRIORS,
    Fault,
    Job,
    Order,
    Shot,
)
from .session.session import Link, Session
from .ui import thumbnails
from .viewport.live_preview import Live, redraw

QUICK, SLOW = 0.1, 0.4  # seconds between ticks, while something moves and else

_session: Session | None = None
_linked: tuple[Any, ...] = ()
_seen: dict[str, Any] = {}  # what is shown, by name
live = Live()


def session() -> Session:
    """The session, made on first use."""
    global _session, _linked
    if _session is None:
        _linked = _link_key()
        _session = Session(_link())
    return _session


def register() -> None:
    thumbnails.register()
    for handlers in (bpy.app.handlers.undo_post, bpy.app.handlers.redo_post):
        handlers.append(_undone)
    if not bpy.app.background:
        bpy.app.timers.register(tick, first_interval=0.2, persistent=True)


def unregister() -> None:
    global _session
    for handlers in (bpy.app.handlers.undo_post, bpy.app.handlers.redo_post):
        handlers.remove(_undone)
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)
    live.hide()
    if _session is not None:
        _session.close()
        _session = None
    _seen.clear()
    thumbnails.unregister()


def tick() -> float:
    """One turn. Returns seconds until the next; never raises, or Blender would drop the timer."""
    from .operators import bring_in  # which needs the session from here

    here = session()
    try:
        scene = bpy.context.scene
        _follow_preferences(here)
        changed = here.drain()
        _follow_shot(here, scene.restage4d)
        _follow_job(here, scene.restage4d)
        _follow_driving(here, scene.restage4d)
        if changed:
            _show(here)
    except Exception as error:
        here.backend.fault = Fault(
            f"The panel stumbled: {error!r}.", "Collect a bug report in the preferences."
        )
        raise_in_tests(error)
    bring_in.when_possible(here)
    jobs = [job for job in (here.job, here.audition) if job is not None and job.active]
    busy = (
        here.backend.phase != "ready"
        or jobs
        or here.preparation
        or (here.shot and here.shot.phase != "ready")
    )
    return QUICK if busy else SLOW


def raise_in_tests(error: Exception) -> None:
    if bpy.app.background:
        raise error


@persistent
def _undone(*_: Any) -> None:
    """Undo takes back what is in the scene, not work that the backend does: its jobs stay with
    their scene."""
    if _session is None:
        return
    for name, job in (("job", _session.job), ("driving_job", _session.audition)):
        scene = next((s for s in bpy.data.scenes if s.session_uid == _seen.get(name)), None)
        if scene is not None and job is not None and not job.brought_in:
            setattr(scene.restage4d, name, job.id)


# --- what the artist changed ----------------------------------------------------------------------


def _follow_preferences(here: Session) -> None:
    global _linked
    if _linked != (key := _link_key()):
        _linked = key
        here.use(_link())


def _follow_shot(here: Session, chosen: Any) -> None:
    """A video or a range that was the same for two ticks is opened."""
    wanted = shot_key(chosen)
    stable, _seen["wanted shot"] = _seen.get("wanted shot") == wanted, wanted
    if not stable or _seen.get("shot") == wanted:
        return
    _seen["shot"] = wanted
    thumbnails.forget("shot")
    path, frames, longer_side = wanted
    if not path:
        here.shot = None
    elif not os.path.exists(path):
        here.shot = Shot(
            Path(path),
            frames,
            longer_side,
            phase="failed",
            fault=Fault(f"{path} does not exist.", "Pick it again."),
        )
    elif frames is not None and frames[1] <= frames[0]:
        fault = Fault(
            "The part of the video is empty.", "Its last frame must come after its first."
        )
        here.shot = Shot(Path(path), frames, longer_side, phase="failed", fault=fault)
    else:
        here.open_shot(Path(path), frames, longer_side, place_of(chosen))


def shot_key(chosen: Any) -> tuple[str, tuple[int, int] | None, int]:
    frames = (chosen.first_frame, chosen.last_frame) if chosen.use_range else None
    return (
        bpy.path.abspath(chosen.video) if chosen.video else "",
        frames,
        preferences.get().longer_side,
    )


def place_of(chosen: Any) -> dict[str, tuple[float, ...]]:
    """The subject's place as `state.Order.selection`."""
    if chosen.selection == "POINT":
        return {"point": tuple(chosen.place[:2])}
    return {"box": tuple(chosen.place)} if chosen.selection == "BOX" else {}


def _follow_job(here: Session, chosen: Any) -> None:
    """The scene's job, also after another scene or file was opened."""
    if chosen.job:
        _seen["job"] = chosen.id_data.session_uid
    if chosen.job and (here.job is None or here.job.id != chosen.job):
        here.attach(chosen.job, chosen.prompt)
    elif not chosen.job and here.job is not None and not here.job.brought_in:
        here.forget()
        live.hide()
    job = here.job
    if (
        job is not None
        and job.state == "done"
        and job.puppet is None
        and not job.fetching
        and job.fault is None
    ):
        here.fetch(job, _folder_for(job))


def _follow_driving(here: Session, chosen: Any) -> None:
    """The scene's driving videos, and what their provider will be asked for."""
    if chosen.driving_job:
        _seen["driving_job"] = chosen.id_data.session_uid
    if chosen.driving_job and (here.audition is None or here.audition.id != chosen.driving_job):
        here.attach_driving(chosen.driving_job, chosen.prompt)
    elif not chosen.driving_job and here.audition is not None:
        here.forget_driving()
    job = here.audition
    if job is not None and job.state == "done" and not job.fetching and job.fault is None:
        if job.candidates:
            takes.keep(chosen, job)
            chosen.driving_job = ""
            here.forget_driving()
            redraw(views=False)
            if not bpy.app.background:
                bpy.ops.ed.undo_push(message="Make the Driving Video")
        else:
            here.fetch(job, _folder_for(job))
    asked = here.preparation
    if asked is not None and asked.phase == "ready":
        here.preparation = None
        chosen.refined, chosen.refined_for = (
            asked.refined,
            _refined_for(asked.provider, asked.prompt),
        )
        chosen.terms = "\n".join(asked.terms)
        redraw(views=False)


def _folder_for(job: Job) -> Path:
    """Beside the .blend where it was saved, so that both move together; else in the extension's own
    folder."""
    name = f"{job.id[:8]}"
    blend = bpy.data.filepath
    return (
        Path(blend).parent / "restage4d" / name if blend else paths.user_folder() / "puppets" / name
    )


def select(chosen: Any) -> None:
    """The subject where the artist pointed."""
    session().select(place_of(chosen))


# --- requests of operators ------------------------------------------------------------------------


def order(chosen: Any) -> Order:
    """A restaging, with the artist's own driving video, with the take that was picked, or with what
    the draft driver makes."""
    made = driving_order(chosen)
    made.candidates, made.refined_prompt = 1, ""
    if chosen.source == "FILE":
        made.driving = Path(bpy.path.abspath(chosen.driving))
    elif (take := takes.picked(chosen)) is not None:
        made.driving = Path(bpy.path.abspath(take.path))
        made.made_by, made.refined_prompt = chosen.takes_by, chosen.takes_prompt
    return made


def driving_order(chosen: Any) -> Order:
    """Driving videos alone."""
    return Order(
        prompt=chosen.prompt.strip(),
        selection=place_of(chosen),
        provider=chosen.provider,
        refined_prompt=refined(chosen),
        candidates=1 if chosen.provider == DRAFT else chosen.candidates,
        priors={
            kind: getattr(chosen, kind)
            for kind, usual in PRIORS.items()
            if getattr(chosen, kind) != usual
        },
        quality=chosen.quality,
        longer_side=preferences.get().longer_side,
    )


def refined(chosen: Any) -> str:
    """The refined prompt of the provider and prompt that are chosen now; empty where there is none
    yet."""
    return (
        chosen.refined.strip()
        if chosen.refined_for == _refined_for(chosen.provider, chosen.prompt)
        else ""
    )


def _refined_for(provider: str, prompt: str) -> str:
    return f"{provider}\n{prompt.strip()}"


@functools.lru_cache(maxsize=16)
def understood(prompt: str) -> tuple[bool, str]:
    """Whether the draft driver understands the prompt, and what it leaves out or knows, as a
    sentence."""
    try:
        ignored = parse(prompt).ignored
    except InputError as error:
        return False, str(error)
    return (
        True,
        f"The draft driver leaves out: {', '.join(ignored)}."
        if ignored
        else "The draft driver understands all of it.",
    )


def driving_icon() -> int | None:
    """Of the driving video that was made for the last restaging, once it is done."""
    job = session().job
    if job is None or not job.brought_in:
        return None
    made = [path for name, path in job.footage.items() if name != "base"]
    return thumbnails.movie_icon(str(made[-1])) if made else None


# --- what the session found -----------------------------------------------------------------------


def _show(here: Session) -> None:
    shot, job = here.shot, here.job
    if shot is not None and shot.first is not None:
        if not thumbnails.same(_seen.get("picture"), (shot.first, shot.mask)):
            _seen["picture"] = shot.first, shot.mask
            thumbnails.show(
                "shot",
                shot.first if shot.mask is None else thumbnails.with_mask(shot.first, shot.mask),
            )
        if not thumbnails.same(_seen.get("looked"), (shot.first, shot.mask, shot.fault)):
            _seen["looked"] = shot.first, shot.mask, shot.fault
            redraw()  # it may be shown over the view, too
    if job is not None:
        if job.picture and _seen.get("preview") is not job.picture:
            _seen["preview"] = job.picture
            thumbnails.show_png("preview", job.picture)
        if job.points is not None and not job.brought_in and _seen.get("points") is not job.points:
            _seen["points"] = job.points
            live.show(job.points)
        if job.state in ("failed", "cancelled"):
            live.hide()
    redraw(views=False)


# --- the link -------------------------------------------------------------------------------------


def needs_set_up() -> bool:
    """Whether starting the backend first means downloading it."""
    root = paths.backend_root()
    return root is None or not launcher.is_set_up(root)


def _link_key() -> tuple[Any, ...]:
    p = preferences.get()
    names = (
        "connection",
        "connection_file",
        "folder",
        "store",
        "stop_with_blender",
        "start_by_itself",
        "answer_limit",
        "start_limit",
    )
    return (*(getattr(p, name) for name in names), bpy.app.online_access)


def connector() -> Callable[[], Any]:
    """What connects to the backend that the preferences name. What it needs of bpy is read here:
    threads must not."""
    path, online, limit = (
        paths.connection_file(),
        bpy.app.online_access,
        preferences.get().answer_limit,
    )

    def connect() -> Any:
        from restage4d.protocol.client import Client
        from restage4d.protocol.connection import Connection

        if not online and not is_loopback(Connection.read(path).host):
            remedy = "Allow it: Preferences > System > Network > Allow Online Access."
            raise InputError(
                "Blender may not go online, and this backend is on another computer.", remedy
            )
        return Client.connect(path, timeout_s=limit)

    return connect


def _link() -> Link:
    """How to reach that backend, and to start it where it is our own."""
    p, connect = preferences.get(), connector()
    if p.connection != "OWN":
        return Link(connect)
    root, own, version, store = (
        paths.backend_root(),
        paths.user_folder() / "backend",
        paths.version(),
        paths.store(),
    )
    options = ["--parent-pid", str(os.getpid())] if p.stop_with_blender else []
    log, seconds = paths.log(), p.start_limit

    def start(
        answers: Callable[[], bool], stopped: threading.Event, say: Callable[[str, bool], None]
    ) -> None:
        place = root or own
        if place == own:
            launcher.unpack(paths.SOURCE, own, version)
        launcher.start(place, log, options, store, answers, seconds, stopped, say)

    return Link(connect, start, restart=p.start_by_itself)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
