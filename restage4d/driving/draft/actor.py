"""The actor: a performance in the making, and the moves that actions are made of.

The body's frame: a along the screen at rest (right), b up, c away from the camera; lengths in
pixels at the subject's place. All curves are 0 in the first frame, so that it is the base's first
frame exactly.
"""

from dataclasses import fields

import numpy as np

from restage4d.driving.draft.actions import PARAMETERS, Gait
from restage4d.driving.draft.body_plan import BodyPlan
from restage4d.driving.draft.curves import (
    F64,
    Curves,
    Room,
    plateau,
    ramp,
)
from restage4d.driving.draft.gait import Steps

STANCE = "crouch", "front", "rear", "lean", "tip", "stretch", "pitch", "roll", "up"
"""The curves of a held pose that whoever goes or jumps lets go."""

_LYING = 0.5  # radians of pitch or roll, which take their time to get up from
_GET_UP = 0.9  # seconds
_LEG = 0.35  # length of a leg that is not seen, of the body's height
_LEAST_ROOM = 1e-3  # pixels
_GROWS = 0.7  # of the room aside that coming as near as possible takes
_SHORTEST_LEG = 0.25  # of that height: of shorter ones, fur or grass hides the upper part


class Actor:
    """Curves to which actions are added in order, and what holds on between them (heading, crouch,
    lean, look).

    Args:
        body: who acts.
        frames: length of the driving video.
        fps: frames per second.
        room: how far the subject may go.

    Attributes:
        t: (T,) seconds.
        curves: by name, the (T,) curves of `Curves` but the limbs.
        limb_angles: per limb (T,), see `Swing.angle`.
        limb_lifts: per limb (T,), pixels that its end is drawn up.
        steps: what the legs do.
        held: the value at which each curve stays.
    """

    def __init__(self, body: BodyPlan, frames: int, fps: float, room: Room) -> None:
        self.body, self.fps, self.room = body, fps, room
        self.t = np.arange(frames) / fps
        names = [f.name for f in fields(Curves) if f.name not in {"fps", "limbs"}]
        self.curves: dict[str, F64] = {name: np.zeros(frames) for name in names}
        self.held = dict.fromkeys(names, 0.0)
        self.limb_angles = [np.zeros(frames) for _ in body.limbs]
        self.limb_lifts = [np.zeros(frames) for _ in body.limbs]
        self.steps = Steps(frames, fps)
        x0, y0, x1, y1 = body.box
        self.height, self.width = float(y1 - y0), float(x1 - x0)
        legs = [leg.length for leg in body.legs]
        seen = float(np.mean(legs)) if legs else _LEG * self.height
        self.leg = max(seen, _SHORTEST_LEG * self.height)
        side = (
            0.0 if body.facing > 0 else 180.0 if body.facing < 0 else -90.0 if body.upright else 0.0
        )
        self._yaw_at_rest = float(np.degrees(body.yaw))
        self._heading_at_rest = side + self._yaw_at_rest

    @property
    def heading(self) -> float:
        """Where the head points, degrees from screen right, counter-clockwise from above."""
        return self._heading_at_rest + float(np.degrees(self.held["yaw"]))

    def heading_curve(self) -> F64:  # -> (T,)
        """`heading` in every frame, as far as it is known now."""
        return self._heading_at_rest + np.degrees(self.curves["yaw"])

    def find_heading(self, direction: str, view: str = "picture") -> float | None:
        """What a direction means now, as a heading; None where it is none on the ground.

        Args:
            direction: as in `Action.direction`.
            view: whose left and right it is, the subject's "own" or the "picture"'s.
        """
        ahead = self.heading
        own = view == "own"
        return {
            "left": ahead + 90 if own else 180.0,
            "right": ahead - 90 if own else 0.0,
            "away": 90.0,
            "toward": -90.0,
            "forward": ahead,
            "back": ahead + 180,
        }.get(direction)

    def hold(self, name: str, value: float, start: float, end: float) -> None:
        """Brings a curve from where it is to ``value``, where it stays."""
        self.curves[name] += (value - self.held[name]) * ramp(self.t, start, end)
        self.held[name] = value

    def release(self, start: float, end: float, *names: str) -> None:
        """Lets go of held poses."""
        lies = max(abs(self.held["pitch"]), abs(self.held["roll"])) > _LYING
        end = max(end, start + _GET_UP) if lies else end
        for name in names:
            if self.held[name]:
                self.hold(name, 0.0, start, end)

    def turn_to(self, heading: float, start: float, end: float) -> None:
        """Turns until the head points that way, edge-on excepted."""
        widest = PARAMETERS.facing.widest_degrees
        now = np.degrees(self.held["yaw"])
        yaw = (heading - self._heading_at_rest + 180) % 360 - 180
        if self.body.upright or not self.body.facing:
            about = abs(yaw) >= PARAMETERS.facing.about_degrees
            yaw = 0.0 if about else float(np.clip(yaw, -widest, widest))
        elif abs((yaw + self._yaw_at_rest) % 180 - 90) < 90 - widest:  # edge-on
            middle = 180 * np.floor((yaw + self._yaw_at_rest) / 180) + 90 - self._yaw_at_rest
            sides = middle - (90 - widest), middle + (90 - widest)
            yaw = float(min(sides, key=lambda y: abs(y - now)))
        yaw += 360 * round((now - yaw) / 360)
        self.hold("yaw", float(np.radians(yaw)), start, end)

    def limit_way(self, right: float, away: float) -> float:
        """The share of a way that keeps the subject inside the picture; who comes nearer grows,
        and has less room aside."""
        room, held = self.room, self.held["right"]
        aside = max(room.right - held if right > 0 else room.left + held, _LEAST_ROOM)
        near = max(room.near + self.held["away"], _LEAST_ROOM)
        nearer = max(-away, 0.0) / near
        used = max(abs(right) / aside + _GROWS * nearer, nearer, 1.0)
        return float(np.clip(1 / used, PARAMETERS.walk.least_way, 1.0))

    def go(self, right: F64, away: F64) -> None:
        """Moves the body along a way (T,), and leaves it at its end."""
        for name, way in (("right", right), ("away", away)):
            self.curves[name] += way
            self.held[name] += float(way[-1])

    def go_toward(self, heading: float, path: F64) -> float:
        """Goes along a path (T,), in pixels, as far as there is room; returns the share that is."""
        c, s = np.cos(np.radians(heading)), np.sin(np.radians(heading))
        share = self.limit_way(c * path[-1], s * path[-1])
        self.go(c * path * share, s * path * share)
        return share

    def step_along(
        self,
        gait: Gait,
        pace: float,
        heading: float | None,
        backing: bool,
        start: float,
        end: float,
        rate: F64 | float = 1.0,
    ) -> F64:
        """Steps from ``start`` to ``end``, and goes towards ``heading`` as far as there is room;
        on the spot where it is None; ``rate`` (T,) makes legs and way faster. Returns how much
        it goes (T,), 0..1."""
        cycle = gait.cycle / pace * np.sqrt(self.leg / gait.cycle_leg) ** 0.5
        stride = gait.stride * self.leg
        if self.body.legs:
            speed = 2 * stride / (gait.stance * cycle)
        else:
            stride = gait.legless_stride * gait.stride * self.leg
            speed = gait.glide * pace * max(self.width, self.height)
        going = self.plan_going(gait, start, end)
        if heading is not None:
            share = self.go_toward(heading, self.integrate(going * rate) * speed)
            stride = stride * (gait.least_stride + (1 - gait.least_stride) * share)
        self.steps.add(going, stride, cycle, backing, rate)
        return going

    def plan_going(self, gait: Gait, start: float, end: float) -> F64:  # -> (T,) in 0..1
        """How fast it goes from ``start`` to ``end``, as a share of its full speed."""
        begin = min(gait.start, gait.start_share * (end - start))
        return plateau(self.t, start, end, begin, begin)

    def integrate(self, rate: F64) -> F64:  # (T,) -> (T,)
        """The integral of a rate per second from the first frame on."""
        return np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2)]) / self.fps
