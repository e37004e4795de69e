# SPDX-License-Identifier: GPL-3.0-or-later
"""What the artist chose in a scene, as requests to the session."""

import functools
from dataclasses import dataclass
from pathlib import Path

import bpy

from restage4d.defaults import DRAFT_DRIVER
from restage4d.driving.draft.prompt import parse
from restage4d.errors import InputError

from . import corrections, runtime, takes
from .properties import RESTAGE4D_PG_shot, get_head
from .session.models import PRIORS, Fault, Order


def make_order(chosen: RESTAGE4D_PG_shot) -> Order:
    """A restaging, with the artist's own driving video, with the take that was picked, or with what
    the draft driver makes."""
    order = make_driving_order(chosen)
    order.candidates, order.refined_prompt = 1, ""
    shot = runtime.session().shot
    if shot is not None:
        folder = Path(bpy.app.tempdir)
        order.corrections = corrections.write_pictures(chosen, shot.size, folder)
    if chosen.source == "FILE":
        order.driving = Path(bpy.path.abspath(chosen.driving))
    elif (take := takes.find_picked(chosen)) is not None:
        order.driving = Path(bpy.path.abspath(take.path))
        order.made_by, order.refined_prompt = chosen.takes_by, chosen.takes_prompt
    return order


def make_driving_order(chosen: RESTAGE4D_PG_shot) -> Order:
    """Driving videos alone."""
    return Order(
        prompt=chosen.prompt.strip(),
        selection=get_place(chosen),
        provider=chosen.provider,
        head=get_head(chosen) if chosen.provider == DRAFT_DRIVER else None,
        refined_prompt=get_refined_prompt(chosen),
        candidates=1 if chosen.provider == DRAFT_DRIVER else chosen.candidates,
        priors={
            kind: getattr(chosen, kind)
            for kind, usual in PRIORS.items()
            if getattr(chosen, kind) != usual
        },
        quality=chosen.quality,
        longer_side=chosen.longer_side,
    )


def get_place(chosen: RESTAGE4D_PG_shot) -> dict[str, tuple[float, ...]]:
    """The subject's place as `Order.selection`."""
    if chosen.selection == "POINT":
        return {"point": tuple(chosen.place[:2])}
    return {"box": tuple(chosen.place)} if chosen.selection == "BOX" else {}


def select_subject(chosen: RESTAGE4D_PG_shot) -> None:
    """Asks for the subject where the artist pointed."""
    runtime.session().select(get_place(chosen))


def get_refined_prompt(chosen: RESTAGE4D_PG_shot) -> str:
    """The refined prompt of the provider and prompt that are chosen now; empty where there is none
    yet."""
    return (
        chosen.refined.strip()
        if chosen.refined_for == make_refinement_key(chosen.provider, chosen.prompt)
        else ""
    )


def make_refinement_key(provider: str, prompt: str) -> str:
    """What a refined prompt is for: another provider or prompt needs another one."""
    return f"{provider}\n{prompt.strip()}"


@dataclass(frozen=True)
class DraftScript:
    """What the draft driver makes of a prompt.

    Attributes:
        actions: what will be acted, in words and seconds, in the order of its start.
        left_out: words that it does not understand.
        fault: why nothing can be acted.
    """

    actions: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    fault: Fault | None = None


@functools.lru_cache(maxsize=16)  # a panel is drawn many times
def read_draft_prompt(prompt: str) -> DraftScript:
    """Reads a prompt as the draft driver will."""
    try:
        directions = parse(prompt)
    except InputError as error:
        return DraftScript(fault=Fault.of(error))
    return DraftScript(tuple(directions.describe().split("; ")), directions.ignored)
