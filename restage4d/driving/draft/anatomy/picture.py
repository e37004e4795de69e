"""The body plan drawn on the first frame, for people to check."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.driving.draft.body_plan import SURE, BodyPlan, Limb
from restage4d.io.atomic import replacing

U8 = NDArray[np.uint8]
Colour = tuple[int, int, int]

_SIDE = 720  # pixels of the picture's longer side, at least
_HEAD, _TAIL, _LEG, _OTHER = (255, 80, 60), (70, 150, 255), (80, 220, 100), (230, 190, 60)
_INK = (255, 255, 255)


def draw_body_plan(frame: U8, plan: BodyPlan) -> U8:  # (H, W, 3) -> (H', W', 3)
    """The frame with head, tail, legs and other limbs coloured and named, an arrow to where the
    body faces, and how sure that is.

    Args:
        frame: sRGB, of the size that the plan was read at.
        plan: what to draw.
    """
    height, width = frame.shape[:2]
    scale = max(1.0, _SIDE / max(height, width))
    size = round(width * scale), round(height * scale)
    picture = cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC).astype(np.float32)
    named = [(limb, "leg", _LEG) for limb in plan.legs]
    named += [(limb, "limb", _OTHER) for limb in plan.others]
    named += [(limb, "tail", _TAIL) for limb in (plan.tail,) if limb]
    named += [(limb, "head", _HEAD) for limb in (plan.head,) if limb]
    for limb, _, colour in named:
        share = cv2.resize(limb.weight, size, interpolation=cv2.INTER_LINEAR)[..., None]
        picture += 0.55 * share * (np.array(colour, np.float32) - picture)
    drawn = np.clip(picture, 0, 255).astype(np.uint8)
    for limb, name, colour in named:
        _draw_limb(drawn, limb, name, colour, scale)
    _draw_facing(drawn, plan, scale)
    _write(drawn, _describe(plan), (10, 24))
    if plan.doubt:
        _write(drawn, plan.doubt, (10, 48))
    return drawn


def write_body_plan(path: Path, frame: U8, plan: BodyPlan) -> None:
    """Writes `draw_body_plan` as a PNG file. Raises `InputError` where that is not allowed."""
    drawn = cv2.cvtColor(draw_body_plan(frame, plan), cv2.COLOR_RGB2BGR)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", drawn)[1].tobytes())


def _describe(plan: BodyPlan) -> str:
    if plan.confidence < SURE or (not plan.facing and plan.head is None):
        return f"Head not known ({100 * plan.confidence:.0f} % sure)"
    where = {1: "faces right", -1: "faces left", 0: "upright" if plan.upright else "head found"}
    return f"{where[plan.facing].capitalize()} ({100 * plan.confidence:.0f} % sure)"


def _draw_limb(drawn: U8, limb: Limb, name: str, colour: Colour, scale: float) -> None:
    pivot, tip = (tuple(round(v * scale) for v in xy) for xy in (limb.pivot, limb.tip))
    cv2.line(drawn, pivot, tip, colour, 2, cv2.LINE_AA)
    cv2.circle(drawn, pivot, 4, _INK, -1, cv2.LINE_AA)
    cv2.circle(drawn, tip, 4, colour, -1, cv2.LINE_AA)
    sure = "" if name in {"leg", "limb"} else f" {100 * limb.confidence:.0f} %"
    _write(drawn, name + sure, (tip[0] + 6, tip[1] + 4))


def _draw_facing(drawn: U8, plan: BodyPlan, scale: float) -> None:
    if not plan.facing:
        return
    x0, y0, x1, _ = (round(v * scale) for v in plan.box)
    middle, reach = (x0 + x1) // 2, (x1 - x0) // 4
    y = max(y0 - 12, 60)
    for colour, thick in (((0, 0, 0), 6), (_INK, 3)):
        cv2.arrowedLine(
            drawn,
            (middle - plan.facing * reach, y),
            (middle + plan.facing * reach, y),
            colour,
            thick,
            cv2.LINE_AA,
            tipLength=0.2,
        )


def _write(drawn: U8, text: str, at: tuple[int, int]) -> None:
    x = min(at[0], max(4, drawn.shape[1] - 10 * len(text)))
    y = int(np.clip(at[1], 14, drawn.shape[0] - 6))
    for colour, thick in (((0, 0, 0), 4), (_INK, 1)):
        cv2.putText(drawn, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.55, colour, thick, cv2.LINE_AA)
