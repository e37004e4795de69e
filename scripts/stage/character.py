"""Animated glTF characters made by others, as subjects."""

import re
from pathlib import Path
from typing import Any

import bpy
import mathutils
import numpy as np
from numpy.typing import NDArray

from restage4d.errors import InputError
from stage.nodes import DRIFT, Nodes
from stage.subject import Poses, Subject, bounds

Array = NDArray[Any]


class GltfCharacter(Subject):
    """A character of a .glb or .gltf file: extent scaled to 1, feet on the ground, looking along
    +X.

    Args:
        path: the file; it must hold an armature with animations.
        without: names of objects to leave out (spare weapons, say); * and ? stand for letters.
    """

    def __init__(self, path: Path, without: list[str]) -> None:
        if not path.is_file():
            raise InputError(
                f"{path} is not there.",
                "Give a .glb file with an animated character, or the word creature.",
            )
        bpy.ops.preferences.addon_enable(module="io_scene_gltf2")
        before = set(bpy.data.objects)
        try:
            bpy.ops.import_scene.gltf(filepath=str(path))
        except RuntimeError as error:
            raise InputError(
                f"{path} cannot be read as glTF: {error}", "Give a .glb or .gltf file."
            ) from error
        made = [thing for thing in bpy.data.objects if thing not in before]
        rigs = [thing for thing in made if thing.type == "ARMATURE"]
        if not rigs or not bpy.data.actions:
            raise InputError(
                f"{path} has no armature with animations.", "Give an animated character."
            )
        rig = max(rigs, key=lambda thing: len(thing.data.bones))
        rig.animation_data_clear()
        meshes = []
        for thing in made:
            if thing.type != "MESH":
                continue
            if _hangs_on(thing, rig) and not any(_like(name, thing.name) for name in without):
                meshes.append(thing)
            else:
                thing.hide_render = thing.hide_viewport = True
        top, fit = bpy.data.objects.new("subject", None), bpy.data.objects.new("fit", None)
        for empty in (top, fit):
            bpy.context.collection.objects.link(empty)
        fit.parent = top
        fit.rotation_euler = (0, 0, np.pi / 2)  # glTF looks along -Y in Blender
        for thing in made:
            if thing.parent is None:
                thing.parent = fit
        bpy.context.view_layer.update()
        for mesh in meshes:
            _store_rest(mesh)
        super().__init__(rig, meshes, top)
        self._fit = fit
        low, high = (
            np.min([np.min(_rest(m), 0) for m in meshes], 0),
            np.max([np.max(_rest(m), 0) for m in meshes], 0),
        )
        for mesh in meshes:
            values = ((_rest(mesh) - low) / (high - low).max()).astype(np.float32)
            mesh.data.attributes["rest"].data.foreach_set("vector", values.ravel())
        for material in {s.material for m in meshes for s in m.material_slots if s.material}:
            _texture(material, [m for m in meshes if material.name in m.material_slots])

    def animations(self) -> list[str]:
        return sorted(action.name.rsplit("|")[-1] for action in bpy.data.actions)

    def poses(self, animation: str, n_frames: int, fps: float) -> Poses:
        """Samples an action; one that ends where it begins goes on and on, another one holds its
        last pose."""
        action = next(
            (a for a in bpy.data.actions if a.name.rsplit("|")[-1].lower() == animation.lower()),
            None,
        )
        if action is None:
            raise InputError(
                f"There is no animation {animation!r}.",
                f"Take one of: {', '.join(self.animations())}.",
            )
        curves = action.layers[0].strips[0].channelbags[0].fcurves
        by_bone = {name: i for i, name in enumerate(self.bones)}
        start, end = action.frame_range
        n = len(self.bones)

        def sample(frames: Array) -> Poses:
            out = Poses(
                np.zeros((len(frames), n, 3)),
                np.zeros((len(frames), n, 4)),
                np.ones((len(frames), n, 3)),
            )
            out.quat[..., 0] = 1
            into = {"location": out.loc, "rotation_quaternion": out.quat, "scale": out.scale}
            for curve in curves:
                found = re.fullmatch(r'pose\.bones\["(.+)"\]\.(\w+)', curve.data_path)
                if found and found[1] in by_bone and found[2] in into:
                    into[found[2]][:, by_bone[found[1]], curve.array_index] = [
                        curve.evaluate(f) for f in frames
                    ]
            out.quat /= np.linalg.norm(out.quat, axis=-1, keepdims=True)
            return out

        frames = start + np.arange(n_frames) * bpy.context.scene.render.fps / fps
        ends = sample(np.array([start, end]))
        same = (
            2 * np.arccos(np.clip(np.abs((ends.quat[0] * ends.quat[1]).sum(-1)), 0, 1)).max() < 0.05
        )
        if same and end > start:
            frames = start + (frames - start) % (end - start)
        return sample(np.minimum(frames, end))

    def settle(self, poses: Poses) -> None:
        """Scales and shifts the character so that in the first pose its extent is 1 and it stands
        on the ground at the origin."""
        self.show(poses, 0)
        for _ in range(2):
            low, high = bounds(self.meshes)
            scale = 1 / (high - low).max()
            middle = mathutils.Vector((*(0.5 * (low + high)[:2]), low[2]))
            self._fit.scale *= scale
            self._fit.location = (self._fit.location - middle) * scale
            bpy.context.view_layer.update()


