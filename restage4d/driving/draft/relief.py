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
from restage4d.priors.geometry.inflation import inflate

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_FOCAL = 1.2  # of the longer side
_HORIZON = 0.3  # of the height, at most; never below the subject's top
_RIM = 3.5  # pixels along the outline whose colours may be mixed with the background
_STRIDE = 2.0  # pixels, of the way to the ridge
_ARC = 1.1  # a round surface's length to the straight line between its ends, about
_MOST_YAW = np.radians(20)  # a slanted relief smears when it turns back; a flat one does not
_TRUST_FEET = 0.6  # the horizon is a guess, and so is what feet say about yaw


@dataclass
class View:
    """The camera, and the ground before it: ``right``, ``up``, ``away`` are unit vectors in camera
    axes, ``origin`` a point."""

    focal: float
    centre: tuple[float, float]
    horizon: float
    origin: F64
    right: F64
    up: F64
    away: F64

    def unproject(self, xy: F64) -> F64:  # (N, 2) -> (N, 3)
        """Directions through pixels, depth 1."""
        return np.column_stack([(xy - self.centre) / self.focal, np.ones(len(xy))])

    def intersect_ground(self, xy: F64) -> F64:  # (N, 2) -> (N, 2)
        """Where the rays through pixels meet the ground: right and away of the origin."""
        rays = self.unproject(xy)
        points = (
            rays
            * np.clip(self.origin @ self.up / np.minimum(rays @ self.up, -1e-3), 0, None)[:, None]
            - self.origin
        )
        return np.column_stack([points @ self.right, points @ self.away])

    def project(
        self, world: F64
    ) -> F32:  # (N, 3) right, up, away of the origin -> (N, 3) x, y, depth
        """Points to pixels and depth."""
        p = self.origin + world @ np.stack([self.right, self.up, self.away])
        return np.column_stack([p[:, :2] / p[:, 2:] * self.focal + self.centre, p[:, 2]]).astype(
            np.float32
        )


@dataclass
class Relief:
    """A closed mesh: one sheet towards the camera, one away from it, and two more for every leg
    that stands hidden behind another.

    Attributes:
        cells: (V, 2) row and column of the pixel that a point stands for.
        nearest: (V, 2) row and column of the subject's pixel nearest to that: the rim moves as that
            part does.
        uv: (V, 2) its place in the first frame (centres at +0.5).
        inner: (V, 2) a place a little further from the outline, whose colour is the subject's for
            sure.
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
        return _lift(self.view, self.yaw, np.array([xy]), np.zeros(1))[0]


def estimate_view(body: BodyPlan, size: tuple[int, int]) -> View:
    """The camera over level ground that puts the subject's lowest point on it."""
    width, height = size
    x0, y0, x1, y1 = body.box
    focal, centre = _FOCAL * max(size), (width / 2, height / 2)
    horizon = min(_HORIZON * height, float(y0), y1 - 0.4 * (y1 - y0))
    down = np.arctan((centre[1] - horizon) / focal)
    up, away = (
        np.array([0, -np.cos(down), -np.sin(down)]),
        np.array([0, -np.sin(down), np.cos(down)]),
    )
    origin = focal * np.array([((x0 + x1) / 2 - centre[0]) / focal, (y1 - centre[1]) / focal, 1.0])
    return View(focal, centre, horizon, origin, np.array([1.0, 0, 0]), up, away)


def _lift(view: View, yaw: float, xy: F64, c: F64) -> F64:  # (N, 2), (N,) -> (N, 3)
    """Body coordinates of the points on pixels' rays that lie ``c`` behind the body's middle
    plane."""
    along = np.cos(yaw) * view.right + np.sin(yaw) * view.away
    behind = -np.sin(yaw) * view.right + np.cos(yaw) * view.away
    rays = view.unproject(xy)
    points = rays * ((c + view.origin @ behind) / (rays @ behind))[:, None] - view.origin
    return np.column_stack([points @ along, points @ view.up, points @ behind])


def estimate_stance(body: BodyPlan, view: View) -> tuple[float, list[float]]:
    """The body's yaw, and how far behind its middle plane every foot stands, from where the feet
    meet the ground."""
    if len(body.legs) < 2 or body.upright:
        return 0.0, [0.0] * len(body.legs)
    right, away = view.intersect_ground(np.array([leg.tip for leg in body.legs])).T
    seen = np.array([not leg.hidden for leg in body.legs])
    spread = np.where(seen, right - right[seen].mean(), 0.0)
    wide = (
        float((spread**2).sum()) + (0.15 * (body.box[2] - body.box[0])) ** 2
    )  # feet close together say little
    slope = _TRUST_FEET * float((spread * away).sum()) / wide
    yaw = float(np.clip(np.arctan(slope), -_MOST_YAW, _MOST_YAW))
    behind = -np.sin(yaw) * right + np.cos(yaw) * away
    behind = _TRUST_FEET * (behind - behind[seen].mean())
    middle = float(np.mean([leg.pivot[0] for leg in body.legs]))
    for side in (
        -1,
        1,
    ):  # of two legs at one end, one is near and one far, whatever the guessed ground says
        pair = [i for i, leg in enumerate(body.legs) if side * (leg.pivot[0] - middle) >= 0]
        if len(pair) == 2:
            near, far = sorted(pair, key=lambda i: behind[i])
            lack = max(0.0, 0.6 * body.radius - (behind[far] - behind[near])) / 2
            behind[near] -= lack
            behind[far] += lack
    return yaw, [float(np.clip(v, -0.6 * body.radius, 0.6 * body.radius)) for v in behind]


