"""The draft driver's vocabulary: which words mean which action, direction, limb, amount and pace,
and what actions take by default.

Words are given as sentences of words with spaces between them; the tables that the parser reads
stand at the end.
"""

from typing import Any


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _forms(word: str) -> set[str]:
    """A regular verb's forms: turn, turns, turned, turning; nod, nodding; wave, waving; hurry,
    hurries."""
    doubles = (
        word[-1] not in "aeiouwxy"
        and word[-2] in "aeiou"
        and word[-3] not in "aeiou"
        and word not in {"wander", "lower"}
    )
    stem = word[:-1] if word.endswith("e") else word + word[-1] * doubles
    if word.endswith("y") and word[-2] not in "aeiou":
        return {word, word[:-1] + "ies", word[:-1] + "ied", word + "ing"}
    return {
        word,
        word + ("es" if word.endswith(("sh", "ch", "o")) else "s"),
        stem + "ed",
        stem + "ing",
    }


def _table(groups: dict) -> dict[str, Any]:
    return {word: key for key, words in groups.items() for word in words.split()}


# Seconds that one go takes at the usual pace and amount.
SECONDS = {
    "turn": 0.9, "face": 1.0, "look": 0.7, "walk": 2.0, "run": 1.5, "jump": 1.1, "crouch": 0.9,
    "sit": 1.0, "bow": 1.4,
    "rise": 0.8, "lean": 0.8, "nod": 0.5, "shake": 0.45, "spin": 1.5, "stretch": 1.5, "wave": 0.6,
    "lift": 0.8, "wag": 0.35,
    "stay": 1.0,
}  # fmt: skip
USUAL_TURN = 60.0  # degrees; a relief seen edge-on shows little, so plain turns stop short of that
USUAL_COUNT = {"nod": 2, "shake": 2, "wave": 2, "wag": 4}
STEP_SECONDS = 0.5

_VERBS = {
    "turn": "turn rotate pivot swivel veer",
    "face": "face",
    "look": "look glance gaze peek",
    "walk": "walk move go step come travel approach advance proceed stroll wander leave retreat "
    "head stride slide crawl creep",
    "run": "run trot gallop sprint jog dash rush hurry",
    "jump": "jump hop leap bounce",
    "crouch": "crouch duck squat stoop lie cower lower dip",
    "sit": "sit",
    "bow": "bow curtsy",
    "rise": "rise stand",
    "lean": "lean tilt",
    "nod": "nod",
    "shake": "shake shiver wiggle",
    "spin": "spin twirl whirl pirouette",
    "stretch": "stretch grow rear",
    "wave": "wave",
    "lift": "lift raise",
    "wag": "wag",
    "stay": "stay wait pause stop rest freeze",
}
_IRREGULAR = {
    "went": "go", "gone": "go", "came": "come", "ran": "run", "leapt": "leap", "lying": "lie",
    "lay": "lie", "sat": "sit",
    "rose": "rise", "risen": "rise", "stood": "stand", "leant": "lean", "shook": "shake",
    "shaken": "shake", "spun": "spin",
    "grew": "grow", "grown": "grow",
}  # fmt: skip
# What a verb says beyond its group.
MEANING: dict[str, dict] = {
    "approach": {"direction": "toward"},
    "come": {"direction": "toward"},
    "leave": {"direction": "away"},
    "retreat": {"direction": "back"},
    "lie": {"amount": 1.6},
    "rear": {"amount": 1.4},
    "bounce": {"amount": 0.6},
    "shiver": {"limb": "body", "amount": 0.4, "count": 4},
    "wiggle": {"limb": "body"},
} | {
    slow: {"pace": pace}
    for slow, pace in (("stroll", 0.8), ("creep", 0.6), ("crawl", 0.6), ("trot", 0.8), ("jog", 0.8))
}
# A verb with a limb of its own may be another verb: "turns its head left" looks left.
WITH_LIMB = {
    ("turn", "head"): "look", ("walk", "head"): "look", ("lean", "head"): "look", ("lift",
    "head"): "look",
    ("walk", "limb"): "lift", ("stretch", "limb"): "lift", ("shake", "limb"): "wave",
    ("walk", "tail"): "wag", ("wave", "tail"): "wag", ("shake", "tail"): "wag", ("lift",
    "tail"): "wag", ("lean", "body"): "lean",
}  # fmt: skip
_DIRECTIONS = {
    "left": "left leftward leftwards anticlockwise counterclockwise",
    "right": "right rightward rightwards clockwise",
    "forward": "forward forwards ahead onward onwards",
    "back": "back backward backwards",
    "toward": "toward towards closer nearer",
    "away": "away off farther further distance",
    "around": "around round about",
    "up": "up upward upwards upright tall taller",
    "down": "down downward downwards",
    "place": "place spot",
}
_LIMBS = {
    "head": "head nose face muzzle",
    "tail": "tail",
    "body": "body itself himself herself themselves hips",
    "limb": "paw paws leg legs foot feet hoof hooves arm arms hand hands limb limbs wing wings fin "
    "fins",
}
_AMOUNTS = {
    0.5: "slightly little bit small gently subtly tiny halfway short partly somewhat",
    1.6: "far lot deep deeply high wide widely big greatly strongly much long wildly fully huge "
    "large",
}
_PACES = {
    0.6: "slowly slow slower lazily calmly leisurely sluggishly carefully",
    1.6: "quickly quick quicker fast faster rapidly swiftly hastily suddenly briskly abruptly",
}
FRACTIONS = {"quarter": 90.0, "half": 180.0, "full": 360.0, "complete": 360.0, "whole": 360.0}
NUMBERS = {
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
}
TIMES = {"once": 1, "twice": 2, "thrice": 3}
NEGATIONS = _words("not never without cannot")
SEQUENCE = _words(", ; . ! : then and but afterwards next finally before first later")
TOGETHER = _words("while simultaneously meanwhile whilst")
DETERMINERS = _words("the a an its his her their my our this that")
LIGHT_VERBS = _words(
    "does do did make makes take takes gives give performs perform has"
)  # "takes a bow"
VIEWER = _words("camera viewer us me audience")
_FILLERS = """
    it he she they is are was be to of in on at with for by from into via so very just start starts
    begin begins as same time times degree degrees second seconds sec s step steps screen side again
    it's more no way all turn's circle
"""
SILENT = DETERMINERS | LIGHT_VERBS | VIEWER | _words(_FILLERS)


LEMMA = {
    form: word for words in _VERBS.values() for word in words.split() for form in _forms(word)
} | _IRREGULAR
VERB, DIRECTION, LIMB, AMOUNT, PACE = (
    _table(t) for t in (_VERBS, _DIRECTIONS, _LIMBS, _AMOUNTS, _PACES)
)
KNOWN = (
    "turn, face, spin, look, walk/move/go/step (left, right, forward, back, towards or away from "
    "the camera), run/trot/gallop, "
    "jump/hop, crouch/duck, sit, bow, rise, lean, nod, shake, stretch, wave or lift a limb, wag "
    "the tail, stay"
)
