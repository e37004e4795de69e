# SPDX-License-Identifier: GPL-3.0-or-later
"""How puppets look in the viewport: a property of the armature, ``restage4d_display``, and the
drawing of true Gaussians.

``mode``: Gaussians (drawn here, while the extension runs), Ellipsoids, Points or nothing;
``color``: as filmed, by region, or the weights of the selected bones; ``background``: whether the
static background shows. Ellipsoids and points are node trees and work everywhere; so that a file
opened without the extension shows something, Gaussians are saved as ellipsoids.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, cast

import bpy
from bpy.app.handlers import persistent

from restage4d.puppet import Puppet

from .. import compat, failures
from ..languages import adopt
from ..puppet import importer, rig, weights
from ..puppet.in_scene import index, migrate
from ..puppet.nodes import native_splats
from ..session import running_work
from ..session.steps import Steps
from . import filmed_angle
from .splat_drawing import RELIT, Shown, SplatDrawing

_NAME = "restage4d_display"  # of the armature's property; saved files have it
MODES = (
    (
        "GAUSSIANS",
        "Gaussians",
        "True Gaussian splatting, drawn by this extension; as in the final render",
    ),
    (
        "ELLIPSOIDS",
        "Ellipsoids",
        "Opaque ellipsoids; slower, but real geometry that any Blender shows",
    ),
    ("POINTS", "Points", "Points, the cheapest"),
    ("NOTHING", "Nothing", "Only bones, camera and bounds"),
)
COLORS = (
    ("FILMED", "Filmed", "Colours as in the video"),
    ("REGIONS", "Regions", "Each point in the colour of the region that moves it most"),
    (
        "WEIGHTS",
        "Weights",
        "How much the selected bones move each point, from blue (not at all) to red",
    ),
)


def _on_setting(settings: "RESTAGE4D_PG_display", context: bpy.types.Context) -> None:
    _do_for(cast(bpy.types.Object, settings.id_data), apply)
    if settings.mode in ("ELLIPSOIDS", "POINTS"):
        show_colors()


def show_colors() -> None:
    """Lets solid views that colour by material, as Blender's do at first, colour by attribute:
    ellipsoids and points would be grey, and meshes look as before."""
    for screen in bpy.data.screens:
        for area in screen.areas:
            for space in area.spaces:
                is_view = isinstance(space, bpy.types.SpaceView3D)
                if is_view and space.shading.color_type == "MATERIAL":
                    space.shading.color_type = "VERTEX"


class RESTAGE4D_PG_display(bpy.types.PropertyGroup):
    mode: bpy.props.EnumProperty(
        name="Display", items=MODES, default="ELLIPSOIDS", update=_on_setting
    )
    color: bpy.props.EnumProperty(name="Color", items=COLORS, update=_on_setting)
    background: bpy.props.BoolProperty(
        name="Background",
        description="Show the static background",
        default=True,
        update=_on_setting,
    )
    relight: bpy.props.BoolProperty(
        name="Lit by the Scene",
        description=(
            "Let the scene's lights and world shine on the Gaussians, on top of the light that was "
            "filmed; in views and playblasts, without shadows"
        ),
        update=_on_setting,
    )
    filmed_angle: bpy.props.BoolProperty(
        name="Filmed Angle",
        description=(
            "Tell in the view how far it is from where the subject was filmed, and draw the cone "
            "of places near to that: what no camera saw is a guess"
        ),
        update=_on_setting,
    )


def get_display(armature: bpy.types.Object) -> RESTAGE4D_PG_display:
    """How the puppet of an armature is shown."""
    return getattr(armature, _NAME)


def apply(imported: importer.ImportedPuppet) -> None:
    """Makes the display objects what the armature's ``restage4d_display`` says."""
    settings = get_display(imported.armature)
    _show(imported, settings.mode)
    if settings.color == "WEIGHTS":
        weights.show_weights(imported)
    _drawing.changed()


def import_steps(puppet: Puppet, **options: Any) -> Steps[importer.ImportedPuppet]:
    """`importer.import_steps`, shown as Gaussians."""
    imported = yield from importer.import_steps(puppet, **options, shown=False)
    get_display(imported.armature).mode = "GAUSSIANS"
    show_colors()  # a saved file shows ellipsoids
    return imported


