# SPDX-License-Identifier: GPL-3.0-or-later
"""How puppets look in the viewport: a property of the armature, ``restage4d_display``, and the
drawing of true Gaussians.

``mode``: Gaussians (drawn here, while the extension runs), Ellipsoids, Points or nothing;
``color``: as filmed, by region, or the weights of the selected bones; ``background``: whether the
static background shows. Ellipsoids and points are node trees and work everywhere; so that a file
opened without the extension shows something, Gaussians are saved as ellipsoids.
"""

import traceback
from dataclasses import dataclass
from typing import Any, cast

import bpy
import gpu
import numpy as np
from bpy.app.handlers import persistent

from restage4d import se3
from restage4d.puppet import F32, Puppet, sh_to_rgb

from .. import compat
from ..puppet import attributes, importer, weights
from ..session import running_work
from ..session.steps import Steps
from . import splat_painter

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
    ("POINTS", "Points", "Round points, the cheapest"),
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
    armature = cast(bpy.types.Object, settings.id_data)
    if importer.KEY in armature:
        apply(importer.recall(armature))


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
    return imported


def _show(imported: importer.ImportedPuppet, mode: str) -> None:
    settings = get_display(imported.armature)
    for shown, color in (
        (imported.splats, settings.color.title()),
        (imported.background_splats, "Filmed"),
    ):
        if shown is None:
            continue
        hidden = mode not in ("ELLIPSOIDS", "POINTS") or (
            shown == imported.background_splats and not settings.background
        )
        if shown.hide_viewport != hidden:
            shown.hide_viewport = hidden
        if not hidden:
            compat.set_input(shown.modifiers["Viewport"], "Mode", mode.title())
            compat.set_input(shown.modifiers["Viewport"], "Color", color)


