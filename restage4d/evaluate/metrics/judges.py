"""Models that judge pictures, where their weights are at hand."""

from dataclasses import dataclass
from pathlib import Path

from restage4d.evaluate.metrics.clip import ClipSimilarity
from restage4d.evaluate.metrics.lpips import Lpips


@dataclass(frozen=True)
class JudgeFolders:
    """Folders with weights: a CLIP model, LPIPS on AlexNet; None where a figure is not wanted."""

    clip: Path | None = None
    lpips: Path | None = None


class Judges:
    """The models of the folders given. Raises `InputError` for one that cannot be read."""

    def __init__(self, folders: JudgeFolders) -> None:
        self.folders = folders
        self.clip = ClipSimilarity(folders.clip) if folders.clip else None
        self.lpips = Lpips(folders.lpips) if folders.lpips else None
