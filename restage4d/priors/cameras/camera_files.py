"""Cameras that another program found: files of MegaSaM or ViPE, or our own cameras.npz.

MegaSaM (mega-sam/mega-sam, ``outputs/*_droid.npz`` or ``outputs_cvd/*_sgd_cvd_hr.npz``): images (T,
h, w, 3), intrinsic (3, 3), cam_c2w (T, 4, 4), depths (T, h, w). ViPE (nv-tlabs/vipe): a folder with
``pose/NAME.npz`` and ``intrinsics/NAME.npz``, each with data, (T, 4, 4) camera to world and (T, 4)
fx, fy, cx, cy, and inds, the frames' numbers; the size of its pictures is taken to be twice cx, cy.
Either is of the rewound clip, or of the base, whose driving videos then have b_0's camera, standing
still.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Cameras, Rewound
from restage4d.errors import InputError
from restage4d.io.arrays import (
    camera_kind,
    load_arrays,
    load_cameras,
    match_frames,
    need,
)
from restage4d.priors.cameras.interpolation import interpolate_poses
from restage4d.progress import Progress
from restage4d.providers.weights import fingerprint

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class CameraFilesConfig:
    """``path``: the file or folder. ``state``: its size and time, for the cache."""

    path: Path
    state: str


class CameraFiles:
    """A `CameraProvider` and, for files of MegaSaM with depth in them, a `DepthProvider`
    (`restage4d.priors.protocols`).

    Args:
        path: file of MegaSaM, folder of ViPE, or a cameras.npz as in docs/priors.md.

    Raises:
        InputError: it is none of these; says what was looked for.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise InputError(
                f"There are no cameras at {path}.",
                "Give a file of MegaSaM, a folder of ViPE, or a cameras.npz.",
            )
        self.name = f"file:{path.name}"
        state = (
            fingerprint(path)
            if path.is_dir()
            else f"{path.stat().st_size}:{path.stat().st_mtime_ns}"
        )
        self.config = CameraFilesConfig(path, state)

    def cameras(self, rewound: Rewound, masks: F32, progress: Progress) -> Cameras:
        """See `CameraProvider`. Frames without a pose get one between their neighbours'."""
        path = self.config.path
        K, w2c = (
            _read_vipe(path)
            if path.is_dir()
            else _read_megasam(path)
            if _is_megasam(path)
            else _read_own(path, rewound.clip.size[0])
        )
        rows = match_frames(path, len(w2c), rewound)
        if path.is_dir() or _is_megasam(path):  # K for a picture of width 1
            K = K * np.array([rewound.clip.size[0], rewound.clip.size[0], 1.0])[:, None]
        poses = np.full((len(rewound), 4, 4), np.nan)
        lenses = np.tile(K[int(np.flatnonzero(rows == rewound.seam)[0])], (len(rewound), 1, 1))
        poses[rows], lenses[rows] = w2c, K
        interpolate_poses(poses[: len(rewound)], rewound.parent)
        others = np.setdiff1d(np.arange(len(rewound)), rows)
        poses[others] = poses[rewound.seam]
        return Cameras(
            lenses.astype(np.float32),
            poses.astype(np.float32),
            camera_kind(poses.astype(np.float32)),
        )

    def depth(self, rewound: Rewound, masks: F32, cameras: Cameras, progress: Progress) -> F32:
        """MegaSaM's depth, in the units of its own cameras. Raises `InputError` where the file has
        none for every frame."""
        path = self.config.path
        need(path.is_file() and _is_megasam(path), path, "only files of MegaSaM hold depth as well")
        depths = load_arrays(path, ("depths",))["depths"]
        need(
            depths.ndim == 3 and len(depths) == len(rewound),
            path,
            f"it has depth of {len(depths)} frames, not of {len(rewound)}",
        )
        need(np.isfinite(depths).all(), path, "its depth has values that are not finite")
        large = np.stack(
            [
                cv2.resize(d.astype(np.float32), rewound.clip.size, interpolation=cv2.INTER_NEAREST)
                for d in depths
            ]
        )
        return np.where(masks < 0, 0, np.maximum(large, 0)).astype(np.float32)


def _is_megasam(path: Path) -> bool:
    try:
        with np.load(path, allow_pickle=False) as file:
            return "cam_c2w" in file.files
    except (OSError, ValueError, EOFError):
        return False


def _read_megasam(
    path: Path,
) -> tuple[NDArray, NDArray]:  # -> K (T, 3, 3) for a picture of width 1, w2c (T, 4, 4)
    given = load_arrays(path, ("cam_c2w", "intrinsic", "images"))
    c2w, K, images = (
        given["cam_c2w"].astype(np.float64),
        given["intrinsic"].astype(np.float64),
        given["images"],
    )
    need(
        c2w.ndim == 3 and c2w.shape[1:] == (4, 4) and len(c2w) == len(images),
        path,
        f"cam_c2w has shape {c2w.shape}",
    )
    need(
        K.shape == (3, 3) and images.ndim == 4,
        path,
        f"intrinsic has shape {K.shape}, images {images.shape}",
    )
    K = np.tile(K, (len(c2w), 1, 1))
    K[:, :2] /= images.shape[2] if images.shape[3] == 3 else images.shape[3]
    return K, _invert(c2w, path)


def _read_vipe(folder: Path) -> tuple[NDArray, NDArray]:
    pose, lens = (sorted((folder / name).glob("*.npz")) for name in ("pose", "intrinsics"))
    need(
        len(pose) == len(lens) == 1,
        folder,
        "it does not hold one pose/NAME.npz and one intrinsics/NAME.npz as ViPE writes them",
    )
    poses, lenses = load_arrays(pose[0], ("data", "inds")), load_arrays(lens[0], ("data", "inds"))
    need(
        poses["data"].ndim == 3 and poses["data"].shape[1:] == (4, 4),
        pose[0],
        f"data has shape {poses['data'].shape}",
    )
    need(
        lenses["data"].ndim == 2 and lenses["data"].shape[1] >= 4,
        lens[0],
        f"data has shape {lenses['data'].shape}",
    )
    inds = poses["inds"].astype(int)
    need(
        len(inds) and (inds >= 0).all() and len(lenses["data"]) > 0, pose[0], "inds names no frames"
    )
    w2c = np.full((int(inds.max()) + 1, 4, 4), np.nan)
    w2c[inds] = _invert(poses["data"].astype(np.float64), pose[0])
    fx, fy, cx, cy = np.median(lenses["data"][:, :4].astype(np.float64), axis=0)
    need(min(fx, fy, cx, cy) > 0, lens[0], "focal lengths or principal points are not positive")
    return np.tile(
        np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 2 * cx]]) / (2 * cx), (len(w2c), 1, 1)
    ), w2c


def _read_own(path: Path, width: int) -> tuple[NDArray, NDArray]:
    given = load_cameras(path, width)
    return given["K"].astype(np.float64), given["w2c"].astype(np.float64)


def _invert(c2w: NDArray, path: Path) -> NDArray:
    turn = c2w[:, :3, :3]
    rigid = (
        np.isfinite(c2w).all() and np.abs(turn @ turn.transpose(0, 2, 1) - np.eye(3)).max() < 1e-2
    )
    need(rigid, path, "its poses are no rigid motions")
    return np.linalg.inv(c2w)