def build_relief(mask: NDArray[np.bool_], alpha: F32, body: BodyPlan) -> Relief:
    """The relief of a mask, with a flat rim as wide as the matte reaches."""
    height, width = mask.shape
    view = estimate_view(body, (width, height))
    yaw, feet = estimate_stance(body, view)
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
    thickness = _measure_thickness(mask)
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
    inward = _compute_inward(mask)[cells[:, 0], cells[:, 1]]
    at = signed_distance(mask)[cells[:, 0], cells[:, 1]]
    inner = uv + inward * _unfold(mask, thickness, uv, at)[:, None]
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
        half = h if outline.sum() == mask.sum() else _measure_thickness(outline)[tuple(cells.T)]
        place = np.full(len(cells), -1)
        place[rows] = np.arange(len(rows)) + sum(map(len, taken))
        corners = place[front]
        corners = corners[(corners >= 0).all(1)]
        triangles += [corners, corners[:, ::-1] + len(rows)]
        taken += [rows, rows]
        for side in (-1, 1):
            rest.append(_lift(view, yaw, uv[rows], (middle + side * half)[rows]))
            towards += len(rows) * [side < 0]
        owner += 2 * len(rows) * [k]
    rows = np.concatenate(taken)
    return Relief(
        cells=cells[rows],
        nearest=nearest[rows].astype(np.int32),
        uv=uv[rows].astype(np.float32),
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


def _measure_thickness(outline: NDArray[np.bool_]) -> F32:  # (H, W) -> (H, W)
    """Half the body's, in pixels."""
    return np.asarray(cv2.GaussianBlur(inflate(outline), (0, 0), 0.7) * outline, np.float32)


def _unfold(mask: NDArray[np.bool_], thickness: F32, uv: F64, at: F32) -> F64:  # -> (N,)
    """How far further from the outline, in pixels, the surface at ``uv`` (N, 2) takes its colour
    when it is seen from a side that the first frame does not show.

    Towards the outline the surface turns away from the camera, and a pixel would be stretched over
    much of it. From the ridge down, as many pixels as the surface is long are laid on it; what is
    left over where the pixels end is mirrored there, clear of the mixed rim.

    Args:
        mask: (H, W).
        thickness: (H, W) half the body's, in pixels.
        uv: (N, 2) x, y.
        at: (N,) pixels from the outline, positive inside.
    """
    distance = np.asarray(signed_distance(mask), np.float32)
    inward = np.asarray(_compute_inward(mask), np.float32)
    place = (uv - 0.5).astype(np.float32)
    half, height = np.maximum(at, 0.5), np.zeros(len(uv))
    for _ in range(int(np.ceil(distance.max() / _STRIDE)) + 1):  # uphill to the ridge
        half = np.maximum(half, _sample(distance, place))
        height = np.maximum(height, _sample(thickness, place))
        place = place + _STRIDE * _sample(inward, place)
    here = _sample(thickness, (uv - 0.5).astype(np.float32))
    up, whole = _ARC * np.hypot(np.maximum(at, 0), here), _ARC * np.hypot(half, height)
    rim = np.clip(0.4 * half, 0.5, _RIM)
    beyond = whole - up - (half - rim)  # the last of the pixels from the ridge down to the rim
    return np.asarray(np.minimum(rim + np.abs(beyond), half) - at, np.float64)


def _sample(
    values: NDArray[np.floating], place: NDArray[np.floating]
) -> F32:  # (H, W) or (H, W, 2), (N, 2) -> (N,) or (N, 2)
    """Values at pixels x, y, between them linearly."""
    x_y = place[:, None].astype(np.float32)
    found = cv2.remap(values, x_y, None, cv2.INTER_LINEAR)  # pyright: ignore
    return np.asarray(found, np.float32)[:, 0]


def _compute_inward(mask: NDArray[np.bool_]) -> NDArray[np.floating]:  # (H, W) -> (H, W, 2)
    """Unit x and y away from the outline, into the mask."""
    smooth = cv2.GaussianBlur(signed_distance(mask), (0, 0), 1.5)
    slope = np.stack([cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)], -1)
    return slope / np.maximum(np.linalg.norm(slope, axis=-1, keepdims=True), 1e-3)
