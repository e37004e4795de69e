"""How the subject stands before the camera: on level ground, turned by its yaw, its feet on both
sides of its middle."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restage4d.driving.draft.body_plan import BodyPlan, Limb, split_legs

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_FOCAL = 1.2  # of the longer side
_HORIZON = 0.3  # of the height, at most; never below the subject's top
_MOST_YAW = np.radians(20)  # a slanted relief smears when it turns back; a flat one does not
_TRUST_FEET = 0.6  # the horizon is a guess, and so is what feet say about yaw
_HIP = 0.5  # of a leg's length to either side, where the body above may be as thick as its hips
_LEAST_APART = 0.5  # of the room that the body's thickness leaves, between a leg and the middle


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


def lift(view: View, yaw: float, xy: F64, c: F64) -> F64:  # (N, 2), (N,) -> (N, 3)
    """Body coordinates of the points on pixels' rays that lie ``c`` behind the body's middle
    plane."""
    along = np.cos(yaw) * view.right + np.sin(yaw) * view.away
    behind = -np.sin(yaw) * view.right + np.cos(yaw) * view.away
    rays = view.unproject(xy)
    points = rays * ((c + view.origin @ behind) / (rays @ behind))[:, None] - view.origin
    return np.column_stack([points @ along, points @ view.up, points @ behind])


def estimate_stance(body: BodyPlan, view: View, thickness: F32) -> tuple[float, list[float]]:
    """The body's yaw, and how far behind its middle plane every foot stands, in pixels.

    Where the feet meet the ground gives the yaw, and tells near feet from far ones. Of two legs at
    one end, one stands on either side, nearly as far as the body above is thick, whatever the
    guessed ground says.

    Args:
        body: with all its legs.
        view: the camera.
        thickness: (H, W) half the body's, in pixels.
    """
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
    behind = np.clip(behind, -0.6 * body.radius, 0.6 * body.radius)
    for pair in split_legs(body):
        if len(pair) == 2:
            near, far = sorted(pair, key=lambda i: behind[i])
            room = min(_measure_room(body.legs[i], thickness) for i in pair)
            apart = np.clip((behind[far] - behind[near]) / 2, _LEAST_APART * room, room)
            behind[near], behind[far] = -apart, apart
    return yaw, [float(v) for v in behind]


def _measure_room(leg: Limb, thickness: F32) -> float:
    """How far from the body's middle plane a leg can stand with its outer side flush with the
    body's."""
    part, (x, y) = leg.weight > 0.5, leg.pivot
    reach = _HIP * leg.length  # towards a body's end, its outline says less of how thick it is
    above = thickness[: int(y) + 1, max(int(x - reach), 0) : int(x + reach) + 1]
    own = float(np.median(thickness[part])) if part.any() else 0.0
    return max(float(above.max(initial=0.0)) - own, 0.0)
