"""*Render splats* with a real service, EXR files read by OpenEXR's own library, and the viewport's
drawing beside it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import bpy
import gpu
import numpy as np
import puppets
import pytest
from drawing_checks import gpu_context
from mathutils import Matrix, Quaternion

from blender_addon import runtime
from blender_addon.puppet import importer, rig
from blender_addon.puppet.nodes import native_splats
from blender_addon.puppet.output import render_job
from blender_addon.session.steps import drain
from blender_addon.viewport import mesh_depth, splat_drawing, splat_painter
from restage4d.errors import InputError
from restage4d.exporting.exr import write_exr
from restage4d.srgb import linear_to_srgb, premultiplied_to_linear

pytestmark = pytest.mark.usefixtures("registered")

OpenEXR = pytest.importorskip("OpenEXR")
ROOT = Path(__file__).parents[2]
BACKEND = ROOT / ".venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


@pytest.fixture
def connection(tmp_path):
    """A service of its own; its connection file."""
    pytest.importorskip("zmq")
    if not BACKEND.exists():
        pytest.skip(f"no backend: {BACKEND} is missing (scripts/run.sh makes it)")
    home = tmp_path / "home"
    home.mkdir()
    with (tmp_path / "serve.log").open("w") as log:
        environment = {**os.environ, "RESTAGE4D_HOME": str(home)}
        service = subprocess.Popen(
            [str(BACKEND), "-m", "backend"], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    try:
        end = time.monotonic() + 60
        while not (home / "connection.json").exists():
            assert service.poll() is None, (tmp_path / "serve.log").read_text()
            assert time.monotonic() < end, (tmp_path / "serve.log").read_text()
            time.sleep(0.1)
        yield home / "connection.json"
    finally:
        service.terminate()
        service.wait(20)


def read(path):
    with OpenEXR.File(str(path), separate_channels=True) as file:
        return {name: np.array(channel.pixels) for name, channel in file.channels().items()}


def drawn(imported, scene, filming, size):
    """The camera's picture by the viewport's drawing: premultiplied sRGB values and alpha."""
    depsgraph = bpy.context.evaluated_depsgraph_get()
    cloud, told = splat_drawing.gather(
        depsgraph, [(imported.points, "FILMED"), (imported.background, "FILMED")]
    )
    assert not told
    projection = filming.calc_matrix_camera(depsgraph, x=size[0], y=size[1])
    return splat_painter.render(
        cloud, np.array(filming.matrix_world.inverted()), np.array(projection), *size
    )


def run(job):
    render_job.start(job)
    job.thread.join(120)
    assert job.finished


def test_exr_is_what_openexr_reads(tmp_path):
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (37, 53), (16, 200)):
        channels = {
            name: rng.normal(size=shape).astype(np.float32) for name in ("Z", "R", "a long.name")
        }
        channels["R"][:] = 0.25  # compresses; noise does not
        write_exr(tmp_path / "x.exr", channels)
        seen = read(tmp_path / "x.exr")
        assert seen.keys() == channels.keys()
        for name, values in channels.items():
            np.testing.assert_array_equal(seen[name], values)
    picture = rng.random((16, 20, 4), np.float32)
    write_exr(tmp_path / "y.exr", {name: picture[..., c] for c, name in enumerate("RGBA")})
    image = bpy.data.images.load(str(tmp_path / "y.exr"))  # and as Blender reads it, from below
    np.testing.assert_allclose(
        np.array(image.pixels[:]).reshape(16, 20, 4)[::-1], picture, atol=1e-6
    )


def test_rendered_pictures_are_the_tweaked_puppet(tmp_path, connection):
    """A moved camera, a moved handle and a moved armature; against the viewport's drawing of the
    same scene."""
    from restage4d.protocol.client import Client

    puppet = puppets.creature(n=4000, frames=6, size=(160, 120))
    imported, scene = importer.import_puppet(puppet, name="c"), bpy.context.scene
    handle = next(
        b
        for b in imported.armature.pose.bones
        if b.bone.get(rig.ROLE) == rig.CONTROL and b.bone[rig.REGION] == 1
    )
    handle.rotation_quaternion = Quaternion((0, 1, 0), 0.7)
    imported.armature.location.z = 0.1
    filming = bpy.data.objects.new("mine", imported.camera.data)
    filming.matrix_world = imported.camera.matrix_world.copy()
    filming.location.z += 0.3
    scene.collection.objects.link(filming)
    scene.camera = filming
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = (
        320,
        240,
        50,
    )
    frames = range(2, 5)
    steps = render_job.render_steps(imported, scene, frames, background=True)
    captured = drain(steps)
    job = render_job.Render(
        captured,
        frames,
        True,
        tmp_path / "out" / "s.exr",
        lambda: Client.connect(connection),
    )
    run(job)
    assert job.error is None, job.says
    names = sorted(f.name for f in job.path.parent.iterdir())
    assert names == [f"s_{kind}_{frame:04d}.exr" for kind in ("depth", "rgba") for frame in frames]
    gpu_context()
    for frame in frames:
        scene.frame_set(frame)
        seen, z = (
            read(job.path.with_name(f"s_rgba_{frame:04d}.exr")),
            read(job.path.with_name(f"s_depth_{frame:04d}.exr"))["Y"],
        )
        assert z.shape == (120, 160)
        alpha = seen["A"]
        straight = np.stack([seen[c] for c in "RGB"], -1) / np.maximum(alpha, 1e-6)[..., None]
        rgb = linear_to_srgb(straight) * alpha[..., None]
        want = drawn(imported, scene, filming, (160, 120))
        error = np.concatenate([rgb, alpha[..., None]], -1) - want
        assert -10 * np.log10((error**2).mean()) > 40
        assert (z[alpha < 0.003] == render_job.FAR).mean() > 0.99
        assert 1 < np.median(z[alpha > 0.9]) < 4


def test_cancelled_rendering_leaves_nothing(tmp_path, connection):
    from restage4d.protocol.client import Client

    puppet = puppets.creature(n=500, frames=6, size=(64, 48))
    frames = range(1, 7)
    job = render_job.Render(
        puppet, frames, False, tmp_path / "out" / "s.exr", lambda: Client.connect(connection)
    )
    job.cancelled = True
    run(job)
    assert job.says == "Cancelled; nothing was written"
    assert not list((tmp_path / "out").glob("*"))


def test_no_backend_is_one_sentence(tmp_path):
    pytest.importorskip("zmq")
    from restage4d.protocol.client import Client

    job = render_job.Render(
        puppets.creature(n=50, frames=2),
        range(1, 3),
        True,
        tmp_path / "s.exr",
        lambda: Client.connect(tmp_path / "none.json"),
    )
    run(job)
    assert isinstance(job.error, InputError)
    assert job.error.remedy
    assert not list(tmp_path.glob("*s_*"))


def test_without_a_camera_the_button_says_why(imported):
    bpy.context.scene.camera = None
    assert not bpy.ops.restage4d.render_splats.poll()
    with pytest.raises(InputError, match="no perspective camera"):
        next(render_job.render_steps(imported, bpy.context.scene, range(1, 2), background=True))


def test_orthographic_views_and_objects_in_front_and_behind():
    """One splat seen straight on, in both kinds of view; of three, only what lies before the
    scene's depth shows."""
    gpu_context()
    view = np.array(
        [[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, -5], [0, 0, 0, 1.0]]
    )  # from (0, -5, 0) along +y
    near, far = 0.1, 20.0
    ortho, persp = np.eye(4), np.zeros((4, 4))
    ortho[2, 2], ortho[2, 3] = -2 / (far - near), -(far + near) / (far - near)
    persp[0, 0] = persp[1, 1] = 5.0
    persp[2, 2], persp[2, 3], persp[3, 2] = (
        -(far + near) / (far - near),
        -2 * far * near / (far - near),
        -1,
    )
    one = (
        np.array([[0, 0, 0]], np.float32),
        np.array([[1, 0, 0, 0]], np.float32),
        np.array([[0.3, 0.1, 0.15]], np.float32),
    )
    color = np.array([[0.8, 0.4, 0.2]], np.float32)
    cloud = splat_painter.Cloud(*one, np.array([0.9], np.float32), color)
    y, x = np.mgrid[:81, :81] - 40.0
    want = 0.9 * np.exp(
        -0.5 * (x**2 / ((0.3 * 40.5) ** 2 + 0.3) + y**2 / ((0.15 * 40.5) ** 2 + 0.3))
    )
    for projection in (
        ortho,
        persp,
    ):  # both show one unit as half the picture at the splat's distance
        seen = splat_painter.render(cloud, view, projection, 81, 81)
        np.testing.assert_allclose(seen[..., 3], np.where(want >= 1 / 255, want, 0), atol=4e-3)
        np.testing.assert_allclose(seen[40, 40, :3], 0.9 * color[0], atol=2e-3)
    three = splat_painter.Cloud(
        np.array([[0, 0, 0], [-0.5, -2, 0], [0.5, 2, 0]], np.float32),
        np.tile(one[1], (3, 1)),
        np.full((3, 3), 0.04, np.float32),
        np.full(3, 0.9, np.float32),
        np.eye(3, dtype=np.float32),
    )
    target = gpu.types.GPUOffScreen(81, 81, format="RGBA16F")
    depth = (ortho[2, 2] * -6.0 + ortho[2, 3]) * 0.5 + 0.5  # a wall at y = 1
    wall = np.full((81, 81), depth, np.float32)
    splat_painter.Painter().paint(
        target, three, three.order(view), view, ortho, splat_painter.as_texture(wall, "R32F")
    )
    with target.bind():
        pixels = gpu.state.active_framebuffer_get().read_color(0, 0, 81, 81, 4, 0, "FLOAT")
    seen = np.array(pixels.to_list(), np.float32).reshape(81, 81, 4)
    target.free()
    assert seen[40, 40, 0] > 0.8
    assert seen[40, 20, 1] > 0.8  # before the wall
    assert seen[40, 60].max() == 0  # behind it


