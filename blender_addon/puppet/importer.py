# SPDX-License-Identifier: GPL-3.0-or-later
"""A puppet as a Blender scene: collections, rig, points, display, camera, one Action per
performance.

What belongs together is written into a custom property of the armature (object pointers,
performances, provenance): it survives saving, appending and duplicating, and `find_puppets` reads
it back without any other state.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from restage4d.errors import InputError
from restage4d.finding import Finding
from restage4d.puppet import Puppet
from restage4d.skeleton.body_parts import BodyPart

from ..session.steps import Steps, drain, in_thread
from ..skeleton.contact_list import read_contacts
from . import actions, builder, camera, markers
from .animation import layers
from .in_scene import index
from .playback import pose

KEY = index.KEY
BLEND = "Restage4D "  # NLA tracks by `nla.blend` begin so
SLOTS = (actions.SLOT, camera.SLOT, camera.SLOT)  # of what `get_animated` gives
_STANDING = ("location", "rotation_quaternion", "lens", "shift_x", "shift_y")


@dataclass
class ImportedPerformance:
    """One performance in the scene; ``n_frames`` are from scene frame `actions.FIRST_FRAME` on,
    ``size`` is (width, height)."""

    name: str
    action: bpy.types.Action
    fps: float
    n_frames: int
    size: tuple[int, int]
    aspect: float
    prompt: str
    footage: bpy.types.Image | None


@dataclass
class ImportedPuppet:
    """The parts of a puppet in Blender. All are data-blocks.

    Attributes:
        root: of the whole shot: moves subject, background and camera together, and may scale them.
            None only in a file from before, linked from a library.
        armature: one bone per basis; moving it moves the whole subject.
        points: vertex-only mesh; evaluated, its ``position`` and ``rotation`` are Eq. 1 of the
            bones.
        bases_frames: the helper mesh between the two.
        splats: shows ``points``; mode and size are inputs of its modifiers "Viewport" and "Render".
        background, background_splats: the static Gaussians, None where there are none.
        camera: the clip's camera.
        performances: in the file's order.
        about: provenance, metrics, metres_per_unit, findings and body of the puppet.
        standing: where the camera stood and what its lens was when it came in, by data path.
    """

    root: bpy.types.Object | None
    armature: bpy.types.Object
    points: bpy.types.Object
    bases_frames: bpy.types.Object
    splats: bpy.types.Object
    background: bpy.types.Object | None
    background_splats: bpy.types.Object | None
    camera: bpy.types.Object
    performances: list[ImportedPerformance]
    about: dict[str, Any]
    standing: dict[str, Any] = field(default_factory=dict)

    @property
    def collection(self) -> bpy.types.Collection | None:
        """The one that holds all of it."""
        mine = {self.armature.name, self.points.name}
        return next((c for c in bpy.data.collections if mine <= set(c.all_objects.keys())), None)

    def performance(self, name: str) -> ImportedPerformance:
        """The performance of that name. Raises KeyError with the names there are."""
        for p in self.performances:
            if p.name == name:
                return p
        raise KeyError(f"no performance {name!r}; there are {[p.name for p in self.performances]}")

    def get_actions(self) -> list[bpy.types.Action]:
        """Of the performances."""
        return [p.action for p in self.performances]


def import_puppet(puppet: Puppet, **options: Any) -> ImportedPuppet:
    """All of `import_steps` at once, with the same arguments."""
    return drain(import_steps(puppet, **options))


def import_steps(
    puppet: Puppet,
    *,
    name: str,
    footage: dict[str, Path] | None = None,
    collection: bpy.types.Collection | None = None,
    set_up_scene: bool = True,
    shown: bool = True,
) -> Steps[ImportedPuppet]:
    """Builds the puppet in the current scene; the last performance, the newest restaging, plays.
    Ended early, it leaves nothing.

    Args:
        puppet: checked here, before anything is built.
        name: of the collection ("Restage4D <name>") and of everything in it.
        footage: performance name to movie file or folder of numbered frames in playing order, shown
            behind the camera.
        collection: parent of the new collection; the scene's own by default.
        set_up_scene: sets frame range, rate, picture size, camera and colour management of the
            scene as filmed.
        shown: whether ellipsoids show in viewports, for where nobody draws Gaussians.

    Raises:
        InputError: the puppet is invalid, its bases are no rotations, or footage is missing or of
            no performance.
    """
    ready = yield from in_thread((0, 100), lambda: builder.prepare(puppet, name))
    files = {key: camera.find_footage(Path(path)) for key, path in (footage or {}).items()}
    names = [p.name for p in puppet.performances]
    for key in files:
        if key not in names:
            raise InputError(
                f"There is footage for {key!r}, but no such performance.",
                f"The puppet has {', '.join(names)}.",
            )

    if bpy.context.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    parent = collection or bpy.context.scene.collection
    parts = yield from builder.build_steps(puppet, ready, name, files, parent, shown=shown)
    performances = []
    for p in puppet.performances:
        aspect = float(np.median(p.K[:, 0, 0] / p.K[:, 1, 1]))
        action, image = parts.actions[p.name], parts.footage.get(p.name)
        performances.append(
            ImportedPerformance(p.name, action, p.fps, p.n_frames, p.size, aspect, p.prompt, image)
        )
    about = {
        "metres_per_unit": puppet.metres_per_unit,
        "provenance": puppet.provenance,
        "metrics": puppet.metrics,
        "findings": puppet.findings,
        "body": puppet.body,
    }
    filming = (parts.camera, camera.get_lens(parts.camera))
    standing = {k: v for x in filming for k, v in pose.read_values(x, _STANDING).items()}
    imported = ImportedPuppet(
        parts.root,
        parts.armature,
        parts.points,
        parts.frames,
        parts.splats,
        parts.background,
        parts.background_splats,
        parts.camera,
        performances,
        about,
        standing=standing,
    )
    remember(imported)
    activate(imported, performances[-1].name, scene=bpy.context.scene if set_up_scene else None)
    if set_up_scene:
        set_filmed_colors(bpy.context.scene)
    return imported


def activate(imported: ImportedPuppet, performance: str, *, scene: bpy.types.Scene | None) -> None:
    """Plays a performance on bones and camera, shows its footage and marks what was found in it;
    ``scene``, if given, gets its frames, rate and picture.

    What `nla.blend` laid into the NLA is muted. An Action of the artist's that played instead is
    kept, also without users.
    """
    p, mine = imported.performance(performance), imported.get_actions()
    for track in find_blended_tracks(imported):
        track.mute = True
    for owner in get_animated(imported):
        played = actions.find_played(owner)[0]
        if played is not None and played not in mine and not layers.is_layer(played):
            played.use_fake_user = True
    play(imported, p)
    camera.show_footage(imported.camera, p.footage)
    mark(imported, p)
    if scene is not None:
        frame_scene(imported, p, scene)
        scene.frame_set(actions.FIRST_FRAME)


def mark(imported: ImportedPuppet, performance: ImportedPerformance) -> None:
    """Shows on the timeline what was found in a performance, and where feet stand."""
    p = performance
    spans = [(f"{c.part} down", c.first, c.last) for c in read_contacts(imported.armature, p.name)]
    for holder in imported.armature.users_scene:
        found = imported.about["findings"]
        markers.mark_findings(holder, imported.armature, found, p.name, p.n_frames, spans)


def frame_scene(
    imported: ImportedPuppet, performance: ImportedPerformance, scene: bpy.types.Scene
) -> None:
    """The shot's picture size, rate, range and camera for the scene; the current frame stays."""
    p = performance
    camera.frame_scene(scene, p.n_frames, p.fps, p.size, p.aspect)
    scene.camera = imported.camera


