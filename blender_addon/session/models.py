# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panel shows: the backend, the shot and the job as they are known now. No Blender, no
network."""

import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from restage4d.defaults import AUTO, DRAFT_DRIVER, LONGER_SIDE, QUALITY, PriorNames
from restage4d.puppet import Puppet

if TYPE_CHECKING:
    from restage4d.protocol.messages import ProviderInfo

F32 = NDArray[np.float32]
MOST_POINTS = 8_000  # of a puppet in the making; more cost time on every frame and show no more
ACTIVE = {"sending", "queued", "running", "paused"}
LABELS = {
    ("driving", DRAFT_DRIVER): "Draft Driver",
    ("masks", AUTO): "Automatic",
    ("cameras", AUTO): "Automatic",
    ("depth", AUTO): "Automatic",
    ("tracks", AUTO): "Automatic",
    ("masks", "grabcut"): "Colour and Motion",
    ("cameras", "sfm"): "Still, Turning or COLMAP",
    ("depth", "relief"): "Ground and Relief",
    ("tracks", "flow"): "Optical Flow",
}
PRIORS: dict[str, str] = asdict(PriorNames())  # what is taken where nobody chose


@dataclass(frozen=True)
class Fault:
    """What is wrong and what to do about it, one sentence each."""

    what: str
    remedy: str = ""

    @staticmethod
    def of(error: Exception) -> "Fault":
        what = getattr(error, "what", None) or str(error) or type(error).__name__
        return Fault(what, getattr(error, "remedy", ""))


@dataclass(frozen=True)
class ProviderView:
    """Who can make or estimate something, see `restage4d.protocol.messages.ProviderInfo`;
    ``needs`` is empty where it can work now."""

    kind: str
    name: str
    title: str
    licence: str = ""
    terms: str = ""
    needs: tuple[str, ...] = ()
    sends: bool = False
    gigabytes: float = 0.0
    memory: float = 0.0

    @staticmethod
    def from_message(p: "ProviderInfo") -> "ProviderView":
        """From the message."""
        return ProviderView(
            p.kind,
            p.name,
            p.title,
            p.licence,
            p.terms,
            tuple(p.needs),
            p.sends,
            p.gigabytes,
            p.memory,
        )

    @property
    def label(self) -> str:
        return LABELS.get((self.kind, self.name), self.title.partition(",")[0].partition(";")[0])

    @property
    def about(self) -> str:
        """All of it, for a tooltip."""
        size = f", {self.gigabytes:g} GB of weights" if self.gigabytes else ""
        memory = f", about {self.memory:g} GB on the GPU" if self.memory else ""
        lines = [
            f"{self.title} ({self.licence}{size}{memory})",
            self.terms,
            *(f"Needs {need}" for need in self.needs),
        ]
        return ". ".join(line.rstrip(".") for line in lines if line)


@dataclass
class Backend:
    """``phase``: "unknown", "absent", "setting up", "starting", "ready", "lost" or "refused"."""

    phase: str = "unknown"
    message: str = ""
    fault: Fault | None = None
    version: str = ""
    devices: list[str] = field(default_factory=list)
    drawing: str = ""  # where fits run there and why; "" where there is no GPU
    providers: list[ProviderView] = field(default_factory=list)
    refiner: str = ""  # who refines prompts, "" for fixed words

    def provider(self, kind: str, name: str) -> ProviderView | None:
        return next((p for p in self.providers if (p.kind, p.name) == (kind, name)), None)

    @property
    def headline(self) -> str:
        return {
            "unknown": "Looking for it",
            "absent": "Not running",
            "setting up": "Setting up",
            "starting": "Starting",
            "ready": f"Running {self.version} on {', '.join(self.devices) or 'its device'}",
            "lost": "Lost; starting it again",
            "refused": "It refuses this computer",
        }[self.phase]


@dataclass
class Shot:
    """A video on its way to the backend; ``phase``: "waiting", "uploading", "selecting", "ready" or
    "failed"."""

    path: Path
    frames: tuple[int, int] | None  # first and last, from 1
    longer_side: int
    place: dict[str, tuple[float, ...]] = field(
        default_factory=dict
    )  # of the subject, see `Order.selection`
    phase: str = "waiting"
    fraction: float = 0.0
    content: str = ""  # what the backend calls it
    size: tuple[int, int] = (0, 0)
    about: str = ""
    first: NDArray[np.uint8] | None = None  # (H, W, 3)
    mask: NDArray[np.bool_] | None = None  # (H, W)
    fault: Fault | None = None

    @property
    def first_frame(self) -> int:
        """Number of the first frame used, from 0."""
        return self.frames[0] - 1 if self.frames else 0


@dataclass
class FrameLook:
    """A later frame of the shot, and the subject where the artist pointed; ``phase``: "looking",
    "ready" or "failed"."""

    number: int  # of the frame in the video, from 0
    place: dict[str, tuple[float, ...]] = field(default_factory=dict)  # see `Order.selection`
    phase: str = "looking"
    picture: NDArray[np.uint8] | None = None  # (H, W, 3)
    mask: NDArray[np.bool_] | None = None  # (H, W)
    fault: Fault | None = None


@dataclass(frozen=True)
class PreviewPoints:
    """A puppet in the making; moments are a performance's in playing order."""

    means: F32  # (N, 3)
    colors: F32  # (N, 3) sRGB
    index: NDArray[np.uint16]  # (N, M)
    weight: F32  # (N, M)
    bases: F32  # (K, T, 9)
    fps: float


