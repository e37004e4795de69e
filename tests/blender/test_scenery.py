"""Splats of others: under a puppet as its stage, as puppets that stand still, as sequences."""

from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
import puppets
import pytest

import blender_addon
from blender_addon.puppet import attributes, capture, importer
from blender_addon.puppet.in_scene import scenery
from blender_addon.puppet.nodes import native_splats
from blender_addon.session import launcher
from blender_addon.viewport import display
from restage4d.exporting.formats import Axes, convert_gaussians
from restage4d.io.ply import write_ply

pytestmark = pytest.mark.usefixtures("registered")

ROOT = Path(__file__).parents[2]
SPLATS = ROOT.parent / "shared" / "data" / "splats"
OPERATORS = bpy.ops.restage4d


def make_stage(sh: int = 1):
    """A floor with a wall, z up, metres times 30, far from the origin."""
    rng = np.random.default_rng(5)
    floor = np.concatenate([rng.uniform(-90, 90, (1500, 2)), rng.normal(0, 0.1, (1500, 1))], 1)
    wall = np.concatenate([rng.uniform(-90, 90, (400, 1)), np.full((400, 1), 80.0)], 1)
    wall = np.concatenate([wall, rng.uniform(0, 50, (400, 1))], 1)
    g = puppets.gaussians(rng, 1900, sh)
    means = np.concatenate([floor, wall]) + np.array([300, -200, 40])
    opacities = rng.uniform(0.6, 1, 1900)
    return replace(g, means=means.astype(np.float32), opacities=opacities.astype(np.float32))


def read_background(imported):
    return capture.read_background(imported)


def read_action(action):
    return [
        (c.data_path, c.array_index, [tuple(k.co) for k in c.keyframe_points])
        for layer in action.layers for strip in layer.strips
        for bag in strip.channelbags for c in bag.fcurves
    ]  # fmt: skip


@pytest.mark.parametrize("sh", [1, 4])
def test_a_captured_scene_becomes_the_stage(creature, tmp_path, sh):
    puppet, imported = creature
    path = tmp_path / "bühne 1.ply"
    write_ply(path, convert_gaussians(make_stage(sh), Axes.Y_DOWN.turn, 1))
    bpy.context.scene.frame_set(3)
    before = capture.capture_puppet(imported, bpy.context.scene)
    filmed = read_action(importer.find_puppets(bpy.context.scene)[0].performances[0].action)
    assert OPERATORS.use_another_background(filepath=str(path)) == {"FINISHED"}
    imported = importer.find_puppets(bpy.context.scene)[0]
    seen = read_background(imported)
    assert seen.sh.shape[1] == sh
    floor = seen.means[:1500]
    assert np.abs(floor[:, 2] + 0.02).max() < 0.03, "on the old floor, which lies at -0.02"
    assert seen.means[1500:, 2].max() > 0.3, "what stood on it stands upright"
    old = puppet.background.means
    sizes = [np.median(np.linalg.norm(m - np.median(m, 0), axis=1)) for m in (seen.means, old)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)
    subject = puppet.pose(puppet.performances[-1], 2).means
    assert np.linalg.norm((np.median(seen.means, 0) - np.median(subject, 0))[:2]) < 0.05
    after = capture.capture_puppet(imported, bpy.context.scene)
    np.testing.assert_array_equal(after.subject.means, before.subject.means)
    for a, b in zip(after.performances, before.performances, strict=True):
        np.testing.assert_array_equal(a.w2c, b.w2c)
        np.testing.assert_array_equal(a.bases, b.bases)
    np.testing.assert_allclose(after.background.means, seen.means, atol=1e-6)
    assert read_action(imported.performances[0].action) == filmed
    if native_splats.is_available():
        display.get_display(imported.armature).mode = "GAUSSIANS"
        native = native_splats.find_native(imported.background_splats)
        data = native.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
        names = {a.name for a in data.attributes if a.name.startswith("radiance:sh_")}
        assert len(names) == sh - 1
    OPERATORS.use_another_background(filepath=str(path), scale=2.0)
    doubled = read_background(imported).means
    assert np.median(np.linalg.norm(doubled - np.median(doubled, 0), axis=1)) == pytest.approx(
        2 * sizes[0], rel=0.1
    )


