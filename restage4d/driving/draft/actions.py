"""What every action of the draft driver amounts to: the one table of its parameters.

Angles are radians unless a name ends in ``_degrees``; times are seconds unless a comment says that
they are shares of an action's length. An action's amount ("slightly" 0.5, "far" 1.6) scales its
sizes; ``amount_most`` bounds it where more would break the figure.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Facing:
    """How far a relief may turn to face a direction; what is edge-on shows that it has no depth."""

    widest_degrees: float = 65.0  # from the screen's plane
    about_degrees: float = (
        150.0  # beyond it, a subject with no side to show is drawn from the front
    )


@dataclass(frozen=True)
class Look:
    """The head turns, the body stays."""

    up: float = 0.5  # of the head, for "up" and "down"
    most_degrees: float = 38.0  # to either side
    amount_most: float = 1.2
    ahead_degrees: float = 10.0  # nearer than this to its heading, it looks
    aside_degrees: float = 30.0  # this far towards the camera, to be seen looking


@dataclass(frozen=True)
class Gait:
    """Walking and running, which differ in the first four."""

    stride: float  # swing of a foot to either side, in leg lengths
    cycle: float  # seconds for both legs, at the leg length `cycle_leg`
    stance: float  # share of the cycle with the foot on the ground
    glide: float  # speed of a subject without legs, in its longer side per second
    cycle_leg: float = (
        40.0  # pixels; longer legs swing slower, with the fourth root of their length
    )
    legless_stride: float = 0.5  # of `stride`, where legs cannot be seen
    paced_exponent: float = 0.7  # of the pace, where the time is given as well
    release: float = 0.4  # seconds in which a held pose is let go
    turn: float = 0.9  # seconds to turn into the direction, and at most
    turn_share: float = 0.5  # of the action's length
    start: float = 0.45  # seconds to get going and to stop, and at most
    start_share: float = 0.4  # of the action's length
    least_stride: float = 0.4  # of the stride, where there is hardly room to go
    least_way: float = 0.12  # of the way, where there is no room at all


@dataclass(frozen=True)
class Jump:
    """A crouch, a parabola, a landing; all but `release` and `touch` are shares of one jump."""

    height: float = 0.15  # of the body's height, added to
    leg_height: float = 0.4  # of the leg's length
    forward: float = 0.45  # of the body's width, where a direction is given
    crouch: float = 0.30  # of the leg's height, before and after
    crouch_amount_most: float = 1.5
    release: float = 0.3  # seconds in which a held pose is let go
    deepest: float = 0.2  # share at which it is down, ready to take off
    take_off: float = 0.30
    landing: float = 0.76
    touch: float = 0.01  # seconds before landing at which the legs begin to give
    absorb: float = 0.09  # share in which the legs take up the landing
    recover: float = 0.1  # share after the landing at which they straighten
    tuck: float = 0.32  # feet drawn up in the air, in leg lengths
    stretch: float = 0.07  # of the height, at take-off
    stretch_end: float = 0.5
    rise_end: float = 0.55  # head and tail follow the take-off until then
    brace: float = 0.1  # and the landing from this share before it
    head_rising: float = 0.14
    head_landing: float = 0.16
    tail_rising: float = 0.3
    tail_landing: float = 0.35


@dataclass(frozen=True)
class Crouch:
    depth: float = 0.45  # of the leg's height
    least: float = 0.1
    most: float = 0.8
    head_dip: float = 0.15  # on the way down
    head_recover: float = 0.3  # seconds until the head is up again


@dataclass(frozen=True)
class Sit:
    rear: float = 0.75  # of the leg's height, at the tail end
    crouch: float = 0.5  # the same of all legs, for those who have no tail end


@dataclass(frozen=True)
class Bow:
    ramp: float = 0.35  # share of its length in which it goes down, and comes up
    tip: float = 0.7  # of an upright body, towards the camera
    front: float = 0.6  # of the leg's height, at the head end of all others
    front_amount_most: float = 1.2
    head_dip: float = 0.35


@dataclass(frozen=True)
class Lean:
    angle: float = 0.22


@dataclass(frozen=True)
class Nod:
    head: float = 0.5
    body: float = 0.2  # of the leg's height, where no head is known


@dataclass(frozen=True)
class Shake:
    ramp: float = 0.25  # share of its length in which it swells, and fades
    head: float = 0.5
    lean: float = 0.12  # of the whole body
    yaw: float = 0.20  # of the whole body


@dataclass(frozen=True)
class Stretch:
    rise: float = 0.45  # share of its length in which it grows
    fall: float = 0.35  # share in which it shrinks back
    height: float = 0.22  # of the height
    amount_most: float = 1.6
    head: float = 0.3


@dataclass(frozen=True)
class RaiseLimb:
    """Waving and lifting."""

    rise: float = 0.35  # share of its length in which the limb goes up
    fall: float = 0.3  # share in which it comes down
    hold: float = 0.4  # seconds that a lifted limb stays up beyond the action's end
    leg: float = 0.85  # how far a leg goes up
    arm: float = 2.2  # how far from straight down an arm goes up, and
    arm_least: float = 0.3  # by how much at least, where it is up already
    swing: float = 0.3  # of a wave, to either side
    amount_most: float = 1.25
    counter_lean: float = 0.03  # of the body, away from the limb
    head: float = 0.06
    sway: float = 0.14  # lean of a body that has no limb


@dataclass(frozen=True)
class Wag:
    ramp: float = 0.2  # seconds in which it swells, and fades
    tail_yaw: float = 0.55
    tail_up: float = 0.12
    tail_beat: float = 0.18  # up and down with every swing
    yaw: float = 0.04  # of the body, against the tail
    lean: float = 0.05  # of a body that has no tail


@dataclass(frozen=True)
class Shuffle:
    """Steps on the spot under a body that turns."""

    full_rate: float = 1.5  # radians per second at which it steps fully
    gait_most: float = 0.2  # of a gait that leaves room for it
    height_most: float = 0.05  # of the body's height: none in the air
    begin: float = 0.2  # seconds in which it may begin
    smooth: float = 0.1  # seconds, standard deviation
    stride: float = 0.10  # in leg lengths
    cycle: float = 0.7  # seconds


@dataclass(frozen=True)
class Legs:
    """A leg's way through one cycle."""

    stance: float = 0.6  # share of the cycle with the foot on the ground
    pair_phase: float = 0.5  # of the cycle between a pair's legs
    front_phase: float = 0.25  # of the cycle by which the front pair is ahead
    full_stride: float = 0.25  # of the leg's length, at which it leaves the place it rests at
    rest_share: float = 0.7  # of its slant at rest, then
    arc: float = 1.5  # exponent of the sine along which a foot rises
    lift_of_stride: float = 0.35
    lift_of_leg: float = 0.08
    initial_phase_ahead: float = 0.05  # of the cycle, where the leading leg rests ahead of its hip
    initial_phase_behind: float = 0.55  # and where it rests behind it


