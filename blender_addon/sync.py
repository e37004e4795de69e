# SPDX-License-Identifier: GPL-3.0-or-later
"""The one timer: takes over what the session found, shows it, tells the session what the artist
changed, and begins to bring in a finished puppet.

In the window Blender calls `tick`; without a window, where timers never fire, tests call it
themselves.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from bpy.app.handlers import persistent
from numpy.typing import NDArray

from . import (
    failures,
    orders,
    paths,
    runtime,
    takes,
)
from .languages import say, translate
from .properties import RESTAGE4D_PG_shot, get_head, get_shot
from .puppet.animation import layers
from .puppet.in_scene import copies, index
from .puppet.markers import sweep_markers
from .session import running_work
from .session.models import (
    Fault,
    PreviewPoints,
    Shot,
    WatchedJob,
)
from .session.session import Session
from .skeleton.switching import switch_moved_limbs
from .ui import thumbnails
from .viewport import display
from .viewport.live_preview import redraw

_TOLD = 6.0  # seconds that a sentence stands in the status bar
QUICK, SLOW = 0.1, 0.4  # seconds between ticks, while something moves and else


@dataclass(frozen=True)
class ChosenShot:
    """The video and the part of it that a scene names."""

    path: str  # empty for none
    there: bool  # whether there is such a file
    frames: tuple[int, int] | None  # first and last, from 1
    longer_side: int


@dataclass
class SyncState:
    """What the last tick found and showed.

    Attributes:
        job_scene, driving_job_scene: session_uid of the scene that has the job.
        chosen, opened: the shot that the scene named at the last tick, and the one that was opened.
        thumbnail: first frame and mask as they are in the panel.
        first_look: first frame, mask and fault as the views were last drawn with.
        frame_look: the same of the later frame that is looked at.
        head: as it is marked in the panel.
        picture: PNG of the job's progress.
        points: of the puppet in the making.
    """

    job_scene: int | None = None
    driving_job_scene: int | None = None
    chosen: ChosenShot | None = None
    opened: ChosenShot | None = None
    thumbnail: tuple[NDArray[np.uint8], NDArray[np.bool_] | None] | None = None
    first_look: tuple[NDArray[np.uint8], NDArray[np.bool_] | None, Fault | None] | None = None
    frame_look: tuple[Any, ...] | None = None
    head: tuple[float, float] | None = None
    picture: bytes = b""
    points: PreviewPoints | None = None


_state = SyncState()


def register() -> None:
    thumbnails.register()
    for handlers in (bpy.app.handlers.undo_post, bpy.app.handlers.redo_post):
        handlers.append(_restore_jobs)
    if not bpy.app.background:
        bpy.app.timers.register(tick, first_interval=0.2, persistent=True)


def unregister() -> None:
    global _state
    for handlers in (bpy.app.handlers.undo_post, bpy.app.handlers.redo_post):
        handlers.remove(_restore_jobs)
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)
    runtime.close()
    _state = SyncState()
    thumbnails.unregister()


def tick() -> float:
    """One turn. Returns seconds until the next; never raises, or Blender would drop the timer."""
    try:
        pause = _turn()
        failures.works_again("tick")
        return pause
    except Exception as error:
        failures.tell_once("tick", "The panel's turn", error)
        raise_in_tests(error)
        return SLOW


def _tell_in_status_bar(text: str) -> None:
    """Says something for a few seconds where no operator can report it."""
    for workspace in bpy.data.workspaces:
        workspace.status_text_set(say(text))

    def clear() -> None:
        for workspace in bpy.data.workspaces:
            workspace.status_text_set(None)

    bpy.app.timers.register(clear, first_interval=_TOLD)


def _turn() -> float:
    here = runtime.session()
    try:
        chosen = get_shot(bpy.context.scene)
        runtime.follow_preferences()
        changed = here.drain()
        _follow_shot(here, chosen)
        _follow_job(here, chosen)
        _follow_driving_job(here, chosen)
        head = get_head(chosen)
        if changed or head != _state.head:
            _show(here, head)
    except Exception as error:
        failures.tell_once("panel", "The panel's turn", error)
        here.backend.fault = Fault(
            f"The panel stumbled: {error!r}.", "Collect a bug report in the preferences."
        )
        raise_in_tests(error)
    if not _is_artist_busy():
        _bring_in_when_possible(here)
        if (scene := bpy.context.scene) is not None:
            sweep_markers(scene)
            _complete_copies(scene)
            for armature in index.find_armatures(scene):
                layers.fit_ramps(armature)
                if parts := switch_moved_limbs(armature, scene.frame_current):
                    _tell_in_status_bar(
                        translate("{parts}: IK is on now, since its control was moved").format(
                            parts=", ".join(parts)
                        )
                    )
    jobs = [job for job in (here.job, here.driving_job) if job is not None and job.active]
    busy = (
        here.backend.phase != "ready"
        or jobs
        or here.preparation
        or (here.shot and here.shot.phase != "ready")
    )
    return QUICK if busy else SLOW


def _complete_copies(scene: bpy.types.Scene) -> None:
    """A duplicated armature becomes a puppet, as soon as it has been put down."""
    found = copies.find_copies(scene) if bpy.context.mode == "OBJECT" else []
    for armature in found:
        display.apply(copies.complete(armature))
    if found and not bpy.app.background:
        bpy.ops.ed.undo_push(message="Duplicate the Puppet")


def raise_in_tests(error: Exception) -> None:
    if bpy.app.background:
        raise error


@persistent
def _restore_jobs(*_: object) -> None:
    """Undo takes back what is in the scene, not work that the backend does: its jobs stay with
    their scene."""
    if not runtime.has_session():
        return
    here = runtime.session()
    for name, job, uid in (
        ("job", here.job, _state.job_scene),
        ("driving_job", here.driving_job, _state.driving_job_scene),
    ):
        scene = next((s for s in bpy.data.scenes if s.session_uid == uid), None)
        if scene is not None and job is not None and not job.brought_in:
            setattr(get_shot(scene), name, job.id)


# --- what the artist changed ----------------------------------------------------------------------


def _follow_shot(here: Session, chosen: RESTAGE4D_PG_shot) -> None:
    """A video or a range that was the same for two ticks is opened."""
    wanted = _read_chosen_shot(chosen)
    stable, _state.chosen = _state.chosen == wanted, wanted
    if not stable or _state.opened == wanted:
        _follow_selection(here, chosen)
        return
    _state.opened = wanted
    thumbnails.forget("shot")
    path, frames, longer_side = wanted.path, wanted.frames, wanted.longer_side
    if not path:
        here.shot = None
    elif not wanted.there:
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
        here.open_shot(Path(path), frames, longer_side, orders.get_place(chosen))
    redraw()  # the panel and what lies over the views are of the one before


def _follow_selection(here: Session, chosen: RESTAGE4D_PG_shot) -> None:
    """A selection that undo or a script changed gets its own mask."""
    shot, place = here.shot, orders.get_place(chosen)
    if shot is not None and shot.first is not None and shot.place != place:
        here.select(place)


def _read_chosen_shot(chosen: RESTAGE4D_PG_shot) -> ChosenShot:
    frames = (chosen.first_frame, chosen.last_frame) if chosen.use_range else None
    path = bpy.path.abspath(chosen.video) if chosen.video else ""
    return ChosenShot(path, bool(path) and os.path.exists(path), frames, chosen.longer_side)


def _follow_job(here: Session, chosen: RESTAGE4D_PG_shot) -> None:
    """The scene's job, also after another scene or file was opened."""
    if chosen.job:
        _state.job_scene = chosen.id_data.session_uid
    if chosen.job and (here.job is None or here.job.id != chosen.job):
        here.attach(chosen.job, chosen.prompt)
    elif not chosen.job and here.job is not None and not here.job.brought_in:
        here.forget()
        runtime.live.hide()
    job = here.job
    if (
        job is not None
        and job.state == "done"
        and job.puppet is None
        and not job.fetching
        and job.fault is None
    ):
        here.fetch(job, _choose_folder(job))


