"""A driving video that the artist brings: filmed, animated, or made with any generator."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip
from restage4d.driving.protocols import DrivingVideo
from restage4d.driving.seam import find_frames_at, prepare, psnr
from restage4d.evaluate.metrics.image import iou
from restage4d.io.content_cache import Cache, content_key
from restage4d.io.video import decode
from restage4d.priors.known import KnownPriors, pack_known, unpack_known
from restage4d.progress import Progress, TaskId

_WHOLE = 30.0  # dB from which a picture is the decoded one, only scaled
_SAME_SUBJECT = 0.5  # IoU of the mask that a video was made for and the one that is asked for


class FileDriving:
    """A `DrivingProvider` that reads a video file or a folder of frames; the prompt is kept for the
    record only.

    Args:
        path: the driving video; its first frame must show what the base's first frame shows.
        made_by, refined_prompt: for the record, which provider made it and what that was asked for.
        cache: where `keep_known` may have put what its maker knows of it.
    """

    def __init__(
        self,
        path: str | Path,
        made_by: str = "",
        refined_prompt: str = "",
        cache: Cache | None = None,
    ) -> None:
        self.path, self.refined_prompt, self._cache = Path(path), refined_prompt, cache
        self.name = made_by or f"file:{self.path.name}"

    def make(
        self, base: Clip, mask: NDArray[np.bool_], prompt: str, progress: Progress
    ) -> DrivingVideo:
        """Decodes the file and brings it to the base's size, rate and framing."""
        with progress.task(TaskId.READ_DRIVING):
            # twice the working size, so that cutting to the base's aspect leaves detail
            clip = decode(self.path, longer_side=2 * max(base.size), folder_fps=base.fps)
        prepared = prepare(base, clip, self.path.name, subject=mask)
        known = self._find_known(clip, prepared, mask)
        return DrivingVideo(prepared, self.name, self.refined_prompt, known=known)

    def _find_known(self, clip: Clip, prepared: Clip, mask: NDArray[np.bool_]) -> KnownPriors:
        """What is known of the file, where ``prepared`` is all of the decoded ``clip``, and the
        subject is still the one it was made for."""
        if self._cache is None or self.path.is_dir():
            return KnownPriors()
        arrays = self._cache.get(_make_key(self.path))
        if arrays is None or arrays["frames"] != len(clip):
            return KnownPriors()
        whole = cv2.resize(clip.frames[0], prepared.size, interpolation=cv2.INTER_AREA)
        if psnr(np.asarray(whole, np.uint8), prepared.frames[0]) < _WHOLE:
            return KnownPriors()
        width, height = arrays["size"].tolist()
        known = unpack_known(arrays).resize(
            (width, height), prepared.size, find_frames_at(clip, prepared.fps)
        )
        if known.masks is not None and iou(known.masks[0] > 0.5, mask) < _SAME_SUBJECT:
            return KnownPriors()
        return known


def keep_known(cache: Cache, path: Path, video: DrivingVideo) -> None:
    """Keeps what is known of ``video`` under the content of the file ``path`` that it was written
    to, so that it is found again whatever way that file goes."""
    if arrays := pack_known(video.known):
        about = {"size": np.array(video.clip.size), "frames": np.array(len(video.clip))}
        cache.put(_make_key(path), arrays | about)


def _make_key(path: Path) -> str:
    return content_key("known priors", path.read_bytes())
