"""The command line, the file it writes as another Blender sees it, footage, pictures; and the
operators."""

import os
import subprocess
import sys
from pathlib import Path

import bpy
import numpy as np
import puppets
import pytest

import blender_addon
from blender_addon import compat, headless
from blender_addon.puppet import importer
from blender_addon.puppet.nodes import native_splats
from blender_addon.puppet.output import export
from restage4d.puppet import Puppet

ROOT = Path(__file__).parents[2]

# Only bpy and numpy: no add-on, no restage4d, as on a render farm.
_STRANGER = """
import sys, os, bpy, numpy as np
bpy.ops.wm.open_mainfile(filepath=sys.argv[1])
assert not any(m.split('.')[0] in ('blender_addon', 'restage4d') for m in sys.modules)
out = []
for f in range(bpy.context.scene.frame_start, bpy.context.scene.frame_end + 1):
    bpy.context.scene.frame_set(f)
    graph = bpy.context.evaluated_depsgraph_get()
    mesh = bpy.data.objects[sys.argv[3]].evaluated_get(graph).to_mesh()
    x = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get('co', x)
    out.append(x.reshape(-1, 3))
np.save(sys.argv[2], np.array(out))
sys.stdout.flush()
os._exit(0)
"""


# The same, rendering a frame.
_RENDERING_STRANGER = """
import sys, os, bpy
bpy.ops.wm.open_mainfile(filepath=sys.argv[1])
assert not any(m.split('.')[0] in ('blender_addon', 'restage4d') for m in sys.modules)
scene = bpy.context.scene
scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = 'CYCLES', 4, False
scene.render.image_settings.file_format, scene.render.filepath = 'PNG', sys.argv[2]
scene.frame_set(3)
bpy.ops.render.render(write_still=True)
sys.stdout.flush()
os._exit(0)
"""


