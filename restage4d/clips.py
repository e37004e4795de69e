"""What flows through the pipeline before there is a puppet: clips, the rewound clip, priors.

Frames: world is right-handed, +Z up, the subject's canonical extent about 1. Cameras have OpenCV
axes (x right, y down, z forward); ``w2c`` is 4x4, ``K`` a pinhole in pixels. Pixel (column i, row
j) has its centre at (i + 0.5, j + 0.5): tracks, K and rendering all follow this (as COLMAP and
gsplat do).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from restage4d.frame_arrays import make_frames, take_frames

F32 = NDArray[np.float32]


@dataclass
class Clip:
    """A decoded video: ``frames`` (T, H, W, 3) uint8 sRGB and frames per second.

    ``alpha`` (T, H, W) uint8 is the file's own transparency, 255 where the subject is, or the masks
    that lie beside its pictures; None where it has none. ``notes`` are sentences about what was
    done to the file that a person should know.
    """

    frames: NDArray[np.uint8]
    fps: float
    alpha: NDArray[np.uint8] | None = None
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.frames.shape[2], self.frames.shape[1]

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True)
class Selection:
    """What the artist pointed at in the base's first frame. At most one is set.

    A job takes it in the video's own pixels, providers in pixels of the working size
    (`restage4d.jobs.footage.scale_selection` goes from one to the other).

    ``point`` is (x, y), ``box`` is (x0, y0, x1, y1), ``mask`` is (H, W) bool, ``text`` are words
    that name it ("the camel"), which only some providers understand. All None: the moving subject
    finds itself.
    """

    point: tuple[float, float] | None = None
    box: tuple[float, float, float, float] | None = None
    mask: NDArray[np.bool_] | None = None
    text: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was pointed at."""
        return all(v is None for v in (self.point, self.box, self.mask, self.text))


@dataclass
class Rewound:
    """Base and driving videos joined at their shared first frame (paper section 3.2).

    With one driving video the frames are b_m..b_1, b_0, d_1..d_n. Every further driving video is
    another branch from b_0, appended behind: time is a tree whose root is b_m and whose edges are
    neighbouring frames.

    Attributes:
        clip: all frames in that order.
        source: (T,) 0 for base frames, i >= 1 for frames of driving video i.
        index: (T,) the frame's number in its own video (b_0 and d_0 are number 0; b_0 stands for
            both).
        parent: (T,) the neighbouring frame one step towards b_m, -1 for b_m itself.
        masks: (T, H, W) float32 in 0..1 the subject as the clips' own `Clip.alpha` gives it, NaN in
            frames of clips without; None where no clip has any.
    """

    clip: Clip
    source: NDArray[np.int32]
    index: NDArray[np.int32]
    parent: NDArray[np.int32]
    masks: F32 | None = None

    def __len__(self) -> int:
        return len(self.clip)

    @property
    def seam(self) -> int:
        """Position of b_0, where base and driving videos meet."""
        return int(np.flatnonzero((self.source == 0) & (self.index == 0))[0])

    @property
    def n_branches(self) -> int:
        """Number of driving videos."""
        return int(self.source.max())

    def video(self, source: int) -> NDArray[np.intp]:
        """Positions of one video's frames in playing order, b_0 first for every video."""
        rows = np.flatnonzero(self.source == source)
        rows = rows[np.argsort(self.index[rows])]
        return rows if source == 0 else np.concatenate([[self.seam], rows])

    def pick_videos(self, sources: Iterable[int]) -> "tuple[Rewound, NDArray[np.intp]]":
        """The base and the driving videos ``sources`` alone, these numbered from 1 in their order
        here, and the positions (N,) that its frames have here. The same object where that is all.

        Example:
            >>> base, rows = rewound.pick_videos([])
        """
        rows = np.flatnonzero(np.isin(self.source, [0, *sources]))
        if len(rows) == len(self):
            return self, rows
        place = np.full(len(self) + 1, -1, np.int32)  # the last: of the root's parent, -1
        place[rows] = np.arange(len(rows), dtype=np.int32)
        number = np.unique(self.source[rows], return_inverse=True)[1].astype(np.int32)
        clip = Clip(take_frames(self.clip.frames, rows), self.clip.fps)
        masks = None if self.masks is None else take_frames(self.masks, rows)
        return Rewound(clip, number, self.index[rows], place[self.parent[rows]], masks), rows

    def paths(self) -> list[NDArray[np.intp]]:
        """One continuous run of positions per driving video, b_m..b_0, d_1..d_n; without any, the
        base rewound."""
        base = self.video(0)[::-1]
        return [
            np.concatenate([base, self.video(i)[1:]]) for i in range(1, self.n_branches + 1)
        ] or [base]

    def neighbours(self) -> list[tuple[int, int]]:
        """All (parent, child) pairs of frames that follow one another in time."""
        return [(int(p), t) for t, p in enumerate(self.parent) if p >= 0]

    def outward(self, start: int) -> Iterator[tuple[int, int]]:
        """(from, to) along the tree of frames: every frame but ``start`` once, nearest to ``start``
        first."""
        links: list[list[int]] = [[] for _ in range(len(self))]
        for p, t in self.neighbours():
            links[p].append(t)
            links[t].append(p)
        seen = {start}
        queue = [start]
        for a in queue:
            for b in links[a]:
                if b not in seen:
                    seen.add(b)
                    queue.append(b)
                    yield a, b


