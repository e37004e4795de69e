"""The subject as a closed, textured relief that stands on the ground before a camera.

Camera: OpenCV axes, focal length 1.2 times the longer side, at eye level at or above the subject's
top. One unit of length is a pixel at the subject's place. Body frame: a along the body (to the
right), b up, c away; its origin on the ground below the subject's middle.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from restage4d.driving.draft.body_plan import BodyPlan
from restage4d.driving.draft.compositing.matte import signed_distance
from restage4d.driving.draft.shape.stance import View, estimate_stance, estimate_view, lift
from restage4d.driving.draft.shape.texture import (
    compute_inward,
    find_colours,
    measure_thickness,
)

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


@dataclass
class Relief:
    """A closed mesh: one sheet towards the camera, one away from it, and two more for every leg
    that stands hidden behind another.

    Attributes:
        cells: (V, 2) row and column of the pixel that a point stands for.
        nearest: (V, 2) row and column of the subject's pixel nearest to that: the rim moves as that
            part does.
        uv: (V, 2) its place in the first frame (centres at +0.5).
        clear: (V, 2) a place whose colour is the subject's for sure: along the outline, a little
            further from it.
        inner: (V, 2) the same, laid out by the surface's length, for parts seen from the side.
        alpha: (V,) opacity as the first frame shows it.
        inset: (V, 2) a and b that take the flat rim back to the outline, for parts seen from a side
            that the first frame does not show.
        rest: (V, 3) body coordinates at rest.
        near: (V,) whether a point is of a sheet towards the camera.
        leg: (V,) the hidden leg that a point belongs to, by its number in the plan; -1 for the rest
            of the body.
        triangles: (F, 3), clockwise on the screen from outside.
        yaw: of the body's axis to the screen at rest, radians counter-clockwise from above.
        view: the camera.
    """

    cells: NDArray[np.int32]
    nearest: NDArray[np.int32]
    uv: F32
    clear: F32
    inner: F32
    alpha: F32
    inset: F32
    rest: F64
    near: NDArray[np.bool_]
    leg: NDArray[np.int32]
    triangles: NDArray[np.int32]
    yaw: float
    view: View

    def lift(self, xy: tuple[float, float]) -> F64:
        """Body coordinates of the body's middle plane at a pixel."""
        return lift(self.view, self.yaw, np.array([xy]), np.zeros(1))[0]


def build_relief(mask: NDArray[np.bool_], alpha: F32, body: BodyPlan) -> Relief:
    """The relief of a mask, with a flat rim as wide as the matte reaches."""
    height, width = mask.shape
    view = estimate_view(body, (width, height))
    thickness = measure_thickness(mask)
    yaw, feet = estimate_stance(body, view, thickness)
    step = max(1, round(max(mask.shape) / 500))
    near = cv2.dilate(
        ((alpha > 0.02) | mask).astype(np.uint8), np.ones((2 * step + 1, 2 * step + 1), np.uint8)
    )
    rows, cols = np.arange(0, height, step), np.arange(0, width, step)
    rows, cols = (
        np.append(x, n - 1) if x[-1] != n - 1 else x for x, n in ((rows, height), (cols, width))
    )
    there = near[np.ix_(rows, cols)].astype(bool)
    number = np.full(there.shape, -1, np.int32)
    number[there] = np.arange(there.sum())
    cells = np.stack(np.meshgrid(rows, cols, indexing="ij"), -1)[there].astype(np.int32)
    uv = cells[:, ::-1].astype(np.float64) + 0.5
    # where the frame cuts the subject off, the relief goes on a little, so that no edge shows when
    # it sways
    h = thickness[cells[:, 0], cells[:, 1]].astype(float)
    middle = np.zeros(len(cells))
    rows, cols = np.asarray(
        distance_transform_edt(~mask, return_distances=False, return_indices=True)
    )
    nearest = np.stack([rows[cells[:, 0], cells[:, 1]], cols[cells[:, 0], cells[:, 1]]], -1)
    a, b, c, d = number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]
    whole = (a >= 0) & (b >= 0) & (c >= 0) & (d >= 0)
    a, b, c, d = a[whole], b[whole], c[whole], d[whole]
    front = np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)])
    inward = compute_inward(mask)[cells[:, 0], cells[:, 1]]
    at = signed_distance(mask)[cells[:, 0], cells[:, 1]]
    clear, inner = (uv + inward * way[:, None] for way in find_colours(mask, thickness, uv, at))
    inset = inward * [1, -1] * np.maximum(-1 - at, 0)[:, None]
    opacity = alpha[cells[:, 0], cells[:, 1]]
    whole, parts = mask, []
    for k, (leg, behind) in enumerate(zip(body.legs, feet, strict=True)):
        weight = leg.weight[nearest[:, 0], nearest[:, 1]]
        if leg.hidden:  # neither leg has the other's foot
            own, other = leg.weight > 0, body.legs[k - 1].weight > 0
            outline = mask & ~(other & ~own)
            parts.append((outline, weight > 0, behind * weight, k))
            whole = whole & ~(own & ~other)
        else:
            middle += behind * weight
    parts.insert(0, (whole, np.ones(len(cells), bool), middle, -1))
    taken, rest, towards, owner, triangles = [], [], [], [], []
    for outline, of, middle, k in parts:
        rows = np.flatnonzero(of & outline[nearest[:, 0], nearest[:, 1]])
        half = h if outline.sum() == mask.sum() else measure_thickness(outline)[tuple(cells.T)]
        place = np.full(len(cells), -1)
        place[rows] = np.arange(len(rows)) + sum(map(len, taken))
        corners = place[front]
        corners = corners[(corners >= 0).all(1)]
        triangles += [corners, corners[:, ::-1] + len(rows)]
        taken += [rows, rows]
        for side in (-1, 1):
            rest.append(lift(view, yaw, uv[rows], (middle + side * half)[rows]))
            towards += len(rows) * [side < 0]
        owner += 2 * len(rows) * [k]
    rows = np.concatenate(taken)
    return Relief(
        cells=cells[rows],
        nearest=nearest[rows].astype(np.int32),
        uv=uv[rows].astype(np.float32),
        clear=clear[rows].astype(np.float32),
        inner=inner[rows].astype(np.float32),
        alpha=opacity[rows].astype(np.float32),
        inset=inset[rows].astype(np.float32),
        rest=np.concatenate(rest),
        near=np.array(towards),
        leg=np.array(owner, np.int32),
        triangles=np.concatenate(triangles).astype(np.int32),
        yaw=yaw,
        view=view,
    )
