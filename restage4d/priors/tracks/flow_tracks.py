"""Point tracks of the subject without any learned model: chained optical flow, held to the query's
look by Lucas-Kanade."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from restage4d.clips import Rewound, Tracks
from restage4d.errors import InputError
from restage4d.frame_arrays import stack_on_cores
from restage4d.io.atomic import replacing
from restage4d.priors.motion.optical_flow import Flow, compute_optical_flow, sample
from restage4d.progress import Progress, TaskId

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

_WINDOW = 11  # side of the patch that must look alike, pixels
_ROUND_TRIP = (
    1.0,
    0.05,
)  # a step is lost that misses itself by more than this many pixels + this share of its length
_SLIP = 1.5  # the farthest that Lucas-Kanade may move a chained point, pixels
_SURE = 0.8  # correlation from which the query's patch is trusted to correct the chain
_LOST = 0.5  # Lab distance over 100 from which a point no longer looks like its query
_FOUND = 0.9  # correlation from which a lost point counts as seen again


@dataclass(frozen=True)
class FlowTracksConfig:
    """``points``: about how many tracks in all. ``query_frames``: from how many frames, spread over
    the clip, they start."""

    points: int = 3000
    query_frames: int = 12


class FlowTracks:
    """A `TrackProvider`. Points are picked on a grid over the subject in several frames and
    followed along the tree of frames."""

    name = "dis-flow"

    def __init__(self, config: FlowTracksConfig | None = None) -> None:
        self.config = config or FlowTracksConfig()

    def tracks(self, rewound: Rewound, masks: F32, progress: Progress) -> Tracks:
        """Tracks of the subject in ``masks`` (T, H, W). Raises `InputError` where no frame shows a
        subject."""
        flow = compute_optical_flow(rewound, progress)
        queries = choose_query_frames(rewound, masks, self.config.query_frames)
        parts: list[Tracks] = []
        look = _Appearance(rewound)
        with progress.task(TaskId.TRACKS, len(queries) * len(rewound)) as task:
            for q in queries:
                xy = pick(look.get_grey(q), masks[q] > 0.5, self.config.points // len(queries))
                parts.append(_follow(rewound, flow, look, masks, q, xy))
                task.advance(len(rewound))
        tracks = Tracks(
            np.concatenate([part.xy for part in parts]),
            np.concatenate([part.visible for part in parts]),
            np.concatenate([part.confidence for part in parts]),
            np.concatenate([part.query for part in parts]),
        )
        extrapolate_occluded(rewound, tracks)
        return tracks


def choose_query_frames(rewound: Rewound, masks: F32, count: int) -> list[int]:
    """The seam and other frames spread over the clip, of those that show the subject; in order of
    their position."""
    area = np.array([(mask > 0.5).sum() for mask in masks])
    usable = np.flatnonzero(area >= max(16, 0.1 * np.median(area[area > 0]) if area.any() else 16))
    if not len(usable):
        raise InputError(
            "No frame shows the subject: every mask is empty.",
            "Select the subject again or give true masks.",
        )
    wanted = np.linspace(0, len(rewound) - 1, min(count, len(rewound)))
    near = {int(usable[np.argmin(np.abs(usable - w))]) for w in wanted}
    if rewound.seam in usable:
        near.discard(min(near, key=lambda t: abs(t - rewound.seam)))
        near.add(rewound.seam)
    return sorted(near)


def pick(grey: NDArray[np.uint8], mask: Bool, count: int) -> F32:  # -> (P, 2)
    """About ``count`` points over ``mask``: one per grid cell, on its best texture where there is
    any, else at its middle."""
    side = max(2.0, float(np.sqrt(mask.sum() / max(count, 1))))
    texture = cv2.cornerMinEigenVal(grey, 5)
    plain = np.quantile(texture[mask], 0.3)
    rows, cols = np.nonzero(mask)
    cell = (rows / side).astype(np.intp) * (mask.shape[1] + 1) + (cols / side).astype(np.intp)
    middle = np.hypot((rows % side) - side / 2, (cols % side) - side / 2) / side
    score = np.where(texture[rows, cols] > plain, texture[rows, cols], -middle * 1e-9 - 1e-9)
    order = np.lexsort((-score, cell))
    first = order[np.unique(cell[order], return_index=True)[1]]
    full = np.bincount(np.unique(cell, return_inverse=True)[1]) >= 0.25 * side * side
    first = first[full]
    return np.stack([cols[first] + 0.5, rows[first] + 0.5], -1).astype(np.float32)


class _Appearance:
    """What frames look like at points: grey pyramids for Lucas-Kanade, and Lab colours in 0..1."""

    def __init__(self, rewound: Rewound) -> None:
        self._frames = rewound.clip.frames
        times = range(len(rewound))
        self.soft = stack_on_cores(lambda t: cv2.GaussianBlur(self.get_grey(t), (0, 0), 0.7), times)
        self.lab = stack_on_cores(
            lambda t: cv2.GaussianBlur(
                cv2.cvtColor(self._frames[t], cv2.COLOR_RGB2LAB), (0, 0), 1.5
            ),
            times,
        )
        offset = np.arange(_WINDOW, dtype=np.float32) - _WINDOW // 2
        self._offset = np.stack(np.meshgrid(offset, offset), -1).reshape(1, -1, 2)

    def get_grey(self, t: int) -> NDArray[np.uint8]:  # -> (H, W)
        return np.asarray(cv2.cvtColor(self._frames[t], cv2.COLOR_RGB2GRAY), np.uint8)

    def sample_patches(self, t: int, xy: F32) -> F32:  # (P, 2) -> (P, window²)
        """Grey patches at ``xy`` with zero mean and unit length."""
        values = sample(self.soft[t], (xy[:, None] + self._offset).reshape(-1, 2)).reshape(
            len(xy), -1
        )
        values -= values.mean(1, keepdims=True)
        return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 8.0)

    def sample_colours(self, t: int, xy: F32) -> F32:  # (P, 2) -> (P, 3)
        return sample(self.lab[t], xy) / np.float32(100)

    def refine(self, q: int, t: int, start: F32, guess: F32) -> F32:  # (P, 2), (P, 2) -> (P, 2)
        """Where Lucas-Kanade puts the points ``start`` of frame q in frame t, from ``guess``; NaN
        where it fails."""
        criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 0.01)
        end, found, _ = cv2.calcOpticalFlowPyrLK(
            self.soft[q],
            self.soft[t],
            np.ascontiguousarray(start - 0.5),  # OpenCV puts the centre of pixel 0 at 0
            np.ascontiguousarray(guess - 0.5),
            winSize=(_WINDOW, _WINDOW),
            maxLevel=0,
            criteria=criteria,
            flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        )
        return np.where(found > 0, end + 0.5, np.nan).astype(np.float32)


def _follow(
    rewound: Rewound, flow: Flow, look: _Appearance, masks: F32, q: int, start: F32
) -> Tracks:
    """Points ``start`` (P, 2) of frame ``q`` along the whole tree; xy is 0 where not visible."""
    count, total = len(start), len(rewound)
    height, width = masks.shape[1:]
    xy = np.zeros((count, total, 2), np.float32)
    visible = np.zeros((count, total), bool)
    confidence = np.zeros((count, total), np.float32)
    xy[:, q], visible[:, q], confidence[:, q] = start, True, 1.0
    patch, colour = look.sample_patches(q, start), look.sample_colours(q, start)
    for a, b in rewound.outward(q):
        live = np.flatnonzero(visible[:, a])
        if not len(live):
            continue
        step = sample(flow.get_flow(a, b), xy[live, a])
        end = xy[live, a] + step
        miss = np.linalg.norm(step + sample(flow.get_flow(b, a), end), axis=1)
        better = look.refine(q, b, start[live], end)
        moved = np.linalg.norm(better - end, axis=1)
        alike = (look.sample_patches(b, np.nan_to_num(better)) * patch[live]).sum(1)
        before = (look.sample_patches(b, end) * patch[live]).sum(1)
        use = (moved < _SLIP) & (alike > _SURE) & (alike > before)
        end[use] = better[use]
        alike = np.where(use, alike, before)
        strange = np.linalg.norm(look.sample_colours(b, end) - colour[live], axis=1)
        inside = (end >= 0).all(1) & (end[:, 0] < width) & (end[:, 1] < height)
        pixel = np.clip(end, 0, (width - 1, height - 1)).astype(np.intp)
        on = masks[b, pixel[:, 1], pixel[:, 0]]
        limit = _ROUND_TRIP[0] + _ROUND_TRIP[1] * np.linalg.norm(step, axis=1)
        keep = inside & ((on > 0.5) | (on < 0)) & (miss < limit) & (strange < _LOST)
        live, end = live[keep], end[keep]
        xy[live, b], visible[live, b] = end, True
        trust = np.exp(-0.5 * (miss[keep] / limit[keep]) ** 2) * (1 - strange[keep] / _LOST * 0.5)
        confidence[live, b] = np.clip(trust * (0.6 + 0.4 * np.maximum(alike[keep], 0)), 0, 1)
    return Tracks(xy, visible, confidence, np.full(count, q, np.int32))


def extrapolate_occluded(rewound: Rewound, tracks: Tracks, given: Bool | None = None) -> None:
    """Fills ``xy`` where a point is not visible: from where it was last seen it moves as the
    visible points around it do. What is ``given`` (P, T) stays as it is.

    Its confidence is 0. The far side of a body past which the camera goes moves against the near
    side, which alone is visible: such guesses were off by a quarter of the subject.
    """
    width, height = rewound.clip.size
    found = tracks.visible if given is None else tracks.visible | given
    for q in np.unique(tracks.query):
        rows = np.flatnonzero(tracks.query == q)
        for a, b in rewound.outward(int(q)):
            lost = rows[~found[rows, b]]
            both = np.flatnonzero(tracks.visible[:, a] & tracks.visible[:, b])
            if not len(lost):
                continue
            here = tracks.xy[lost, a]
            if len(both):
                k = min(6, len(both))
                distance, near = KDTree(tracks.xy[both, a]).query(here, k)
                distance, near = distance.reshape(-1, k), near.reshape(-1, k)
                weight = 1 / (distance + 1.0) ** 2
                weight /= weight.sum(1, keepdims=True)
                moved = (tracks.xy[both, b] - tracks.xy[both, a])[near]
                here = here + (moved * weight[..., None]).sum(1)
            tracks.xy[lost, b] = np.clip(here, (-width, -height), (2 * width, 2 * height))
            tracks.confidence[lost, b] = 0


# --- the packed file ------------------------------------------------------------------------------


def save_tracks(path: str | Path, tracks: Tracks) -> None:
    """Writes all tracks as ONE .npz with the arrays of `Tracks`."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            xy=tracks.xy,
            visible=tracks.visible,
            confidence=tracks.confidence,
            query=tracks.query,
        )