def test_a_puppet_without_a_background_gets_one(tmp_path):
    puppet = puppets.creature(n=800, frames=4, size=(96, 72))
    puppet.background = type(puppet.background)(*(v[:0] for v in vars(puppet.background).values()))
    importer.import_puppet(puppet, name="alone")
    write_ply(tmp_path / "a.ply", make_stage())
    OPERATORS.use_another_background(filepath=str(tmp_path / "a.ply"), axes="z-up", scale=0.02)
    imported = importer.find_puppets(bpy.context.scene)[0]
    assert imported.background is not None
    soles = np.quantile(scenery.read_subject(imported)[:, 2], 0.01)
    assert np.abs(read_background(imported).means[:1500, 2] - soles).max() < 0.02
    assert len(capture.capture_puppet(imported, bpy.context.scene).background) == 1900
    imported.root.location.x = 2.0  # it goes with the puppet
    bpy.context.view_layer.update()
    assert read_background(imported).means[:, 0].mean() > 1.5


def test_a_wrong_file_leaves_the_background(creature, tmp_path):
    puppet, imported = creature
    (tmp_path / "a.ply").write_bytes(b"no ply")
    with pytest.raises(RuntimeError, match="not a splat PLY"):
        OPERATORS.use_another_background(filepath=str(tmp_path / "a.ply"))
    with pytest.raises(RuntimeError, match="does not exist"):
        OPERATORS.use_another_background(filepath=str(tmp_path / "b.ply"))
    assert len(read_background(imported)) == len(puppet.background)


def test_splats_become_a_still_puppet(tmp_path):
    g = puppets.gaussians(np.random.default_rng(0), 300, 4)
    write_ply(tmp_path / "statue.ply", convert_gaussians(g, Axes.Y_DOWN.turn, 1))
    OPERATORS.import_splats(filepath=str(tmp_path / "statue.ply"))
    imported = importer.find_puppets(bpy.context.scene)[0]
    captured = capture.capture_puppet(imported, bpy.context.scene)
    np.testing.assert_allclose(captured.subject.means, g.means, atol=1e-5)
    np.testing.assert_allclose(captured.subject.sh, g.sh, atol=1e-5)
    assert captured.performances[0].n_frames == 1


@pytest.mark.skipif(not SPLATS.is_dir(), reason="no splats by others in ../shared/data")
@pytest.mark.skipif(not launcher.get_own_python(ROOT).is_file(), reason="no backend environment")
@pytest.mark.parametrize("name", ["minimal-v2.spz", "minimal-v4.spz", "minimal.splat"])
def test_packed_kinds_come_in_by_the_backend(tmp_path, monkeypatch, name):
    monkeypatch.setenv("RESTAGE4D_HOME", str(tmp_path / "home"))
    OPERATORS.import_splats(filepath=str(SPLATS / "splat-transform_minimal" / name))
    imported = importer.find_puppets(bpy.context.scene)[0]
    assert len(attributes.get_mesh(imported.points).vertices) == 4


def test_a_sequence_plays_without_the_extension(tmp_path):
    rng = np.random.default_rng(2)
    frames = [puppets.gaussians(rng, n) for n in (40, 70, 55)]
    for i, g in enumerate(frames):
        write_ply(tmp_path / f"walk_{i + 8:04d}.ply", g)  # 8, 9, 10
    write_ply(tmp_path / "walkers_0001.ply", frames[0])
    (tmp_path / "walk_0001.txt").write_text("not a frame")
    write_ply(tmp_path / "one.ply", frames[0])
    with pytest.raises(RuntimeError, match="has no number"):
        OPERATORS.import_splats(filepath=str(tmp_path / "one.ply"), use="SEQUENCE", axes="z-up")
    place = {"filepath": str(tmp_path / "walk_0009.ply"), "use": "SEQUENCE", "axes": "z-up"}
    OPERATORS.import_splats(**place)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    blender_addon.unregister()
    try:
        bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
        scene = bpy.context.scene
        for frame, i in ((-3, 0), (1, 0), (2, 1), (3, 2), (50, 2)):
            scene.frame_set(frame)
            depsgraph = bpy.context.evaluated_depsgraph_get()
            with attributes.reading_mesh(
                bpy.data.objects["walk points"].evaluated_get(depsgraph)
            ) as mesh:
                seen = attributes.read_gaussians(mesh)
            for name, value in vars(frames[i]).items():
                np.testing.assert_allclose(getattr(seen, name), value, atol=1e-5, err_msg=name)
            if native_splats.is_available():
                native = bpy.data.objects["walk splats native"].evaluated_get(depsgraph).data
                assert (len(native.points), native.type) == (len(frames[i]), "GAUSSIAN_SPLAT")
    finally:
        blender_addon.register()