def _show(imported: importer.ImportedPuppet, mode: str) -> None:
    settings = get_display(imported.armature)
    is_native = native_splats.is_available()
    for points, shown, color in (
        (imported.points, imported.splats, settings.color.title()),
        (imported.background, imported.background_splats, "Filmed"),
    ):
        if shown is None or points is None:
            continue
        absent = shown == imported.background_splats and not settings.background
        native = native_splats.ensure_native(points, shown) if is_native else None
        if native is not None:
            unseen = absent or not _is_drawn_by_blender(settings, mode)
            _hide(native, viewport=unseen, render=absent)
        if absent or native is not None or shown == imported.background_splats:
            _hide(shown, render=absent or native is not None)
        _hide(shown, viewport=absent or mode not in ("ELLIPSOIDS", "POINTS"))
        if not shown.hide_viewport:
            compat.set_input(shown.modifiers["Viewport"], "Mode", mode.title())
            compat.set_input(shown.modifiers["Viewport"], "Color", color)


def _hide(
    obj: bpy.types.Object, *, viewport: bool | None = None, render: bool | None = None
) -> None:
    """Sets what differs: setting alone makes Blender evaluate anew."""
    if viewport is not None and obj.hide_viewport != viewport:
        obj.hide_viewport = viewport
    if render is not None and obj.hide_render != render:
        obj.hide_render = render


def _is_drawn_by_blender(settings: RESTAGE4D_PG_display, mode: str) -> bool:
    """Whether Blender's own splats show in the viewport: as filmed. Colours of regions and weights
    and the scene's lights are drawn by this extension."""
    filmed = settings.color == "FILMED" and not settings.relight
    return mode == "GAUSSIANS" and filmed and native_splats.is_available()


def ensure_native_splats() -> None:
    """Gives every puppet Blender's own splats where it draws them: files of older ones have
    none."""
    _for_all("GAUSSIANS")


def _do_for(armature: bpy.types.Object, do: Callable[[importer.ImportedPuppet], Any]) -> None:
    """Something for the puppet of an armature; where the artist has taken it apart, that is told
    once and no other puppet suffers."""
    if armature.type != "ARMATURE" or importer.KEY not in armature:
        return
    about = f"show {armature.name}"
    try:
        if armature[importer.KEY].get("points") is not None:
            do(importer.recall(armature))
        failures.works_again(about)
    except Exception as error:
        failures.tell_once(about, f"Showing {armature.name!r}", error)


def _find_shown(context: bpy.types.Context) -> Shown:
    """As `find_gaussians`; the costly display is off while frames are stepped."""
    return [] if running_work.current is not None else find_gaussians(context)


def find_gaussians(context: bpy.types.Context) -> Shown:
    """The point objects whose Gaussians show in a 3D view."""
    shown: dict[bpy.types.Object, str] = {}  # copies of a puppet have one background
    for armature in index.find_armatures(context.scene):
        settings, kept = get_display(armature), armature[importer.KEY]
        if settings.mode != "GAUSSIANS" or _is_drawn_by_blender(settings, settings.mode):
            continue
        points, background = kept.get("points"), kept.get("background")  # None for deleted ones
        if points is not None and points.visible_get(
            view_layer=context.view_layer, viewport=context.space_data
        ):
            relit = settings.relight and settings.color == "FILMED"
            shown[points] = RELIT if relit else settings.color
        if (
            background is not None
            and settings.background
            and _is_in_sight(background, context.view_layer.layer_collection)
        ):
            shown[background] = RELIT if settings.relight else "FILMED"
    return list(shown.items())


def _is_in_sight(obj: bpy.types.Object, layer: bpy.types.LayerCollection) -> bool:
    """Whether an object lies in a collection that shows, whatever is set on the object itself.

    The scene's own collection always shows: Blender says otherwise of one in a scene made by *New*.
    """
    root = layer.collection == bpy.context.scene.collection
    if not root and (layer.exclude or not layer.is_visible):
        return False
    return obj.name in layer.collection.objects or any(
        _is_in_sight(obj, child) for child in layer.children
    )


def _fall_back(scene: bpy.types.Scene) -> None:
    """Shows ellipsoids, which always work, where no Gaussians can be drawn: soon, since a draw
    handler must not change the scene."""
    armatures = index.find_armatures(scene)
    bpy.app.timers.register(partial(_show_ellipsoids, armatures), first_interval=0.0)


def _show_ellipsoids(armatures: list[bpy.types.Object]) -> None:
    for armature in armatures:
        with suppress(ReferenceError):  # deleted meanwhile
            if get_display(armature).mode == "GAUSSIANS":
                get_display(armature).mode = "ELLIPSOIDS"


_drawing = SplatDrawing(_find_shown, _fall_back)


def _find_asking() -> list[bpy.types.Object]:
    """The armatures whose filmed angle is to be told; none while frames are stepped."""
    if running_work.current is not None:
        return []
    armatures = index.find_armatures(bpy.context.scene)
    return [armature for armature in armatures if get_display(armature).filmed_angle]


