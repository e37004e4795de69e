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
    about_degrees: float = 150.0  # beyond it, what has no side to show is drawn from the front


@dataclass(frozen=True)
class Look:
    """The head turns, the body stays."""

    up: float = 0.5  # of the head, for "up" and "down"
    most_degrees: float = 38.0  # to either side
    amount_most: float = 1.2
    ahead_degrees: float = 10.0  # nearer than this to its heading, it looks
    aside_degrees: float = 30.0  # this far towards the camera, to be seen looking
    back_degrees: float = 42.0  # over its shoulder, towards the camera


@dataclass(frozen=True)
class Gait:
    """Walking and running, which differ in the first four."""

    stride: float  # swing of a foot to either side, in leg lengths
    cycle: float  # seconds for both legs, at the leg length `cycle_leg`
    stance: float  # share of the cycle with the foot on the ground
    glide: float  # speed of a subject without legs, in its longer side per second
    cycle_leg: float = 40.0  # pixels; longer legs are slower, by the fourth root of their length
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
class Climb:
    """A walk up a slope that nobody sees."""

    pitch_degrees: float = 22.0  # head end up, of a long body
    lean: float = 0.14  # forward, of an upright one
    ramp: float = 0.5  # seconds to tip up, and back at the end
    rise: float = 0.03  # of the body's height, for 2 s of climbing
    lift: float = 0.22  # of the feet, in leg lengths
    pace: float = 0.8  # of a walk's


@dataclass(frozen=True)
class Limp:
    """A walk with one leg that bears as little as it can."""

    pace: float = 0.75  # of a walk's
    stance: float = 0.38  # share of the lame leg's cycle on the ground
    lift: float = 0.3  # of a sound foot's
    dip: float = 0.14  # of the leg's height, where the lame leg bears
    head: float = 0.16  # up as it does
    lean: float = 0.05  # of a body without legs, to one side


@dataclass(frozen=True)
class Stumble:
    """A walk in which a foot catches; all but the sizes are shares of its length."""

    catch: float = 0.42  # share at which the foot catches
    deepest: float = 0.14  # the front is down so much later
    recover: float = 0.34  # and up again so much later
    front: float = 0.45  # of the leg's height
    pitch: float = 0.10  # head end down
    lean: float = 0.30  # of an upright body, the way it goes
    crouch: float = 0.22  # the same body's, of the leg's height
    head_dip: float = 0.30
    quick: float = 1.9  # pace of the steps that catch it


@dataclass(frozen=True)
class Pounce:
    """Loads the rear, then a long low jump, front first; shares of its length."""

    height: float = 0.10  # of the body's height, added to
    leg_height: float = 0.22  # of the leg's length
    forward: float = 0.9  # of the longer side
    loaded: float = 0.24  # share at which it is down
    wiggle_end: float = 0.40  # until then it waits, and shifts its weight
    take_off: float = 0.48
    landing: float = 0.76
    crouch: float = 0.40  # of the leg's height
    rear: float = 0.15  # the same, of the rear besides
    wiggle: float = 0.05  # turn of the body to either side, three times
    pitch: float = 0.20  # head end up at take-off, and down before the landing
    reach: float = 0.55  # of the front legs forward, and the hind legs back
    front: float = 0.35  # of the leg's height, as the front takes the landing
    head: float = 0.15
    lean: float = 0.20  # of an upright body, the way it goes


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
class Fall:
    """Tips over, and lies."""

    angle_degrees: float = 40.0  # of a long body about its length: more shows its belly alone
    topple_degrees: float = 86.0  # of an upright one sideways
    buckle: float = 0.8  # of the leg's height, as they give way
    head_down: float = 0.9  # of the way to the ground
    way: float = 0.12  # of its height that it goes aside
    settle: float = 0.12  # share of its length in which it gives a little once it lies
    bounce: float = 0.05  # radians that it comes up then
    faster: float = 1.8  # exponent: falling, it gathers way


