"""Checkpoints of a fit: one safetensors file, whole or not there."""

import hashlib
import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from restage4d.io.atomic import replacing


def save_checkpoint(path: Path, tensors: dict[str, Tensor], about: dict) -> None:
    """Writes tensors and JSON-able facts through a temporary name."""
    facts = json.dumps(about)
    held = {k: t.detach().cpu().contiguous() for k, t in tensors.items()}
    with replacing(path) as temporary:
        # Not save_file, which hides "disk full" in an error of its own.
        temporary.write_bytes(save(held, {"about": facts, "digest": _digest(held, facts)}))


def _digest(tensors: dict[str, Tensor], facts: str) -> str:
    """SHA-256 over all of it: safetensors itself would not notice a flipped bit."""
    digest = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().reshape(-1).data)
    return digest.hexdigest()


def load_checkpoint(path: Path, fingerprint: str) -> tuple[dict[str, Tensor], dict] | None:
    """A checkpoint of the same inputs and settings, or None where there is none, it is damaged, or
    it is of another fit."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            about = json.loads(metadata["about"])
            if about.get("fingerprint") != fingerprint:
                return None
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (not a dict)
            return (
                (tensors, about)
                if _digest(tensors, metadata["about"]) == metadata.get("digest")
                else None
            )
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None