def get_animated(
    imported: ImportedPuppet,
) -> tuple[actions.Animated, ...]:
    """What a performance moves: bones, camera and lens."""
    return imported.armature, imported.camera, camera.get_lens(imported.camera)


def read_pose(imported: ImportedPuppet) -> list[dict[str, Any]]:
    """What keys can move, as it stands now: of bones, camera and lens."""
    values = []
    for owner, name in zip(get_animated(imported), SLOTS, strict=True):
        paths = {path for path, _ in pose.find_channels(owner, imported.get_actions(), name)}
        if owner == imported.armature:
            paths |= pose.find_transforms(imported.armature).keys()
        values.append(pose.read_values(owner, paths))
    return values


def write_pose(imported: ImportedPuppet, values: list[dict[str, Any]]) -> None:
    """Puts back what `read_pose` read; what a key holds at this frame stands so already."""
    for owner, mine in zip(get_animated(imported), values, strict=True):
        pose.write_values(owner, mine)


def describe_moved_bones(imported: ImportedPuppet) -> str:
    """Names of the first bones that the artist moved without a key: they show, but are in no
    performance. Empty where there are none."""
    action, playing = layers.find_performed(imported.armature), imported.get_actions()
    if action is not None and action in playing:
        over = layers.find_layers(imported.armature, action)
        playing = [action, *(layer.action for layer in over)]
    held = pose.find_channels(imported.armature, playing, actions.SLOT)
    names = pose.find_moved_bones(imported.armature, held)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def find_blended_tracks(imported: ImportedPuppet) -> list[bpy.types.NlaTrack]:
    """The NLA tracks that `nla.blend` made."""
    tracks = [
        t
        for o in get_animated(imported)
        if o.animation_data is not None
        for t in o.animation_data.nla_tracks
    ]
    return [t for t in tracks if t.name.startswith(BLEND)]


