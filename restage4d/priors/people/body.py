"""Where a person's joints are in every frame of a clip, by MediaPipe's pose network."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Rewound
from restage4d.errors import InputError
from restage4d.io.arrays import load_arrays
from restage4d.progress import Progress, TaskId
from restage4d.providers.other_python import run_program

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

JOINTS = 33  # MediaPipe's pose landmarks, in its order
BONES = (  # of neighbouring landmarks: trunk, arms, legs, head
    *((11, 12), (11, 23), (12, 24), (23, 24)),
    *((11, 13), (13, 15), (12, 14), (14, 16)),
    *((23, 25), (25, 27), (27, 31), (24, 26), (26, 28), (28, 32)),
    *((11, 0), (12, 0)),
)
_PROGRAM = Path(__file__).with_name("mediapipe_program.py")
_SEEN = 0.5  # visibility from which a joint is believed
_WHOLE = 0.5  # of the joints that must be seen
_FITS = 0.13  # misfit of a person's joints (0.05 to 0.09 on a dancer, 0.16 to 0.38 on cattle)
_SURE = 0.5  # doubt of a person's silhouette (0.19 to 0.29, 0.6)
_ENOUGH = 0.5  # of the frames with a person in them: fewer, and the subject is none


@dataclass(frozen=True)
class Body:
    """A person in T frames.

    Attributes:
        xy: (T, 33, 2) joints in pixels of the clip.
        world: (T, 33, 3) metres about the middle of the hips; the camera's axes, z away from it.
        visible: (T, 33) joints that are believed.
        mask: (T, H, W) 0..1 the person's silhouette.
    """

    xy: F32
    world: F32
    visible: Bool
    mask: F32

    @property
    def found(self) -> Bool:
        """(T,) frames in which most of a person is seen."""
        return self.visible.mean(1) >= _WHOLE

    @property
    def is_person(self) -> bool:
        """Whether the subject is a person at all."""
        return bool(self.found.mean() >= _ENOUGH)


def find_body(
    python: Path, rewound: Rewound, masks: F32, timeout: float, progress: Progress
) -> Body:
    """The person inside ``masks`` (T, H, W); a frame whose mask is all NaN is searched near the
    frame that leads to it.

    Raises:
        InputError: ``python`` has no mediapipe, or it failed; says so.
    """
    order = np.array(list(rewound.outward(rewound.seam)), np.int64).reshape(-1, 2)
    boxes = np.stack([_box(mask) for mask in masks])
    with tempfile.TemporaryDirectory() as temporary, progress.task(TaskId.PEOPLE):
        given, out = Path(temporary) / "in.npz", Path(temporary) / "out.npz"
        np.savez(given, frames=rewound.clip.frames, boxes=boxes, order=order)
        complaint = run_program(python, _PROGRAM, [str(given), str(out)], timeout, progress)
        if complaint is not None:
            raise InputError(
                f"MediaPipe failed: {complaint.splitlines()[-1][-400:]}",
                "docs/providers.md says what it needs.",
            )
        found = load_arrays(out, ("xy", "world", "visibility", "found", "mask"))
    visible = (found["visibility"] > _SEEN) & found["found"][:, None].astype(bool)
    body = Body(found["xy"], found["world"], visible, found["mask"])
    for t in np.flatnonzero(visible.any(1)).tolist():
        visible[t] &= _measure_doubt(found["mask"][t]) < _SURE and measure_misfit(body, t) < _FITS
    return body


def measure_scale(body: Body, t: int) -> float:
    """Pixels per metre: least squares of the joints' places in the picture over those in space."""
    pixels, metres = _centre_joints(body, t)
    return float((pixels * metres).sum() / max((metres**2).sum(), 1e-9))


def measure_misfit(body: Body, t: int) -> float:
    """How far the joints in the picture are from those in space under one scale, over their spread:
    small for people, large for what was taken for one."""
    pixels, metres = _centre_joints(body, t)
    off = np.abs(pixels - measure_scale(body, t) * metres).mean()
    return float(off / max(np.abs(pixels).mean(), 1e-9))


def _centre_joints(body: Body, t: int) -> tuple[F32, F32]:
    seen = body.visible[t]
    pixels, metres = body.xy[t, seen], body.world[t, seen, :2]
    return pixels - pixels.mean(0), metres - metres.mean(0)


def _measure_doubt(mask: F32) -> float:
    """Pixels that are neither in nor out, over those that are in."""
    return float(((mask > 0.2) & (mask < 0.8)).sum() / max((mask > 0.5).sum(), 1))


def _box(mask: F32) -> F32:  # (H, W) -> (4,)
    rows, columns = np.nonzero(mask > 0.5)
    if not len(rows):
        return np.full(4, np.nan, np.float32)
    return np.array([columns.min(), rows.min(), columns.max(), rows.max()], np.float32)
