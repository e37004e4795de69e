"""Colours that stick to the surface: the creature's markings and the materials, all in rest
coordinates."""

from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from stage.nodes import Nodes
from stage.shape import Cone

Array = NDArray[Any]

# linear RGB
RUST, CREAM, DARK = (
    np.array([0.50, 0.150, 0.030]),
    np.array([0.78, 0.62, 0.42]),
    np.array([0.045, 0.020, 0.012]),
)
BACK, BLUSH = np.array([0.27, 0.070, 0.016]), np.array([0.62, 0.26, 0.17])


def step(low: float, high: float, x: Array) -> Array:
    """0 below ``low``, 1 above ``high`` (or the other way round for low > high), smooth between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def paint(p: Array, cones: list[Cone]) -> tuple[Array, Array]:  # (N, 3) -> (N, 3), (N, 3)
    """Coat colour (linear RGB) of surface points, and where spots (x) and stripes (y) are, in
    0..1."""
    x, y, z = p.T
    names = np.array([c.bone for c in cones])
    part = names[np.stack([c.distance(p) for c in cones], 1).argmin(1)]
    legs = np.isin(
        np.char.partition(part, ".")[:, 0],
        ["arm", "forearm", "pastern", "paw", "thigh", "shin", "hock", "foot"],
    )
    head = np.char.startswith(part, "head") | (part == "jaw")
    tail = np.char.startswith(part, "tail")
    ears = np.char.startswith(part, "ear")
    torso = ~(legs | head | tail | ears)
    colour = np.tile(RUST, (len(p), 1))

    def mix(target: Array, amount: Array) -> None:
        nonlocal colour
        colour = colour + np.clip(amount, 0, 1)[:, None] * (target - colour)

    wobble = 0.012 * np.sin(41 * x + 3 * np.sin(23 * z)) + 0.008 * np.sin(67 * x + 29 * y)
    mix(
        BACK,
        (torso | (tail & (x > -0.5)))
        * step(0.055, 0.010, np.abs(y) + wobble)
        * step(0.40, 0.46, z)
        * step(0.30, 0.18, x),
    )
    mix(CREAM, torso * step(0.375, 0.315, z + wobble))
    mix(
        CREAM,
        torso
        * step(0.150, 0.200, x + wobble)
        * step(0.085, 0.050, np.abs(y) + 0.15 * (z - 0.40))
        * step(0.66, 0.60, z),
    )
    mix(CREAM, legs * (z > 0.2) * step(0.030, 0.005, np.abs(y) - 0.045) * 0.6)
    mix(DARK, legs * step(0.165, 0.115, z + 1.3 * wobble))
    mix(CREAM, tail * step(-0.545, -0.580, x + wobble + 0.25 * (z - 0.5)))
    # the face: cream muzzle and cheeks, rust bridge of the nose, dark lip line
    mix(
        CREAM,
        head
        * step(0.648, 0.625, z + 0.10 * (x - 0.40) + 0.5 * wobble)
        * step(0.24, 0.30, x + 0.3 * (0.63 - z)),
    )
    mix(
        CREAM,
        head
        * step(0.016, 0.005, np.hypot((x - 0.395) / 1.3, (z - 0.742) / 0.8) - 0.012)
        * (np.abs(y) > 0.03),
    )
    mix(RUST, head * (x > 0.37) * step(0.030, 0.016, np.abs(y)) * step(0.640, 0.655, z))
    mix(
        DARK,
        head * (x > 0.385) * step(0.0055, 0.0025, np.abs(z - 0.603 - 6 * (x - 0.44) ** 2)) * 0.9,
    )
    around = np.linalg.norm(
        (p - [0.385, 0, 0.690]) * [1, 0, 1] + (np.abs(y) - 0.068)[:, None] * [0, 1, 0], axis=1
    )
    mix(DARK, head * step(0.050, 0.044, around) * 0.95)
    mix(
        DARK,
        head
        * step(0.010, 0.003, np.abs(z - 0.690 + 0.75 * (x - 0.415)))
        * step(0.365, 0.395, x)
        * step(0.455, 0.43, x)
        * (np.abs(y) > 0.03),
    )
    # the ears: blush inside, dark rim at the tips
    inner = np.zeros(len(p))
    for c in cones:
        if c.hollow:
            inner = np.maximum(inner, step(0.004, 0.001, np.abs(c.scoop(p))))
    mix(BLUSH, ears * inner)
    mix(DARK, ears * (1 - 0.85 * inner) * step(0.855, 0.905, z + wobble))
    spots = (
        (torso | (legs & (z > 0.3)))
        * step(0.345, 0.375, z)
        * step(0.19, 0.12, x)
        * step(0.03, 0.045, np.abs(y))
    )
    stripes = np.maximum(
        tail * step(-0.27, -0.31, x) * step(-0.58, -0.54, x),
        legs * step(0.16, 0.20, z) * step(0.36, 0.30, z),
    )
    return colour, np.stack([spots, stripes * 0.8, np.zeros(len(p))], 1)


def fur() -> bpy.types.Material:
    """The coat: painted colour, cream spots, dark stripes, tufts and single hairs as noise; all at
    rest coordinates."""
    n = Nodes("fur")
    rest = n.rest()
    mask = n.add("ShaderNodeSeparateXYZ", {0: n.attribute("pattern").outputs["Vector"]}).outputs
    bend = n.add("ShaderNodeVectorMath", {0: rest, 1: (0.0, 0.0, 0.0)}, operation="ADD")
    warp = n.add("ShaderNodeTexNoise", {"Vector": rest, "Scale": 14.0}).outputs["Color"]
    n.put(
        bend.inputs[1],
        n.add("ShaderNodeVectorMath", {0: warp, "Scale": 0.035}, operation="SCALE").outputs[0],
    )
    cells = n.add(
        "ShaderNodeTexVoronoi", {"Vector": bend.outputs[0], "Scale": 17.0, "Randomness": 0.75}
    )
    size = n.add("ShaderNodeSeparateColor", {0: cells.outputs["Color"]}).outputs[0]
    radius = n.math("MULTIPLY_ADD", size, 0.16)
    radius.node.inputs[2].default_value = 0.20
    spot = n.ramp(n.math("SUBTRACT", radius, cells.outputs["Distance"]), -0.02, 0.05)
    bands = n.add(
        "ShaderNodeTexWave",
        {"Vector": rest, "Scale": 7.5, "Distortion": 5.0, "Detail": 2.0, "Detail Scale": 3.0},
    )
    stripe = n.ramp(bands.outputs["Fac"], 0.55, 0.8)
    colour = n.attribute("coat").outputs["Color"]
    colour = n.mix(n.math("MULTIPLY", stripe, mask[1]), colour, (0.10, 0.032, 0.012, 1))
    colour = n.mix(n.math("MULTIPLY", spot, mask[0]), colour, (0.80, 0.66, 0.46, 1))
    lie = n.add("ShaderNodeMapping", {"Vector": rest, "Scale": (0.35, 1.0, 1.0)}).outputs[0]
    hair = n.noise(lie, 150.0, 2.0, 0.6)
    tuft = n.noise(lie, 38.0, 3.0, 0.8)
    patch = n.noise(rest, 7.0, 2.0)
    light = n.math(
        "ADD",
        n.math("MULTIPLY", n.ramp(hair, 0.30, 0.70), 0.55),
        n.math("MULTIPLY", n.ramp(tuft, 0.30, 0.70), 0.70),
    )
    light = n.math("ADD", light, n.math("MULTIPLY", n.ramp(patch, 0.3, 0.7), 0.30))
    shade = n.add("ShaderNodeCombineColor", {0: 1.0, 1: 1.0, 2: 1.0})
    for i in range(3):
        n.put(shade.inputs[i], n.math("ADD", light, 0.22))
    n.put(n.shader.inputs["Base Color"], n.mix(1.0, colour, shade.outputs[0], "MULTIPLY"))
    bump = n.add(
        "ShaderNodeBump",
        {
            "Height": n.math("ADD", hair, n.math("MULTIPLY", tuft, 1.5)),
            "Strength": 0.35,
            "Distance": 0.006,
        },
    )
    n.put(n.shader.inputs["Normal"], bump.outputs[0])
    n.put(n.shader.inputs["Roughness"], 0.75)
    n.put(n.shader.inputs["Specular IOR Level"], 0.15)
    n.put(n.shader.inputs["Sheen Weight"], 0.35)
    n.put(n.shader.inputs["Sheen Tint"], (1.0, 0.85, 0.7, 1))
    return n.material


def eye(centre: Array) -> bpy.types.Material:
    """A dark glossy eye with a warm iris, looking forward and a little outward."""
    n = Nodes("eye")
    rest = n.attribute("rest").outputs["Vector"]
    mirrored = n.add("ShaderNodeVectorMath", {0: rest}, operation="ABSOLUTE").outputs[0]
    offset = n.add(
        "ShaderNodeVectorMath", {0: mirrored, 1: tuple(centre)}, operation="SUBTRACT"
    ).outputs[0]
    unit = n.add("ShaderNodeVectorMath", {0: offset}, operation="NORMALIZE").outputs[0]
    gaze = np.array([0.80, 0.58, 0.06])
    look = n.add(
        "ShaderNodeVectorMath",
        {0: unit, 1: tuple(gaze / np.linalg.norm(gaze))},
        operation="DOT_PRODUCT",
    ).outputs["Value"]
    iris = n.mix(n.ramp(look, 0.52, 0.60), (0.010, 0.005, 0.004, 1), (0.105, 0.036, 0.010, 1))
    n.put(
        n.shader.inputs["Base Color"],
        n.mix(n.ramp(look, 0.76, 0.82), iris, (0.004, 0.003, 0.003, 1)),
    )
    n.put(n.shader.inputs["Roughness"], 0.08)
    return n.material


def nose() -> bpy.types.Material:
    n = Nodes("nose")
    n.put(n.shader.inputs["Base Color"], (0.012, 0.008, 0.008, 1))
    n.put(n.shader.inputs["Roughness"], 0.35)
    return n.material
