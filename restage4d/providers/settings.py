"""What a person sets once for all runs: one TOML file, and an environment variable for each of its
lines.

    # settings.toml in the folder that `restage4d doctor` names
    weights = "D:/models"       # RESTAGE4D_WEIGHTS     folder of model weights (docs/providers.md)
    download = false            # RESTAGE4D_DOWNLOAD    whether the hub may be asked for weights
    commercial = true           # RESTAGE4D_COMMERCIAL  whether what is made is for commercial use
    da3_python = ""             # RESTAGE4D_DA3_PYTHON  Python with depth-anything-3
    map_anything_python = ""    # RESTAGE4D_MAP_ANYTHING_PYTHON  Python with mapanything
    mediapipe_python = ""       # RESTAGE4D_MEDIAPIPE_PYTHON  Python with mediapipe
    refine_url = ""             # RESTAGE4D_REFINE_URL  OpenAI-compatible, refines prompts
    refine_model = ""           # RESTAGE4D_REFINE_MODEL

Keys of services are not here: they come from their own environment variables or the system's
keyring (`restage4d.providers.api_keys`).
"""

import json
import os
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from platformdirs import user_config_path

from restage4d.errors import InputError
from restage4d.io.atomic import replacing


@dataclass(frozen=True)
class UserSettings:
    """See the module's text."""

    weights: str = ""
    download: bool = False
    commercial: bool = True  # until somebody says that it is not: fewer weights are offered
    da3_python: str = ""
    map_anything_python: str = ""
    mediapipe_python: str = ""
    refine_url: str = ""
    refine_model: str = ""


def settings_file() -> Path:
    """Where the file is, or would be."""
    return Path(
        os.environ.get("RESTAGE4D_SETTINGS") or user_config_path("restage4d") / "settings.toml"
    )


def read_settings() -> UserSettings:
    """The file's lines, each overruled by its environment variable. Raises `InputError` for a file
    that is not as it must be."""
    path = settings_file()
    given: dict[str, object] = {}
    if path.is_file():
        try:
            given = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(
                f"The settings {path} cannot be read: {error}.", "Correct the file or delete it."
            ) from error
    known = {f.name: type(f.default) for f in fields(UserSettings)}
    for name, value in given.items():
        if name not in known or not isinstance(value, known[name]):
            what = (
                f"there is no setting {name!r}"
                if name not in known
                else f"{name} is not a {known[name].__name__}"
            )
            raise InputError(f"{path}: {what}.", f"There are: {', '.join(known)}.")
    for name, kind in known.items():
        text = os.environ.get(f"RESTAGE4D_{name.upper()}")
        if text:
            given[name] = text.lower() in ("1", "true", "yes") if kind is bool else text
    return UserSettings(**given)  # type: ignore[arg-type]


def write_setting(name: str, value: bool | str) -> None:
    """Puts one line into the settings file, which keeps its other lines. Raises `InputError` where
    it cannot be written."""
    path = settings_file()
    line = f"{name} = {json.dumps(value)}"  # JSON's strings and booleans are TOML's
    try:
        old = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        kept = [text for text in old if text.split("=")[0].strip() != name]
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text("\n".join([line, *kept]) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"The settings {path} cannot be written: {error.strerror}.",
            f"Set RESTAGE4D_{name.upper()} instead.",
        ) from error