class _FakeClient:
    """Draws nothing of its own: every pixel half covered, the frame's number as its red."""

    def __init__(self, fails_at=None):
        self.asked, self.fails_at = [], fails_at

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def upload(self, path):
        return "content"

    def render(self, content, bases, w2c, K, size, *, background):
        if self.fails_at is not None and len(self.asked) >= self.fails_at:
            raise InputError("The backend went away.", "Start it.")
        self.asked.append((K, size))
        rgba = np.zeros((size[1], size[0], 4), np.float32)
        rgba[..., 0], rgba[..., 3] = len(self.asked), 0.5
        return rgba, np.full(size[::-1], 2.0, np.float32)


def test_a_render_region_is_what_is_drawn(tmp_path, imported, monkeypatch):
    scene, client = bpy.context.scene, _FakeClient()
    r = scene.render
    r.resolution_x, r.resolution_y, r.resolution_percentage = 80, 40, 50
    r.use_border = True
    r.border_min_x, r.border_max_x, r.border_min_y, r.border_max_y = 0.25, 0.75, 0.5, 1.0
    picture = render_job.read_picture(scene)
    assert (picture.size, picture.area, picture.drawn) == ((40, 20), (10, 30, 0, 10), (20, 10))
    scene.camera = imported.camera
    whole = drain(render_job.render_steps(imported, scene, [1], background=False))
    for cropped in (False, True):
        r.use_crop_to_border = cropped
        job = render_job.Render(
            whole, [1], False, tmp_path / f"{cropped}.exr", lambda: client,
            picture=render_job.read_picture(scene),
        )  # fmt: skip
        run(job)
        assert job.error is None, job.says
        seen = read(tmp_path / f"{cropped}_rgba_0001.exr")["A"]
        assert seen.shape == ((10, 20) if cropped else (20, 40))
        assert (seen == 0.5).sum() == 200
        if not cropped:
            assert (seen[:10, 10:30] == 0.5).all()
    assert client.asked[0][1] == (20, 10)
    r.use_border = False
    full = drain(render_job.render_steps(imported, scene, [1], background=False))
    moved = full.performances[0].K[0] - client.asked[0][0]
    np.testing.assert_allclose(moved, [[0, 0, 10], [0, 0, 0], [0, 0, 0]], atol=1e-5)


