"""Checkpoints of a fit: one safetensors file, whole or not there."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from restage4d.files import replacing


def save_checkpoint(path: Path, tensors: dict[str, Tensor], about: dict) -> None:
    """Writes tensors and JSON-able facts through a temporary name."""
    with replacing(path) as temporary:
        save_file({k: t.detach().contiguous() for k, t in tensors.items()}, temporary, {"about": json.dumps(about)})


def load_checkpoint(path: Path, fingerprint: str) -> tuple[dict[str, Tensor], dict] | None:
    """A checkpoint of the same inputs and settings, or None where there is none, it is damaged, or it is of another fit."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["about"])
            if about.get("fingerprint") != fingerprint:
                return None
            return {key: file.get_tensor(key) for key in file.keys()}, about  # noqa: SIM118  (not a dict)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None
