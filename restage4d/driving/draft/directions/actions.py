"""From cues (what shall be done, in order) to timed actions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from restage4d.driving.draft.directions.kinds import (
    DEFAULT_COUNTS,
    KINDS,
    STEP_SECONDS,
    TRAVELS,
    USUAL_TURN,
)
from restage4d.errors import InputError

MOST_COUNT, MOST_SECONDS, MOST_DEGREES, MOST_STEPS = 20, 300.0, 3600.0, 40


@dataclass(frozen=True)
class Cue:
    """One entry of the script, before it has a time.

    Attributes:
        verb: a key of `KINDS`.
        direction: one of its kind's directions, or "" where nothing is said.
        limb: "head", "tail", "body", "limb" (any leg, arm or wing), or "".
        side: "left" or "right" of a limb, or "".
        which: "front", "hind", "arm" or "leg" of a limb, or "".
        view: whose left and right ``direction`` or ``side`` is: "own", "picture", or "" as usual.
        amount: how far, 1 = as usual.
        degrees: how far to turn or spin in one go, 0 = as usual.
        count: how many times, 0 = as usual.
        steps: how many steps to go, 0 = as usual.
        pace: how fast, 1 = as usual.
        seconds: how long, 0 = as usual.
        together: begins with the cue before instead of after it.
    """

    verb: str
    direction: str = ""
    limb: str = ""
    side: str = ""
    which: str = ""
    view: str = ""
    amount: float = 1.0
    degrees: float = 0.0
    count: int = 0
    steps: int = 0
    pace: float = 1.0
    seconds: float = 0.0
    together: bool = False


@dataclass(frozen=True)
class Action:
    """One thing that the subject does.

    Attributes:
        verb: a key of `KINDS`.
        direction: "left", "right", "forward", "back", "toward" or "away" (of the camera), "around",
            "up", "down", "place", or "" where the sentence does not say. For "lift", "wave" and
            "kick" the side of the limb. Whose left and right: see ``view``.
        limb: "head", "tail", "body" or "limb" (any leg, arm or wing), or "" where the sentence does
            not say.
        which: "front", "hind", "arm" or "leg" of a limb, or "" where the sentence does not say.
        amount: how far, 1 = as usual.
        degrees: how far to turn or spin in all.
        count: how many times.
        pace: how fast, 1 = as usual.
        start, seconds: when, from the beginning of the driving video.
        steps: how many steps were asked for, 0 where none were; ``amount`` holds them already.
        view: whose left and right it is, "own" (the subject's) or "picture"; "" without either.
        together: begins with the action before.
    """

    verb: str
    direction: str = ""
    limb: str = ""
    which: str = ""
    amount: float = 1.0
    degrees: float = 0.0
    count: int = 1
    pace: float = 1.0
    start: float = 0.0
    seconds: float = 0.0
    steps: int = 0
    view: str = ""
    together: bool = False

    @property
    def end(self) -> float:
        return self.start + self.seconds


def schedule_cues(cues: Sequence[Cue]) -> list[tuple[int, Action]]:
    """Timed actions in the order of the cues, each with the index of the cue that it acts.

    A cue that says how often, but whose kind is done once, is done that often.

    Raises:
        InputError: more times, seconds, degrees or steps than a driving video can hold.
    """
    timed: list[tuple[int, Action]] = []
    start = end = 0.0
    for index, cue in enumerate(cues):
        check_figures(cue)
        goes = cue.count if KINDS[cue.verb].repeats and cue.count else 1
        for go in range(goes):
            action = _start_action(cue)
            seconds = _compute_seconds(action)
            if cue.together and timed and not go:
                action, seconds = _sustain(action, seconds, end - start)
            else:
                start = end
            timed.append((index, replace(action, start=start, seconds=seconds)))
            end = max(end, start + seconds)
    return timed


def check_figures(cue: Cue) -> None:
    """Refuses figures that no driving video can hold."""
    degrees = cue.degrees or 360.0 * (cue.verb == "spin")
    for value, most, unit in (
        (cue.count, MOST_COUNT, "times"),
        (cue.seconds, MOST_SECONDS, "seconds"),
        (degrees * max(cue.count, 1), MOST_DEGREES, "degrees"),
        (cue.steps, MOST_STEPS, "steps"),
    ):
        if value > most:
            raise InputError(
                f'The directions ask "{cue.verb}" for {value:g} {unit}; at most {most:g} are made.',
                "Ask for less.",
            )


def _start_action(cue: Cue) -> Action:
    """An untimed action."""
    verb, kind = cue.verb, KINDS[cue.verb]
    count = cue.count if "count" in kind.takes else 0
    if cue.seconds and not cue.count and verb in DEFAULT_COUNTS:  # goes on all the time
        count = max(DEFAULT_COUNTS[verb], round(cue.seconds * cue.pace / kind.seconds), count)
        count = min(count, MOST_COUNT)
    amount = cue.amount if "amount" in kind.takes else 1.0
    if cue.steps:
        amount *= cue.steps * STEP_SECONDS / KINDS["walk"].seconds
    action = Action(
        verb,
        cue.side or (cue.direction if cue.direction in kind.directions else ""),
        cue.limb,
        cue.which,
        amount,
        count=count or DEFAULT_COUNTS.get(verb, 1),
        pace=cue.pace,
        seconds=cue.seconds,
        steps=cue.steps,
        view=cue.view or ("own" if cue.side else kind.view),
        together=cue.together,
    )
    if action.direction not in {"left", "right"}:
        action = replace(action, view="")
    if verb in {"turn", "spin"}:
        action = replace(action, degrees=_compute_degrees(action, cue.degrees))
    return action


def _compute_degrees(action: Action, degrees: float) -> float:
    """How far a turn or spin goes in all."""
    usual = USUAL_TURN * action.amount
    if action.verb == "spin":
        usual = 360.0
    elif action.direction == "around":
        usual = 180.0 * action.amount if action.amount < 1 else 180.0
        usual = 360.0 if action.amount > 1 else usual  # "fully around"
    return (degrees or usual) * action.count


def _compute_seconds(action: Action) -> float:
    """How long an action takes by itself."""
    if action.seconds:
        return action.seconds
    usual = KINDS[action.verb].seconds / action.pace
    if action.verb == "turn":
        return usual * max(action.degrees / USUAL_TURN, 0.25) ** 0.6
    if action.verb == "spin":
        return usual * action.degrees / 360
    if action.verb in TRAVELS:
        return usual * action.amount
    return usual * action.count * action.amount**0.3


def _sustain(action: Action, seconds: float, whole: float) -> tuple[Action, float]:
    """Lets what goes to and fro go on for the ``whole`` time of what it goes with."""
    usual = DEFAULT_COUNTS.get(action.verb)
    if usual is None or action.count != usual or action.seconds or whole <= seconds:
        return action, seconds
    return replace(action, count=max(usual, round(whole / seconds * usual))), whole
