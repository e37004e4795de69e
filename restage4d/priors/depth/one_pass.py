"""Depth and cameras of all frames in one pass of one network, in a Python of its own: Depth
Anything 3 and MapAnything.

Their packages want another numpy, torchvision, xformers, which do not go together with ours. So
each is installed apart, its Python is named in the settings, and a program beside this file is run
there, which reads and writes .npz files. Both programs write the same arrays.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Cameras, Rewound
from restage4d.errors import InputError
from restage4d.io.arrays import Arrays, camera_kind, load_arrays
from restage4d.priors.depth.depth_anything import align_depth
from restage4d.progress import Progress, TaskId
from restage4d.providers.other_python import run_program

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class OnePassConfig:
    """``weights``: for the cache. ``side``: the longer side that the network sees. ``timeout``:
    seconds for the program."""

    weights: str
    side: int = 504
    timeout: float = 3600.0


class OnePassGeometry:
    """A `CameraProvider` and a `DepthProvider` (`restage4d.priors.protocols`); as both at once it
    runs once. The classes below name the network and its program.

    Args:
        python: that has the network's package.
        folder: config.json and weights.
        config: see `OnePassConfig`.
    """

    name: str
    title: str
    program: str  # beside this file

    def __init__(self, python: Path, folder: Path, config: OnePassConfig) -> None:
        self.python, self.folder, self.config = python, folder, config
        self._last: tuple[Rewound, Arrays] | None = None

    def cameras(self, rewound: Rewound, masks: F32, progress: Progress) -> Cameras:
        """Its poses, with K in the clip's pixels and one focal length for all frames (the
        median)."""
        estimated = self._run(rewound, progress)
        height, width = estimated["depth"].shape[1:]
        scale = np.array([rewound.clip.size[0] / width, rewound.clip.size[1] / height], np.float32)
        focal = float(np.median(estimated["K"][:, [0, 1], [0, 1]] * scale))
        K = np.array(
            [[focal, 0, rewound.clip.size[0] / 2], [0, focal, rewound.clip.size[1] / 2], [0, 0, 1]],
            np.float32,
        )
        return Cameras(
            np.tile(K, (len(rewound), 1, 1)), estimated["w2c"], camera_kind(estimated["w2c"])
        )

    def depth(self, rewound: Rewound, masks: F32, cameras: Cameras, progress: Progress) -> F32:
        """Its depth as it is where the cameras are its own, else aligned to the cameras over the
        whole clip."""
        estimated = self._run(rewound, progress)
        large = np.stack(
            [
                cv2.resize(d, rewound.clip.size, interpolation=cv2.INTER_LINEAR)
                for d in estimated["depth"]
            ]
        )
        if np.allclose(cameras.w2c, estimated["w2c"], atol=1e-3):
            return np.where(masks < 0, 0, np.maximum(large, 0)).astype(np.float32)
        return align_depth(
            (1 / np.maximum(large, 1e-3)).astype(np.float32),
            rewound,
            masks,
            cameras,
            progress,
            shift=False,
        )

    def _run(self, rewound: Rewound, progress: Progress) -> Arrays:
        if self._last and self._last[0] is rewound:
            return self._last[1]
        with tempfile.TemporaryDirectory() as temporary, progress.task(TaskId.ONE_PASS):
            frames, out = Path(temporary) / "frames.npz", Path(temporary) / "out.npz"
            np.savez(frames, frames=rewound.clip.frames)
            for side in (
                self.config.side,
                self.config.side // 2,
            ):  # half where the whole does not fit into memory
                arguments = [str(frames), str(self.folder), str(out), str(side)]
                complaint = run_program(
                    self.python,
                    Path(__file__).with_name(self.program),
                    arguments,
                    self.config.timeout,
                    progress,
                )
                if complaint is None or "out of memory" not in complaint.lower():
                    break
            if complaint is not None:
                raise InputError(
                    f"{self.title} failed: {complaint[-400:]}",
                    "docs/providers.md says what it needs.",
                )
            estimated = load_arrays(out, ("depth", "w2c", "K", "confidence"))
        good = all(
            len(estimated[n]) == len(rewound) and np.isfinite(estimated[n]).all()
            for n in ("depth", "w2c", "K")
        )
        if not good:
            raise InputError(
                f"{self.title} gave values that are not finite, or too few frames.",
                "Update its package.",
            )
        self._last = (rewound, estimated)
        return estimated


class DepthAnything3(OnePassGeometry):
    """Depth Anything 3, any size."""

    name, title, program = "depth-anything-3", "Depth Anything 3", "depth_anything3_program.py"


class MapAnything(OnePassGeometry):
    """MapAnything, in metres."""

    name, title, program = "map-anything", "MapAnything", "map_anything_program.py"