def _follow_driving_job(here: Session, chosen: RESTAGE4D_PG_shot) -> None:
    """The scene's driving videos, and what their provider will be asked for."""
    if chosen.driving_job:
        _state.driving_job_scene = chosen.id_data.session_uid
    if chosen.driving_job and (
        here.driving_job is None or here.driving_job.id != chosen.driving_job
    ):
        here.attach_driving(chosen.driving_job, chosen.prompt)
    elif not chosen.driving_job and here.driving_job is not None:
        here.forget_driving()
    job = here.driving_job
    if job is not None and job.state == "done" and not job.fetching and job.fault is None:
        if job.candidates:
            takes.keep(chosen, job)
            chosen.driving_job = ""
            here.forget_driving()
            redraw(views=False)
            if not bpy.app.background:
                bpy.ops.ed.undo_push(message="Make the Driving Video")
        else:
            here.fetch(job, _choose_folder(job))
    preparation = here.preparation
    if preparation is not None and preparation.phase == "ready":
        here.preparation = None
        chosen.refined, chosen.refined_for = (
            preparation.refined,
            orders.make_refinement_key(preparation.provider, preparation.prompt),
        )
        chosen.terms = "\n".join(preparation.terms)
        redraw(views=False)


def _choose_folder(job: WatchedJob) -> Path:
    """Beside the .blend where it was saved, so that both move together; else in the extension's own
    folder."""
    name, blend = f"{job.id[:8]}", bpy.data.filepath
    return (
        Path(blend).parent / "restage4d" / name if blend else paths.user_folder() / "puppets" / name
    )


