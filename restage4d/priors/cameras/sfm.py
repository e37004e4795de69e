"""Cameras without learned weights: still, turning or travelling, distinguished and then each found
the way that suits it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Cameras, Rewound
from restage4d.priors.cameras import focal as lens
from restage4d.priors.cameras import pan
from restage4d.priors.cameras.colmap import map_tracks
from restage4d.priors.cameras.interpolation import interpolate_poses
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
                if pan.is_still(xy, rewound.seam, video, scale):
                    parent[video[video != rewound.seam]] = -2  # these take b_0's camera
            moving = np.flatnonzero(parent != -2)
            task.advance()
            if len(moving) < 2:
                found = self._find_still(xy, rewound)
            else:
                tree = _Tree(moving, rewound.parent)
                turning, turns = self._find_turning(xy[:, moving], tree, size)
                task.advance()
                found = (
                    turning
                    if turns
                    else self._find_travelling(xy, moving, tree, size, turning, task)
                )
            focal, poses, error, kind, points, note = found
        w2c = np.full((len(rewound), 4, 4), np.nan)
        w2c[moving if kind != "static" else slice(None)] = poses
        w2c[parent == -2] = w2c[rewound.seam]
        placed = float(np.isfinite(w2c[:, 0, 0]).mean())
        interpolate_poses(w2c, rewound.parent)
        K = np.array([[focal, 0, size[0] / 2], [0, focal, size[1] / 2], [0, 0, 1]], np.float32)
        self.report = CameraReport(kind, focal / max(size), placed, error, note)
        return Cameras(np.tile(K, (len(rewound), 1, 1)), w2c.astype(np.float32), kind, points)

    def _guess_focal(self, size: tuple[int, int]) -> float:
        return (
            lens.guess_focal(size) if self.config.focal is None else self.config.focal * max(size)
        )

    def _find_still(self, xy: F64, rewound: Rewound):
        size = rewound.clip.size
        moved = np.linalg.norm(xy - xy[:, rewound.seam, None], axis=-1)
        at_rest = moved[np.isfinite(moved) & (moved < 2 * max(size) / 384)]
        note = "" if len(at_rest) else "no background to follow: the camera is taken to stand still"
        none = np.zeros((0, 3), np.float32)
        return (
            self._guess_focal(size),
            np.tile(np.eye(4), (len(rewound), 1, 1)),
            float(at_rest.mean()) if len(at_rest) else 0.0,
            "static",
            none,
            note,
        )

    def _find_turning(self, xy: F64, tree: "_Tree", size: tuple[int, int]):
        """The best camera on the spot for the moving frames, and whether it explains them."""
        focal = self._guess_focal(size)
        keys = tree.choose_frames(xy, self.config.keyframes)
        sparse = xy[:, keys]
        sparse = sparse[np.isfinite(sparse[..., 0]).sum(1) >= 2]
        if self.config.focal is None:
            focal = pan.search_focal(sparse, tree.restrict(keys), size, focal)
        pairs = [(i, j) for i in range(len(keys)) for j in (i + 2, i + 5) if j < len(keys)]
        turns, _ = pan.check_rotation(sparse, pairs, size, focal)
        R, residual = pan.fit_rotations(xy, tree.parent, size, focal, 12)
        poses = np.tile(np.eye(4), (xy.shape[1], 1, 1))
        poses[:, :3, :3] = R
        at_rest = residual[residual < 2 * max(size) / 384]
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
            float(at_rest.mean()) if len(at_rest) else 0.0,
            "pan",
            np.zeros((0, 3), np.float32),
            note,
        ), turns

    def _find_travelling(
        self, xy: F64, moving, tree: "_Tree", size: tuple[int, int], turning, task
    ):
        keys = tree.choose_frames(xy[:, moving], self.config.keyframes)
        guess = self._guess_focal(size)
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

    def restrict(self, chosen: NDArray[np.intp]) -> list[int]:
        return _Tree(chosen, np.array(self.parent, np.int32)).parent

    def choose_frames(self, xy: F64, count: int) -> NDArray[np.intp]:
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
