# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things lie: the extension's own folder for data, the backend's folder, logs. Nothing is
written beside the code."""

import os
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path

import bpy

import restage4d
from restage4d.errors import InputError
from restage4d.protocol.connection import home

from . import preferences
from .session import launcher

SOURCE = Path(__file__).parent / "backend" / "source.zip"  # in the zip only


def resolve(path: str) -> Path:
    """A path as the artist gave it, absolute; ``//`` is the folder of the .blend.

    Raises:
        InputError: the .blend has no folder yet.
    """
    if path.startswith("//") and not bpy.data.filepath:
        raise InputError(
            f"{path} would be beside the .blend, which is nowhere yet.",
            "Save the .blend first, or give a full path.",
        )
    return Path(bpy.path.abspath(path)).absolute()


def resolve_output(path: str, suffixes: Sequence[str]) -> Path:
    """`resolve` of a file to write, whose name gets the first suffix where it has none of them.

    Raises:
        InputError: as `resolve`; or that names no file, or a folder.
    """
    name = re.split(r"[\\/]", path)[-1]
    if not name or name in suffixes:
        raise InputError("No name is given for the file to write.", f"Such as fox{suffixes[0]}.")
    place = resolve(complete_name(path, suffixes))
    if place.is_dir():
        raise InputError(f"{place} is a folder.", "Give the name of a file.")
    return place


def complete_name(path: str, suffixes: Sequence[str]) -> str:
    """The path with the first suffix behind it, unless it ends in one of them."""
    root, suffix = os.path.splitext(path)
    return root + suffix.lower() if suffix.lower() in suffixes else path + suffixes[0]


def user_folder() -> Path:
    """The extension's folder in Blender's user files; where this is no extension, one in
    Restage4D's own."""
    try:
        return Path(bpy.utils.extension_path_user(preferences.PACKAGE, create=True))
    except ValueError:
        return home() / "blender"


def store() -> Path | None:
    """The backend's data folder as the preferences have it, None for the usual one."""
    chosen = preferences.get().store
    return Path(bpy.path.abspath(chosen)) if chosen else None


def connection_file() -> Path:
    chosen = preferences.get()
    if chosen.connection == "FILE":
        return Path(bpy.path.abspath(chosen.connection_file))
    return (store() or home()) / "connection.json"


def backend_root() -> Path | None:
    """What the backend can be started from: the folder of the preferences, what was set up, or the
    checkout of this code."""
    chosen = preferences.get().folder
    candidates = (
        [Path(bpy.path.abspath(chosen))]
        if chosen
        else [user_folder() / "backend", Path(__file__).parents[1]]
    )
    return next((place for place in candidates if launcher.can_start(place)), None)


def log() -> Path:
    return user_folder() / "backend.log"


def failure_log() -> Path:
    return user_folder() / "blender.log"


def logs() -> list[Path]:
    """The panel's log of the backend's start, that of failures in Blender, and the backend's
    own."""
    return [log(), failure_log(), *sorted((store() or home()).glob("*.log"))]


def version() -> str:
    return restage4d.__version__


def wheel_versions() -> dict[str, str]:
    """Versions of what the extension brings, "missing" where Blender did not install it."""
    found = {}
    for name in ("numpy", "pyzmq", "msgspec", "safetensors", "restage4d"):
        try:
            found[name] = version_of(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found
