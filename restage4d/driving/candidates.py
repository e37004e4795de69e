"""Several driving videos of one prompt, measured, so that the artist or ``--auto`` picks the
best."""

from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip, rewind
from restage4d.driving.protocols import (
    Candidate,
    DrivingVideo,
    Figures,
    VideoModel,
)
from restage4d.driving.seam import compare
from restage4d.driving.video_file import keep_known
from restage4d.errors import InputError
from restage4d.io.content_cache import Cache, content_key
from restage4d.io.video import encode
from restage4d.priors.known import pack_known, unpack_known
from restage4d.priors.motion.background_points import follow
from restage4d.priors.motion.optical_flow import compute_optical_flow, sample
from restage4d.progress import Progress, TaskId

F32 = NDArray[np.float32]

_ROUND_TRIP = (
    1.0,
    0.05,
)  # a step is lost that misses itself by more than this many pixels + this share of its length
_BINS = 8  # of each Lab channel, in which the subject's colours are counted


def measure(base: Clip, mask: NDArray[np.bool_], driving: Clip, progress: Progress) -> Figures:
    """The figures of ``driving``, whose subject is ``mask`` (H, W) in d_0."""
    alone = rewind(driving, [])
    order = alone.video(0)
    flow = compute_optical_flow(alone, progress)
    lab = [cv2.cvtColor(frame, cv2.COLOR_RGB2LAB) for frame in alone.clip.frames]
    own = _count_colours(lab[alone.seam], mask)
    masks = np.zeros(alone.clip.frames.shape[:3], np.float32)
    masks[alone.seam] = mask
    rows, cols = np.nonzero(mask)
    some = np.linspace(0, len(rows) - 1, min(2000, len(rows))).astype(int)
    xy = np.stack([cols[some] + 0.5, rows[some] + 0.5], 1).astype(np.float32)
    live = np.ones(len(xy), bool)
    alive, alike = [], []
    height, width = mask.shape
    grid = (
        np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1)
        .astype(np.float32)
        .reshape(-1, 2)
    )
    with progress.task(TaskId.MEASURE_DRIVING, 2 * len(order)) as task:
        for a, b in alone.outward(alone.seam):
            back = flow.get_flow(b, a).reshape(-1, 2)
            masks[b] = sample(masks[a], grid + back).reshape(height, width)
            step = sample(flow.get_flow(a, b), xy)
            miss = np.linalg.norm(step + sample(flow.get_flow(b, a), xy + step), axis=1)
            xy = xy + step
            live &= miss < _ROUND_TRIP[0] + _ROUND_TRIP[1] * np.linalg.norm(step, axis=1)
            live &= (xy >= 0).all(1) & (xy[:, 0] < width) & (xy[:, 1] < height)
            alive.append(float(live.mean()))
            alike.append(float(np.minimum(own, _count_colours(lab[b], masks[b] > 0.5)).sum()))
            task.advance()
        points = follow(alone, np.where(masks > 0.1, 1, 0).astype(np.float32), task)
    moved = np.linalg.norm(points - points[:, alone.seam, None], axis=-1) * 384 / max(width, height)
    others = [t for t in order if t != alone.seam and np.isfinite(moved[:, t]).sum() >= 8]
    camera = float(np.mean([np.nanmedian(moved[:, t]) for t in others])) if others else 0.0
    return Figures(
        compare(base.frames[0], driving.frames[0]).psnr,
        camera,
        float(np.mean(alike)),
        float(np.mean(alive)),
    )


