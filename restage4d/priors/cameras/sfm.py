"""Cameras without learned weights: still, turning or travelling, told apart and then each found the
way that suits it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from restage4d.clips import Cameras, Rewound
from restage4d.priors.cameras import focal as lens
from restage4d.priors.cameras import pan
from restage4d.priors.cameras.colmap import map_tracks
from restage4d.priors.motion.background_points import follow
from restage4d.progress import Progress, TaskId

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class SfmConfig:
    """How cameras are sought.

    Attributes:
        focal: focal length over the image's longer side; None: searched within
            `restage4d.priors.cameras.focal.RATIOS`.
        keyframes: frames that make the map of a travelling camera; the others are placed in it.
        timeout: seconds for structure from motion, after which the camera is taken to turn on the
            spot.
        seed: of every random choice.
    """

    focal: float | None = None
    keyframes: int = 22
    timeout: float = 300.0
    seed: int = 0


@dataclass(frozen=True)
class CameraReport:
    """What was found: ``focal`` over the longer side, ``placed`` the share of frames with a pose of
    their own (the rest is interpolated), ``error`` the mean distance in pixels of background points
    from where the cameras put them (those at rest), ``note`` what a person should know, "" if
    nothing."""

    kind: str
    focal: float
    placed: float
    error: float
    note: str


class SfmCameras:
    """Cameras from background tracks.

    A video whose background does not move gets exactly the camera of b_0 in every frame. What is
    left is first explained by a camera that only turns; if that does not hold, by COLMAP's
    structure from motion. Where COLMAP finds nothing, the turning camera stands, and `report` says
    so. Every frame gets a pose. The world is that of b_m's camera (moving: COLMAP's).
    """

    name = "sfm"

    def __init__(self, config: SfmConfig | None = None) -> None:
        self.config = config or SfmConfig()
        self.report: CameraReport | None = None

    def cameras(self, rewound: Rewound, masks: F32, progress: Progress) -> Cameras:
        """See `restage4d.priors.protocols.CameraProvider`; also fills ``self.report``."""
        size = rewound.clip.size
        scale = max(size) / 384
        with progress.task(TaskId.BACKGROUND_POINTS, len(rewound)) as task:
            xy = follow(rewound, masks, task).astype(np.float64)
        with progress.task(TaskId.CAMERAS, 2 + len(_STARTS) * self.config.keyframes) as task:
            parent = rewound.parent.copy()
            for source in range(rewound.n_branches + 1):
                video = rewound.video(source)
                if pan.steady(xy, rewound.seam, video, scale):
                    parent[video[video != rewound.seam]] = -2  # these take b_0's camera
            moving = np.flatnonzero(parent != -2)
            task.advance()
            if len(moving) < 2:
                found = self._still(xy, rewound)
            else:
                tree = _Tree(moving, rewound.parent)
                turning, turns = self._turning(xy[:, moving], tree, size)
                task.advance()
                found = (
                    turning if turns else self._travelling(xy, moving, tree, size, turning, task)
                )
            focal, poses, error, kind, points, note = found
        w2c = np.full((len(rewound), 4, 4), np.nan)
        w2c[moving if kind != "static" else slice(None)] = poses
        w2c[parent == -2] = w2c[rewound.seam]
        placed = float(np.isfinite(w2c[:, 0, 0]).mean())
        fill(w2c, rewound.parent)
        K = np.array([[focal, 0, size[0] / 2], [0, focal, size[1] / 2], [0, 0, 1]], np.float32)
        self.report = CameraReport(kind, focal / max(size), placed, error, note)
        return Cameras(np.tile(K, (len(rewound), 1, 1)), w2c.astype(np.float32), kind, points)

    def _guess(self, size: tuple[int, int]) -> float:
        return lens.guess(size) if self.config.focal is None else self.config.focal * max(size)

    def _still(self, xy: F64, rewound: Rewound):
        size = rewound.clip.size
        moved = np.linalg.norm(xy - xy[:, rewound.seam, None], axis=-1)
        told = moved[np.isfinite(moved) & (moved < 2 * max(size) / 384)]
        note = "" if len(told) else "no background to follow: the camera is taken to stand still"
        none = np.zeros((0, 3), np.float32)
        return (
            self._guess(size),
            np.tile(np.eye(4), (len(rewound), 1, 1)),
            float(told.mean()) if len(told) else 0.0,
            "static",
            none,
            note,
        )

    def _turning(self, xy: F64, tree: "_Tree", size: tuple[int, int]):
        """The best camera on the spot for the moving frames, and whether it explains them."""
        focal = self._guess(size)
        keys = tree.spread(xy, self.config.keyframes)
        sparse = xy[:, keys]
        sparse = sparse[np.isfinite(sparse[..., 0]).sum(1) >= 2]
        if self.config.focal is None:
            focal = pan.search_focal(sparse, tree.among(keys), size, focal)
        pairs = [(i, j) for i in range(len(keys)) for j in (i + 2, i + 5) if j < len(keys)]
        turns, _ = pan.only_turns(sparse, pairs, size, focal)
        R, residual = pan.rotations(xy, tree.parent, size, focal, 12)
        poses = np.tile(np.eye(4), (xy.shape[1], 1, 1))
        poses[:, :3, :3] = R
        told = residual[residual < 2 * max(size) / 384]
        turns = turns and np.nanmedian(residual) < 0.75 * max(size) / 384
        note = (
            ""
            if turns
            else "the camera travels, but no map of the background could be made: "
            "it is taken to turn on the spot"
        )
        return (
            focal,
            poses,
            float(told.mean()) if len(told) else 0.0,
            "pan",
            np.zeros((0, 3), np.float32),
            note,
        ), turns

    def _travelling(self, xy: F64, moving, tree: "_Tree", size: tuple[int, int], turning, task):
        keys = tree.spread(xy[:, moving], self.config.keyframes)
        guess = self._guess(size)
        focals = (
            [guess]
            if self.config.focal is not None
            else [
                guess,
                *(r * max(size) for r in _STARTS if not 0.8 < r * max(size) / guess < 1.25),
            ]
        )
        seen = np.isfinite(xy[:, moving, 0]).sum(1) >= 3
        found = map_tracks(
            xy[seen][:, moving],
            keys,
            size,
            focals,
            self.config.focal is None,
            self.config.seed,
            task,
            self.config.timeout,
        )
        if isinstance(found, str):
            return *turning[:5], f"{turning[5]} ({found})"
        return found.focal, found.w2c, found.error, "moving", found.points, ""


_STARTS = (0.75, 1.2, 2.0)  # focal lengths over the longer side, from which a map is begun


class _Tree:
    """The tree of frames cut down to some of them: a frame's parent is its nearest ancestor that is
    left."""

    def __init__(self, frames: NDArray[np.intp], parent: NDArray[np.int32]) -> None:
        place = {int(t): i for i, t in enumerate(frames)}
        self.parent = []
        for t in frames:
            up = int(parent[t])
            while up >= 0 and up not in place:
                up = int(parent[up])
            self.parent.append(place.get(up, -1))

    def among(self, chosen: NDArray[np.intp]) -> list[int]:
        return _Tree(chosen, np.array(self.parent, np.int32)).parent

    def spread(self, xy: F64, count: int) -> NDArray[np.intp]:
        """At most about ``count`` frames, evenly spread over the motion between them (and some over
        time), ends included."""
        step = np.zeros(len(self.parent))
        for t, p in enumerate(self.parent):
            if p >= 0:
                moved = np.linalg.norm(xy[:, t] - xy[:, p], axis=1)
                moved = moved[np.isfinite(moved)]
                step[t] = np.median(moved) if len(moved) else 0.0
        step += 0.5 * step.mean() + 1e-6
        gone, chosen = np.zeros(len(step)), {0}
        stride = step[1:].sum() / max(count - 1, 1)
        leaves = set(range(len(step))) - set(self.parent)
        for t, p in enumerate(self.parent):
            if p >= 0:
                gone[t] = gone[p] % stride + step[t]
                if gone[t] >= stride or t in leaves:
                    chosen.add(t)
        return np.array(sorted(chosen))


def fill(w2c: F64, parent: NDArray[np.int32]) -> None:
    """Gives every frame without a pose (NaN) one, in place: between the nearest known ones up and
    down the tree."""
    known = np.isfinite(w2c[:, 0, 0])
    if not known.any():
        w2c[:] = np.eye(4)
        return
    count = len(parent)
    up, below = np.full(count, -1), np.full(count, -1)
    up_steps, below_steps = np.zeros(count), np.full(count, np.inf)
    for t, p in enumerate(parent):
        if known[t]:
            up[t], up_steps[t] = t, 0
        elif p >= 0:
            up[t], up_steps[t] = up[p], up_steps[p] + 1
    for t in range(count - 1, -1, -1):
        if known[t]:
            below[t], below_steps[t] = t, 0
        p = parent[t]
        if p >= 0 and below[t] >= 0 and below_steps[t] + 1 < below_steps[p]:
            below[p], below_steps[p] = below[t], below_steps[t] + 1
    poses = w2c.copy()
    for t in np.flatnonzero(~known):
        a, b = up[t], below[t]
        if a < 0 and b < 0:  # a branch without any pose below a root without one
            a = b = int(np.flatnonzero(known)[np.abs(np.flatnonzero(known) - t).argmin()])
        elif a < 0 or b < 0:
            a = b = max(a, b)
        share = 0.0 if a == b else up_steps[t] / (up_steps[t] + below_steps[t])
        turns = Rotation.from_matrix(poses[[a, b], :3, :3])
        R = Slerp([0, 1], turns)(share).as_matrix()
        centres = -np.einsum("tji,tj->ti", poses[[a, b], :3, :3], poses[[a, b], :3, 3])
        w2c[t] = np.eye(4)
        w2c[t, :3, :3] = R
        w2c[t, :3, 3] = -R @ (centres[0] + share * (centres[1] - centres[0]))
