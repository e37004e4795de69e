# SPDX-License-Identifier: GPL-3.0-or-later
"""The Gaussians of puppets in the 3D views: read from the scene where it changed, drawn at every
redraw.

Whatever happens to a puppet, the drawing goes on: one that cannot be drawn is left out, and the
view says why.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import blf
import bpy
import gpu
import numpy as np

from restage4d import se3
from restage4d.errors import InputError
from restage4d.puppet import F32, sh_to_rgb
from restage4d.srgb import linear_to_srgb

from .. import failures
from ..puppet import attributes
from ..puppet.in_scene import shot_root
from . import relighting, splat_painter

TRIES = 3  # redraws that may fail one after the other
_NEEDED = ("position", "rotation", "scale", "opacity", "radiance:base")
RELIT = "RELIT"  # as filmed, under the scene's lights
Shown = list[tuple[bpy.types.Object, str]]  # each with its item of `display.COLORS`, or `RELIT`


def gather(
    depsgraph: bpy.types.Depsgraph, shown: Shown
) -> tuple[splat_painter.Cloud | None, list[str]]:
    """The Gaussians of evaluated point objects as they stand in the world, None for none; and what
    to tell of those that cannot be read, which are left out."""
    parts, told = [], []
    for obj, color in shown:
        name = obj.name
        try:
            # A static object may be hidden and so not be evaluated: it is as it is.
            posed = obj.evaluated_get(depsgraph) if obj.modifiers else obj
            world = shot_root.read_world(obj, depsgraph)
            part = read_gaussians(posed, color, world)
            parts.append(_relight(part, posed, depsgraph) if color == RELIT else part)
            failures.works_again(name)
        except Exception as error:
            told.append(failures.tell_once(name, f"Drawing {name!r} as Gaussians", error))
    if not parts:
        return None, told
    columns = (np.concatenate(column) for column in zip(*parts, strict=True))
    return splat_painter.Cloud(*columns), told


def _relight(
    part: tuple[F32, F32, F32, F32, F32], obj: bpy.types.Object, depsgraph: bpy.types.Depsgraph
) -> tuple[F32, F32, F32, F32, F32]:
    """The same under the scene's lights."""
    means, quats, scales, opacities, colors = part
    with attributes.reading_mesh(obj) as mesh:
        moved = "influence_0" in mesh.attributes  # else the background, of one group
        index = attributes.read_influences(mesh)[0][:, 0].astype(np.intp) if moved else None
    group = np.zeros(len(means), np.intp) if index is None else index
    eye = None
    if index is None and obj.original.parent is not None:  # filmed by the camera beside it
        filming = next((o for o in obj.original.parent.children if o.type == "CAMERA"), None)
        eye = shot_root.read_world(filming, depsgraph)[:3, 3] if filming is not None else None
    normals = relighting.estimate_normals(means, quats, scales, group, eye)
    scene = cast(bpy.types.Scene, depsgraph.scene)
    lights, ambient = relighting.read_lights(scene, depsgraph), relighting.read_ambient(scene)
    return (
        means,
        quats,
        scales,
        opacities,
        relighting.relight(colors, means, normals, lights, ambient),
    )


def read_gaussians(
    obj: bpy.types.Object, color: str, world: se3.Array
) -> tuple[F32, F32, F32, F32, F32]:
    """What `splat_painter.Cloud` is made of, of one point object in any mode; ``world`` (4, 4) is
    where it stands.

    Raises:
        InputError: an attribute is missing.
    """
    with attributes.reading_mesh(obj) as mesh:
        missing = [name for name in _NEEDED if name not in mesh.attributes]
        if missing:
            raise InputError(
                f"{obj.name!r} has lost its attribute {missing[0]!r}.", "Import the puppet again."
            )
        return _read_mesh(mesh, world, color)


def _read_mesh(
    mesh: bpy.types.Mesh, world: se3.Array, color: str
) -> tuple[F32, F32, F32, F32, F32]:
    read = attributes.read_attribute
    means, quats = read(mesh, "position", "vector", 3), read(mesh, "rotation", "value", 4)
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
        colors = linear_to_srgb(read(mesh, attributes.REGION_COLOR, "color", 4)[:, :3])
    elif color == "WEIGHTS" and attributes.WEIGHT in mesh.attributes:
        weight = read(mesh, attributes.WEIGHT, "value", 1)
        linear = np.stack(
            [
                np.interp(weight, attributes.RAMP_PLACES, c)
                for c in zip(*attributes.RAMP_COLORS, strict=True)
            ],
            1,
        )
        colors = linear_to_srgb(linear)
    else:
        colors = np.maximum(sh_to_rgb(attributes.read_radiance(mesh)[:, :3]), 0)
    return means, quats, scales, opacities, colors