def run(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "blender_addon.headless", *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.fixture
def puppet_file(tmp_path):
    path = tmp_path / "dog.puppet"
    puppets.random_puppet(n=300).save(path)
    return path


@pytest.fixture
def frames_folder(tmp_path):
    """Numbered frames, from 7 on, whose red tells their number."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for i in range(10):
        image = bpy.data.images.new("x", 16, 9)
        image.generated_color = (i / 10, 0, 0, 1)
        image.filepath_raw, image.file_format = str(folder / f"f_{i + 7:05d}.png"), "PNG"
        image.save()
        bpy.data.images.remove(image)
    return folder


def test_a_stranger_plays_the_file(tmp_path, puppet_file, frames_folder):
    blend = tmp_path / "out" / "dog.blend"
    done = run(puppet_file, blend, "--footage", f"jump={frames_folder}")
    assert done.returncode == 0, done.stderr
    assert [p.name for p in blend.parent.iterdir()] == ["dog.blend"]
    stranger = [sys.executable, "-c", _STRANGER, str(blend), str(tmp_path / "x.npy"), "dog points"]
    subprocess.run(
        stranger,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
        check=True,
        timeout=120,
        capture_output=True,
    )
    puppet = Puppet.load(puppet_file)
    p = puppet.performance("jump")
    seen = np.load(tmp_path / "x.npy")
    assert len(seen) == p.n_frames
    for frame in range(p.n_frames):
        assert np.abs(seen[frame] - puppet.pose(p, frame).means).max() < 2e-4

    bpy.ops.wm.open_mainfile(filepath=str(blend))
    (imported,) = importer.find_puppets(bpy.context.scene)
    footage = imported.performance("jump").footage
    assert footage.filepath.startswith("//")
    assert Path(bpy.path.abspath(footage.filepath)).is_file()
    (background,) = imported.camera.data.background_images
    assert background.show_background_image
    assert imported.camera.data.show_background_images


def test_a_stranger_renders_the_file(tmp_path):
    """Saved with the extension at work and its own drawing on; rendered by a Blender that never
    heard of either."""
    blender_addon.register()
    try:
        puppet = puppets.creature(n=2000, frames=4, size=(96, 72))
        imported = importer.import_puppet(puppet, name="c")
        imported.armature.restage4d_display.mode = "GAUSSIANS"
        bpy.context.scene.world = bpy.data.worlds.new("World")
        bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "c.blend"))
    finally:
        blender_addon.unregister()
    stranger = [
        sys.executable,
        "-c",
        _RENDERING_STRANGER,
        str(tmp_path / "c.blend"),
        str(tmp_path / "c.png"),
    ]
    subprocess.run(
        stranger,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
        check=True,
        timeout=200,
        capture_output=True,
    )
    pixels = np.array(bpy.data.images.load(str(tmp_path / "c.png")).pixels[:]).reshape(72, 96, 4)[
        ::-1
    ]
    p = puppet.performances[-1]
    uvw = (puppet.pose(p, 2).means @ p.w2c[2, :3, :3].T + p.w2c[2, :3, 3]) @ p.K[2].T
    u, v = (uvw[:, :2] / uvw[:, 2:]).T.astype(int)
    brown = pixels[..., 0] > pixels[..., 2] + 0.1
    assert brown[v, u].mean() > 0.8  # the creature stands where its camera sees it
    assert brown.mean() < 0.4  # and nowhere else


def test_footage_starts_with_the_performance(frames_folder):
    """Blender's own counting, through a texture with the same settings: scene frame 1 shows the
    first picture."""
    puppet = puppets.random_puppet(n=20)
    imported = importer.import_puppet(puppet, name="x", footage={"jump": frames_folder})
    imported.splats.hide_render = imported.background_splats.hide_render = True
    (background,) = imported.camera.data.background_images
    scene = bpy.context.scene
    material = bpy.data.materials.new("m")
    tree = compat.material_tree(material)
    texture, emission, out = (
        tree.nodes.new(n)
        for n in ("ShaderNodeTexImage", "ShaderNodeEmission", "ShaderNodeOutputMaterial")
    )
    texture.image = background.image
    for key in ("frame_start", "frame_offset", "frame_duration", "use_auto_refresh", "use_cyclic"):
        setattr(texture.image_user, key, getattr(background.image_user, key))
    tree.links.new(texture.outputs["Color"], emission.inputs["Color"])
    tree.links.new(emission.outputs[0], out.inputs["Surface"])
    bpy.ops.mesh.primitive_cube_add(size=10)  # around the camera
    bpy.context.object.data.materials.append(material)
    scene.render.engine, scene.cycles.samples = "CYCLES", 1
    scene.render.resolution_x, scene.render.resolution_y, scene.render.dither_intensity = 8, 8, 0
    for frame in (1, 4, 10):
        scene.frame_set(frame)
        scene.render.filepath = str(frames_folder.parent / f"seen_{frame}.png")
        bpy.ops.render.render(write_still=True)
        picture = bpy.data.images.load(scene.render.filepath)
        assert np.median(picture.pixels[:][::4]) == pytest.approx((frame - 1) / 10, abs=0.02)


def test_only_the_playing_performance_s_footage_shows(frames_folder):
    puppet = puppets.random_puppet(n=20)
    imported = importer.import_puppet(
        puppet, name="x", footage={"jump": frames_folder, "base": frames_folder}
    )

    def shown():
        return [
            b.image.name for b in imported.camera.data.background_images if b.show_background_image
        ]

    assert shown() == [imported.performance("jump").footage.name]
    importer.activate(imported, "base", scene=bpy.context.scene)
    assert shown() == [imported.performance("base").footage.name]


def test_workbench_still_shows_the_colours(tmp_path):
    puppet = puppets.creature(n=3000, frames=6, size=(160, 120))
    puppet.save(tmp_path / "c.puppet")
    done = run(
        tmp_path / "c.puppet", tmp_path / "c.blend", "--still", tmp_path / "still.png", "--frame", 2
    )
    assert done.returncode == 0, done.stderr
    image = bpy.data.images.load(str(tmp_path / "still.png"))
    pixels = np.array(image.pixels[:]).reshape(120, 160, 4)[::-1]
    p = puppet.performances[-1]
    g = puppet.pose(p, 2)
    uvw = (g.means @ p.w2c[2, :3, :3].T + p.w2c[2, :3, 3]) @ p.K[2].T
    u, v = (uvw[:, :2] / uvw[:, 2:]).T.astype(int)
    coat = pixels[v, u, :3]
    assert (
        (coat[:, 0] > coat[:, 2] + 0.1).mean()
    ) > 0.9  # brown where the creature is, by its own camera
    assert ((pixels[..., 0] > pixels[..., 2] + 0.1).mean()) < 0.3  # and nowhere else


def test_cycles_splats_blend_as_gaussians(tmp_path):
    """One splat seen by Cycles is opacity * exp(-d²/2) of its distance from the centre in σ, in
    linear light."""
    puppet = puppets.creature(n=1000, frames=1, size=(65, 65))
    p = puppet.performances[-1]
    one = puppets.gaussians(np.random.default_rng(0), 1)
    one.means[:], one.quats[:], one.scales[:], one.opacities[:], one.sh[:] = (
        0,
        (1, 0, 0, 0),
        (0.2, 0.1, 0.1),
        0.8,
        1 / 0.56419,
    )
    puppet.background = puppets.gaussians(np.random.default_rng(0), 0)
    puppet.subject, puppet.index, puppet.weight = (
        one,
        np.zeros((1, 1), np.uint16),
        np.ones((1, 1), np.float32),
    )
    for q in puppet.performances:
        q.bases[:] = puppets.se3.IDENTITY
        q.K[:, 0, 0] = q.K[:, 1, 1] = 400.0
        q.K[:, 0, 2] = q.K[:, 1, 2] = 32.5
        q.w2c[:] = puppets.look_at(np.array([[0.0, -10.0, 0.0]]), np.zeros((1, 3)))
    importer.import_puppet(puppet, name="one")
    scene = bpy.context.scene
    scene.render.engine, scene.cycles.samples, scene.render.film_transparent = "CYCLES", 64, True
    scene.render.image_settings.file_format, scene.render.filepath = (
        "OPEN_EXR",
        str(tmp_path / "one.exr"),
    )
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(scene.render.filepath)
    alpha = np.array(image.pixels[:]).reshape(65, 65, 4)[::-1, :, 3]
    y, x = np.mgrid[:65, :65] - 32.0
    d2 = (x / 400 * 10 / 0.2) ** 2 + (y / 400 * 10 / 0.1) ** 2
    inside = d2 < 6.0
    off = np.abs(alpha - 0.8 * np.exp(-d2 / 2))[inside]
    assert off.mean() < (0.06 if native_splats.is_available() else 0.02)
    assert off.max() < (0.25 if native_splats.is_available() else 0.04)  # Cycles' own are noisy
    assert p.size == (65, 65)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing.puppet", "o.blend"), "cannot be read"),
        (("{puppet}", "o.txt"), "does not end in .blend"),
        (("{puppet}", "o.blend", "--footage", "jump=nowhere.mp4"), "does not exist"),
        (("{puppet}", "o.blend", "--footage", "fly={puppet}"), "is no movie"),
        (("{puppet}", "o.blend", "--footage", "jump"), "is not PERFORMANCE=PATH"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    tmp_path, puppet_file, capsys, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    assert headless.main([a.format(puppet=puppet_file) for a in arguments]) == 2
    assert message in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["dog.puppet"]


def test_footage_of_no_performance(tmp_path, puppet_file, frames_folder, capsys):
    assert (
        headless.main(
            [str(puppet_file), str(tmp_path / "o.blend"), "--footage", f"fly={frames_folder}"]
        )
        == 2
    )
    assert "no such performance" in capsys.readouterr().err


def test_operators_import_and_export(tmp_path, puppet_file):
    blender_addon.register()
    try:
        assert not bpy.ops.restage4d.export_puppet.poll()
        assert bpy.ops.restage4d.import_puppet(filepath=str(puppet_file)) == {"FINISHED"}
        assert bpy.ops.restage4d.export_puppet(filepath=str(tmp_path / "again.puppet")) == {
            "FINISHED"
        }
        again = Puppet.load(tmp_path / "again.puppet")
        np.testing.assert_array_equal(again.subject.means, Puppet.load(puppet_file).subject.means)
        assert bpy.ops.restage4d.export_npz(filepath=str(tmp_path / "a.npz")) == {"FINISHED"}
        assert (tmp_path / "a_0001.npz").exists()
        assert bpy.ops.restage4d.export_ply(
            filepath=str(tmp_path / "a.ply"), use_range=True, first=2, last=2
        ) == {"FINISHED"}
        assert (tmp_path / "a_0002.ply").exists()
        with pytest.raises(RuntimeError, match="cannot be read"):
            bpy.ops.restage4d.import_puppet(filepath=str(tmp_path / "none.puppet"))
    finally:
        blender_addon.unregister()
    assert not hasattr(bpy.types, "RESTAGE4D_OT_import_puppet")


def test_a_puppet_without_background_or_with_unused_bases(tmp_path):
    puppet = puppets.random_puppet(n=50)
    puppet.background = puppets.gaussians(np.random.default_rng(0), 0)
    puppet.index[puppet.index == 5] = 0
    imported = importer.import_puppet(puppet, name="bare")
    assert imported.background is None
    bpy.context.scene.frame_set(2)
    want = puppet.pose(puppet.performances[-1], 1).means
    assert np.abs(export.read_posed(imported).means - want).max() < 2e-4
