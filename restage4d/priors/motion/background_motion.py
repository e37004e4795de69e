"""Motion against the background: what tells a subject from what stands still behind it.

Coordinates in this file are pixel numbers as OpenCV counts them (the centre of pixel 0 at 0).
"""

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from restage4d.clips import Rewound
from restage4d.priors.motion.optical_flow import Flow
from restage4d.threads import map_on_cores

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

_SPANS = (1, 5)  # frames over which motion is compared
_MESH = (6, 7)  # control points of the parallax, down and across
_STIFF = 5.0  # how much the parallax resists to change from one control point to the next
_WORTH = 0.7  # share of the simpler model's error at which the richer one is used
_OTHER = 1.0  # pixels by which a pixel that is not of the dominant plane misses it
_PART = 0.05  # of all pixels must do so for a second plane to be looked for
_NEARBY = (
    (1.0, 1.5),
    (0.05, 5.0),
    (0.002, 16.0),
)  # weight and reach, in steps of the grid, of pixels that say which plane a place is of
NODE = 8  # pixels between the points in which the background's motion is kept


def is_lost(step: F32, back: F32) -> Bool:  # (..., 2), (..., 2) -> (...)
    """Whether a step of flow fails to come back to where it began, by more than 1 px and 5 % of its
    length."""
    miss, length = step + back, np.hypot(step[..., 0], step[..., 1])
    return np.hypot(miss[..., 0], miss[..., 1]) > 1.0 + 0.05 * length


class BackgroundStep:
    """The background's motion from a frame to its neighbour: one or two planes, and on top of them
    a mesh for parallax.

    Each plane moves by a homography: the dominant one, and the one that most of what it leaves over
    moves by, such as a wall behind the ground. Which of the two a place belongs to, also behind the
    subject, is what most pixels around it say.

    Args:
        flow: (H, W, 2) between the frames.
        free: (H, W) pixels that are not the subject's, if known; else the motion that most pixels
            share.
    """

    def __init__(self, flow: F32, free: Bool | None = None) -> None:
        height, width = flow.shape[:2]
        self._size = np.array([max(width - 1, 1), max(height - 1, 1)], np.float32)
        self._grid = max(2, max(height, width) // 64)
        grid = np.mgrid[self._grid // 2 : height : self._grid, self._grid // 2 : width : self._grid]
        rows, cols = (part.ravel() for part in grid)
        used = np.ones(len(rows), bool)
        if free is not None and free[rows, cols].sum() >= 50:
            used = free[rows, cols]
        self._start = np.stack([cols, rows], -1)[used].astype(np.float32)
        self._end = self._start + flow[rows, cols][used]
        self._planes = [_fit_plane(self._start, self._end)]
        self._second: Bool | None = None  # (rows, columns) of the grid: places of the second plane
        self.mesh: F64 | None = None
        one = self._compute_residual()
        self.missed = {"one plane": _compute_capped_error(one)}
        rest = np.linalg.norm(one, axis=1) > _OTHER
        if rest.sum() >= max(50, _PART * len(rest)):
            self._planes.append(_fit_plane(self._start[rest], self._end[rest]))
            other = self._end - _transform(self._planes[1], self._start)
            vote = [np.exp(-0.5 * (miss**2).sum(1)) for miss in (one, other)]
            self._second = (
                np.subtract(*(_blur_votes(v, used, grid.shape[1:]) for v in reversed(vote))) > 0
            )
        self.missed["two planes"] = _compute_capped_error(self._compute_residual())

    def keep_one_plane(self) -> None:
        """Lets go of the second plane."""
        self._second = None

    def fit_mesh(self) -> None:
        """Adds the mesh."""
        left_over = self._compute_residual()
        self.mesh, remains = self._fit_parallax(self._start, left_over)
        self.missed |= {
            "planes": _compute_capped_error(left_over),
            "mesh": _compute_capped_error(remains),
        }

    def __call__(self, xy: F32) -> F32:  # (N, 2) -> (N, 2)
        """Where the background at ``xy`` goes."""
        second = np.zeros((0, 0), bool) if self._second is None else self._second
        mesh = np.zeros((0, 2)) if self.mesh is None else self.mesh
        xy = np.ascontiguousarray(xy, np.float32)
        return _advance(xy, self._planes[0], self._planes[-1], second, self._grid, mesh, self._size)

    def _compute_residual(self) -> F32:
        return self._end - self(self._start)

    def _find_cell(self, xy: F32) -> tuple[NDArray[np.intp], F64]:
        """The four control points around ``xy`` and their bilinear weights, (N, 4) each."""
        down, across = _MESH
        place = np.clip(xy / self._size, 0, 1) * (across - 1, down - 1)
        first = np.minimum(place.astype(np.intp), (across - 2, down - 2))
        fx, fy = (place - first).T
        corner = first[:, 1] * across + first[:, 0]
        index = corner[:, None] + np.array([0, 1, across, across + 1])
        return index, np.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], 1)

    def _fit_parallax(self, start: F32, left_over: F32) -> tuple[F64, F64]:
        """Control points (M, 2) fitted robustly to what the homography leaves over (N, 2), and what
        they leave over."""
        down, across = _MESH
        index, weight = self._find_cell(start)
        mesh = np.zeros((down * across, 2))
        remains = np.asarray(left_over, np.float64)
        for _ in range(
            5
        ):  # iteratively re-weighted: Geman and McClure's loss lets go of what moves by itself
            miss = (remains**2).sum(1)
            scale = max(0.25, 2.0 * float(np.median(miss)))
            matrix, right = _build_normal_equations(
                index, weight, (scale / (scale + miss)) ** 2, left_over, down * across
            )
            mesh = np.linalg.solve(matrix + _PRIOR, right)
            remains = left_over - (mesh[index] * weight[..., None]).sum(1)
        return np.asarray(mesh, np.float64), remains


