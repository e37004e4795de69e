"""What the command line writes, read by this Blender's own importers: every frame, nothing empty,
the places, colours and turns of the puppet. What a Blender cannot read it skips, with a reason."""

import subprocess
from pathlib import Path

import bpy
import numpy as np
import puppets
import pytest

from blender_addon import compat
from blender_addon.session import launcher
from restage4d import se3
from restage4d.puppet import Gaussians, Performance, Puppet, sh_to_rgb
from restage4d.srgb import srgb_to_linear

ROOT = Path(__file__).parents[2]
PYTHON = launcher.get_own_python(ROOT)
METRES, FRAMES, FPS = 0.5, 4, 24.0
SHAPE, LOOK = 1e-5, 1e-3  # of the extent; of colours and unit quaternions
SPZ_STEP = 1 / 4096  # in file units, see docs/formats.md

pytestmark = pytest.mark.skipif(
    not PYTHON.is_file(), reason="there is no environment of the backend"
)
NATIVE = bpy.app.version >= (5, 3)
needs_native = pytest.mark.skipif(not NATIVE, reason="Blender reads splats from 5.3 on")


@pytest.fixture(scope="module")
def twins() -> Puppet:
    """Two balls, each on a basis of its own."""
    rng = np.random.default_rng(4)
    n = 2000
    g = puppets.gaussians(rng, n, sh=4)
    right = np.arange(n) % 2
    g.means[:] = g.means / np.linalg.norm(g.means, axis=1, keepdims=True) * 0.4
    g.means[:, 0] += 3 * right
    g.opacities[:] = rng.uniform(0.6, 0.95, n)
    index = np.stack([right, 1 - right], 1).astype(np.uint16)
    weight = np.tile(np.array([1, 0], np.float32), (n, 1))
    K, w2c = puppets.cameras(FRAMES, (160, 90), moving=True)
    bases = puppets.smooth_bases(rng, 2, FRAMES)
    base = Performance("base", bases, FPS, K, w2c, (160, 90))
    return Puppet(g, index, weight, [base], puppets.gaussians(rng, 30), metres_per_unit=METRES)


@pytest.fixture(scope="module")
def write(twins, tmp_path_factory):
    """Writes a format by the command line."""
    folder = tmp_path_factory.mktemp("files")
    twins.save(folder / "twins.puppet")

    def run(form: str, name: str, *options: str) -> Path:
        command = [PYTHON, "-m", "restage4d.cli", "export", folder / "twins.puppet", "--format"]
        command += [form, "--out", folder / name, "--overwrite", *options]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stderr
        return folder / name

    return run


def pose(puppet: Puppet, frame: int) -> Gaussians:
    return puppet.pose(puppet.performances[0], frame - 1)


def read(points, name: str, width: int) -> np.ndarray:
    attribute = points.attributes[name]
    fields = {"FLOAT_VECTOR": "vector", "FLOAT_COLOR": "color", compat.FLOAT4: compat.FLOAT4_FIELD}
    values = np.empty(len(attribute.data) * width, np.float32)
    attribute.data.foreach_get(fields.get(attribute.data_type, "value"), values)
    return values.reshape(-1, width)


def evaluate(obj, frame: int):
    """The object's data and matrix at a frame."""
    bpy.context.scene.frame_set(frame)
    shown = obj.evaluated_get(bpy.context.evaluated_depsgraph_get())
    return shown.data, np.array(shown.matrix_world, np.float64)


