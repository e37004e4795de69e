# SPDX-License-Identifier: GPL-3.0-or-later
"""What the artist chose, kept in the scene: saved with the .blend, so that it goes on tomorrow
where it was left."""

import bpy

from . import takes
from .session.models import DRAFT, PRIORS

QUALITIES = (
    ("draft", "Draft", "To look at within minutes: small and rough"),
    ("default", "Default", "Good for most shots"),
    (
        "high",
        "High",
        "Sharper where the clip shows the subject, a little worse where it does not; takes "
        "several times as long",
    ),
)
SELECTIONS = (
    ("MOTION", "What Moves", "The subject is what moves in the shot"),
    ("POINT", "Point", "The subject is at a point of the first frame"),
    ("BOX", "Box", "The subject is inside a box of the first frame"),
)
SOURCES = (
    ("PROMPT", "From the Prompt", "A driving video is made from the first frame and the prompt"),
    ("FILE", "My Own Video", "A driving video of yours that begins with the shot's first frame"),
)


class RESTAGE4D_PG_shot(bpy.types.PropertyGroup):
    """One restaging of one shot."""

    video: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Video", description="The filmed shot", subtype="FILE_PATH"
    )
    use_range: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Part of It", description="Use a part of the video only"
    )
    first_frame: bpy.props.IntProperty(  # type: ignore[valid-type]
        name="First",
        description="First frame used; it is where the new performance begins",
        min=1,
        default=1,
    )
    last_frame: bpy.props.IntProperty(  # type: ignore[valid-type]
        name="Last", description="Last frame used", min=2, default=100
    )
    selection: bpy.props.EnumProperty(name="Subject", items=SELECTIONS)  # type: ignore[valid-type]
    place: bpy.props.FloatVectorProperty(  # type: ignore[valid-type]
        name="Place",
        description=(
            "Of the subject in the first frame, in the video's pixels: x, y or left, top, right, "
            "bottom"
        ),
        size=4,
    )
    prompt: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Prompt",
        description="What the subject shall do instead",
        options={"TEXTEDIT_UPDATE"},
    )
    source: bpy.props.EnumProperty(name="Driving Video", items=SOURCES)  # type: ignore[valid-type]
    provider: bpy.props.StringProperty(name="Provider", default=DRAFT)  # type: ignore[valid-type]
    refined: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Refined Prompt",
        description="What the provider is asked for, word by word; change it as you like",
    )
    refined_for: bpy.props.StringProperty(description="Provider and prompt that it was refined for")  # type: ignore[valid-type]
    terms: bpy.props.StringProperty(description="What to know before, a line each")  # type: ignore[valid-type]
    candidates: bpy.props.IntProperty(  # type: ignore[valid-type]
        name="Takes",
        description="How many driving videos are made, to pick from",
        min=1,
        max=8,
        default=1,
    )
    driving_job: bpy.props.StringProperty(description="The making of driving videos that runs")  # type: ignore[valid-type]
    takes: bpy.props.CollectionProperty(type=takes.RESTAGE4D_PG_take)  # type: ignore[valid-type]
    takes_for: bpy.props.StringProperty()  # type: ignore[valid-type]  # see `takes.key`
    takes_by: bpy.props.StringProperty()  # type: ignore[valid-type]
    takes_prompt: bpy.props.StringProperty()  # type: ignore[valid-type]
    take: bpy.props.IntProperty(name="Take", description="The driving video that is used")  # type: ignore[valid-type]
    masks: bpy.props.StringProperty(name="Masks", default=PRIORS["masks"])  # type: ignore[valid-type]
    cameras: bpy.props.StringProperty(name="Cameras", default=PRIORS["cameras"])  # type: ignore[valid-type]
    depth: bpy.props.StringProperty(name="Depth", default=PRIORS["depth"])  # type: ignore[valid-type]
    tracks: bpy.props.StringProperty(name="Tracks", default=PRIORS["tracks"])  # type: ignore[valid-type]
    driving: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Driving Video",
        description="It begins with the shot's first frame",
        subtype="FILE_PATH",
    )
    quality: bpy.props.EnumProperty(name="Quality", items=QUALITIES, default="default")  # type: ignore[valid-type]
    job: bpy.props.StringProperty(name="Job", description="The restaging that runs for this scene")  # type: ignore[valid-type]


def register() -> None:
    bpy.utils.register_class(takes.RESTAGE4D_PG_take)
    bpy.utils.register_class(RESTAGE4D_PG_shot)
    bpy.types.Scene.restage4d = bpy.props.PointerProperty(type=RESTAGE4D_PG_shot)


def unregister() -> None:
    del bpy.types.Scene.restage4d
    bpy.utils.unregister_class(RESTAGE4D_PG_shot)
    bpy.utils.unregister_class(takes.RESTAGE4D_PG_take)
