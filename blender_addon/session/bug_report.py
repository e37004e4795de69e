# SPDX-License-Identifier: GPL-3.0-or-later
"""A zip to send with a bug report: versions, settings, the ends of logs. No keys, no video, no
prompt. Needs no Blender."""

import json
import platform
import re
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from restage4d.io.atomic import replacing

TAIL = 200_000  # bytes of a log
_SECRET = re.compile(r"(key|secret|token|passw|passphrase|auth|credential|cookie)", re.IGNORECASE)
_PRIVATE = re.compile(r"(prompt|text|selection_words)", re.IGNORECASE)
# What a secret looks like: named as one, or in the form that a service gives its keys.
_NAMED = (
    r"(?:api[-_ ]?)?(?:key|secret|token|passw\w*|passphrase|authorization|credential|cookie)\w*"
)
_IN_TEXT = re.compile(
    rf"(?i)({_NAMED}[\"']?\s*[:=]\s*[\"']?(?:bearer\s+|basic\s+)?)[^\s\"',}}]{{4,}}"
    r"|(\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}"  # HTTP's Authorization
    r"|(://[^/\s:@]*:)[^/\s@]+(?=@)"  # a password in a URL
    r"|(\b(?:prompt|text)[\"']?\s*[:=]\s*)(?:\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[^\n,}]+)"
)
_FORMS = re.compile(
    r"\b(?:sk|rk|pk|key|hf|r8|gsk|xai|glpat)[-_][A-Za-z0-9_-]{8,}"
    r"|\bgh[opusr]_\w{16,}|\bgithub_pat_\w{16,}"  # GitHub
    r"|\bA(?:KIA|SIA)[A-Z0-9]{12,}"  # AWS
    r"|\bAIza[\w-]{20,}|\bya29\.[\w.-]{10,}"  # Google
    r"|\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"  # a JSON web token
    r"|(?<![\w.:+=^!/*?&<>()\[\]{}@%$#-])[\w.:+=^!/*?&<>()\[\]{}@%$#-]{40}(?![\w.:+=^!/*?&<>()\[\]{}@%$#-])"
)  # the last one: Z85 of 32 bytes, a CURVE key; a hash of 40 letters goes too


def write(
    path: Path, facts: dict[str, Any], settings: dict[str, Any], logs: Sequence[Path]
) -> list[str]:
    """Writes the zip and returns the names in it.

    Args:
        path: of the zip.
        facts: versions and states, JSON values.
        settings: what the user set; values whose names sound secret are left out.
        logs: files whose ends are taken, with what looks like a key blacked out.

    Raises:
        InputError: the place cannot be written to.
    """
    facts = {
        "python": sys.version,
        "system": platform.platform(),
        "processor": platform.machine(),
        **facts,
    }
    with (
        replacing(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        archive.writestr("versions.json", _format_json(remove_secrets(facts)))
        archive.writestr("settings.json", _format_json(remove_secrets(settings)))
        for log in logs:
            if log.is_file():
                archive.writestr(f"logs/{log.name}", tail(log))
        return archive.namelist()


def remove_secrets(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with secrets replaced by whether they are set, and home folders by ~."""
    safe: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            safe[name] = remove_secrets(value)
        elif _SECRET.search(name) or _PRIVATE.search(name):
            safe[name] = "(set)" if value else "(not set)"
        else:
            safe[name] = _shorten_home(value) if isinstance(value, str) else value
    return safe


def tail(log: Path) -> str:
    """The end of a log without what looks like a key or a prompt."""
    with log.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - TAIL))
        text = file.read().decode("utf-8", "replace")
    return _shorten_home(hide_secrets(text))


def hide_secrets(text: str) -> str:
    """Text with keys, passwords and prompts blacked out, by their names and by their forms."""
    kept = _IN_TEXT.sub(lambda m: next((g for g in m.groups() if g), "") + "(left out)", text)
    return _FORMS.sub("(left out)", kept)


def _shorten_home(text: str) -> str:
    return text.replace(str(Path.home()), "~")


def _format_json(value: dict[str, Any]) -> str:
    return _shorten_home(json.dumps(value, indent=2, default=str)) + "\n"
