"""The set: a round stage with a soft backdrop, pebbles and grass, and its light. Everything about
it stands still."""

import bpy
import mathutils
import numpy as np

from stage.nodes import Nodes


def build(seed: int = 0, radius: float = 3.4) -> None:
    """Makes the set in the current scene, around the origin, for a subject of extent about 1;
    ``radius`` is that of its wall."""
    _floor(radius)
    rng = np.random.default_rng(seed)
    _pebbles(rng)
    _grass(rng)
    _light()


def _mesh(
    name: str, vertices: np.ndarray, faces: list, material: bpy.types.Material
) -> bpy.types.Object:
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(vertices, [], faces)
    mesh.polygons.foreach_set("use_smooth", np.ones(len(mesh.polygons), bool))
    mesh.materials.append(material)
    thing = bpy.data.objects.new(name, mesh)
    bpy.context.collection.objects.link(thing)
    return thing


def _floor(radius: float) -> None:
    """A disc that curves up into a wall all around."""
    bend = np.linspace(0, np.pi / 2, 13)
    r = np.r_[np.linspace(0.05, radius - 1.0, 12), radius - 1.0 + np.sin(bend[1:])]
    z = np.r_[np.zeros(12), 1.0 - np.cos(bend[1:])]
    r, z = np.r_[r, radius, radius], np.r_[z, 1.6, 2.4]
    n = 96
    angle = np.arange(n) * 2 * np.pi / n
    rings = np.stack(
        [r[:, None] * np.cos(angle), r[:, None] * np.sin(angle), np.repeat(z[:, None], n, 1)], -1
    )
    vertices = np.concatenate([[[0, 0, 0]], rings.reshape(-1, 3)])
    faces: list = [(0, 1 + i, 1 + (i + 1) % n) for i in range(n)]
    for k in range(len(r) - 1):
        a, b = 1 + k * n, 1 + (k + 1) * n
        faces += [(a + i, b + i, b + (i + 1) % n, a + (i + 1) % n) for i in range(n)]

    m = Nodes("set")
    where = m.add("ShaderNodeTexCoord").outputs["Object"]
    height = m.add("ShaderNodeSeparateXYZ", {0: where}).outputs[2]
    wobble = m.math("MULTIPLY_ADD", m.noise(where, 1.6, 3.0), 0.5)
    wobble.node.inputs[2].default_value = -0.25
    rise = m.ramp(m.math("ADD", height, wobble), 0.0, 0.75)
    ground = m.mix(
        m.ramp(m.noise(where, 2.2, 4.0, 0.4), 0.35, 0.65),
        (0.155, 0.190, 0.060, 1),
        (0.30, 0.27, 0.105, 1),
    )
    ground = m.mix(
        m.ramp(m.noise(where, 24.0, 3.0, 0.5), 0.42, 0.62), ground, (0.085, 0.115, 0.035, 1)
    )
    ground = m.mix(
        m.math("MULTIPLY", m.ramp(m.noise(where, 75.0, 2.0), 0.55, 0.70), 0.6),
        ground,
        (0.42, 0.38, 0.18, 1),
    )
    wall = m.mix(
        m.ramp(m.noise(where, 1.1, 3.0, 0.6), 0.35, 0.65),
        (0.10, 0.235, 0.26, 1),
        (0.20, 0.36, 0.345, 1),
    )
    wall = m.mix(
        m.math("MULTIPLY", m.ramp(m.noise(where, 6.0, 4.0, 0.8), 0.45, 0.60), 0.38),
        wall,
        (0.33, 0.45, 0.36, 1),
    )
    wall = m.mix(
        m.math("MULTIPLY", m.ramp(m.noise(where, 21.0, 3.0), 0.52, 0.66), 0.35),
        wall,
        (0.085, 0.20, 0.22, 1),
    )
    m.put(m.shader.inputs["Base Color"], m.mix(rise, ground, wall))
    m.put(m.shader.inputs["Roughness"], 1.0)
    m.put(m.shader.inputs["Specular IOR Level"], 0.0)
    _mesh("set", vertices, faces, m.material)