def _draw_filmed_angles() -> None:
    """A draw handler: of every puppet that asks for it, in words."""
    for line, armature in enumerate(_find_asking()):
        _do_for(armature, partial(filmed_angle.draw, context=bpy.context, line=line))


def _draw_filmed_cones() -> None:
    """As `_draw_filmed_angles`, in the space of the scene."""
    for armature in _find_asking():
        _do_for(armature, partial(filmed_angle.draw_cone, context=bpy.context))


@persistent
def _on_update(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph | None = None) -> None:
    _drawing.changed()
    if not isinstance(scene, bpy.types.Scene) or not _may_write():
        return
    for armature in index.find_armatures(scene):
        if get_display(armature).color == "WEIGHTS":
            _do_for(armature, weights.show_weights)


def _may_write() -> bool:
    """Whether the scene may be changed: handlers are also called by the thread of a render."""
    return threading.current_thread() is threading.main_thread()


@persistent
def _on_frame(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph | None = None) -> None:
    _drawing.changed()


@persistent
def _on_save(*_: object) -> None:
    if native_splats.is_available():
        return  # the file shows splats by itself
    _thumbnails.put_off()
    _for_all("ELLIPSOIDS")


@persistent
def _on_saved(*_: object) -> None:
    _for_all("GAUSSIANS")
    _thumbnails.put_back()


class _Thumbnails:
    """A file's thumbnail is a picture of the window while Gaussians show: drawn by Blender's own
    way it would show the ellipsoids that the file holds, which take seconds to make."""

    def __init__(self) -> None:
        self.kind = ""

    def put_off(self) -> None:
        shown = any(
            get_display(armature).mode == "GAUSSIANS"
            for scene in bpy.data.scenes
            for armature in index.find_armatures(scene)
        )
        files = cast(Any, bpy.context.preferences.filepaths)
        if shown and not self.kind and files.file_preview_type in ("AUTO", "CAMERA"):
            unsaved = bpy.context.preferences.is_dirty
            self.kind, files.file_preview_type = files.file_preview_type, "SCREENSHOT"
            bpy.context.preferences.is_dirty = unsaved

    def put_back(self) -> None:
        if self.kind:
            unsaved = bpy.context.preferences.is_dirty
            cast(Any, bpy.context.preferences.filepaths).file_preview_type = self.kind
            bpy.context.preferences.is_dirty, self.kind = unsaved, ""


_thumbnails = _Thumbnails()


def _for_all(mode: str) -> None:
    """Shows what is drawn by this extension as ``mode``, without changing what is set."""
    for scene in bpy.data.scenes:
        for armature in index.find_armatures(scene):
            if get_display(armature).mode == "GAUSSIANS":
                _do_for(armature, lambda imported: _show(imported, mode))


@persistent
def _on_load(*_: object) -> None:
    _drawing.changed()
    _for_all("GAUSSIANS")


@persistent
def _on_arrival(*_: object) -> None:
    """Another file, or what was appended or linked: it was saved as ellipsoids."""
    index.forget()
    for scene in bpy.data.scenes:
        for armature in index.find_armatures(scene):
            _do_for(armature, migrate.migrate)
    _put_shapes_away()
    _on_load()


def _put_shapes_away() -> None:
    """What bones are drawn as belongs to no collection; appending put it into the scene."""
    for obj in [o for o in bpy.data.objects if o.name.split(".")[0] in rig.SHAPES]:
        migrate.hide_shape(obj)
        for home in obj.users_collection:
            if home.is_editable:
                home.objects.unlink(obj)


_HANDLERS = (
    ("depsgraph_update_post", _on_update),
    ("frame_change_post", _on_frame),
    ("undo_post", _on_load),
    ("redo_post", _on_load),
    ("load_post", _on_arrival),
    ("blend_import_post", _on_arrival),
    ("save_pre", _on_save),
    ("save_post", _on_saved),
    ("save_post_fail", _on_saved),
)


def register() -> None:
    index.register()
    bpy.utils.register_class(adopt(RESTAGE4D_PG_display))
    setattr(bpy.types.Object, _NAME, bpy.props.PointerProperty(type=RESTAGE4D_PG_display))
    for name, handler in _HANDLERS:
        getattr(bpy.app.handlers, name).append(handler)
    if not bpy.app.background:
        _drawing.start(_draw_filmed_cones, _draw_filmed_angles)


def unregister() -> None:
    _drawing.stop()
    for name, handler in _HANDLERS:
        getattr(bpy.app.handlers, name).remove(handler)
    delattr(bpy.types.Object, _NAME)
    bpy.utils.unregister_class(RESTAGE4D_PG_display)
    index.unregister()