def _fit_plane(start: F32, end: F32) -> F64:  # (N, 2), (N, 2) -> (3, 3)
    cv2.setRNGSeed(0)
    found, _ = cv2.findHomography(start, end, cv2.RANSAC, 1.0, maxIters=500)
    return np.eye(3) if found is None else np.asarray(found, np.float64)


def _transform(plane: F64, xy: F32) -> F32:  # (3, 3), (N, 2) -> (N, 2)
    return (
        np.asarray(cv2.perspectiveTransform(xy.reshape(1, -1, 2), plane), np.float32).reshape(-1, 2)
        if len(xy)
        else xy
    )


def _blur_votes(vote: F32, used: Bool, shape: tuple[int, ...]) -> F32:
    """Sum of votes (N,) of the ``used`` places of a grid of ``shape``, near ones first, far ones
    where there are no near ones."""
    image = np.zeros(used.shape, np.float32)
    image[used] = vote
    image = image.reshape(shape)
    blurred = [share * cv2.GaussianBlur(image, (0, 0), sigma) for share, sigma in _NEARBY]
    return np.asarray(np.sum(blurred, axis=0), np.float32)


@njit(cache=True, nogil=True)
def _build_normal_equations(
    index: NDArray[np.intp], weight: F64, trust: F64, value: F32, count: int
) -> tuple[F64, F64]:
    """Normal equations (count, count) and (count, 2) of ``value`` (N, 2), interpolated at
    ``index``, ``weight`` (N, 4)."""
    matrix, right = np.zeros((count, count)), np.zeros((count, 2))
    for i in range(len(index)):
        for j in range(4):
            share = trust[i] * weight[i, j]
            for k in range(4):
                matrix[index[i, j], index[i, k]] += share * weight[i, k]
            for k in range(2):
                right[index[i, j], k] += share * value[i, k]
    return matrix, right


def _build_stiffness() -> F64:
    """What a mesh pays for change from one control point to the next, as a quadratic form."""
    down, across = _MESH
    number = np.arange(down * across).reshape(_MESH)
    ties = [
        (a, b)
        for x, y in ((number[1:], number[:-1]), (number[:, 1:], number[:, :-1]))
        for a, b in zip(x.flat, y.flat, strict=True)
    ]
    change = np.zeros((len(ties), down * across))
    for row, (a, b) in zip(change, ties, strict=True):
        row[a], row[b] = 1, -1
    return _STIFF * change.T @ change + 1e-3 * np.eye(down * across)


_PRIOR = _build_stiffness()


def _compute_capped_error(miss: F64 | F32) -> float:
    """Mean length in pixels, in which what moves by itself counts no more than 2 pixels."""
    return float(np.minimum(np.linalg.norm(miss, axis=1), 2.0).mean())


def _is_better(steps: list[BackgroundStep], simple: str, rich: str) -> bool:
    """Whether the richer of two models of the background leaves much less over."""
    before, after = (sum(step.missed[name] for step in steps) for name in (simple, rich))
    return after <= _WORTH * before


