"""*Playblast* has the splats in it, before and behind what else is in the scene."""

import bpy
import numpy as np
import puppets
import pytest
from drawing_checks import gpu_context

import blender_addon
from blender_addon.puppet import importer
from blender_addon.viewport import display, playblast

pytestmark = pytest.mark.usefixtures("drawn_by_the_extension")

SIZE = (96, 72)


@pytest.fixture(autouse=True)
def registered(tmp_path, monkeypatch):
    monkeypatch.setenv("RESTAGE4D_HOME", str(tmp_path / "home"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    blender_addon.register()
    gpu_context()
    yield
    blender_addon.unregister()


@pytest.fixture
def seen():
    """The creature as Gaussians, and a function that draws the view through its camera."""
    imported = importer.import_puppet(
        puppets.creature(n=1500, frames=4, size=SIZE), name="creature"
    )
    settings = display.get_display(imported.armature)
    settings.mode, settings.background = "GAUSSIANS", False
    _, area, region = playblast.find_view()
    space = area.spaces.active
    space.region_3d.view_perspective = "CAMERA"
    space.overlay.show_overlays = False
    space.shading.type, space.shading.light = "SOLID", "FLAT"
    painting = playblast.Playblast(SIZE)

    def draw():
        bpy.context.view_layer.update()
        return painting.draw(area, region, playblast.ViewCamera(space, SIZE)).astype(int)

    yield imported, settings, draw
    painting.free()


def find_brown(picture):
    """Pixels that no grey view has: the creature's."""
    return np.ptp(picture, axis=-1) > 40


def test_splats_are_in_the_picture_where_the_camera_sees_them(seen):
    imported, settings, draw = seen
    there = find_brown(draw())
    settings.mode = "NOTHING"
    assert not find_brown(draw()).any(), "what Blender's own viewport render shows"
    settings.mode = "GAUSSIANS"
    depsgraph = bpy.context.evaluated_depsgraph_get()
    P = imported.camera.calc_matrix_camera(depsgraph, x=SIZE[0], y=SIZE[1])
    world = np.array(imported.camera.matrix_world, np.float64)
    clip = np.array(P, np.float64) @ np.linalg.inv(world)
    from blender_addon.puppet.output import export

    means = export.read_posed(imported).means
    means = np.concatenate([means, np.ones((len(means), 1))], 1) @ clip.T
    x = ((means[:, 0] / means[:, 3] + 1) / 2 * SIZE[0]).astype(int).clip(0, SIZE[0] - 1)
    y = ((1 - means[:, 1] / means[:, 3]) / 2 * SIZE[1]).astype(int).clip(0, SIZE[1] - 1)
    assert there[y, x].mean() > 0.8, "the points lie in the creature's silhouette"
    assert 0.01 < there.mean() < 0.5


def test_a_mesh_before_the_puppet_hides_it_and_one_behind_does_not(seen):
    imported, _, draw = seen
    free = find_brown(draw()).sum()
    eye = np.array(imported.camera.matrix_world)[:3, 3]
    bpy.ops.mesh.primitive_cube_add(size=0.6, location=tuple(0.6 * eye))
    cube = bpy.context.object
    assert find_brown(draw()).sum() < 0.3 * free
    cube.location = tuple(-2.0 * eye)
    assert find_brown(draw()).sum() == pytest.approx(free, abs=0.05 * free)


@pytest.mark.parametrize("name", ["out.png", "out.mp4"])
def test_a_playblast_is_written_whole_and_moves(tmp_path, seen, name):
    scene = bpy.context.scene
    assert (scene.frame_start, scene.frame_end) == (1, 4)
    bpy.ops.restage4d.playblast(filepath=str(tmp_path / name))
    if name == "out.png":
        files = [tmp_path / f"out_{i:04d}.png" for i in range(1, 5)]
        pictures = []
        for file in files:
            image = bpy.data.images.load(str(file))
            assert tuple(image.size) == SIZE
            pictures.append(np.array(image.pixels[:]).reshape(*SIZE[::-1], 4)[..., :3] * 255)
    else:
        clip = bpy.data.movieclips.load(str(tmp_path / name))
        assert (clip.frame_duration, tuple(clip.size)) == (4, SIZE)
        assert clip.fps == pytest.approx(24, abs=0.01)
        assert [s.name for s in bpy.data.scenes] == ["Scene"]
        return
    assert all(find_brown(picture).any() for picture in pictures)
    assert np.abs(pictures[0] - pictures[1]).max() > 40, "a still"
    assert len(list(tmp_path.glob("out_*"))) == 4
    with pytest.raises(RuntimeError, match="already"):
        bpy.ops.restage4d.playblast(filepath=str(tmp_path / name))


def test_it_stands_where_users_look(seen):
    drawn = [f.__name__ for f in bpy.types.VIEW3D_MT_view._dyn_ui_initialize()]
    assert "_draw_view_menu" in drawn
