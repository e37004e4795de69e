"""Writing material node trees in few words."""

import bpy

from restage4d.errors import InputError

DRIFT = "drift"  # name of the node that slides a texture over the surface, see `stage.faults`


class Nodes:
    """A material and its Principled shader, a new one by name or one that is there."""

    def __init__(self, material: str | bpy.types.Material) -> None:
        self.material = bpy.data.materials.new(material) if isinstance(material, str) else material
        self.material.use_nodes = True
        self.tree = self.material.node_tree
        shader = next((n for n in self.tree.nodes if n.type == "BSDF_PRINCIPLED"), None)
        if shader is None:
            raise InputError(
                f"The material {self.material.name!r} is no plain lit surface.",
                "Give it a Principled shader.",
            )
        self.shader = shader

    def add(self, kind: str, inputs: dict | None = None, **settings):
        node = self.tree.nodes.new(kind)
        for key, value in settings.items():
            setattr(node, key, value)
        for key, value in (inputs or {}).items():
            self.put(node.inputs[key], value)
        return node

    def put(self, socket, value) -> None:
        if isinstance(value, bpy.types.NodeSocket):
            self.tree.links.new(value, socket)
        else:
            for link in list(socket.links):
                self.tree.links.remove(link)
            socket.default_value = value

    def attribute(self, name: str, kind: str = "GEOMETRY"):
        return self.add("ShaderNodeAttribute", attribute_name=name, attribute_type=kind)

    def rest(self):
        """The place on the surface in the rest pose, extent about 1, plus the drift."""
        return self.add(
            "ShaderNodeMapping", {"Vector": self.attribute("rest").outputs["Vector"]}, name=DRIFT
        ).outputs[0]

    def math(self, operation: str, a, b=0.0, clamp: bool = False):
        return self.add(
            "ShaderNodeMath", {0: a, 1: b}, operation=operation, use_clamp=clamp
        ).outputs[0]

    def mix(self, factor, a, b, blend: str = "MIX"):
        node = self.add("ShaderNodeMix", data_type="RGBA", blend_type=blend, clamp_factor=True)
        for key, value in (("Factor_Float", factor), ("A_Color", a), ("B_Color", b)):
            self.put(next(s for s in node.inputs if s.identifier == key), value)
        return next(s for s in node.outputs if s.identifier == "Result_Color")

    def ramp(self, value, low: float, high: float):
        """0 at ``low``, 1 at ``high``, smooth between."""
        return self.add(
            "ShaderNodeMapRange",
            {"Value": value, "From Min": low, "From Max": high},
            interpolation_type="SMOOTHSTEP",
        ).outputs["Result"]

    def noise(self, vector, scale: float, detail: float = 3.0, distortion: float = 0.0):
        return self.add(
            "ShaderNodeTexNoise",
            {"Vector": vector, "Scale": scale, "Detail": detail, "Distortion": distortion},
        ).outputs["Fac"]
