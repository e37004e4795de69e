# SPDX-License-Identifier: GPL-3.0-or-later
"""A puppet as a Blender scene: collections, rig, points, display, camera, one Action per performance.

What belongs together is written into a custom property of the armature (object pointers, performances, provenance): it
survives saving, appending and duplicating, and `find_puppets` reads it back without any other state.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from restage4d.errors import InputError
from restage4d.puppet import Gaussians, Puppet, check

from . import camera, compat, nodes, rig, splats

KEY = "restage4d"
BLEND = "Restage4D "  # NLA tracks by `mixing.blend` begin so


@dataclass
class ImportedPerformance:
    """One performance in the scene; ``n_frames`` are from scene frame `rig.FIRST_FRAME` on, ``size`` is (width, height)."""

    name: str
    action: Any
    fps: float
    n_frames: int
    size: tuple[int, int]
    aspect: float
    prompt: str
    footage: Any | None


@dataclass
class ImportedPuppet:
    """The parts of a puppet in Blender. All are data-blocks; ``collection`` may be None after appending.

    Attributes:
        armature: one bone per basis; moving it moves the whole subject.
        points: vertex-only mesh; evaluated, its ``position`` and ``rotation`` are Eq. 1 of the bones.
        bases_frames: the helper mesh between the two.
        splats: shows ``points``; mode and size are inputs of its modifiers "Viewport" and "Render".
        background, background_splats: the static Gaussians, None where there are none.
        camera: the clip's camera.
        performances: in the file's order.
        about: provenance, metrics and metres_per_unit of the puppet.
    """

    armature: Any
    points: Any
    bases_frames: Any
    splats: Any
    background: Any | None
    background_splats: Any | None
    camera: Any
    performances: list[ImportedPerformance]
    about: dict[str, Any]
    collection: Any | None = None

    def performance(self, name: str) -> ImportedPerformance:
        """The performance of that name. Raises KeyError with the names there are."""
        for p in self.performances:
            if p.name == name:
                return p
        raise KeyError(f"no performance {name!r}; there are {[p.name for p in self.performances]}")


def import_puppet(
    puppet: Puppet,
    *,
    name: str,
    footage: dict[str, Path] | None = None,
    collection: Any | None = None,
    set_up_scene: bool = True,
) -> ImportedPuppet:
    """Builds the puppet in the current scene; the last performance, the newest restaging, plays.

    Args:
        puppet: checked here, before anything is built.
        name: of the collection ("Restage4D <name>") and of everything in it.
        footage: performance name to movie file or folder of numbered frames in playing order, shown behind the camera.
        collection: parent of the new collection; the scene's own by default.
        set_up_scene: sets frame range, rate, picture size, camera and colour management of the scene as filmed.

    Raises:
        InputError: the puppet is invalid, its bases are no rotations, or footage is missing or of no performance.
    """
    check(puppet, f"the puppet {name!r}")
    for p in puppet.performances:
        rig.check_bases(p)
    files = {key: camera.find_footage(Path(path)) for key, path in (footage or {}).items()}
    names = [p.name for p in puppet.performances]
    for key in files:
        if key not in names:
            raise InputError(f"There is footage for {key!r}, but no such performance.", f"The puppet has {', '.join(names)}.")

    if bpy.context.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    top = bpy.data.collections.new(f"Restage4D {name}")
    (collection or bpy.context.scene.collection).children.link(top)
    parts = {part: bpy.data.collections.new(f"{name} {part}") for part in ("subject", "rig", "background", "camera")}
    for part in parts.values():
        top.children.link(part)

    armature = rig.add_armature(name, puppet, parts["rig"])
    frames = rig.add_bases_frames(name, armature, parts["rig"])
    points = _add_points(f"{name} points", puppet.subject, parts["subject"], armature)
    splats.write_vertex_groups(points, rig.bone_names(armature), puppet.index, puppet.weight)
    splats.write_influences(points.data, puppet.index, puppet.weight)
    splats.write_regions(points.data, rig.region_of_bases(armature), rig.region_colors(armature))
    eq1 = points.modifiers.new("Eq. 1", "NODES")
    eq1.node_group = nodes.skinning(puppet.index.shape[1])
    compat.set_input(eq1, "Bases", frames)
    display = nodes.display()
    shown = _add_display(f"{name} splats", points, display, parts["subject"])
    background = background_shown = None
    if len(puppet.background):
        background = _add_points(f"{name} background points", puppet.background, parts["background"], None)
        background.hide_viewport = True  # its box would frame everything; what shows it finds it all the same
        background_shown = _add_display(f"{name} background", background, display, parts["background"])

    filming = camera.add_camera(name, puppet.performances, _reach(puppet), parts["camera"])
    pose, lens = camera.moves(puppet.performances)
    performances = []
    for p in puppet.performances:
        action = rig.add_action(f"{name} {p.name}", p.n_frames)
        rig.write_performance(action, armature, p, puppet.performances[0])
        camera.write_performance(action, filming, p, pose=pose, lens=lens)
        image = camera.add_footage(filming, f"{name} {p.name}", files[p.name], p.n_frames) if p.name in files else None
        aspect = float(np.median(p.K[:, 0, 0] / p.K[:, 1, 1]))
        performances.append(ImportedPerformance(p.name, action, p.fps, p.n_frames, p.size, aspect, p.prompt, image))
    about = {"metres_per_unit": puppet.metres_per_unit, "provenance": puppet.provenance, "metrics": puppet.metrics}
    imported = ImportedPuppet(
        armature, points, frames, shown, background, background_shown, filming, performances, about, collection=top
    )
    _remember(imported)
    activate(imported, performances[-1].name, scene=bpy.context.scene if set_up_scene else None)
    if set_up_scene:
        as_filmed(bpy.context.scene)
    return imported


def activate(imported: ImportedPuppet, performance: str, *, scene: Any | None) -> None:
    """Plays a performance on bones and camera and shows its footage; ``scene``, if given, gets its frames, rate and picture.

    What `mixing.blend` laid into the NLA is muted.
    """
    p = imported.performance(performance)
    for track in blended_tracks(imported):
        track.mute = True
    play(imported, p)
    camera.show_footage(imported.camera, p.footage)
    if scene is not None:
        camera.frame_scene(scene, p.n_frames, p.fps, p.size, p.aspect)
        scene.camera = imported.camera
        scene.frame_set(rig.FIRST_FRAME)


def animated(imported: ImportedPuppet) -> tuple[Any, Any, Any]:
    """What a performance moves: bones, camera and lens."""
    return imported.armature, imported.camera, imported.camera.data


def blended_tracks(imported: ImportedPuppet) -> list[Any]:
    """The NLA tracks that `mixing.blend` made."""
    tracks = [t for o in animated(imported) if o.animation_data is not None for t in o.animation_data.nla_tracks]
    return [t for t in tracks if t.name.startswith(BLEND)]


def play(imported: ImportedPuppet, performance: ImportedPerformance) -> None:
    """Plays a performance's Action on bones, camera and lens; where it has no channels for one, that stands still."""
    rig.use_action(imported.armature, performance.action, rig.SLOT)
    rig.use_action(imported.camera, performance.action, camera.SLOT)
    rig.use_action(imported.camera.data, performance.action, camera.SLOT)


