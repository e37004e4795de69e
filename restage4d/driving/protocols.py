"""What a provider of driving videos must offer, and what it hands back. Those without models live
beside this file; others plug in the same way."""

from dataclasses import asdict, dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip
from restage4d.driving.draft.body_plan import BodyPlan
from restage4d.driving.draft.standing_body import StandingBody
from restage4d.priors.known import KnownPriors
from restage4d.progress import Progress


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


@dataclass(frozen=True)
class Candidate:
    """One of several driving videos of a prompt: its number (from 1) and figures."""

    number: int
    figures: Figures

    def to_record(self) -> dict[str, float]:
        """For candidates.json and the puppet's provenance."""
        return {
            "candidate": float(self.number),
            **asdict(self.figures),
            "score": float(self.figures.score),
        }


@dataclass(frozen=True)
class DrivingVideo:
    """What a provider made.

    Attributes:
        clip: d_0..d_n at the base's size and fps.
        made_by: name of the provider, for the provenance.
        refined_prompt: what a model was asked for, "" where the artist's words went unchanged.
        candidates: those that ``clip`` was picked from, measured; empty where none was.
        notes: what of the prompt it does not show, and why, each as a sentence.
        doubt: what its maker did not know of the subject, a sentence; "" for nothing.
        known: what the provider knows of ``clip``, which is then not estimated.
        plan: of the subject's build in the first frame; None where the maker has none.
        body: the subject in the first frame from any side; None where the maker has none.

    Raises:
        InputError: ``known`` does not fit ``clip``; says what.
    """

    clip: Clip
    made_by: str
    refined_prompt: str = ""
    candidates: tuple[Candidate, ...] = ()
    notes: tuple[str, ...] = ()
    doubt: str = ""
    known: KnownPriors = field(default_factory=KnownPriors)
    plan: BodyPlan | None = None
    body: StandingBody | None = None

    def __post_init__(self) -> None:
        self.known.check(self.clip)


class DrivingProvider(Protocol):
    """Makes the video that shows what the subject shall do."""

    @property
    def name(self) -> str: ...

    def make(
        self, base: Clip, mask: NDArray[np.bool_], prompt: str, progress: Progress
    ) -> DrivingVideo:
        """A video whose first frame d_0 is (close to) the base's first frame b_0.

        Args:
            base: the filmed clip, b_0 first.
            mask: (H, W) the subject in b_0.
            prompt: what the subject shall do.
            progress: told the tasks; ends cancelled work.

        Returns:
            d_0..d_n at the base's size and fps. A provider whose videos come out otherwise passes
            them through `restage4d.driving.seam.prepare`, which also checks d_0 against b_0.

        Raises:
            InputError: the prompt or the video cannot be used; says why and what to do.
        """
        ...


class VideoModel(DrivingProvider, Protocol):
    """A `DrivingProvider` that generates: the same request gives the same video, or is paid for, so
    that its videos are kept.

    Attributes:
        identity: what its videos are kept under, beside prompt and first frame.
    """

    @property
    def identity(self) -> tuple[object, ...]: ...

    def terms(self) -> list[str]:
        """What is sent where, and about what a video costs; empty where it works on this
        computer."""
        ...
