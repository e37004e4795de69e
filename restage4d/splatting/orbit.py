"""Cameras that look at a performance from where nobody filmed it: beside, behind, all round."""

from dataclasses import replace

import numpy as np

from restage4d.puppet import (
    F32,
    Camera,
    Gaussians,
    Performance,
    Puppet,
)

RAISED = 10.0  # degrees that an orbiting camera stands higher than the clip's
_FILLED = 0.85  # part of the picture that the subject may reach, from the middle to the border
_FRAMING_POINTS = 2000


def orbit_camera(
    w2c: F32, centre: F32, degrees: float, raised: float = RAISED, nearest: float = 0.0
) -> F32:  # (4, 4), (3,) -> (4, 4)
    """The camera moved around a point: turned about world +Z, then raised, at the same distance,
    looking at the point.

    Args:
        w2c: OpenCV world-to-camera.
        centre: the point, world.
        degrees: turn about +Z, counter-clockwise seen from above.
        raised: degrees of elevation added, up to 60 in all; a steeper camera keeps its own.
        nearest: the distance is at least this, world units.
    """
    eye = -w2c[:3, :3].T @ w2c[:3, 3] - centre
    distance = max(float(np.linalg.norm(eye)), nearest, 1e-6)
    elevation = np.arctan2(eye[2], np.hypot(eye[0], eye[1]))
    elevation = min(
        elevation + np.radians(raised), max(np.radians(60), min(elevation, np.radians(89)))
    )
    azimuth = np.arctan2(eye[1], eye[0]) + np.radians(degrees)
    ring = np.cos(elevation)
    back = np.array(
        [ring * np.cos(azimuth), ring * np.sin(azimuth), np.sin(elevation)]
    )  # from the point to the camera
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    moved = np.eye(4, dtype=np.float32)
    moved[:3, :3] = np.stack(
        [right, np.cross(-back, right), -back]
    )  # rows x right, y down, z forward
    moved[:3, 3] = -moved[:3, :3] @ (centre + distance * back)
    return moved


def orbit_cameras(puppet: Puppet, performance: Performance, degrees: float) -> list[Camera]:
    """The clip's camera moved around the subject and following it, one a frame, with one focal
    length that keeps the subject in the picture.

    Args:
        puppet: the subject.
        performance: its motion, and the camera that filmed it.
        degrees: turn about world +Z, counter-clockwise seen from above: 180 from behind.
    """
    few = slice(None, None, max(1, len(puppet.subject) // _FRAMING_POINTS))
    part = replace(
        puppet,
        subject=Gaussians(**{k: v[few] for k, v in vars(puppet.subject).items()}),
        index=puppet.index[few],
        weight=puppet.weight[few],
    )
    points = np.stack(
        [part.pose(performance, t).means for t in range(performance.n_frames)]
    )  # (T, N', 3)
    low, high = np.percentile(points, [2, 98], axis=1)
    centres = ((low + high) / 2).astype(np.float32)
    radius = float(np.percentile(np.linalg.norm(points - centres[:, None], axis=-1), 98))
    w2c = np.stack(
        [
            orbit_camera(w, c, degrees, nearest=2.5 * radius)
            for w, c in zip(performance.w2c, centres, strict=True)
        ]
    )
    seen = np.einsum("tij,tnj->tni", w2c[:, :3, :3], points) + w2c[:, None, :3, 3]
    slopes = np.percentile(np.abs(seen[..., :2] / np.maximum(seen[..., 2:], 1e-3)), 99, axis=1).max(
        0
    )
    width, height = performance.size
    focal = _FILLED / 2 * min(width / max(slopes[0], 1e-6), height / max(slopes[1], 1e-6))
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], np.float32)
    return [Camera(K, w, performance.size) for w in w2c]