# --- what the session found -----------------------------------------------------------------------


def _show(here: Session, head: tuple[float, float] | None) -> None:
    shot, job = here.shot, here.job
    marked, _state.head = head != _state.head, head
    if shot is not None and shot.first is not None:
        if marked or not thumbnails.are_same(_state.thumbnail, (shot.first, shot.mask)):
            _state.thumbnail = shot.first, shot.mask
            picture = shot.first
            if shot.mask is not None:
                picture = thumbnails.draw_mask(picture, shot.mask)
            if head is not None:
                picture = thumbnails.draw_cross(picture, head, shot.size)
            thumbnails.show("shot", picture)
        if not thumbnails.are_same(_state.first_look, (shot.first, shot.mask, shot.fault)):
            _state.first_look = shot.first, shot.mask, shot.fault
            redraw()  # it may be shown over the view, too
    look = here.frame_look
    if look is not None:
        now = (look.picture, look.mask, look.fault)
        if not thumbnails.are_same(_state.frame_look, now):
            _state.frame_look = now
            redraw()
    if job is not None:
        if job.picture and _state.picture is not job.picture:
            _state.picture = job.picture
            thumbnails.show_png("preview", job.picture)
        if job.points is not None and not job.brought_in and _state.points is not job.points:
            _state.points = job.points
            runtime.live.show(job.points)
        if job.state in ("failed", "cancelled"):
            runtime.live.hide()
    redraw(views=False)


def _is_artist_busy() -> bool:
    """Whether the artist is in the middle of something, such as a drag."""
    if running_work.current is not None:
        return True
    windows = () if bpy.app.background else bpy.context.window_manager.windows
    return any(len(window.modal_operators) for window in windows)


def _bring_in_when_possible(here: Session) -> None:
    """Begins to bring in a finished puppet, unless the artist is in another mode or has put it
    off."""
    job = here.job
    if job is None or job.loaded is None or job.brought_in or job.put_off or job.fault is not None:
        return
    if bpy.context.mode != "OBJECT":
        return
    bring_in = bpy.ops.restage4d.bring_in  # pyright: ignore[reportAttributeAccessIssue]
    if bpy.app.background:
        bring_in()
        return
    with bpy.context.temp_override(window=bpy.context.window_manager.windows[0]):
        bring_in("INVOKE_DEFAULT")
