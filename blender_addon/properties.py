# SPDX-License-Identifier: GPL-3.0-or-later
"""What the artist chose, kept in the scene: saved with the .blend, so that it goes on tomorrow
where it was left."""

import bpy

from restage4d.defaults import DRAFT_DRIVER, LONGER_SIDE, QUALITY

from .languages import adopt
from .session.models import PRIORS

_NAME = "restage4d"  # of the scene's property; saved files have it
_FINDING = "restage4d_finding"  # of an armature's
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
WORKING_SIZE = (
    "Longer side, in pixels, at which shots are reconstructed; time grows with its square"
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
SCENE_USES = (
    (
        "AUTO",
        "Keep What Is Mine",
        "A scene as Blender starts gets the shot's size, rate, range, camera and colours; one with "
        "objects or settings of yours is kept",
    ),
    ("KEEP", "Keep My Scene", "The scene's settings stay as they are"),
    ("SHOT", "As Filmed", "The scene gets the shot's size, rate, range, camera and colours"),
)


class RESTAGE4D_PG_take(bpy.types.PropertyGroup):
    """A driving video. Figures as in restage4d.driving.candidates."""

    number: bpy.props.IntProperty()
    path: bpy.props.StringProperty(
        subtype="FILE_PATH",
        options={"PATH_SUPPORTS_BLEND_RELATIVE"},
    )
    seam: bpy.props.FloatProperty()
    camera: bpy.props.FloatProperty()
    subject: bpy.props.FloatProperty()
    tracks: bpy.props.FloatProperty()
    score: bpy.props.FloatProperty()


class RESTAGE4D_PG_correction(bpy.types.PropertyGroup):
    """A mask of a later frame, see `corrections`."""

    frame: bpy.props.IntProperty(description="Of the video, from 1")
    mask: bpy.props.PointerProperty(type=bpy.types.Image)


class RESTAGE4D_PG_shot(bpy.types.PropertyGroup):
    """One restaging of one shot."""

    video: bpy.props.StringProperty(
        name="Video",
        description="The filmed shot",
        subtype="FILE_PATH",
        options={"PATH_SUPPORTS_BLEND_RELATIVE"},
    )
    use_range: bpy.props.BoolProperty(name="Part of It", description="Use a part of the video only")
    first_frame: bpy.props.IntProperty(
        name="First",
        description="First frame used; it is where the new performance begins",
        min=1,
        default=1,
    )
    last_frame: bpy.props.IntProperty(
        name="Last", description="Last frame used", min=2, default=100
    )
    selection: bpy.props.EnumProperty(name="Subject", items=SELECTIONS)
    place: bpy.props.FloatVectorProperty(
        name="Place",
        description=(
            "Of the subject in the first frame, in the video's pixels: x, y or left, top, right, "
            "bottom"
        ),
        size=4,
    )
    corrections: bpy.props.CollectionProperty(type=RESTAGE4D_PG_correction)
    corrections_for: bpy.props.StringProperty(description="The video whose masks they are")
    correct_frame: bpy.props.IntProperty(
        name="Frame",
        description="Frame of the video, from 1, whose mask is to be corrected",
        min=2,
        default=2,
    )
    job_masks: bpy.props.StringProperty(description="File with the last restaging's masks")
    job_masks_for: bpy.props.StringProperty()  # see `make_first_frame_key`
    head: bpy.props.FloatVectorProperty(
        name="Head",
        description="Where the subject's head is in the first frame, in the video's pixels",
        size=2,
    )
    head_for: bpy.props.StringProperty()  # see `make_first_frame_key`; empty: nobody said
    prompt: bpy.props.StringProperty(
        name="Prompt",
        description="What the subject shall do instead",
        options={"TEXTEDIT_UPDATE"},
    )
    source: bpy.props.EnumProperty(name="Driving Video", items=SOURCES)
    provider: bpy.props.StringProperty(name="Provider", default=DRAFT_DRIVER)
    refined: bpy.props.StringProperty(
        name="Refined Prompt",
        description="What the provider is asked for, word by word; change it as you like",
    )
    refined_for: bpy.props.StringProperty(description="Provider and prompt that it was refined for")
    terms: bpy.props.StringProperty(description="What to know before, a line each")
    candidates: bpy.props.IntProperty(
        name="Takes",
        description="How many driving videos are made, to pick from",
        min=1,
        max=8,
        default=1,
    )
    driving_job: bpy.props.StringProperty(description="The making of driving videos that runs")
    takes: bpy.props.CollectionProperty(type=RESTAGE4D_PG_take)
    takes_for: bpy.props.StringProperty()  # see `takes.make_key`
    takes_by: bpy.props.StringProperty()
    takes_prompt: bpy.props.StringProperty()
    take: bpy.props.IntProperty(name="Take", description="The driving video that is used")
    masks: bpy.props.StringProperty(name="Masks", default=PRIORS["masks"])
    cameras: bpy.props.StringProperty(name="Cameras", default=PRIORS["cameras"])
    depth: bpy.props.StringProperty(name="Depth", default=PRIORS["depth"])
    tracks: bpy.props.StringProperty(name="Tracks", default=PRIORS["tracks"])
    driving: bpy.props.StringProperty(
        name="Driving Video",
        description="It begins with the shot's first frame",
        subtype="FILE_PATH",
        options={"PATH_SUPPORTS_BLEND_RELATIVE"},
    )
    quality: bpy.props.EnumProperty(name="Quality", items=QUALITIES, default=QUALITY)
    longer_side: bpy.props.IntProperty(
        name="Working Size",
        description=WORKING_SIZE,
        default=LONGER_SIDE,
        min=128,
        max=2048,
        subtype="PIXEL",
    )
    scene_use: bpy.props.EnumProperty(
        name="Scene",
        description="What becomes of the scene's settings when a puppet comes in",
        items=SCENE_USES,
    )
    job: bpy.props.StringProperty(name="Job", description="The restaging that runs for this scene")
    into: bpy.props.PointerProperty(
        type=bpy.types.Object, description="The puppet's armature that the restaging is for"
    )


def get_shot(scene: bpy.types.Scene | None) -> RESTAGE4D_PG_shot:
    """What the artist chose in a scene."""
    return getattr(scene, _NAME)


def get_first_frame(chosen: RESTAGE4D_PG_shot) -> int:
    """The first frame used, from 1."""
    return chosen.first_frame if chosen.use_range else 1


def make_first_frame_key(chosen: RESTAGE4D_PG_shot) -> str:
    """What was said of the first frame is for: another one needs it anew."""
    return f"{bpy.path.abspath(chosen.video)}\n{get_first_frame(chosen)}"


def get_head(chosen: RESTAGE4D_PG_shot) -> tuple[float, float] | None:
    """Where the head is in the first frame, in the video's pixels; None where nobody said."""
    here = chosen.head_for and chosen.head_for == make_first_frame_key(chosen)
    return (chosen.head[0], chosen.head[1]) if here else None


def set_head(chosen: RESTAGE4D_PG_shot, head: tuple[float, float] | None) -> None:
    """Says where the head is; None takes it back."""
    chosen.head = head or (0.0, 0.0)
    chosen.head_for = make_first_frame_key(chosen) if head is not None else ""


def find_open_finding(armature: bpy.types.Object) -> int:
    """Which of a puppet's findings the panel tells in full; -1 for none."""
    return getattr(armature, _FINDING)


def open_finding(armature: bpy.types.Object, index: int) -> None:
    """Lets the panel tell one of a puppet's findings in full."""
    setattr(armature, _FINDING, index)


def register() -> None:
    bpy.utils.register_class(adopt(RESTAGE4D_PG_take))
    bpy.utils.register_class(adopt(RESTAGE4D_PG_correction))
    bpy.utils.register_class(adopt(RESTAGE4D_PG_shot))
    setattr(bpy.types.Scene, _NAME, bpy.props.PointerProperty(type=RESTAGE4D_PG_shot))
    setattr(bpy.types.Object, _FINDING, bpy.props.IntProperty(default=-1))


def unregister() -> None:
    delattr(bpy.types.Object, _FINDING)
    delattr(bpy.types.Scene, _NAME)
    bpy.utils.unregister_class(RESTAGE4D_PG_shot)
    bpy.utils.unregister_class(RESTAGE4D_PG_correction)
    bpy.utils.unregister_class(RESTAGE4D_PG_take)