def as_filmed(scene: Any) -> None:
    """Colours come out as in the video, and a view ray gets through as many soft splats as lie on it."""
    scene.view_settings.view_transform = "Standard"
    scene.view_settings.look = "None"
    scene.display.shading.light, scene.display.shading.color_type = "FLAT", "VERTEX"
    scene.cycles.transparent_max_bounces = 1024


def find_puppets(scene: Any) -> list[ImportedPuppet]:
    """The puppets in a scene, also in a .blend that was loaded, or whose puppets were appended or duplicated."""
    return [recall(obj) for obj in scene.objects if obj.type == "ARMATURE" and KEY in obj and obj[KEY].get("points") is not None]


def selected_puppet(context: Any) -> ImportedPuppet | None:
    """The puppet of the active object, or the scene's only one."""
    puppets = find_puppets(context.scene)
    active = context.active_object
    mine = [p for p in puppets if active in (p.armature, p.points, p.splats, p.background, p.background_splats, p.camera)]
    if active is None or (not mine and len(puppets) == 1):
        mine = puppets
    return mine[0] if len(mine) == 1 else None


_PARTS = ("points", "bases_frames", "splats", "background", "background_splats", "camera")


def _remember(imported: ImportedPuppet) -> None:
    said = {"about": imported.about, "performances": []}
    pointers = {part: getattr(imported, part) for part in _PARTS if getattr(imported, part) is not None}
    for i, p in enumerate(imported.performances):
        values = {"name": p.name, "fps": p.fps, "n_frames": p.n_frames, "size": p.size, "aspect": p.aspect, "prompt": p.prompt}
        said["performances"].append(values)
        pointers[f"action_{i}"] = p.action
        if p.footage is not None:
            pointers[f"footage_{i}"] = p.footage
    imported.armature[KEY] = {"said": json.dumps(said), **pointers}


def recall(armature: Any) -> ImportedPuppet:
    """The puppet that an armature with the custom property `KEY` belongs to."""
    kept = armature[KEY]
    said = json.loads(kept["said"])
    performances = [
        ImportedPerformance(**{**p, "size": tuple(p["size"])}, action=kept[f"action_{i}"], footage=kept.get(f"footage_{i}"))
        for i, p in enumerate(said["performances"])
        if kept.get(f"action_{i}") is not None  # an Action may have been deleted
    ]
    mine = {armature.name, kept["points"].name}
    collection = next((c for c in bpy.data.collections if mine <= set(c.all_objects.keys())), None)
    return ImportedPuppet(
        armature=armature,
        performances=performances,
        about=said["about"],
        collection=collection,
        **{part: kept.get(part) for part in _PARTS},
    )


def _add_points(name: str, gaussians: Gaussians, collection: Any, parent: Any | None) -> Any:
    obj = bpy.data.objects.new(name, splats.points_mesh(name, gaussians))
    obj.display_type = "BOUNDS"  # its display is another object; a mesh of vertices would be drawn as black dots
    obj.parent = parent
    collection.objects.link(obj)
    return obj


def _add_display(name: str, points: Any, tree: Any, collection: Any) -> Any:
    obj = bpy.data.objects.new(name, splats.ball_mesh(name))
    for use, mode in (("Viewport", "Ellipsoids"), ("Render", "Splats")):
        modifier = obj.modifiers.new(use, "NODES")
        modifier.node_group = tree
        compat.set_input(modifier, "Points", points)
        compat.set_input(modifier, "Mode", mode)
        modifier.show_viewport, modifier.show_render = use == "Viewport", use == "Render"
    obj.parent = points
    obj.hide_select = True
    collection.objects.link(obj)
    return obj


def _reach(puppet: Puppet) -> float:
    """How far anything is from any camera, at most."""
    eyes = np.concatenate([camera.pose_curves(p.w2c)[0] for p in puppet.performances])
    places = [puppet.subject.means, puppet.background.means, *(p.bases[..., 6:].reshape(-1, 3) for p in puppet.performances)]
    corners = np.stack([np.min([x.min(0) for x in places if len(x)], 0), np.max([x.max(0) for x in places if len(x)], 0)])
    return float(np.linalg.norm(np.abs(corners[:, None] - eyes).max(0), axis=1).max()) + 1e-3