@dataclass(frozen=True)
class Roll:
    """Lies down, rolls once about its length, and lies."""

    down: float = 0.28  # share of its length in which it lies down, where it does not lie yet
    crouch: float = 0.80  # of the leg's height, lying
    open: float = 0.35  # of the leg's height, with the legs up
    head_down: float = 0.55  # of the way to the ground
    way: float = 0.35  # that it goes aside, of what a wheel of its size would
    topple_degrees: float = 86.0  # of an upright body, to lie down


@dataclass(frozen=True)
class Graze:
    """The head goes to the ground and plucks there."""

    down: float = 0.7  # seconds until the head is down, and at most
    down_share: float = 0.4  # of its length
    up: float = 0.6  # seconds until it is up again
    pluck: float = 0.10  # of the way to the ground that the head comes up
    pluck_seconds: float = 0.55
    sway: float = 0.10  # of the head to the sides
    most_degrees: float = 95.0  # that a head turns down alone, and
    head_degrees: float = 35.0  # with a neck that
    neck_degrees: float = 55.0  # does
    front: float = 0.50  # of the leg's height, at most, where the neck is too short
    longer: float = 0.30  # share by which the neck reaches further, at most
    gap: float = 0.02  # of the height, between head and ground
    body: float = 0.5  # of the leg's height at the head end, where no head is known


@dataclass(frozen=True)
class Dance:
    """Bounces from leg to leg."""

    beat: float = 0.45  # seconds from leg to leg
    bounce: float = 0.05  # of the height
    give: float = 0.14  # of the leg's height, on the beat
    lift: float = 0.30  # of the feet, in leg lengths
    sway: float = 0.10  # lean to the sides
    yaw: float = 0.12
    head: float = 0.12
    arm: float = 0.8  # an arm's swing up
    squash: float = 0.10  # of the height, where no legs are known
    ramp: float = 0.3  # seconds to get going and to stop


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
class Kick:
    """Draws a leg up, thrusts it out, and puts it down; shares of its length."""

    drawn: float = 0.36  # share at which it is drawn up
    thrust: float = 0.52  # and out
    held: float = 0.62  # until then
    draw: float = 0.35  # against the kick
    draw_lift: float = 0.30  # of the leg's length
    reach: float = 1.3  # out
    amount_most: float = 1.3
    hind_pitch: float = 0.10  # of a long body, hind end up, as a hind leg kicks
    front_pitch: float = 0.06  # and front end up, as a front leg does
    lean: float = 0.06  # of an upright body, away from the leg
    head: float = 0.12


@dataclass(frozen=True)
class RaiseTail:
    rise: float = 0.35  # share of its length in which the tail goes up
    fall: float = 0.35  # share in which it comes down
    up: float = 0.9
    most: float = 1.35  # above level
    least: float = 0.3
    amount_most: float = 1.6


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
    drive: Gait = Gait(stride=0.0, cycle=1.0, stance=1.0, glide=0.5)
    climb: Climb = Climb()
    limp: Limp = Limp()
    stumble: Stumble = Stumble()
    pounce: Pounce = Pounce()
    jump: Jump = Jump()
    crouch: Crouch = Crouch()
    sit: Sit = Sit()
    fall: Fall = Fall()
    roll: Roll = Roll()
    graze: Graze = Graze()
    dance: Dance = Dance()
    bow: Bow = Bow()
    lean: Lean = Lean()
    nod: Nod = Nod()
    shake: Shake = Shake()
    stretch: Stretch = Stretch()
    raise_limb: RaiseLimb = RaiseLimb()
    kick: Kick = Kick()
    raise_tail: RaiseTail = RaiseTail()
    wag: Wag = Wag()
    shuffle: Shuffle = Shuffle()
    legs: Legs = Legs()
    follow_through: FollowThrough = FollowThrough()


PARAMETERS = ActionParameters()
