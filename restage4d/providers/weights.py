"""Weights of learned models: found in a local folder or the Hugging Face hub's cache, fetched only
with consent, loaded safely.

Only safetensors and `torch.load(weights_only=True)` are read. Whatever is wrong with a folder or
file is one `InputError`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

from restage4d.errors import InputError
from restage4d.providers.entry import Entry
from restage4d.providers.modules import is_importable
from restage4d.providers.settings import read_settings

_PATTERNS = [
    "*.json",
    "*.txt",
    "*.model",
    "*.safetensors",
]  # of a repository on the hub; what is pickled is left there
_SHARDS = {
    "model.safetensors": "model.safetensors.index.json"
}  # big models come in pieces with an index


def default_folder() -> Path:
    """Where weights are put, and found, if nobody names a folder."""
    return user_data_path("restage4d") / "weights"


@dataclass(frozen=True)
class Weights:
    """Where weights may come from: ``folder`` of this computer (None: the settings' one), and
    whether the hub may be asked."""

    folder: Path | None = None
    download: bool = False

    @classmethod
    def from_settings(cls, folder: Path | None, download: bool) -> "Weights":
        """What was asked for, else what the settings say, else where `restage4d models get` puts
        them."""
        settings = read_settings()
        if folder is None:
            usual = Path(settings.weights) if settings.weights else default_folder()
            folder = usual if settings.weights or usual.is_dir() else None
        return cls(folder, download or settings.download)

    def find_local(self, entry: Entry) -> Path | None:
        """The folder on this computer that holds the provider's files, None if there is none."""
        if self.folder:
            names = (entry.name, entry.repo.split("/")[-1])
            for place in (*(self.folder / name for name in names if name), self.folder):
                if not find_missing_files(place, entry.files):
                    return place
        return _find_in_cache(entry)

    def find(self, entry: Entry) -> Path:
        """The folder with the provider's files; fetches them where that is allowed.

        Raises:
            InputError: they are not here and may not or cannot be fetched; names the file and both
                ways to get it.
        """
        found = self.find_local(entry)
        if found is None and self.download and entry.repo:
            found = _fetch(entry)
        if found is not None:
            return found
        places = [self.folder / entry.name] if self.folder else []
        files = find_missing_files(places[0], entry.files) if places else list(entry.files)
        where = (
            f"{places[0]}"
            if places
            else f"a folder {entry.name} in the weights folder (--weights DIR or RESTAGE4D_WEIGHTS)"
        )
        source = f" of {entry.repo} ({entry.size:g} GB, {entry.licence})" if entry.repo else ""
        raise InputError(
            f"The weights of {entry.title} are not here: {', '.join(files)} is missing.",
            f"Put {' and '.join(files)}{source} into {where}"
            + (", or allow --download." if entry.repo else f". {entry.get}."),
        )


def find_missing_files(folder: Path, files: tuple[str, ...]) -> list[str]:
    """Which of ``files`` are not in ``folder``; a model in pieces counts as there."""
    return [
        f
        for f in files
        if not (folder / f).exists() and not (f in _SHARDS and (folder / _SHARDS[f]).exists())
    ]


def fingerprint(folder: Path) -> str:
    """Tells one set of weights from another without reading gigabytes: names, sizes and times of
    the files."""
    files = sorted(
        p for p in folder.rglob("*") if p.suffix in (".json", ".safetensors", ".pt", ".pth", ".npz")
    )
    return ";".join(
        f"{p.relative_to(folder).as_posix()}:{p.stat().st_size}:{p.stat().st_mtime_ns}"
        for p in files
    )


def load_pretrained(model: Any, folder: Path, kinds: tuple[str, ...], dtype: Any) -> Any:
    """A transformers model from ``folder``, in evaluation mode.

    Args:
        model: the class, e.g. ``transformers.Sam2VideoModel``.
        kinds: values of ``model_type`` in its config.json that it can be made from.
        dtype: torch dtype of the weights.

    Raises:
        InputError: config or weights are missing, damaged, incomplete or of another model; names
            the file.
    """
    config = folder / "config.json"
    try:
        kind = json.loads(config.read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"{config} cannot be read: {error}.", "Get it again from where the weights came from."
        ) from error
    if kind not in kinds:
        raise InputError(
            f"{config} is of a {kind} model, not of {' or '.join(kinds)}.",
            "Give the folder of the right weights.",
        )
    weights = folder / "model.safetensors"
    from transformers.utils import logging

    logging.disable_progress_bar()  # progress is told through restage4d.progress
    try:
        made, report = model.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            dtype=dtype,
        )
    except (
        Exception
    ) as error:  # transformers, safetensors and torch raise what they like for damaged files
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{weights} cannot be loaded: {first}", "It is damaged or incomplete: get it again."
        ) from error
    absent = [*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])]
    if absent:
        raise InputError(
            f"{weights} lacks {len(absent)} of the model's tensors or has them in another shape, "
            f"e.g. {min(absent)}.",
            "It is of another model or version: get the one that config.json is of.",
        )
    return made.eval()


def load_state(path: Path) -> dict[str, Any]:
    """A checkpoint of tensors, nothing else in it is ever executed. Raises `InputError` for a
    damaged or wrong file."""
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(
            f"{path} cannot be loaded: {first}",
            "It is damaged or no plain checkpoint: get it again.",
        ) from error
    if not isinstance(state, dict):
        raise InputError(
            f"{path} holds a {type(state).__name__}, not named tensors.",
            "Give the model's own checkpoint.",
        )
    return state


def load_into(module: Any, state: dict[str, Any], path: Path) -> None:
    """Puts ``state`` into ``module``. Raises `InputError` where they do not fit."""
    try:
        module.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise InputError(
            f"{path} does not fit the model: {first}", "Give the checkpoint of this very model."
        ) from error


def _find_in_cache(entry: Entry) -> Path | None:
    if not entry.repo or not is_importable("huggingface_hub"):
        return None
    from huggingface_hub.constants import HF_HUB_CACHE

    if not (Path(HF_HUB_CACHE) / f"models--{entry.repo.replace('/', '--')}").is_dir():
        return None  # before its client is imported, which takes a while
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(entry.repo, allow_patterns=_PATTERNS, local_files_only=True)
        )
    except Exception:  # not in the cache, or not all of it
        return None
    return folder if not find_missing_files(folder, entry.files) else None


def fetch_file(repo: str, name: str) -> Path:
    """One file of the hub, from its cache where it is there. Raises `InputError` where it cannot be
    fetched."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repo, name))
    except Exception as error:  # the hub's client raises what it likes
        raise explain_fetch_error(error, repo, name) from error


def _fetch(entry: Entry) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(entry.repo, allow_patterns=_PATTERNS))
    except Exception as error:
        raise explain_fetch_error(error, entry.repo, ", ".join(entry.files)) from error
    if gone := find_missing_files(folder, entry.files):
        raise InputError(
            f"{entry.repo} has no {', '.join(gone)}.",
            "The hub's copy has changed; give a folder with --weights.",
        )
    return folder


def explain_fetch_error(error: Exception, repo: str, files: str) -> InputError:
    """What the hub's client raised, in one sentence with a remedy."""
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    remedy = f"Fetch {files} of {repo} by hand and give their folder with --weights."
    if type(error).__name__ == "GatedRepoError":
        remedy = (
            f"Accept the licence on the page of {repo}, log in with `hf auth login`, then start "
            "again."
        )
    return InputError(f"{repo} could not be fetched: {first}", remedy)