def play(imported: ImportedPuppet, performance: ImportedPerformance) -> None:
    """Plays a performance's Action on bones, camera and lens, under its layers, and puts to rest
    what it has no keys for: every bone's transform, and whatever else another performance keys.

    A camera or lens that no performance moves keeps an Action that the artist gave it.
    """
    mine = imported.get_actions()
    for owner, name in zip(get_animated(imported), SLOTS, strict=True):
        slot = actions.find_slot(performance.action, owner, name)
        own = actions.find_channels(performance.action, slot) if slot is not None else set()
        if owner == imported.armature and layers.play(imported.armature, performance.action):
            pass
        elif slot is not None:
            actions.play(owner, performance.action, slot)
        elif actions.find_played(owner)[0] in mine:
            actions.play(owner, None, None)
        free = pose.find_channels(owner, mine, name) - own
        resting: Mapping[str, Any] = imported.standing
        if owner == imported.armature:
            resting = pose.find_transforms(imported.armature)
            free |= {(path, i) for path, rest in resting.items() for i in range(len(rest))} - own
        pose.put_to_rest(owner, free, resting)


def set_filmed_colors(scene: Any) -> None:
    """Colours come out as in the video, and a view ray gets through as many soft splats as lie on
    it."""
    scene.view_settings.view_transform = "Standard"
    scene.view_settings.look = "None"
    scene.display.shading.light, scene.display.shading.color_type = "FLAT", "VERTEX"
    scene.cycles.transparent_max_bounces = 1024


def find_puppets(scene: bpy.types.Scene | None) -> list[ImportedPuppet]:
    """The puppets in a scene, also in a .blend that was loaded, or whose puppets were appended or
    duplicated."""
    return [recall(armature) for armature in index.find_armatures(scene)]


def find_selected_puppet(context: bpy.types.Context) -> ImportedPuppet | None:
    """The puppet of the active object, or the scene's only one."""
    puppets = find_puppets(context.scene)
    active = context.active_object
    mine = [
        p
        for p in puppets
        if active in [p.armature, *(getattr(p, part) for part in PARTS)]
        or (active is not None and active == p.armature.get("restage4d_proxy"))
    ]
    if active is None or (not mine and len(puppets) == 1):
        mine = puppets
    return mine[0] if len(mine) == 1 else None


PARTS = ("root", "points", "bases_frames", "splats", "background", "background_splats", "camera")


def remember(imported: ImportedPuppet) -> None:
    """Writes what belongs together into the armature, see `KEY`."""
    records = [finding.to_record() for finding in imported.about["findings"]]
    body = [part.to_record() for part in imported.about["body"]]
    about = imported.about | {"findings": records, "body": body}
    said = {"about": about, "standing": imported.standing, "performances": []}
    pointers = {
        part: getattr(imported, part) for part in PARTS if getattr(imported, part) is not None
    }
    for i, p in enumerate(imported.performances):
        values = {
            "name": p.name,
            "fps": p.fps,
            "n_frames": p.n_frames,
            "size": p.size,
            "aspect": p.aspect,
            "prompt": p.prompt,
        }
        said["performances"].append(values)
        pointers[f"action_{i}"] = p.action
        if p.footage is not None:
            pointers[f"footage_{i}"] = p.footage
    imported.armature[KEY] = {"said": json.dumps(said), **pointers}


def recall(armature: bpy.types.Object) -> ImportedPuppet:
    """The puppet that an armature with the custom property `KEY` belongs to."""
    kept = armature[KEY]
    said = _read_said(kept["said"])
    performances = [
        ImportedPerformance(
            **{**p, "size": tuple(p["size"])},
            action=kept[f"action_{i}"],
            footage=kept.get(f"footage_{i}"),
        )
        for i, p in enumerate(said["performances"])
        if kept.get(f"action_{i}") is not None  # an Action may have been deleted
    ]
    return ImportedPuppet(
        armature=armature,
        performances=performances,
        about=said["about"],
        standing=said.get("standing", {}),
        **{part: kept.get(part) for part in PARTS},
    )


@functools.lru_cache(maxsize=32)  # panels and buttons ask for it many times a redraw
def _read_said(text: str) -> dict[str, Any]:
    said = json.loads(text)
    records = said["about"].get("findings", [])  # puppets of before have none
    said["about"]["findings"] = [Finding.from_record(record) for record in records]
    body = said["about"].get("body", [])
    said["about"]["body"] = [BodyPart.from_record(record) for record in body]
    return said