def test_motion_blur_is_the_mean_over_the_shutter(tmp_path, imported):
    assert render_job.list_times([3], 1, 0.5) == [3]
    np.testing.assert_allclose(render_job.list_times([3, 4], 2, 0.5), [2.875, 3.125, 3.875, 4.125])
    scene = bpy.context.scene
    scene.camera = imported.camera
    times = render_job.list_times([3], 4, 0.5)
    puppet = drain(render_job.render_steps(imported, scene, times, background=False))
    moving = puppet.performances[0].bases
    assert moving.shape[1] == 4
    assert np.abs(np.diff(moving[..., 6:], axis=1)).max() > 1e-3
    client = _FakeClient()
    job = render_job.Render(
        puppet, [3], False, tmp_path / "s.exr", lambda: client, samples=4,
        picture=render_job.read_picture(scene),
    )  # fmt: skip
    run(job)
    seen = read(tmp_path / "s_rgba_0003.exr")
    singles = [
        premultiplied_to_linear(np.float32([[[i, 0, 0, 0.5]]]))[0, 0, 0] for i in (1, 2, 3, 4)
    ]
    assert seen["R"][0, 0] == pytest.approx(np.mean(singles), rel=1e-5)
    assert seen["A"][0, 0] == pytest.approx(0.5)