class BackgroundMotion:
    """The background's motion along the tree of frames, and how far pixels leave it.

    Args:
        subject: (T, H, W), a generous guess of the subject, left out when the background's motion
            is found.
    """

    def __init__(self, rewound: Rewound, flow: Flow, subject: Bool) -> None:
        height, width = subject.shape[1:]
        self._flow, self._shape = flow, (height, width)
        self._link = np.full(
            (2, len(rewound)), -1, np.int32
        )  # to the parent, and to the first child
        self._link[0] = rewound.parent
        for p, t in reversed(rewound.neighbours()):
            self._link[1, p] = t
        edges = [edge for p, t in rewound.neighbours() for edge in ((p, t), (t, p))]
        steps = map_on_cores(lambda e: BackgroundStep(flow.get_flow(*e), ~subject[e[0]]), edges)
        self._step = dict(zip(edges, steps, strict=True))
        # all alike, or the background would seem to jump where the model changes
        if not _is_better(steps, "one plane", "two planes"):
            for step in steps:
                step.keep_one_plane()
        map_on_cores(BackgroundStep.fit_mesh, steps)
        if not _is_better(steps, "planes", "mesh"):
            for step in steps:
                step.mesh = None
        rows, cols = np.mgrid[0 : height + NODE - 1 : NODE, 0 : width + NODE - 1 : NODE].astype(
            np.float32
        )
        self._nodes = np.stack([cols, rows], -1)
        self._rows, self._cols = np.indices(self._shape, np.float32) / NODE

    def compute_flow(self, a: int, b: int) -> F32:
        """The background's flow (H, W, 2) from frame ``a`` to its neighbour ``b``: also behind the
        subject."""
        return self._interpolate(
            self._step[a, b](self._nodes.reshape(-1, 2)).reshape(self._nodes.shape) - self._nodes
        )

    def _interpolate(self, nodes: F32) -> F32:
        return np.asarray(cv2.remap(nodes, self._cols, self._rows, cv2.INTER_LINEAR), np.float32)

    def locate_background(
        self,
        t: int,
        offsets: tuple[int, ...],
        part: tuple[slice, slice] = (slice(None), slice(None)),
    ) -> tuple[NDArray[np.int64], F32]:
        """Frames ``offsets`` steps before and after frame ``t``, (M,), and where its background
        lies in them.

        The latter is (M, rows, columns, 2): the places of frame t's pixels 0, NODE, 2 NODE and so
        on, down and across; or of a ``part`` of those rows and columns.
        """
        frames, places = [], []
        nodes = self._nodes[part]
        for link in self._link:
            a, place = t, nodes.reshape(-1, 2)
            for steps in range(1, max(offsets) + 1):
                b = int(link[a])
                if b < 0:
                    break
                place = self._step[a, b](place)
                a = b
                if steps in offsets:
                    frames.append(b)
                    places.append(place)
        return np.array(frames, np.int64), np.array(places, np.float32).reshape(-1, *nodes.shape)

    def measure_own_motion(self, t: int) -> tuple[F32, F32]:
        """How the pixels of frame ``t`` move against the background over the next and the last few
        frames.

        Returns:
            speed: (H, W) pixels per frame, the smaller one of both directions in time (background
                that is about to be hidden still shows by where it came from), NaN where neither can
                be followed.
            velocity: (H, W, 4) pixels per frame, (x, y) towards the parent and (x, y) towards the
                child, 0 where not followed.
        """
        speed = np.full((len(_SPANS), *self._shape), np.inf, np.float32)
        velocity = np.zeros((*self._shape, 4), np.float32)
        for way, link in enumerate(self._link):
            moved = np.zeros((*self._shape, 2), np.float32)
            followed = np.ones(self._shape, bool)
            place, a = self._nodes.reshape(-1, 2), t
            for steps in range(1, max(_SPANS) + 1):
                b = int(link[a])
                if b < 0:
                    break
                _drift(self._flow.get_flow(a, b), self._flow.get_flow(b, a), moved, followed)
                place = self._step[a, b](place)
                a = b
                if steps in _SPANS or link[a] < 0:
                    own = (
                        moved - self._interpolate(place.reshape(self._nodes.shape) - self._nodes)
                    ) / np.float32(steps)
                    pair = slice(2 * way, 2 * way + 2)
                    np.copyto(velocity[..., pair], own, where=followed[..., None])
                    rank = int(np.searchsorted(_SPANS, steps))
                    np.minimum(
                        speed[rank],
                        np.hypot(own[..., 0], own[..., 1]),
                        out=speed[rank],
                        where=followed,
                    )
        short, long = speed
        speed = np.where(np.isfinite(long), long, short)
        return np.where(np.isfinite(speed), speed, np.nan).astype(np.float32), velocity