def rewind(base: Clip, drivings: list[Clip]) -> Rewound:
    """Plays ``base`` backwards and joins every driving video at the shared first frame, which
    stands once (from the base). The clips' alpha becomes masks.

    All clips must have the same size and fps (`restage4d.driving.seam` brings them there and checks
    d_0 ≈ b_0).
    """
    for clip in drivings:
        if clip.size != base.size or abs(clip.fps - base.fps) > 1e-3 * base.fps:
            raise ValueError(
                f"driving {clip.size} @ {clip.fps} does not fit base {base.size} @ {base.fps}"
            )
        if len(clip) < 2:
            raise ValueError("a driving video of one frame adds nothing to the base")
    m = len(base)
    total = m + sum(len(clip) - 1 for clip in drivings)
    frames = make_frames((total, *base.frames.shape[1:]), np.uint8)
    frames[:m], source = base.frames[::-1], [np.zeros(m, np.int32)]
    index, parent = (
        [np.arange(m - 1, -1, -1, dtype=np.int32)],
        [np.arange(-1, m - 1, dtype=np.int32)],
    )
    start = m
    for i, clip in enumerate(drivings, 1):
        n = len(clip) - 1
        frames[start : start + n] = clip.frames[1:]
        source.append(np.full(n, i, np.int32))
        index.append(np.arange(1, n + 1, dtype=np.int32))
        parent.append(
            np.concatenate([[m - 1], np.arange(start, start + n - 1)]).astype(np.int32)[:n]
        )
        start += n
    return Rewound(
        Clip(frames, base.fps),
        np.concatenate(source),
        np.concatenate(index),
        np.concatenate(parent),
        _join_alpha(base, drivings, total),
    )


def _join_alpha(base: Clip, drivings: list[Clip], total: int) -> F32 | None:
    """See `Rewound.masks`."""
    if all(clip.alpha is None for clip in (base, *drivings)):
        return None
    known, start = make_frames((total, *base.frames.shape[1:3]), np.float32, np.nan), 0
    for clip, order in [(base, slice(None, None, -1)), *((d, slice(1, None)) for d in drivings)]:
        rows = range(len(clip))[order]
        for t, row in enumerate(rows, start):
            if clip.alpha is not None:
                known[t] = clip.alpha[row] / np.float32(255)
        start += len(rows)
    return known


@dataclass
class Cameras:
    """One pinhole camera per frame of the rewound clip.

    Attributes:
        K: (T, 3, 3) float32.
        w2c: (T, 4, 4) float32.
        kind: "static", "pan" (turns on the spot) or "moving".
        points: (S, 3) float32 sparse background points in the world, may be empty.
    """

    K: F32
    w2c: F32
    kind: str
    points: F32 = field(default_factory=lambda: np.zeros((0, 3), np.float32))


@dataclass
class Tracks:
    """2D point tracks over the rewound clip, as one packed set.

    Attributes:
        xy: (P, T, 2) float32 pixels (pixel centres at +0.5); always finite, a guess where not
            visible.
        visible: (P, T) bool.
        confidence: (P, T) float32 in 0..1: trust in ``xy`` where visible; where not, trust in "it
            is hidden, and there", 0 where ``xy`` is a mere guess.
        query: (P,) int32 the frame where the point was picked.
        behind: (P, T) float32 z-depth of the point over that of the surface seen at ``xy``, where
            whoever made the picture knows it although the point is hidden; 0 = unknown, also if
            left out.
    """

    xy: F32
    visible: NDArray[np.bool_]
    confidence: F32
    query: NDArray[np.int32]
    behind: F32 = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    def __post_init__(self) -> None:
        if not self.behind.size:
            self.behind = np.zeros(self.visible.shape, np.float32)


@dataclass
class Priors:
    """Everything that the fit takes as given, over the frames of a `Rewound`.

    Attributes:
        masks: (T, H, W) float32 subject in 0..1; -1 marks an unknown border band that losses leave
            out.
        depth: (T, H, W) float32 planar z-depth in world units, 0 = unknown.
        cameras: see `Cameras`.
        tracks: see `Tracks`.
        metres_per_unit: size of one world unit, a guess where nothing tells.
    """

    masks: F32
    depth: F32
    cameras: Cameras
    tracks: Tracks
    metres_per_unit: float = 1.0
