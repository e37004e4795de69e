"""Perceptual metrics, where the weights of their models are at hand."""

from dataclasses import dataclass
from pathlib import Path

from restage4d.evaluate.metrics.clip import ClipSimilarity
from restage4d.evaluate.metrics.lpips import Lpips


@dataclass(frozen=True)
class PerceptualWeights:
    """Folders with weights: a CLIP model, LPIPS on AlexNet; None where a figure is not wanted."""

    clip: Path | None = None
    lpips: Path | None = None


class PerceptualMetrics:
    """The models of the folders given. Raises `InputError` for one that cannot be read."""

    def __init__(self, folders: PerceptualWeights) -> None:
        self.folders = folders
        self.clip = ClipSimilarity(folders.clip) if folders.clip else None
        self.lpips = Lpips(folders.lpips) if folders.lpips else None