@njit(cache=True, nogil=True, error_model="numpy")
def _advance(
    xy: F32, plane: F64, other: F64, second: Bool, grid: int, mesh: F64, size: F32
) -> F32:  # (N, 2), (3, 3) x2, (rows, columns), -, (M, 2), (2,) -> (N, 2)
    """Where ``xy`` go by the planes' homographies, the ``second`` one's where the grid says so, and
    by the ``mesh``; either may be empty."""
    down, across = _MESH
    end = np.empty_like(xy)
    for i in range(len(xy)):
        x, y = xy[i]
        m = plane
        if len(second):
            row = min(max(int(np.floor(y / grid)), 0), second.shape[0] - 1)
            col = min(max(int(np.floor(x / grid)), 0), second.shape[1] - 1)
            if second[row, col]:
                m = other
        share = 1 / (x * m[2, 0] + y * m[2, 1] + m[2, 2])
        to_x = np.float32((x * m[0, 0] + y * m[0, 1] + m[0, 2]) * share)
        to_y = np.float32((x * m[1, 0] + y * m[1, 1] + m[1, 2]) * share)
        if len(mesh):
            place_x = (across - 1) * min(max(x / size[0], np.float32(0)), np.float32(1))
            place_y = (down - 1) * min(max(y / size[1], np.float32(0)), np.float32(1))
            col, row = min(int(place_x), across - 2), min(int(place_y), down - 2)
            fx, fy = place_x - col, place_y - row
            a = row * across + col
            moved_x = mesh[a, 0] * ((1 - fx) * (1 - fy)) + mesh[a + 1, 0] * (fx * (1 - fy))
            moved_y = mesh[a, 1] * ((1 - fx) * (1 - fy)) + mesh[a + 1, 1] * (fx * (1 - fy))
            a += across
            moved_x = moved_x + mesh[a, 0] * ((1 - fx) * fy) + mesh[a + 1, 0] * (fx * fy)
            moved_y = moved_y + mesh[a, 1] * ((1 - fx) * fy) + mesh[a + 1, 1] * (fx * fy)
            end[i, 0], end[i, 1] = to_x + moved_x, to_y + moved_y
        else:
            end[i, 0], end[i, 1] = to_x, to_y
    return end


@njit(cache=True, nogil=True, fastmath=True)
def _drift(ahead: F32, back: F32, moved: F32, followed: Bool) -> None:
    """One more step: adds to ``moved`` (H, W, 2) the flow ``ahead`` where it has come to;
    ``followed`` ends where `lost`."""
    height, width = followed.shape
    for y in range(height):
        step, home = np.empty(2, np.float32), np.empty(2, np.float32)
        for x in range(width):
            if followed[y, x]:
                _sample_at(ahead, x + moved[y, x, 0], y + moved[y, x, 1], step)
                for c in range(2):
                    moved[y, x, c] += step[c]
                _sample_at(back, x + moved[y, x, 0], y + moved[y, x, 1], home)
                miss = np.sqrt((step[0] + home[0]) ** 2 + (step[1] + home[1]) ** 2)
                followed[y, x] = miss <= 1.0 + 0.05 * np.sqrt(step[0] ** 2 + step[1] ** 2)


@njit(cache=True, nogil=True, fastmath=True)
def _sample_at(image: F32, x: float, y: float, out: F32) -> None:
    """Bilinear sample of ``image`` (H, W, 2) at a place, the border's outside of it, into ``out``
    (2,)."""
    height, width = image.shape[:2]
    x, y = min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0)
    col, row = min(int(x), width - 2), min(int(y), height - 2)
    fx, fy = x - col, y - row
    for c in range(2):
        above = image[row, col, c] * (1 - fx) + image[row, col + 1, c] * fx
        below = image[row + 1, col, c] * (1 - fx) + image[row + 1, col + 1, c] * fx
        out[c] = above * (1 - fy) + below * fy
