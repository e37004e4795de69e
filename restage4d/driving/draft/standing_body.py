"""The subject as it stands in the first frame, as a closed mesh to be looked at from any side."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from restage4d.driving.draft.compositing.matte import signed_distance
from restage4d.driving.draft.compositing.rasterizer import Drawing, draw
from restage4d.driving.draft.curves import Curves
from restage4d.driving.draft.deform import Figure
from restage4d.driving.draft.shape.texture import compute_inward

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

_RIM = 2.5  # pixels along the outline where depth may be mixed with the background's
_RIM_BEYOND = 0.8  # pixels beyond the outline that the relief's flat rim reaches
_SMOOTH = 0.02  # of the longer side, over which the mesh is laid on a scene's depth


@dataclass(frozen=True)
class StandingBody:
    """A textured mesh before the first frame's camera.

    Attributes:
        points: (V, 3) x, y in the first frame's pixels (centres at +0.5) and depth in a unit of its
            own.
        uv: (V, 2) position in the texture, in its pixels.
        triangles: (F, 3), clockwise on the screen from outside.
        texture: (h, w, 3) in 0..255.
        focal: pixels, of the camera that ``points`` are seen through.
        up: (3,) unit vector away from the ground in that camera's axes (OpenCV).
        mask: (H, W) the subject in the first frame.
    """

    points: F32
    uv: F32
    triangles: NDArray[np.int32]
    texture: F32
    focal: float
    up: F32
    mask: Bool

    def place(self, depth: F32, K: F32, w2c: F32) -> F32:  # -> (V, 3)
        """The points in a world: the near side lies where the first frame's depth has it, and the
        body is as thick as it is wide in the picture.

        Args:
            depth: (H, W) z-depth of the first frame there, 0 = unknown; the subject has some.
            K, w2c: (3, 3) and (4, 4) of its camera, OpenCV axes.
        """
        own = self._draw(self.points, self.mask.shape).depth
        known = (own > 0) & (depth > 0) & self.mask
        inner = known & (np.asarray(distance_transform_edt(self.mask)) > _RIM)
        known = inner if inner.any() else known
        # seen with another focal length, a body as thick has depths that differ less, or more
        middle, wider = float(np.median(own[known])), self.focal / float(K[0, 0])
        own = middle + wider * (own - middle)
        ratio = (depth / np.maximum(own, 1e-6)).astype(np.float32)
        scale = _spread(_smooth(ratio, known), known)
        column, row = np.floor(self.points[:, :2]).astype(int).T
        row, column = (i.clip(0, n - 1) for i, n in zip((row, column), own.shape, strict=True))
        z = scale[row, column] * (middle + wider * (self.points[:, 2] - middle))
        pixels = np.column_stack([self.points[:, :2], np.ones(len(z))])
        camera = pixels @ np.linalg.inv(K).T * z[:, None]
        return ((camera - w2c[:3, 3]) @ w2c[:3, :3]).astype(np.float32)

    def draw(self, points: F32, K: F32, w2c: F32, size: tuple[int, int]) -> Drawing:
        """The body, its ``points`` (V, 3) in the world, over black in a picture of ``size`` (width,
        height)."""
        camera = points @ w2c[:3, :3].T + w2c[:3, 3]
        pixels = camera @ K.T
        screen = np.column_stack([pixels[:, :2] / pixels[:, 2:], camera[:, 2]])
        return self._draw(screen.astype(np.float32), size[::-1])

    def _draw(self, screen: F32, shape: tuple[int, ...]) -> Drawing:
        black = np.zeros((*shape, 3), np.float32)
        solid = np.ones(len(screen), np.float32)
        return draw(black, screen, self.uv, solid, self.triangles, self.texture)


def stand(figure: Figure, texture: F32, mask: Bool) -> StandingBody:
    """A figure at rest, in the colours that it has turned aside: the frame's soft rim, where it is
    mixed with the background, is left out.

    Args:
        figure: the subject; ``figure.back`` says where ``texture`` has its far side.
        texture: (h, w, 3) in 0..255.
        mask: (H, W) the subject in the first frame.
    """
    relief = figure.relief
    turned = np.ones(len(relief.uv), np.float32)
    points = figure.pose(Curves.at_rest(1, len(figure.bones)), 0, turned)
    # its flat rim reaches beyond the outline, where frames do not let it be
    row, column = relief.cells.T
    beyond = np.asarray(signed_distance(mask), np.float32)[row, column] < 0
    points[beyond, :2] += _RIM_BEYOND * compute_inward(mask)[row, column][beyond]
    uv = relief.inner.copy()
    uv[~relief.near, 1] += figure.back
    view = relief.view
    up = view.up.astype(np.float32)
    return StandingBody(points, uv, relief.triangles, texture, view.focal, up, mask)


def _smooth(values: F32, known: Bool) -> F32:
    """Known values, each the mean of those around."""
    size = _SMOOTH * max(values.shape)
    total, weight = (
        np.asarray(cv2.GaussianBlur(a.astype(np.float32), (0, 0), size), np.float32)
        for a in (np.where(known, values, 0), known)
    )
    return (total / np.maximum(weight, 1e-6)).astype(np.float32)


def _spread(values: F32, known: Bool) -> F32:
    """Values where they are known, elsewhere those of the nearest such pixel."""
    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return values[tuple(np.asarray(nearest))]
