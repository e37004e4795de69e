"""Views of the subject from where no frame looks: those of its `StandingBody`, laid over the scene
as it is in the first frame.

A frame shows one side of a subject. What the others look like is a guess, but a whole one: a
closed mesh with as many legs as the subject has, as sharp as it was filmed. Photometric fusion
visits these views among the frames; they decide only what no frame shows (`Fusion`).
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restage4d.driving.draft.standing_body import StandingBody
from restage4d.reconstruct.fusion.targets import Shot

F32 = NDArray[np.float32]

_LEVEL = range(30, 360, 30)  # degrees round the body at the camera's height ...
_ABOVE = range(0, 360, 60)  # ... and from above
_HEIGHT = 40  # degrees above it
_MARGIN = 6  # pixels around the body
_SOLID = 0.5  # cover from which a pixel shows the body


@dataclass(frozen=True)
class GuessedView:
    """A picture of the subject in the first frame, over black, and the w2c (4, 4) it is seen from;
    as large as frames show it."""

    shot: Shot
    w2c: Tensor


def draw_guessed_views(
    body: StandingBody, depth: F32, K: F32, w2c: F32, device: torch.device | str = "cpu"
) -> list[GuessedView]:
    """Views all round; none where the subject has no depth.

    Args:
        body: the subject in the first frame.
        depth: (H, W) z-depth of that frame, 0 = unknown.
        K, w2c: (3, 3) and (4, 4) of its camera.
        device: where the views shall be.
    """
    if not (body.mask & (depth > 0)).any():
        return []
    points = body.place(depth, K, w2c)
    camera = points @ w2c[:3, :3].T + w2c[:3, 3]
    middle = (camera.min(0) + camera.max(0)) / 2
    sides = [*((a, 0) for a in _LEVEL), *((a, _HEIGHT) for a in _ABOVE)]
    views = []
    for azimuth, height in sides:
        turn = _turn_about(np.array([1.0, 0, 0]), height) @ _turn_about(body.up, azimuth)
        move = np.eye(4)
        move[:3, :3], move[:3, 3] = turn, middle - turn @ middle
        views.append(_draw_view(body, points, K, (move @ w2c).astype(np.float32), device))
    return [view for view in views if view is not None]


def _draw_view(
    body: StandingBody, points: F32, K: F32, w2c: F32, device: torch.device | str
) -> GuessedView | None:
    """The body, filling the picture; None where it reaches behind the camera."""
    camera = points @ w2c[:3, :3].T + w2c[:3, 3]
    if camera[:, 2].min() <= 0:
        return None
    pixels = (camera @ K.T)[:, :2] / camera[:, 2:]
    corner = np.floor(pixels.min(0)) - _MARGIN
    width, height = (np.ceil(pixels.max(0)) + _MARGIN - corner).astype(int).tolist()
    K = K.copy()
    K[:2, 2] -= corner
    drawn = body.draw(points, K, w2c, (width, height))
    picture = (drawn.picture / 255).clip(0, 1)
    depth = np.where(drawn.cover > _SOLID, drawn.depth, 0)
    arrays = K, w2c, picture, drawn.cover, depth
    camera, pose, *maps = (torch.from_numpy(a.astype(np.float32)).to(device) for a in arrays)
    return GuessedView(Shot(camera, (width, height), *maps), pose)


def _turn_about(axis: NDArray[np.floating], degrees: float) -> NDArray[np.float64]:
    """The rotation (3, 3) about a unit vector (3,)."""
    return cv2.Rodrigues(np.radians(degrees) * axis.astype(np.float64))[0]