def load_tracks(path: str | Path) -> Tracks:
    """Reads what `save_tracks` wrote. Raises `InputError` where anything in it is not as `Tracks`
    says."""
    remedy = (
        "Give an .npz with xy (P, T, 2), visible (P, T), confidence (P, T) and query (P,), or let "
        "the tracks be made anew."
    )
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("xy", "visible", "confidence", "query")}
    except Exception as error:
        raise InputError(f"{path} cannot be read as tracks: {error}", remedy) from error
    xy, visible, confidence, query = arrays.values()
    if xy.ndim != 3 or xy.shape[2] != 2 or 0 in xy.shape:
        raise InputError(f"{path}: xy has shape {xy.shape} instead of (P, T, 2).", remedy)
    points, total = xy.shape[:2]
    for name, array, shape in (
        ("visible", visible, (points, total)),
        ("confidence", confidence, (points, total)),
        ("query", query, (points,)),
    ):
        if array.shape != shape:
            raise InputError(f"{path}: {name} has shape {array.shape} instead of {shape}.", remedy)
    numeric = (
        xy.dtype.kind in "fiu"
        and confidence.dtype.kind in "fiu"
        and query.dtype.kind in "iu"
        and visible.dtype.kind in "biu"
    )
    if not numeric:
        raise InputError(f"{path}: the arrays have the wrong kinds of numbers.", remedy)
    if not np.isfinite(xy).all():
        raise InputError(f"{path}: xy holds values that are not finite.", remedy)
    if not (np.isfinite(confidence).all() and confidence.min() >= 0 and confidence.max() <= 1):
        raise InputError(f"{path}: confidence is not in 0..1.", remedy)
    if query.min() < 0 or query.max() >= total:
        raise InputError(f"{path}: query names a frame outside 0..{total - 1}.", remedy)
    return Tracks(
        xy.astype(np.float32),
        visible.astype(bool),
        confidence.astype(np.float32),
        query.astype(np.int32),
    )
