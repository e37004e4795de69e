"""What the draft driver knows of its video, as it draws it: the subject's matte, depth and points,
and the camera."""

import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Cameras, Tracks
from restage4d.driving.draft.compositing.rasterizer import Drawing
from restage4d.driving.draft.relief import Relief
from restage4d.priors.known import KnownPriors

F32 = NDArray[np.float32]

_POINTS = 2000  # that are followed, on both sheets
_SURFACE = 2.5  # pixels that a point may lie behind what is drawn there, and still be of it
_SOLID = 0.5  # cover from which a pixel shows the subject


class Knowledge:
    """Takes every frame as it is drawn; `to_priors` gives it all.

    Args:
        relief: what is drawn.
        mask: (H, W) the subject in the first frame; points of the soft rim are not followed.
    """

    def __init__(self, relief: Relief, mask: NDArray[np.bool_]) -> None:
        self._view = relief.view
        solid = np.flatnonzero(mask[relief.cells[:, 0], relief.cells[:, 1]])
        count = min(_POINTS, len(solid))
        self._points = np.random.default_rng(0).choice(solid, count, replace=False)
        corner = np.full(len(relief.rest), -1)
        corner[relief.triangles.ravel()] = np.repeat(np.arange(len(relief.triangles)), 3)
        self._points = self._points[corner[self._points] >= 0]
        self._facets = relief.triangles[corner[self._points]]  # one that each point is a corner of
        self._covers: list[F32] = []
        self._depths: list[F32] = []
        self._xy: list[F32] = []
        self._visible: list[NDArray[np.bool_]] = []
        self._behind: list[F32] = []

    def add(self, drawing: Drawing, points: F32) -> None:  # (V, 3) x, y, depth
        """The next frame."""
        self._covers.append(drawing.cover)
        self._depths.append(np.where(drawing.cover > _SOLID, drawing.depth, 0))
        self._xy.append(points[self._points, :2])
        self._visible.append(self._find_visible(drawing, points))
        self._behind.append(_measure_behind(drawing, points[self._points]))

    def _find_visible(self, drawing: Drawing, points: F32) -> NDArray[np.bool_]:
        x, y, z = points[self._points].T
        height, width = drawing.depth.shape
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        col, row = np.where(inside, x, 0).astype(int), np.where(inside, y, 0).astype(int)
        a, b, c = points[self._facets, :2].transpose(1, 0, 2)
        (bx, by), (cx, cy) = (b - a).T, (c - a).T
        faces_camera = bx * cy - by * cx > 0
        solid = drawing.cover[row, col] > _SOLID
        return inside & faces_camera & solid & (z < drawing.depth[row, col] + _SURFACE)

    def to_priors(self) -> KnownPriors:
        """Of all frames that were added. Points that none shows are left out."""
        frames, view = len(self._covers), self._view
        K = np.array(
            [[view.focal, 0, view.centre[0]], [0, view.focal, view.centre[1]], [0, 0, 1]],
            np.float32,
        )
        cameras = Cameras(
            np.tile(K, (frames, 1, 1)),
            np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1)),
            "static",
        )
        visible = np.stack(self._visible, 1)
        seen = visible.any(1)
        tracks = Tracks(
            np.stack(self._xy, 1)[seen].astype(np.float32),
            visible[seen],
            np.ones((int(seen.sum()), frames), np.float32),
            visible[seen].argmax(1).astype(np.int32),
            np.where(visible, 0, np.stack(self._behind, 1))[seen].astype(np.float32),
        )
        return KnownPriors(np.stack(self._covers), np.stack(self._depths), cameras, tracks)


def _measure_behind(drawing: Drawing, points: F32) -> F32:  # (N, 3) -> (N,)
    """The points' depth over that of the surface drawn before them; 0 where none is."""
    height, width = drawing.depth.shape
    x, y, z = points.T
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    col, row = np.where(inside, x, 0).astype(int), np.where(inside, y, 0).astype(int)
    front = np.where(inside & (drawing.cover[row, col] > _SOLID), drawing.depth[row, col], 0)
    return np.where(front > 0, z / np.maximum(front, 1e-6), 0).astype(np.float32)
