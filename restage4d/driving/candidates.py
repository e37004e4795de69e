"""Several driving videos of one prompt, measured, so that the artist or ``--auto`` picks the
best."""

from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip, rewind
from restage4d.driving.protocols import DrivingProvider
from restage4d.driving.seam import compare
from restage4d.errors import InputError
from restage4d.io.content_cache import Cache, content_key
from restage4d.io.video import encode
from restage4d.priors.motion.background_points import follow
from restage4d.priors.motion.optical_flow import compute_optical_flow, sample
from restage4d.progress import Progress

F32 = NDArray[np.float32]

_ROUND_TRIP = (
    1.0,
    0.05,
)  # a step is lost that misses itself by more than this many pixels + this share of its length
_BINS = 8  # of each Lab channel, in which the subject's colours are counted


@dataclass(frozen=True)
class Figures:
    """How usable a driving video is; each is better the larger it is, but ``camera``.

    Attributes:
        seam: dB of d_0 against b_0.
        camera: pixels, at 384 of the longer side, that the background moves against d_0, the mean
            over frames; 0 = still.
        subject: share of b_0's subject colours that the subject still has, the mean over frames
            (histogram intersection).
        tracks: share of the subject's points that can be followed, the mean over frames.
    """

    seam: float
    camera: float
    subject: float
    tracks: float

    @property
    def score(self) -> float:
        """One figure for ``--auto``, 0 to 1: a still camera, and a subject that stays itself and
        can be followed."""
        return (
            (min(self.seam, 40) / 40) ** 0.5
            * np.exp(-self.camera / 12)
            * self.subject
            * self.tracks**0.5
        )


def measure(base: Clip, mask: NDArray[np.bool_], driving: Clip, progress: Progress) -> Figures:
    """The figures of ``driving``, whose subject is ``mask`` (H, W) in d_0."""
    alone = rewind(driving, [])
    order = alone.video(0)
    flow = compute_optical_flow(alone, progress)
    lab = [cv2.cvtColor(frame, cv2.COLOR_RGB2LAB) for frame in alone.clip.frames]
    own = _colours(lab[alone.seam], mask)
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
    with progress.stage("driving: figures", 2 * len(order)) as stage:
        for a, b in alone.outward(alone.seam):
            back = flow.get_flow(b, a).reshape(-1, 2)
            masks[b] = sample(masks[a], grid + back).reshape(height, width)
            step = sample(flow.get_flow(a, b), xy)
            miss = np.linalg.norm(step + sample(flow.get_flow(b, a), xy + step), axis=1)
            xy = xy + step
            live &= miss < _ROUND_TRIP[0] + _ROUND_TRIP[1] * np.linalg.norm(step, axis=1)
            live &= (xy >= 0).all(1) & (xy[:, 0] < width) & (xy[:, 1] < height)
            alive.append(float(live.mean()))
            alike.append(float(np.minimum(own, _colours(lab[b], masks[b] > 0.5)).sum()))
            stage.advance()
        points = follow(alone, np.where(masks > 0.1, 1, 0).astype(np.float32), stage)
    moved = np.linalg.norm(points - points[:, alone.seam, None], axis=-1) * 384 / max(width, height)
    others = [t for t in order if t != alone.seam and np.isfinite(moved[:, t]).sum() >= 8]
    camera = float(np.mean([np.nanmedian(moved[:, t]) for t in others])) if others else 0.0
    return Figures(
        compare(base.frames[0], driving.frames[0]).psnr,
        camera,
        float(np.mean(alike)),
        float(np.mean(alive)),
    )