def place(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def find(kind: str, name: str = ""):
    (found,) = [o for o in bpy.data.objects if o.type == kind and o.name.startswith(name)]
    return found


def check_places(seen: np.ndarray, truth: np.ndarray, allowed: float | None = None) -> np.ndarray:
    """The order of the points in the file; all are where they belong."""
    assert seen.shape == truth.shape
    order = np.array([np.argmin(((seen - p) ** 2).sum(1)) for p in truth])
    assert len(set(order.tolist())) == len(order)
    off = np.abs(seen[order] - truth).max()
    assert off <= (allowed or SHAPE * np.ptp(truth, axis=0).max())
    return order


def find_shapes(quats: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Covariances (N, 3, 3): the axes of an ellipsoid may be told in another order."""
    axes = se3.quat_to_matrix(quats.astype(np.float64)) * scales[:, None]
    return axes @ np.swapaxes(axes, 1, 2)


def check_splats(obj, frame: int, truth: Gaussians, packed: bool = False) -> None:
    points, matrix = evaluate(obj, frame)
    seen = place(read(points, "position", 3), matrix)
    order = check_places(seen, truth.means * METRES, SPZ_STEP if packed else None)
    look = 0.02 if packed else LOOK
    base = read(points, "radiance:base", 4)[order]
    assert np.abs(base[:, :3] - truth.sh[:, 0]).max() <= look
    assert np.abs(base[:, 3] - truth.opacities).max() <= look
    quats, scales = read(points, "rotation", 4)[order], read(points, "scale", 3)[order]
    shapes = find_shapes(quats, scales)
    shapes = matrix[:3, :3] @ shapes @ matrix[:3, :3].T
    off = np.abs(shapes - find_shapes(truth.quats, truth.scales * METRES)).max((1, 2))
    assert (off / (truth.scales.max(1) * METRES) ** 2).max() <= (0.1 if packed else 2 * LOOK)


def check_camera(puppet: Puppet) -> None:
    """The shot's camera stands where it stood, frame by frame."""
    camera = find("CAMERA")
    for frame in range(1, FRAMES + 1):
        _, matrix = evaluate(camera, frame)
        truth = np.linalg.inv(puppet.performances[0].w2c[frame - 1].astype(np.float64))
        truth[:3, 3] *= METRES
        assert np.abs(matrix @ np.diag([1, -1, -1, 1]) - truth).max() <= 2e-5


@needs_native
@pytest.mark.parametrize("form", ["ply", "spz", "glb"])
def test_splats_of_a_frame(twins, write, form):
    axes = ("--axes", "z-up") if form == "ply" else ()
    path = str(write(form, f"a.{form}", "--frames", "3", *axes))
    if form == "glb":
        bpy.ops.import_scene.gltf(filepath=path)
    else:
        getattr(bpy.ops.wm, f"{form}_import")(filepath=path)
    check_splats(find("POINTCLOUD"), 1, pose(twins, 3), form == "spz")


@pytest.mark.skipif(NATIVE, reason="this Blender reads them as splats")
@pytest.mark.parametrize("form", ["ply", "glb"])
def test_splats_of_a_frame_as_vertices(twins, write, form):
    """Older Blenders have the places alone (and, of PLY, the file's numbers by their names)."""
    path, truth = str(write(form, f"a.{form}", "--frames", "3", "--axes", "z-up")), pose(twins, 3)
    if form == "glb":
        path = str(write(form, f"a.{form}", "--frames", "3"))
        bpy.ops.import_scene.gltf(filepath=path)
    else:
        bpy.ops.wm.ply_import(filepath=path)
    mesh, matrix = evaluate(find("MESH"), 1)
    order = check_places(place(read(mesh, "position", 3), matrix), truth.means * METRES)
    if form == "ply":
        colour = np.concatenate([read(mesh, f"f_dc_{c}", 1) for c in range(3)], 1)
        assert np.abs(colour[order] - truth.sh[:, 0]).max() <= LOOK
        quats = np.concatenate([read(mesh, f"rot_{c}", 1) for c in range(4)], 1)
        logs = np.concatenate([read(mesh, f"scale_{c}", 1) for c in range(3)], 1)
        shapes = find_shapes(quats[order], np.exp(logs[order]))
        off = np.abs(shapes - find_shapes(truth.quats, truth.scales * METRES)).max((1, 2))
        assert (off / (truth.scales.max(1) * METRES) ** 2).max() <= LOOK


@pytest.fixture
def usd():
    if not bpy.app.build_options.usd:
        pytest.skip("this bpy was built without USD")

    def load(path: Path):
        bpy.ops.wm.usd_import(filepath=str(path))
        scene = bpy.context.scene
        assert (scene.frame_start, scene.frame_end) == (1, FRAMES)

    return load


@needs_native
def test_usd_splats(twins, write, usd):
    usd(write("usd-splats", "a.usdc"))
    for frame in range(1, FRAMES + 1):
        check_splats(find("POINTCLOUD"), frame, pose(twins, frame))
    check_camera(twins)


def test_usd_points(twins, write, usd):
    usd(write("usd-points", "a.usdc"))
    for frame in range(1, FRAMES + 1):
        points, matrix = evaluate(find("POINTCLOUD"), frame)
        truth = pose(twins, frame)
        order = check_places(place(read(points, "position", 3), matrix), truth.means * METRES)
        colour = srgb_to_linear(sh_to_rgb(truth.sh[:, 0]).clip(0, 1))
        assert np.abs(read(points, "displayColor", 4)[order, :3] - colour).max() <= LOOK
        assert np.abs(read(points, "displayOpacity", 1)[order, 0] - truth.opacities).max() <= LOOK
        sizes = read(points, "radius", 1)[order, 0] / (truth.scales.mean(1) * METRES)
        assert np.abs(sizes - 1).max() <= LOOK
    check_camera(twins)


@pytest.fixture
def abc():
    if not hasattr(bpy.ops.wm, "alembic_import") or not bpy.app.build_options.alembic:
        pytest.skip("this bpy was built without Alembic")
    asked = [PYTHON, "-c", "import alembic3d"]
    if subprocess.run(asked, capture_output=True, check=False).returncode:
        pytest.skip("the extra alembic is not installed in the backend's environment")


def test_alembic_points(twins, write, abc):
    """Places, sizes and velocities; from 5.3 on colours and opacity, too."""
    path = write("alembic", "a.abc", "--background")
    bpy.context.scene.render.fps, bpy.context.scene.render.fps_base = round(FPS), 1.0
    bpy.ops.wm.alembic_import(filepath=str(path), as_background_job=False)
    assert (bpy.context.scene.frame_start, bpy.context.scene.frame_end) == (1, FRAMES)
    for frame in range(1, FRAMES + 1):
        points, matrix = evaluate(find("POINTCLOUD", "Subject"), frame)
        truth = pose(twins, frame)
        order = check_places(place(read(points, "position", 3), matrix), truth.means * METRES)
        sizes = read(points, "radius", 1)[order, 0] / (truth.scales.mean(1) * METRES)
        assert np.abs(sizes - 1).max() <= LOOK
        if frame < FRAMES:
            velocity = place(read(points, "velocity", 3), matrix)[order] / FPS
            later = truth.means * METRES + velocity
            assert np.abs(later - pose(twins, frame + 1).means * METRES).max() <= 1e-4
        if NATIVE:
            colour = srgb_to_linear(sh_to_rgb(truth.sh[:, 0]).clip(0, 1))
            assert np.abs(read(points, "Cs", 4)[order, :3] - colour).max() <= LOOK
            assert np.abs(read(points, "opacity", 1)[order, 0] - truth.opacities).max() <= LOOK
    assert len(evaluate(find("POINTCLOUD", "Background"), 1)[0].points) == 30
    check_camera(twins)


def check_rigid(puppet: Puppet, obj, frame: int, rest: np.ndarray, first: int = 1) -> None:
    """Each of the two halves of a mesh as its basis moves it; ``first`` is frame 1's in the
    scene."""
    data, matrix = evaluate(obj, first + frame - 1)
    seen = place(read(data, "position", 3), matrix)
    assert len(seen) == len(rest) > 100
    right = rest[:, 0] > 1.5 * METRES
    assert 0.2 < right.mean() < 0.8
    bases = puppet.performances[0].bases[:, frame - 1]
    R, t = se3.gram_schmidt(bases[:, :6].astype(np.float64)), bases[:, 6:]
    half = right.astype(int)
    truth = np.einsum("nij,nj->ni", R[half], rest) + t[half] * METRES
    assert np.abs(seen - truth).max() <= SHAPE * np.ptp(truth, axis=0).max()


def check_rest(rest: np.ndarray, puppet: Puppet) -> None:
    """A mesh around the subject's points."""
    means = puppet.subject.means * METRES
    assert np.abs(rest.min(0) - means.min(0)).max() < 0.1
    assert np.abs(rest.max(0) - means.max(0)).max() < 0.1


def test_usd_mesh(twins, write, usd):
    usd(write("usd-mesh", "m.usdc"))
    mesh = find("MESH", "Proxy")
    rest = read(mesh.data, "position", 3).astype(np.float64)
    check_rest(rest, twins)
    for frame in range(1, FRAMES + 1):
        check_rigid(twins, mesh, frame, rest)
    check_camera(twins)


def test_glb_mesh(twins, write):
    bpy.ops.import_scene.gltf(filepath=str(write("glb-mesh", "m.glb")))
    mesh = find("MESH", "Proxy")
    rest = read(mesh.data, "position", 3).astype(np.float64)
    check_rest(rest, twins)
    (action,) = bpy.data.actions
    first, last = action.frame_range
    assert last - first == pytest.approx(FRAMES - 1, abs=1e-3)
    for frame in range(1, FRAMES + 1):
        check_rigid(twins, mesh, frame, rest, round(first))


def test_usd_skeleton(twins, write, usd):
    """The joints move as bases; Blender leaves the points at rest."""
    usd(write("usd-skeleton", "s.usdc"))
    points, matrix = evaluate(find("POINTCLOUD"), FRAMES)
    seen = place(read(points, "position", 3), matrix)
    order = check_places(seen, twins.subject.means * METRES)
    colour = srgb_to_linear(sh_to_rgb(twins.subject.sh[:, 0]).clip(0, 1))
    assert np.abs(read(points, "displayColor", 4)[order, :3] - colour).max() <= LOOK
    armature = find("ARMATURE")
    assert len(armature.pose.bones) == 2
    for frame in range(1, FRAMES + 1):
        evaluate(armature, frame)
        bases = twins.performances[0].bases[:, frame - 1]
        R, t = se3.gram_schmidt(bases[:, :6].astype(np.float64)), bases[:, 6:]
        for k, bone in enumerate(armature.pose.bones):
            moved = np.array(bone.matrix @ bone.bone.matrix_local.inverted())
            assert np.abs(moved[:3, :3] - R[k]).max() <= LOOK
            assert np.abs(moved[:3, 3] - t[k] * METRES).max() <= 1e-4
    check_camera(twins)