def gather(
    depsgraph: bpy.types.Depsgraph, shown: list[tuple[bpy.types.Object, str]]
) -> splat_painter.Cloud:
    """The Gaussians of evaluated point objects, each with its item of `COLORS`, as they stand in
    the world."""
    # A static object may be hidden and so not be evaluated: it is as it is.
    parts = [
        _read_gaussians(obj.evaluated_get(depsgraph) if obj.modifiers else obj, color)
        for obj, color in shown
    ]
    return splat_painter.Cloud(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _read_gaussians(obj: bpy.types.Object, color: str) -> tuple[F32, F32, F32, F32, F32]:
    mesh = attributes.get_mesh(obj)
    read = attributes.read_attribute
    means, quats = read(mesh, "position", "vector", 3), read(mesh, "rotation", "value", 4)
    world = np.array(obj.matrix_world, np.float64)
    if np.abs(world - np.eye(4)).max() > 1e-7:
        size = np.cbrt(abs(np.linalg.det(world[:3, :3])))
        turn = se3.matrix_to_quat(world[:3, :3] / max(size, 1e-9)).astype(np.float32)
        means = means @ world[:3, :3].T.astype(np.float32) + world[:3, 3].astype(np.float32)
        quats = se3.quat_multiply(np.broadcast_to(turn, quats.shape), quats)
    else:
        size = 1.0
    scales, opacities = (
        read(mesh, "scale", "vector", 3) * np.float32(size),
        read(mesh, "opacity", "value", 1),
    )
    if color == "REGIONS" and attributes.REGION_COLOR in mesh.attributes:
        colors = attributes.linear_to_srgb(read(mesh, attributes.REGION_COLOR, "color", 4)[:, :3])
    elif color == "WEIGHTS" and attributes.WEIGHT in mesh.attributes:
        weight = read(mesh, attributes.WEIGHT, "value", 1)
        linear = np.stack(
            [
                np.interp(weight, attributes.RAMP_PLACES, c)
                for c in zip(*attributes.RAMP_COLORS, strict=True)
            ],
            1,
        )
        colors = attributes.linear_to_srgb(linear)
    else:
        colors = np.maximum(
            sh_to_rgb(read(mesh, "radiance:base", compat.FLOAT4_FIELD, 4)[:, :3]), 0
        )
    return means, quats, scales, opacities, colors


@dataclass
class RegionBuffer:
    """What is kept of a view's region: its offscreen buffer, and the order of the splats for the
    clouds and the direction that ``order_key`` names."""

    size: tuple[int, int]
    target: gpu.types.GPUOffScreen
    order_key: tuple | None = None
    order: gpu.types.GPUTexture | None = None


class _Drawing:
    """What the draw handler keeps between redraws: clouds until something changes, and per region a
    buffer and an order."""

    def __init__(self) -> None:
        self.handle: object | None = None
        self.painter: splat_painter.Painter | None = None
        self.clouds: dict[tuple, splat_painter.Cloud] = {}
        self.version = 0
        self.regions: dict[int, RegionBuffer] = {}

    def changed(self) -> None:
        self.clouds.clear()
        self.version += 1

    def start(self) -> None:
        self.handle = bpy.types.SpaceView3D.draw_handler_add(self.draw, (), "WINDOW", "POST_VIEW")

    def stop(self) -> None:
        if self.handle is not None:
            bpy.types.SpaceView3D.draw_handler_remove(self.handle, "WINDOW")
        self.__init__()

    def draw(self) -> None:
        try:
            self._draw(bpy.context)
        except Exception:
            # A handler that raises is called again at every redraw: say it once and fall back to
            # what always works.
            traceback.print_exc()
            self.stop()
            for imported in importer.find_puppets(bpy.context.scene):
                bpy.app.timers.register(
                    lambda armature=imported.armature: _fall_back(armature), first_interval=0.0
                )

    def _draw(self, context: bpy.types.Context) -> None:
        shown = _find_shown(context)
        if (
            not shown or running_work.current is not None
        ):  # the costly display is off while frames are stepped through
            return
        key = tuple((obj.name_full, color) for obj, color in shown)
        if key not in self.clouds:
            self.clouds[key] = gather(context.evaluated_depsgraph_get(), shown)
        cloud = self.clouds[key]
        self.painter = self.painter or splat_painter.Painter()
        region, rv3d = context.region, context.region_data
        width, height = region.width, region.height
        frame = gpu.state.active_framebuffer_get()  # pyright: ignore[reportCallIssue]
        depth = frame.read_depth(0, 0, width, height)
        scene = gpu.types.GPUTexture((width, height), format="R32F", data=depth)  # pyright: ignore[reportCallIssue]
        overlays = None
        space = cast(bpy.types.SpaceView3D, context.space_data)
        if space.overlay.show_overlays:
            color = frame.read_color(0, 0, width, height, 4, 0, "FLOAT")
            overlays = gpu.types.GPUTexture((width, height), format="RGBA16F", data=color)  # pyright: ignore[reportCallIssue]
        kept = self.regions.get(region.as_pointer())
        if kept is None or kept.size != (width, height):
            target = gpu.types.GPUOffScreen(width, height, format="RGBA16F")  # pyright: ignore[reportCallIssue]
            kept = self.regions[region.as_pointer()] = RegionBuffer((width, height), target)
        view = np.array(rv3d.view_matrix, np.float64)
        order_key = (self.version, key, view[2].tobytes())
        if kept.order is None or kept.order_key != order_key:
            kept.order_key, kept.order = order_key, cloud.order(view)
        self.painter.paint(
            kept.target,
            cloud,
            kept.order,
            view,
            np.array(rv3d.window_matrix, np.float64),
            scene,
        )
        self.painter.lay_over(kept.target, overlays)


_drawing = _Drawing()


def _find_shown(context: bpy.types.Context) -> list[tuple[bpy.types.Object, str]]:
    """The point objects whose Gaussians show in a 3D view."""
    shown = []
    for armature in context.scene.objects:
        if armature.type != "ARMATURE" or importer.KEY not in armature:
            continue
        settings, kept = get_display(armature), armature[importer.KEY]
        if settings.mode != "GAUSSIANS":
            continue
        points, background = kept.get("points"), kept.get("background")
        if points.visible_get(view_layer=context.view_layer, viewport=context.space_data):
            shown.append((points, settings.color))
        if (
            background is not None
            and settings.background
            and _is_in_sight(background, context.view_layer.layer_collection)
        ):
            shown.append((background, "FILMED"))
    return shown


def _is_in_sight(obj: bpy.types.Object, layer: bpy.types.LayerCollection) -> bool:
    """Whether an object lies in a collection that shows, whatever is set on the object itself."""
    if layer.exclude or not layer.is_visible:
        return False
    return obj.name in layer.collection.objects or any(
        _is_in_sight(obj, child) for child in layer.children
    )


def _fall_back(armature: bpy.types.Object) -> None:
    get_display(armature).mode = "ELLIPSOIDS"


@persistent
def _on_update(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph | None = None) -> None:
    _drawing.changed()
    for imported in importer.find_puppets(scene) if isinstance(scene, bpy.types.Scene) else ():
        if get_display(imported.armature).color == "WEIGHTS":
            weights.show_weights(imported)


@persistent
def _on_frame(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph | None = None) -> None:
    _drawing.changed()


@persistent
def _on_save(*_: object) -> None:
    _for_all("ELLIPSOIDS")


@persistent
def _on_saved(*_: object) -> None:
    _for_all("GAUSSIANS")


def _for_all(mode: str) -> None:
    """Shows what is drawn by this extension as ``mode``, without changing what is set."""
    for scene in bpy.data.scenes:
        for imported in importer.find_puppets(scene):
            if get_display(imported.armature).mode == "GAUSSIANS":
                _show(imported, mode)


@persistent
def _on_load(*_: object) -> None:
    _drawing.changed()
    _drawing.regions.clear()
    _for_all("GAUSSIANS")


_HANDLERS = (
    ("depsgraph_update_post", _on_update),
    ("frame_change_post", _on_frame),
    ("undo_post", _on_load),
    ("redo_post", _on_load),
    ("load_post", _on_load),
    ("save_pre", _on_save),
    ("save_post", _on_saved),
    ("save_post_fail", _on_saved),
)


def register() -> None:
    bpy.utils.register_class(RESTAGE4D_PG_display)
    setattr(bpy.types.Object, _NAME, bpy.props.PointerProperty(type=RESTAGE4D_PG_display))
    for name, handler in _HANDLERS:
        getattr(bpy.app.handlers, name).append(handler)
    if not bpy.app.background:
        _drawing.start()


def unregister() -> None:
    _drawing.stop()
    for name, handler in _HANDLERS:
        getattr(bpy.app.handlers, name).remove(handler)
    delattr(bpy.types.Object, _NAME)
    bpy.utils.unregister_class(RESTAGE4D_PG_display)