@dataclass(frozen=True)
class FollowThrough:
    """What follows by itself from a gait, from going up and down, and from turning."""

    drop: float = 0.5  # of the leg's length by the stride's square: a long stride lowers the hip
    drop_stride_most: float = 0.5  # in leg lengths
    waddle_lean: float = 0.05  # of a body without legs
    waddle_up: float = 0.03  # of its height
    head_bob: float = 0.05
    tail_bob: float = 0.06
    tail_swing: float = 0.12
    head_lag: float = 0.006  # for an acceleration of one height per second squared
    head_lag_most: float = 0.25
    bend: float = 0.09  # of the body for a turn of one radian per second
    bend_most: float = 0.35
    head_lead: float = 0.08  # of the head for that turn
    head_lead_most: float = 0.3
    head_lead_begin: float = 0.15  # seconds in which it may begin
    spring_hertz: float = 2.2  # of what lags behind
    spring_damping: float = 0.45  # 1 would not overshoot


@dataclass(frozen=True)
class ActionParameters:
    """Every action's parameters; "turn", "spin", "rise" and "stay" have none of their own."""

    facing: Facing = Facing()
    look: Look = Look()
    walk: Gait = Gait(stride=0.30, cycle=1.0, stance=0.62, glide=0.4)
    run: Gait = Gait(stride=0.42, cycle=0.62, stance=0.45, glide=0.75)
    jump: Jump = Jump()
    crouch: Crouch = Crouch()
    sit: Sit = Sit()
    bow: Bow = Bow()
    lean: Lean = Lean()
    nod: Nod = Nod()
    shake: Shake = Shake()
    stretch: Stretch = Stretch()
    raise_limb: RaiseLimb = RaiseLimb()
    wag: Wag = Wag()
    shuffle: Shuffle = Shuffle()
    legs: Legs = Legs()
    follow_through: FollowThrough = FollowThrough()


PARAMETERS = ActionParameters()