def _like(pattern: str, name: str) -> bool:
    return (
        re.fullmatch(
            re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), name, re.IGNORECASE
        )
        is not None
    )


def _hangs_on(thing: bpy.types.Object, rig: bpy.types.Object) -> bool:
    if any(m.type == "ARMATURE" and m.object == rig for m in thing.modifiers):
        return True
    while thing is not None and thing != rig:
        thing = thing.parent
    return thing is not None


def _store_rest(mesh: bpy.types.Object) -> None:
    co = np.empty(3 * len(mesh.data.vertices), np.float32)
    mesh.data.vertices.foreach_get("co", co)
    world = np.array(mesh.matrix_world)
    rest = (co.reshape(-1, 3) @ world[:3, :3].T + world[:3, 3]).astype(np.float32)
    mesh.data.attributes.new("rest", "FLOAT_VECTOR", "POINT").data.foreach_set(
        "vector", rest.ravel()
    )


def _rest(mesh: bpy.types.Object) -> Array:
    values = np.empty(3 * len(mesh.data.vertices), np.float32)
    mesh.data.attributes["rest"].data.foreach_get("vector", values)
    return values.reshape(-1, 3).astype(float)


def _texture(material: bpy.types.Material, meshes: list[bpy.types.Object]) -> None:
    """Makes a material dull; gives it a pattern where it is flat-coloured; lets a picture texture
    drift (`stage.faults`)."""
    n = Nodes(material)
    n.put(n.shader.inputs["Roughness"], 0.8)
    n.put(n.shader.inputs["Metallic"], 0.0)
    n.put(n.shader.inputs["Specular IOR Level"], 0.2)
    base = n.shader.inputs["Base Color"]
    link = base.links[0] if base.is_linked else None
    colour = link.from_socket if link else tuple(base.default_value)
    image = next(
        (
            node
            for node in n.tree.nodes
            if node.type == "TEX_IMAGE" and link and node.outputs[0] == link.from_socket
        ),
        None,
    )
    if image is not None and _detail(image.image, material, meshes) > 0.1:
        links = image.inputs[0].links
        source = links[0].from_socket if links else n.add("ShaderNodeTexCoord").outputs["UV"]
        n.put(
            image.inputs[0], n.add("ShaderNodeMapping", {"Vector": source}, name=DRIFT).outputs[0]
        )
        return
    rest = n.rest()
    light = n.math("MULTIPLY", n.ramp(n.noise(rest, 9.0, 3.0, 0.6), 0.35, 0.65), 0.45)
    light = n.math(
        "ADD", light, n.math("MULTIPLY", n.ramp(n.noise(rest, 34.0, 3.0, 0.4), 0.35, 0.65), 0.60)
    )
    light = n.math(
        "ADD", light, n.math("MULTIPLY", n.ramp(n.noise(rest, 110.0, 2.0), 0.35, 0.65), 0.35)
    )
    shade = n.add("ShaderNodeCombineColor")
    warm = n.ramp(n.noise(rest, 14.0, 2.0, 1.0), 0.3, 0.7)
    for i, tint in enumerate((0.25, 0.10, -0.10)):
        n.put(
            shade.inputs[i],
            n.math("ADD", light, n.math("ADD", n.math("MULTIPLY", warm, tint), 0.35)),
        )
    n.put(
        base, n.mix(1.0, n.mix(0.12, colour, (0.35, 0.30, 0.25, 1)), shade.outputs[0], "MULTIPLY")
    )


def _detail(
    image: bpy.types.Image, material: bpy.types.Material, meshes: list[bpy.types.Object]
) -> float:
    """How much a picture's colour varies within one face of the model, as a standard deviation
    averaged over faces."""
    width, height = image.size
    pixels = np.empty(width * height * image.channels, np.float32)
    image.pixels.foreach_get(pixels)
    pixels = pixels.reshape(height, width, -1)[..., :3]
    places = np.array(
        [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1 / 3, 1 / 3, 1 / 3), (0.5, 0.5, 0), (0, 0.5, 0.5)]
    )
    spread = []
    for mesh in meshes:
        data = mesh.data
        if not data.uv_layers:
            continue
        uv = np.empty(2 * len(data.loops), np.float32)
        data.uv_layers[0].uv.foreach_get("vector", uv)
        slot = [s.material for s in mesh.material_slots].index(material)
        data.calc_loop_triangles()
        corner = np.array(
            [t.loops for t in data.loop_triangles if t.material_index == slot], int
        ).reshape(-1, 3)
        at = np.einsum("fkc,sk->sfc", uv.reshape(-1, 2)[corner], places) % 1.0 * [width, height]
        colour = pixels[at[..., 1].astype(int) % height, at[..., 0].astype(int) % width]
        spread.append(colour.std(0).mean(-1))
    return float(np.concatenate(spread).mean()) if spread else 0.0
