"""What a person sets once for all runs: one TOML file, and an environment variable for each of its
lines.

    # settings.toml in the folder that `restage4d doctor` names
    weights = "D:/models"       # RESTAGE4D_WEIGHTS     folder of model weights (docs/providers.md)
    download = false            # RESTAGE4D_DOWNLOAD    whether the hub may be asked for weights
    da3_python = ""             # RESTAGE4D_DA3_PYTHON  Python with depth-anything-3
    mediapipe_python = ""       # RESTAGE4D_MEDIAPIPE_PYTHON  Python with mediapipe
    refine_url = ""             # RESTAGE4D_REFINE_URL  OpenAI-compatible, refines prompts
    refine_model = ""           # RESTAGE4D_REFINE_MODEL

Keys of services are not here: they come from their own environment variables or the system's
keyring (`restage4d.providers.api_keys`).
"""

import os
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from platformdirs import user_config_path

from restage4d.errors import InputError


@dataclass(frozen=True)
class UserSettings:
    """See the module's text."""

    weights: str = ""
    download: bool = False
    da3_python: str = ""
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
