# SPDX-License-Identifier: GPL-3.0-or-later
"""Driving videos that were made to be looked at, kept in the scene with their figures, and the one
that the artist picked."""

from pathlib import Path

import bpy

from restage4d.defaults import DRAFT_DRIVER

from .properties import (
    RESTAGE4D_PG_shot,
    RESTAGE4D_PG_take,
    get_head,
    make_first_frame_key,
)
from .session.models import WatchedJob


def make_key(chosen: RESTAGE4D_PG_shot) -> str:
    """What a driving video is made for: another shot, prompt, provider or head needs another
    one."""
    head = get_head(chosen) if chosen.provider == DRAFT_DRIVER else None
    said = () if head is None else (f"{head[0]:.1f} {head[1]:.1f}",)
    return "\n".join((make_first_frame_key(chosen), chosen.prompt.strip(), chosen.provider, *said))


def find_valid(chosen: RESTAGE4D_PG_shot) -> list[RESTAGE4D_PG_take]:
    """The takes of what is chosen now."""
    return list(chosen.takes) if chosen.takes_for == make_key(chosen) else []


def find_picked(chosen: RESTAGE4D_PG_shot) -> RESTAGE4D_PG_take | None:
    """The take that the artist picked, where its file is there."""
    found = next((take for take in find_valid(chosen) if take.number == chosen.take), None)
    return found if found is not None and Path(bpy.path.abspath(found.path)).is_file() else None


def keep(chosen: RESTAGE4D_PG_shot, job: WatchedJob) -> None:
    """Keeps the driving videos of a finished job, the best by score picked."""
    chosen.takes.clear()
    for candidate in job.candidates:
        take = chosen.takes.add()
        take.number, take.path = candidate.number, str(candidate.path)
        for name, value in candidate.figures.items():
            setattr(take, name, value)
    chosen.takes_by, chosen.takes_prompt = job.made_by, job.refined_prompt
    chosen.take = max(job.candidates, key=lambda c: c.figures["score"]).number


def describe(take: RESTAGE4D_PG_take) -> list[str]:
    """A take's figures in words."""
    return [
        f"First frame: {take.seam:.0f} dB" if take.seam < 60 else "First frame: the same",
        f"Camera moves {take.camera:.1f} px" if take.camera >= 0.05 else "Camera stands still",
        f"Subject kept: {take.subject:.0%}",
        f"Can be followed: {take.tracks:.0%}",
    ]