@dataclass
class RegionBuffer:
    """What is kept of a view's region: its offscreen buffer, and the order of the splats for the
    clouds and the direction that ``order_key`` names."""

    size: tuple[int, int]
    target: gpu.types.GPUOffScreen
    order_key: tuple | None = None
    order: gpu.types.GPUTexture | None = None


class SplatDrawing:
    """Draws Gaussians in the 3D views: keeps clouds until something changes, and per region a
    buffer and an order.

    Args:
        find_shown: the point objects that show in the view of a context.
        fall_back: called where nothing could be drawn `TRIES` times on end, to show something else.
    """

    def __init__(
        self,
        find_shown: Callable[[bpy.types.Context], Shown],
        fall_back: Callable[[bpy.types.Scene], None],
    ) -> None:
        self.find_shown, self.fall_back = find_shown, fall_back
        self.version = 0
        self._handles: list[object] = []
        self._forget()

    def _forget(self) -> None:
        self._painter: splat_painter.Painter | None = None
        self._clouds: dict[tuple, tuple[splat_painter.Cloud | None, list[str]]] = {}
        self._regions: dict[int, RegionBuffer] = {}
        self._failed = 0
        self._told: list[str] = []

    def changed(self) -> None:
        """The scene is another. May be called by a render's thread: what the GPU holds is freed by
        `draw`."""
        self.version += 1

    def start(self, within: Callable[[], None], over: Callable[[], None]) -> None:
        """Begins to draw; further draw handlers: of what stands ``within`` the scene, after the
        Gaussians, and ``over`` the view, in its pixels."""
        add = bpy.types.SpaceView3D.draw_handler_add
        self._handles = [
            *(add(draw, (), "WINDOW", "POST_VIEW") for draw in (self.draw, within)),
            *(add(draw, (), "WINDOW", "POST_PIXEL") for draw in (self.draw_told, over)),
        ]

    def stop(self) -> None:
        for handle in self._handles:
            bpy.types.SpaceView3D.draw_handler_remove(handle, "WINDOW")
        self._handles = []
        self._forget()

    def draw(self) -> None:
        """The draw handler. Never raises, and stays whatever fails."""
        context = bpy.context
        try:
            self._draw(context)
            self._failed = 0
            failures.works_again("drawing")
        except Exception as error:
            self._told = [failures.tell_once("drawing", "Drawing Gaussians", error)]
            self._failed += 1
            if self._failed >= TRIES and context.scene is not None:
                self._forget()
                self.fall_back(context.scene)

    def draw_told(self) -> None:
        """The draw handler of what could not be drawn, in words."""
        scale = bpy.context.preferences.system.ui_scale
        for i, text in enumerate(self._told):
            blf.size(0, 13 * scale)
            blf.color(0, 1.0, 0.5, 0.3, 1.0)
            blf.position(0, 20 * scale, (20 + 18 * i) * scale, 0)
            blf.draw(0, text)

    def _draw(self, context: bpy.types.Context) -> None:
        shown = self.find_shown(context)
        if not shown:
            self._told = []
            return
        key = (
            self.version,
            context.scene.name_full,
            context.view_layer.name,
            *((obj.name_full, color) for obj, color in shown),
        )
        self._clouds = {k: v for k, v in self._clouds.items() if k[0] == key[0]}
        if key not in self._clouds:
            self._clouds[key] = gather(context.evaluated_depsgraph_get(), shown)
        cloud, self._told = self._clouds[key]
        if cloud is not None:
            self._paint(context, cloud, key)

    def _paint(self, context: bpy.types.Context, cloud: splat_painter.Cloud, key: tuple) -> None:
        self._painter = self._painter or splat_painter.Painter()
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
        kept = self._regions.get(region.as_pointer())
        if kept is None or kept.size != (width, height):
            here = _find_regions(context)
            self._regions = {k: v for k, v in self._regions.items() if k in here}
            target = gpu.types.GPUOffScreen(width, height, format="RGBA16F")  # pyright: ignore[reportCallIssue]
            kept = self._regions[region.as_pointer()] = RegionBuffer((width, height), target)
        view = np.array(rv3d.view_matrix, np.float64)
        order_key = (key, view[2].tobytes())
        if kept.order is None or kept.order_key != order_key:
            kept.order_key, kept.order = order_key, cloud.order(view)
        try:
            self._painter.paint(
                kept.target,
                cloud,
                kept.order,
                view,
                np.array(rv3d.window_matrix, np.float64),
                scene,
            )
            self._painter.lay_over(kept.target, overlays)
        finally:
            gpu.state.blend_set("NONE")


def _find_regions(context: bpy.types.Context) -> set[int]:
    """The pointers of all regions of all windows."""
    windows = context.window_manager.windows
    return {
        region.as_pointer()
        for window in windows
        for area in window.screen.areas
        for region in area.regions
    }