def test_an_interrupted_rendering_goes_on_with_what_is_missing(tmp_path, imported, monkeypatch):
    scene = bpy.context.scene
    scene.camera, scene.frame_start, scene.frame_end = imported.camera, 1, 4
    monkeypatch.setattr(bpy.app.timers, "register", lambda *_, **__: None)
    for fails_at, asked in ((2, 2), (None, 2)):
        client = _FakeClient(fails_at)
        monkeypatch.setattr(runtime, "make_connector", lambda client=client: lambda: client)
        bpy.ops.restage4d.render_splats(filepath=str(tmp_path / "s.exr"), missing=True)
        render_job.current.thread.join(20)
        assert len(client.asked) == asked
    assert len(list(tmp_path.glob("s_*.exr"))) == 8
    with pytest.raises(RuntimeError, match="Every frame is there"):
        bpy.ops.restage4d.render_splats(filepath=str(tmp_path / "s.exr"), missing=True)


def test_objects_hide_the_splats_behind_them(tmp_path, imported):
    scene = bpy.context.scene
    scene.camera = imported.camera
    scene.render.resolution_x, scene.render.resolution_y = 64, 48
    world = np.array(imported.camera.matrix_world, np.float64)
    bpy.ops.mesh.primitive_plane_add(size=0.2)
    plane = bpy.context.object
    place = world @ np.array([0, 0, -1.5, 1])
    plane.matrix_world = Matrix(world.tolist())
    plane.location = place[:3]
    imported.armature.hide_viewport = imported.points.hide_viewport = True
    for obj in (imported.splats, imported.background_splats):
        obj.hide_viewport = True
        if native := native_splats.find_native(obj):
            native.hide_viewport = True
    bpy.context.view_layer.update()
    gpu_context()
    depth = mesh_depth.MeshDepth(scene)
    try:
        depth.read(1)
        z = np.load(depth.files[1])
    finally:
        depth.free()
    assert z.shape == (48, 64)
    on = z < render_job.FAR
    assert 4 < on.sum() < 0.5 * on.size
    np.testing.assert_allclose(z[on], 1.5, atol=2e-3)
    rgba, far = np.ones((48, 64, 4), np.float32), np.full((48, 64), 2.0, np.float32)
    render_job.hide_behind(rgba, far, z)
    np.testing.assert_array_equal(rgba[..., 3] == 0, on)
    rgba, near = np.ones((48, 64, 4), np.float32), np.full((48, 64), 1.4, np.float32)
    render_job.hide_behind(rgba, near, z)
    assert rgba.min() == 1
