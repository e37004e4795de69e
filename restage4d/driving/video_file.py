"""A driving video that the artist brings: filmed, animated, or made with any generator."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip
from restage4d.driving.protocols import DrivingVideo
from restage4d.driving.seam import prepare
from restage4d.io.video import decode
from restage4d.progress import Progress, TaskId


class FileDriving:
    """A `DrivingProvider` that reads a video file or a folder of frames; the prompt is kept for the
    record only.

    Args:
        path: the driving video; its first frame must show what the base's first frame shows.
        made_by, refined_prompt: for the record, which provider made it and what that was asked for.
    """

    def __init__(self, path: str | Path, made_by: str = "", refined_prompt: str = "") -> None:
        self.path, self.refined_prompt = Path(path), refined_prompt
        self.name = made_by or f"file:{self.path.name}"

    def make(
        self, base: Clip, mask: NDArray[np.bool_], prompt: str, progress: Progress
    ) -> DrivingVideo:
        """Decodes the file and brings it to the base's size, rate and framing."""
        with progress.task(TaskId.READ_DRIVING):
            # twice the working size, so that cutting to the base's aspect leaves detail
            clip = decode(self.path, longer_side=2 * max(base.size), folder_fps=base.fps)
        clip = prepare(base, clip, self.path.name, subject=mask)
        return DrivingVideo(clip, self.name, self.refined_prompt)