def _pebbles(rng: np.random.Generator) -> None:
    m = Nodes("pebble")
    where = m.add("ShaderNodeTexCoord").outputs["Object"]
    light = m.ramp(m.noise(where, 11.0, 4.0), 0.35, 0.65)
    stone = m.mix(light, (0.24, 0.22, 0.20, 1), (0.50, 0.46, 0.40, 1))
    m.put(
        m.shader.inputs["Base Color"],
        m.mix(m.ramp(m.noise(where, 60.0, 2.0), 0.55, 0.65), stone, (0.15, 0.14, 0.13, 1)),
    )
    m.put(m.shader.inputs["Roughness"], 0.9)
    bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=4, radius=1.0)
    ball = bpy.context.object
    unit = np.array([v.co for v in ball.data.vertices])
    triangles = np.array([list(p.vertices) for p in ball.data.polygons])
    bpy.data.objects.remove(ball)
    vertices, faces = [], []
    for _ in range(46):
        r, a = np.sqrt(rng.uniform(0.85**2, 2.6**2)), rng.uniform(0, 2 * np.pi)
        size = rng.uniform(0.03, 0.085) * rng.uniform(0.6, 1.2, 3) * [1, 1, 0.65]
        bumps = (
            1
            + 0.18
            * np.sin(unit @ rng.normal(0, 2.2, (3, 4)) + rng.uniform(0, 6, 4)).sum(1, keepdims=True)
            / 2
        )
        faces += (triangles + sum(len(v) for v in vertices)).tolist()
        vertices.append(unit * bumps * size + [r * np.cos(a), r * np.sin(a), 0.3 * size[2]])
    _mesh("pebbles", np.concatenate(vertices), faces, m.material)


def _grass(rng: np.random.Generator) -> None:
    m = Nodes("grass")
    where = m.add("ShaderNodeTexCoord").outputs["Object"]
    height = m.add("ShaderNodeSeparateXYZ", {0: where}).outputs[2]
    green = m.mix(
        m.ramp(m.noise(where, 9.0, 2.0), 0.4, 0.6), (0.13, 0.24, 0.06, 1), (0.27, 0.36, 0.10, 1)
    )
    m.put(
        m.shader.inputs["Base Color"],
        m.mix(m.ramp(height, 0.0, 0.16), green, (0.55, 0.60, 0.25, 1)),
    )
    m.put(m.shader.inputs["Roughness"], 0.8)
    vertices, faces = [], []
    for _ in range(34):  # tufts
        r, a = np.sqrt(rng.uniform(1.25**2, 2.7**2)), rng.uniform(0, 2 * np.pi)
        for _ in range(rng.integers(7, 13)):
            tall, lean, turn = (
                rng.uniform(0.07, 0.17),
                rng.uniform(0.02, 0.09),
                rng.uniform(0, 2 * np.pi),
            )
            foot = np.array([r * np.cos(a), r * np.sin(a), 0]) + np.r_[rng.normal(0, 0.022, 2), 0]
            out, side = (
                np.array([np.cos(turn), np.sin(turn), 0]),
                np.array([-np.sin(turn), np.cos(turn), 0]),
            )
            k = sum(len(v) for v in vertices)
            s = np.linspace(0, 1, 5)[:, None]
            spine = foot + s * [0, 0, tall] + s**2 * lean * out
            width = 0.009 * (1 - 0.92 * s) * side
            vertices.append(np.concatenate([spine - width, spine + width]))
            faces += [(k + i, k + i + 1, k + i + 6, k + i + 5) for i in range(4)]
    _mesh("grass", np.concatenate(vertices), faces, m.material)


def _light() -> None:
    def area(name: str, at: tuple, energy: float, size: float, colour: tuple) -> None:
        data = bpy.data.lights.new(name, "AREA")
        data.energy, data.size, data.color = energy, size, colour
        lamp = bpy.data.objects.new(name, data)
        lamp.location = at
        lamp.rotation_euler = (
            (mathutils.Vector((0, 0, 0.35)) - lamp.location).to_track_quat("-Z", "Y").to_euler()
        )
        bpy.context.collection.objects.link(lamp)

    area("key", (3.0, 1.1, 3.3), 330.0, 0.8, (1.0, 0.90, 0.76))
    area("rim", (-2.2, -1.8, 2.8), 170.0, 0.9, (0.85, 0.93, 1.0))
    world = bpy.data.worlds.new("sky")
    world.use_nodes = True
    sky = world.node_tree.nodes["Background"]
    sky.inputs["Color"].default_value = (0.75, 0.88, 1.0, 1)
    sky.inputs["Strength"].default_value = 0.40
    bpy.context.scene.world = world