def _colours(
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


def table(figures: list[Figures], names: list[str]) -> str:
    """The candidates' figures for a person, the best by score marked."""
    heads = ("seam dB", "camera px", "subject", "tracks", "score")
    best = int(np.argmax([f.score for f in figures]))
    lines = ["     " + "".join(f"{h:>11}" for h in heads) + "  made by"]
    for i, f in enumerate(figures):
        values = "".join(f"{v:11.2f}" for v in (*astuple(f), f.score))
        lines.append(f"{'  * ' if i == best else '    '}{i + 1}{values}  {names[i]}")
    return "\n".join(lines)


class BestOf:
    """A `DrivingProvider` that has several others make a video each, and keeps one.

    Args:
        drivers: one per candidate, e.g. the same model with several seeds.
        pick: number (from 1) of the one to keep; None: ``choose`` decides.
        choose: given the table, returns the number; None takes the best score.
        folder: where the candidates are put to look at, as ``1.mp4`` and so on.
        cache: where videos of drivers with an ``identity`` are kept, so that picking another one
            makes none anew.
        announce: told the figures.
    """

    def __init__(
        self,
        drivers: list[DrivingProvider],
        *,
        pick: int | None = None,
        choose: Callable[[str], int] | None = None,
        folder: Path | None = None,
        cache: Cache | None = None,
        announce: Callable[[str], None] = print,
    ) -> None:
        if pick is not None and not 1 <= pick <= len(drivers):
            raise InputError(
                f"--pick {pick}: there are {len(drivers)} candidates.",
                "Give the number of one of them.",
            )
        self._drivers, self._pick, self._choose = drivers, pick, choose
        self._folder, self._cache, self._announce = folder, cache, announce
        self.name = drivers[0].name
        self.figures: list[dict[str, float]] = []

    def make(self, base: Clip, mask: NDArray[np.bool_], prompt: str, progress: Progress) -> Clip:
        """The picked video. A candidate that cannot be used (its first frame differs ...) is told
        and left out.

        Raises:
            InputError: none can be used, or the one picked.
        """
        clips: dict[int, Clip] = {}
        found: dict[int, Figures] = {}
        last: InputError | None = None
        for number, driver in enumerate(self._drivers, 1):
            try:
                clip = self._made(driver, base, mask, prompt, progress)
            except InputError as error:
                if len(self._drivers) == 1 or number == self._pick:
                    raise
                self._announce(f"Candidate {number} is left out: {error}")
                last = error
                continue
            clips[number] = clip
            if self._folder and len(self._drivers) > 1:
                encode(self._folder / f"{number}.mp4", clip.frames, clip.fps)
            found[number] = measure(base, mask, clip, progress)
        if not clips:
            assert last is not None
            raise last
        self.figures = [
            {"candidate": float(n), **asdict(f), "score": float(f.score)} for n, f in found.items()
        ]
        numbers = list(clips)
        picked = self._pick
        if picked is None and len(clips) > 1:
            text = table(
                list(found.values()),
                [f"{self._drivers[n - 1].name} (candidate {n})" for n in numbers],
            )
            self._announce(text)
            picked = self._choose(text) if self._choose else None
        if picked not in clips:
            picked = max(numbers, key=lambda n: found[n].score)
        self.name = self._drivers[picked - 1].name
        return clips[picked]

    def terms(self) -> list[str]:
        """What the drivers send where, and about what each video costs."""
        told = [driver.terms() for driver in self._drivers if hasattr(driver, "terms")]  # pyright: ignore
        return [
            f"{told.count(text)} x {text}" if told.count(text) > 1 else text
            for text in dict.fromkeys(told)
        ]

    def _made(
        self,
        driver: DrivingProvider,
        base: Clip,
        mask: NDArray[np.bool_],
        prompt: str,
        progress: Progress,
    ) -> Clip:
        identity = getattr(driver, "identity", None)
        if self._cache is None or identity is None:
            return driver.make(base, mask, prompt, progress)
        key = content_key("driving", identity, prompt, base.frames[0], base.fps)
        kept = self._cache.get(key)
        if kept is None:
            clip = driver.make(base, mask, prompt, progress)
            self._cache.put(key, {"frames": clip.frames, "fps": np.array(clip.fps)})
            return clip
        return Clip(kept["frames"], float(kept["fps"]))
