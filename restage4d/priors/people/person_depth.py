"""Depth of a person: the relief, bent to where the joints are in 3D.

The relief (`restage4d.priors.depth.relief`) knows where the body stands and how large it is, and
takes all of it for about one plane. The joints say which arm reaches forward and which leg is
behind. Along every bone the difference of both is found and spread over the silhouette.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from restage4d.clips import Cameras, Rewound
from restage4d.priors.depth.relief import ReliefDepth
from restage4d.priors.people.body import BONES, Body, find_body, measure_scale
from restage4d.progress import Progress

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_ALONG = np.linspace(0, 1, 7)  # places on a bone
_REACH = 0.05  # of the body's height in pixels: how far a bone's depth is felt
_SMOOTH = 1.0  # frames: joints tremble


@dataclass(frozen=True)
class PersonConfig:
    """``python``: that has mediapipe. ``timeout``: seconds for its program."""

    python: Path
    timeout: float = 1800.0


class PersonDepth:
    """A `DepthProvider` (`restage4d.priors.protocols`). The relief as it is where the subject is no
    person.

    Args:
        config: see `PersonConfig`.
    """

    name = "mediapipe"

    def __init__(self, config: PersonConfig) -> None:
        self.config = config

    def depth(self, rewound: Rewound, masks: F32, cameras: Cameras, progress: Progress) -> F32:
        """See `DepthProvider`."""
        relief = ReliefDepth().depth(rewound, masks, cameras, progress)
        body = find_body(self.config.python, rewound, masks, self.config.timeout, progress)
        return bend_relief(relief, masks, cameras, body, rewound) if body.is_person else relief


def bend_relief(
    relief: F32, masks: F32, cameras: Cameras, body: Body, rewound: Rewound
) -> F32:  # (T, H, W) x2 -> (T, H, W)
    """The relief with the body's joints where they are; its mean distance stays."""
    result = relief.copy()
    away = _smooth(body, rewound)
    for t in np.flatnonzero(body.found).tolist():
        subject = (masks[t] > 0.5) & (relief[t] > 0)
        places = _sample_bones(body, t, away[t])
        if not subject.any() or places is None:
            continue
        xy, metres = places
        distance = float(np.median(relief[t][subject]))
        scale = measure_scale(body, t) * distance / float(cameras.K[t, 0, 0])  # units per metre
        column, row = np.floor(xy).astype(int).T
        inside = (row >= 0) & (row < relief.shape[1]) & (column >= 0) & (column < relief.shape[2])
        inside[inside] &= subject[row[inside], column[inside]]
        if inside.sum() < len(_ALONG):
            continue
        row, column, wanted = row[inside], column[inside], scale * metres[inside]
        there = relief[t][row, column]
        change = wanted - wanted.mean() - (there - there.mean())
        result[t][subject] += _spread(subject, row, column, change)[subject]
    return np.maximum(result, np.minimum(relief, 1e-3)).astype(np.float32)


def _smooth(body: Body, rewound: Rewound) -> F32:  # -> (T, 33) metres away from the camera
    away = body.world[..., 2].copy()
    for path in rewound.paths():
        kept = path[body.found[path]]
        if len(kept) > 2:
            away[kept] = gaussian_filter1d(body.world[kept, :, 2], _SMOOTH, axis=0)
    return away


def _sample_bones(body: Body, t: int, away: F32) -> tuple[F64, F64] | None:
    """Pixels (P, 2) along the bones whose ends are both seen, and their distance in metres from the
    hips' plane."""
    xy, metres = [], []
    for a, b in BONES:
        if body.visible[t, a] and body.visible[t, b]:
            way = _ALONG[:, None]
            xy.append((1 - way) * body.xy[t, a] + way * body.xy[t, b])
            metres.append((1 - _ALONG) * away[a] + _ALONG * away[b])
    return (np.concatenate(xy), np.concatenate(metres)) if xy else None


def _spread(
    subject: NDArray[np.bool_], row: NDArray, column: NDArray, change: NDArray
) -> F32:  # (H, W)
    """Changes known at some pixels, over all of the subject: weighted means that fall off with the
    distance, in wider and wider circles where nothing is near."""
    shape = subject.shape
    known, weight = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    np.add.at(known, (row, column), change.astype(np.float32))
    np.add.at(weight, (row, column), 1)
    sigma = max(_REACH * float(np.ptp(np.nonzero(subject)[0]) + 1), 0.7)
    result, filled = np.zeros(shape, np.float32), np.zeros(shape, bool)
    while not filled[subject].all():
        near = cv2.GaussianBlur(weight, (0, 0), sigma)
        value = cv2.GaussianBlur(known, (0, 0), sigma) / np.maximum(near, 1e-12)
        new = ~filled & (near > 1e-5)
        result[new] = value[new]
        filled |= new
        sigma *= 2
        if sigma > max(shape):
            break
    return np.asarray(
        cv2.GaussianBlur(result, (0, 0), max(0.2 * _REACH * shape[0], 0.5)), np.float32
    )