@dataclass
class Order:
    """What to make of the shot; see `restage4d.protocol.messages.Submit`."""

    prompt: str
    selection: dict[str, tuple[float, ...]] = field(
        default_factory=dict
    )  # {}, {"point": (x, y)} or {"box": (...)}
    # pictures of masks of later frames, by their numbers from the first one used
    corrections: dict[int, Path] = field(default_factory=dict)
    head: tuple[float, float] | None = None  # in the first frame, in the video's pixels
    provider: str = DRAFT_DRIVER
    driving: Path | None = None
    made_by: str = ""  # who made ``driving``
    into: Path | None = None  # a puppet file that performs this too
    refined_prompt: str = ""
    candidates: int = 1
    priors: dict[str, str] = field(
        default_factory=dict
    )  # by kind, those of `PRIORS` where left out
    quality: str = QUALITY
    longer_side: int = LONGER_SIDE
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass
class Preparation:
    """What a provider would be asked for; ``phase``: "asking", "ready" or "failed"."""

    provider: str
    prompt: str
    phase: str = "asking"
    refined: str = ""
    terms: list[str] = field(default_factory=list)
    fault: Fault | None = None


@dataclass(frozen=True)
class Candidate:
    """A driving video to look at; ``figures``: seam, camera, subject, tracks and score, see
    restage4d.driving.candidates."""

    number: int
    path: Path
    figures: dict[str, float]


@dataclass
class WatchedJob:
    """A restaging, or driving videos alone (``kind`` "driving").

    ``state``: "sending", "queued", "running", "paused", "done", "failed" or "cancelled".
    """

    id: str
    prompt: str = ""
    state: str = "sending"
    stage: str = ""
    kind: str = "restage"
    fraction: float = 0.0
    seconds_left: float | None = None
    figures: dict[str, float] = field(default_factory=dict)
    fault: Fault | None = None
    picture: bytes = b""  # PNG
    points: PreviewPoints | None = None
    stopping: bool = False
    fetching: bool = False
    puppet: Path | None = None  # where the finished one lies
    footage: dict[str, Path] = field(default_factory=dict)  # by performance
    masks: Path | None = None  # of the base's frames, see restage4d.jobs.mask_file
    loaded: Puppet | None = field(default=None, repr=False)
    candidates: list[Candidate] = field(
        default_factory=list
    )  # of driving videos, once they are fetched
    made_by: str = ""  # their provider
    refined_prompt: str = ""  # what it was asked for
    brought_in: bool = False
    put_off: bool = False  # the artist stopped its coming in
    submitted: threading.Event = field(
        default_factory=threading.Event, repr=False
    )  # set by threads
    unwanted: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    @property
    def headline(self) -> str:
        return {
            "sending": "Sending",
            "queued": "Waits for its turn",
            "running": "Restaging" if self.kind == "restage" else "Making the driving video",
            "paused": "Paused",
            "done": "Done",
            "failed": "Failed",
            "cancelled": "Cancelled",
        }[self.state]

    @property
    def time_left(self) -> str:
        return f"{format_duration(self.seconds_left)} left" if self.seconds_left is not None else ""

    @property
    def figures_line(self) -> str:
        shown = list(self.figures.items())[:2]
        return ", ".join(
            f"{name} {value:.0f}" if abs(value) >= 100 else f"{name} {value:.3g}"
            for name, value in shown
        )


def format_duration(seconds: float) -> str:
    """ "1 h 05 min", "3 min" or "20 s"."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{max(5, 5 * round(seconds / 5)):.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def thin_points(arrays: dict[str, NDArray[Any]], fps: float) -> PreviewPoints:
    """Points as they are drawn: not more than `MOST_POINTS`, the newest driving video's moments in
    playing order."""
    source, index = arrays["source"], arrays["index"]
    newest = int(source.max()) if source.size else 0
    rows = np.flatnonzero((source == newest) | ((source == 0) & (index == 0)))
    rows = rows[np.argsort(index[rows], kind="stable")]
    step = -(-len(arrays["means"]) // MOST_POINTS) or 1
    return PreviewPoints(
        means=np.array(arrays["means"][::step], np.float32),
        colors=arrays["colors"][::step].astype(np.float32) / np.float32(255),
        index=np.array(arrays["influence_index"][::step]),
        weight=np.array(arrays["influence_weight"][::step], np.float32),
        bases=np.ascontiguousarray(arrays["bases"][:, rows], np.float32),
        fps=fps,
    )