def _count_colours(
    lab: NDArray[np.uint8], mask: NDArray[np.bool_]
) -> NDArray[np.float64]:  # (H, W, 3), (H, W) -> (bins,)
    """How often each Lab colour occurs in the mask, as shares of 1; lightness counts little, since
    light changes."""
    pixels = lab[mask].astype(np.intp)
    if not len(pixels):
        return np.zeros(_BINS**3)
    # Lab's a and b keep to a third of their range in footage
    cell = np.clip((pixels - [0, 64, 64]) // [128, 16, 16], 0, _BINS - 1)
    return np.bincount(cell @ [_BINS**2, _BINS, 1], minlength=_BINS**3) / len(pixels)


def format_table(figures: list[Figures], names: list[str]) -> str:
    """The candidates' figures for a person, the best by score marked."""
    heads = ("seam dB", "camera px", "subject", "tracks", "score")
    best = int(np.argmax([f.score for f in figures]))
    lines = ["     " + "".join(f"{h:>11}" for h in heads) + "  made by"]
    for i, f in enumerate(figures):
        values = "".join(f"{v:11.2f}" for v in (*astuple(f), f.score))
        lines.append(f"{'  * ' if i == best else '    '}{i + 1}{values}  {names[i]}")
    return "\n".join(lines)


class BestOf:
    """A `VideoModel` that has several others make a video each, and keeps one.

    Args:
        models: one per candidate, e.g. the same model with several seeds.
        pick: number (from 1) of the one to keep; None: ``choose`` decides.
        choose: given the table, returns the number; None takes the best score.
        folder: where the candidates are put to look at, as ``1.mp4`` and so on.
        cache: where their videos are kept, so that picking another one makes none anew.
        announce: told the figures.
    """

    def __init__(
        self,
        models: list[VideoModel],
        *,
        pick: int | None = None,
        choose: Callable[[str], int] | None = None,
        folder: Path | None = None,
        cache: Cache | None = None,
        announce: Callable[[str], None] = print,
    ) -> None:
        if pick is not None and not 1 <= pick <= len(models):
            raise InputError(
                f"--pick {pick}: there are {len(models)} candidates.",
                "Give the number of one of them.",
            )
        self._models, self._pick, self._choose = models, pick, choose
        self._folder, self._cache, self._announce = folder, cache, announce
        self.name = models[0].name

    @property
    def identity(self) -> tuple[object, ...]:
        return tuple(model.identity for model in self._models)

    def terms(self) -> list[str]:
        """Of all candidates together."""
        lines = [line for model in self._models for line in model.terms()]
        return [
            f"{lines.count(line)} x {line}" if lines.count(line) > 1 else line
            for line in dict.fromkeys(lines)
        ]

    def make(
        self, base: Clip, mask: NDArray[np.bool_], prompt: str, progress: Progress
    ) -> DrivingVideo:
        """The picked video. A candidate that cannot be used (its first frame differs ...) is
        announced and left out.

        Raises:
            InputError: none can be used, or the one picked.
        """
        videos: dict[int, DrivingVideo] = {}
        figures: dict[int, Figures] = {}
        last: InputError | None = None
        for number, model in enumerate(self._models, 1):
            try:
                video = self._make(model, base, mask, prompt, progress)
            except InputError as error:
                if len(self._models) == 1 or number == self._pick:
                    raise
                self._announce(f"Candidate {number} is left out: {error}")
                last = error
                continue
            videos[number] = video
            if self._folder and len(self._models) > 1:
                path = self._folder / f"{number}.mp4"
                encode(path, video.clip.frames, video.clip.fps)
                if self._cache:
                    keep_known(self._cache, path, video)
            figures[number] = measure(base, mask, video.clip, progress)
        if not videos:
            assert last is not None
            raise last
        candidates = tuple(Candidate(number, found) for number, found in figures.items())
        return replace(videos[self._choose_one(figures)], candidates=candidates)

    def _choose_one(self, figures: dict[int, Figures]) -> int:
        """Number of the candidate to keep: the one asked for, else the best by score."""
        picked = self._pick
        if picked is None and len(figures) > 1:
            names = [f"{self._models[n - 1].name} (candidate {n})" for n in figures]
            text = format_table(list(figures.values()), names)
            self._announce(text)
            picked = self._choose(text) if self._choose else None
        return picked if picked in figures else max(figures, key=lambda n: figures[n].score)

    def _make(
        self,
        model: VideoModel,
        base: Clip,
        mask: NDArray[np.bool_],
        prompt: str,
        progress: Progress,
    ) -> DrivingVideo:
        """The model's video, from the cache where it is there."""
        if self._cache is None:
            return model.make(base, mask, prompt, progress)
        key = content_key("driving", model.identity, prompt, base.frames[0], base.fps)
        kept = self._cache.get(key)
        if kept is not None:
            clip = Clip(kept["frames"], float(kept["fps"]))
            return DrivingVideo(clip, model.name, known=unpack_known(kept))
        video = model.make(base, mask, prompt, progress)
        about = {"frames": video.clip.frames, "fps": np.array(video.clip.fps)}
        self._cache.put(key, pack_known(video.known) | about)
        return video
