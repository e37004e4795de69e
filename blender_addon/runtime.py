# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs while the extension is registered: the session, its link to the backend that the
preferences name, and the preview in the 3D views."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import bpy

from restage4d.errors import InputError
from restage4d.protocol.connection import Connection, is_loopback

from . import paths, preferences
from .session import launcher
from .session.connection import Link
from .session.session import Session
from .viewport.live_preview import LivePreview

if TYPE_CHECKING:
    from restage4d.protocol.client import Client


@dataclass(frozen=True)
class LinkSettings:
    """The preferences that `Link` is made of: where one of them changes, it is made anew."""

    connection: str
    connection_file: str
    folder: str
    store: str
    stop_with_blender: bool
    start_by_itself: bool
    answer_limit: float
    start_limit: float
    online_access: bool

    @staticmethod
    def read() -> "LinkSettings":
        chosen = preferences.get()
        return LinkSettings(
            chosen.connection,
            chosen.connection_file,
            chosen.folder,
            chosen.store,
            chosen.stop_with_blender,
            chosen.start_by_itself,
            chosen.answer_limit,
            chosen.start_limit,
            bpy.app.online_access,
        )


_session: Session | None = None
_link_settings: LinkSettings | None = None  # of the session's link
live = LivePreview()


def session() -> Session:
    """The session, made on first use."""
    global _session, _link_settings
    if _session is None:
        _link_settings = LinkSettings.read()
        _session = Session(_make_link())
    return _session


def has_session() -> bool:
    return _session is not None


def close() -> None:
    """Ends what runs; the backend and its jobs go on."""
    global _session
    live.hide()
    if _session is not None:
        _session.close()
        _session = None


def follow_preferences() -> None:
    """Lets the session use another backend where the preferences name one."""
    global _link_settings
    here = session()
    if _link_settings != (settings := LinkSettings.read()):
        _link_settings = settings
        here.use(_make_link())


def needs_set_up() -> bool:
    """Whether starting the backend first means downloading it."""
    root = paths.backend_root()
    return root is None or not launcher.is_set_up(root)


def make_connector() -> Callable[[], "Client"]:
    """What connects to the backend that the preferences name. What it needs of bpy is read here:
    threads must not."""
    path, online, limit = (
        paths.connection_file(),
        bpy.app.online_access,
        preferences.get().answer_limit,
    )

    def connect() -> "Client":
        from restage4d.protocol.client import Client  # needs wheels that may be missing

        if not online and not is_loopback(Connection.read(path).host):
            remedy = "Allow it: Preferences > System > Network > Allow Online Access."
            raise InputError(
                "Blender may not go online, and this backend is on another computer.", remedy
            )
        return Client.connect(path, timeout_s=limit)

    return connect


def _make_link() -> Link:
    """How to reach that backend, and to start it where it is our own."""
    p, connect = preferences.get(), make_connector()
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
