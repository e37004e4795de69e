"""Exports as other programs read them: by USD's own reader and validators, plyfile, Pillow, FFmpeg,
and by splat-transform and gltf-validator where Node.js has them."""

import contextlib
import importlib
import json
import shutil
import struct
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from plyfile import PlyData
from pxr import Gf, Usd, UsdGeom, UsdSkel
from samples import place_oblique_camera, random_puppet
from scipy.spatial import KDTree

from restage4d import se3, sh
from restage4d.cli.export import read_frames
from restage4d.cli.main import main
from restage4d.errors import Cancelled, InputError
from restage4d.exporting.formats import FORMATS, Axes, check_place
from restage4d.exporting.shot import Shot
from restage4d.exporting.writing import export_performance
from restage4d.io.ply import read_ply
from restage4d.io.splat_files import read_splats, write_packed_ply, write_spz
from restage4d.progress import Progress
from restage4d.puppet import Gaussians, Puppet

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "splats"
SPLAT_TRANSFORM = shutil.which("splat-transform")


def make_shot(degree: int = 0, **options) -> Shot:
    puppet = random_puppet(3, degree=degree)
    options.setdefault("frames", range(1, 4))
    return Shot(puppet, puppet.performances[1], **options)


def match(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Rows of ``a`` nearest to those of ``b``: packed formats sort."""
    return np.asarray(KDTree(a).query(b)[1])


@pytest.mark.parametrize("axes", Axes)
@pytest.mark.parametrize("degree", [0, 2])
def test_axes_keep_every_look(axes: Axes, degree: int) -> None:
    """A Gaussian's ellipsoid and its colour from a direction turn with the world; σ scales."""
    still, turned = make_shot(degree), make_shot(degree, axes=axes, scale=100.0)
    a, b = still.pose_subject(2), turned.pose_subject(2)
    factor = 100 * 0.7 / 0.7
    assert np.allclose(b.means, a.means @ axes.turn.T * factor, atol=1e-3)
    assert np.allclose(b.scales, a.scales * factor, rtol=1e-5)
    assert still.factor == pytest.approx(0.7)
    rotation = se3.quat_to_matrix(b.quats) @ np.swapaxes(se3.quat_to_matrix(a.quats), 1, 2)
    assert np.allclose(rotation, axes.turn, atol=1e-5)
    ray = np.tile([0.6, 0.48, 0.64], (len(a), 1)).astype(np.float32)
    assert np.allclose(sh.colors(b.sh, ray @ axes.turn.T), sh.colors(a.sh, ray), atol=1e-4)
    up = axes.turn @ [0, 0, 1]
    assert up.tolist() == {"z-up": [0, 0, 1], "y-up": [0, 1, 0], "y-down": [0, -1, 0]}[axes.value]


def test_the_camera_follows_axes_and_scale() -> None:
    shot = make_shot(axes=Axes.Y_DOWN, scale=10.0)
    world = np.array([0.3, -0.2, 2.0], np.float32)
    here, there = shot.performance.camera(2), shot.camera(2)
    seen = here.w2c[:3, :3] @ world + here.w2c[:3, 3]
    placed = shot.axes.turn @ world * shot.factor
    assert np.allclose(there.w2c[:3, :3] @ placed + there.w2c[:3, 3], seen * shot.factor, atol=1e-4)


def covariances(g: Gaussians) -> np.ndarray:  # (N, 3, 3)
    axes = se3.quat_to_matrix(g.quats) * g.scales[:, None]
    return axes @ np.swapaxes(axes, 1, 2)


def validate(path: Path) -> list[str]:
    UsdValidation: Any = importlib.import_module("pxr.UsdValidation")  # younger than its types
    registry = UsdValidation.ValidationRegistry()
    context = UsdValidation.ValidationContext(registry.GetOrLoadAllValidators())
    return [error.GetMessage() for error in context.Validate(Usd.Stage.Open(str(path)))]


@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize("suffix", [".usdc", ".usda"])
def test_usd_splats(tmp_path: Path, degree: int, suffix: str) -> None:
    shot = make_shot(degree, background=True, scale=100.0)
    path = tmp_path / f"ä b{suffix}"
    assert export_performance(shot, "usd-splats", path) == [path]
    assert validate(path) == []
    stage = Usd.Stage.Open(str(path))
    assert UsdGeom.GetStageMetersPerUnit(stage) == pytest.approx(0.01)
    assert UsdGeom.GetStageUpAxis(stage) == "Z"
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode()) == (2, 4)  # frames from 1
    assert str(stage.GetDefaultPrim().GetPath()) == "/Puppet"
    prim = stage.GetPrimAtPath("/Puppet/Subject")
    assert prim.GetTypeName() == "ParticleField3DGaussianSplat"
    assert prim.GetAttribute("radiance:sphericalHarmonicsDegree").Get() == degree
    for frame in shot.frames:
        g = shot.pose_subject(frame)
        time = Usd.TimeCode(frame + 1)
        assert np.array_equal(prim.GetAttribute("positions").Get(time), g.means)
        quats = [(q.real, *q.imaginary) for q in prim.GetAttribute("orientationsh").Get(time)]
        assert np.allclose(quats, g.quats, atol=1e-3)
        flat = np.array(prim.GetAttribute("radiance:sphericalHarmonicsCoefficients").Get(time))
        assert np.allclose(flat.reshape(g.sh.shape), g.sh, atol=1e-6)
        low, high = np.array(prim.GetAttribute("extent").Get(time))
        assert (g.means >= low).all()
        assert (g.means <= high).all()
    assert np.allclose(prim.GetAttribute("scales").Get(), g.scales)
    assert np.allclose(prim.GetAttribute("opacities").Get(), g.opacities)
    background = stage.GetPrimAtPath("/Puppet/Background").GetAttribute("positions")
    assert background.GetNumTimeSamples() == 0
    assert np.allclose(background.Get(), shot.get_background().means)


def test_the_usd_camera_sees_what_the_shot_saw(tmp_path: Path) -> None:
    puppet = random_puppet(1)
    place_oblique_camera(puppet.performances[1])
    shot = Shot(puppet, puppet.performances[1], range(2), axes=Axes.Y_UP)
    export_performance(shot, "usd-points", tmp_path / "a.usdc")
    stage = Usd.Stage.Open(str(tmp_path / "a.usdc"))
    camera = UsdGeom.Camera(stage.GetPrimAtPath("/Puppet/ShotCamera")).GetCamera(1)
    matrix = camera.frustum.ComputeViewMatrix() * camera.frustum.ComputeProjectionMatrix()
    for point in ([0.0, 0.0, 0.0], [0.4, -0.3, 0.5]):
        seen = shot.camera(0)
        x = seen.w2c[:3, :3] @ np.array(point, np.float32) + seen.w2c[:3, 3]
        u, v, w = seen.K @ x
        ndc = matrix.Transform(Gf.Vec3d(*point))
        pixel = ((ndc[0] + 1) / 2 * seen.size[0], (1 - ndc[1]) / 2 * seen.size[1])
        assert pixel == pytest.approx((u / w, v / w), abs=1e-2)


def test_usd_points(tmp_path: Path) -> None:
    shot = make_shot(background=True)
    export_performance(shot, "usd-points", tmp_path / "a.usdc")
    assert validate(tmp_path / "a.usdc") == []
    stage = Usd.Stage.Open(str(tmp_path / "a.usdc"))
    points = UsdGeom.Points(stage.GetPrimAtPath("/Puppet/Subject"))
    a, b = shot.pose_subject(1), shot.pose_subject(2)
    assert np.array_equal(points.GetPointsAttr().Get(2), a.means)
    assert np.allclose(points.GetVelocitiesAttr().Get(2), (b.means - a.means) * 24, rtol=1e-5)
    assert np.allclose(points.GetWidthsAttr().Get(), 2 * a.scales.mean(1))
    primvars = UsdGeom.PrimvarsAPI(points)
    colours = np.array(primvars.GetPrimvar("displayColor").Get())
    coded = (a.sh[:, 0] * 0.28209479 + 0.5).clip(0, 1)
    assert np.allclose(colours[coded > 0.05], ((coded[coded > 0.05] + 0.055) / 1.055) ** 2.4)
    assert np.allclose(primvars.GetPrimvar("displayOpacity").Get(), a.opacities)


def test_the_usd_skeleton_moves_as_one_basis_does(tmp_path: Path) -> None:
    """Points that follow one basis alone are carried exactly, in every axes."""
    puppet = random_puppet(2, influences=1)
    puppet.weight[:] = 1
    shot = Shot(puppet, puppet.performances[0], range(4), axes=Axes.Y_UP, scale=2.0)
    export_performance(shot, "usd-skeleton", tmp_path / "a.usdc")
    assert validate(tmp_path / "a.usdc") == []
    stage = Usd.Stage.Open(str(tmp_path / "a.usdc"))
    cache = UsdSkel.Cache()
    root = UsdSkel.Root(stage.GetPrimAtPath("/Puppet/Rig"))
    cache.Populate(root, Usd.PrimDefaultPredicate)
    (binding,) = cache.ComputeSkelBindings(root, Usd.PrimDefaultPredicate)
    query = cache.GetSkelQuery(binding.GetSkeleton())
    (target,) = binding.GetSkinningTargets()
    points = UsdGeom.Points(target.GetPrim()).GetPointsAttr().Get()
    target.ComputeSkinnedPoints(query.ComputeSkinningTransforms(3), points, 3)
    assert np.allclose(points, shot.pose_subject(2).means, atol=1e-4)


@pytest.mark.parametrize("name", ["ply", "compressed-ply", "spz", "glb", "npz"])
def test_splat_sequences(tmp_path: Path, name: str) -> None:
    shot = make_shot(1, background=True, axes=FORMATS[name].axes)
    paths = export_performance(shot, name, tmp_path / "seq")
    suffix = FORMATS[name].suffix
    assert [p.name for p in paths] == [f"jump_000{i}{suffix}" for i in (2, 3, 4)]
    assert sorted(p.name for p in (tmp_path / "seq").iterdir()) == [p.name for p in paths]
    truth = list(shot.pose_frames())[1]
    if name == "glb":
        read = read_glb(paths[1])
        assert np.array_equal(read["POSITION"], truth.means)
        assert np.allclose(read["KHR_gaussian_splatting:ROTATION"][:, 3], truth.quats[:, 0])
        assert np.allclose(read["KHR_gaussian_splatting:SH_DEGREE_1_COEF_2"], truth.sh[:, 3])
    elif name == "npz":
        with np.load(paths[1], allow_pickle=False) as arrays:
            assert np.array_equal(arrays["means"], truth.means)
    else:
        g = read_splats(paths[1])
        order = match(g.means, truth.means)
        assert np.abs(g.means[order] - truth.means).max() < {"spz": 5e-4}.get(name, 5e-3)
        assert np.abs(g.opacities[order] - truth.opacities).max() < 0.01
        assert np.abs((g.quats[order] * truth.quats).sum(1)).min() > 0.9999
        assert np.abs(g.sh[order, 0] - truth.sh[:, 0]).max() < 0.02
        assert np.abs(np.log(g.scales[order] / truth.scales)).max() < 0.04


def read_glb(path: Path) -> dict[str, np.ndarray]:
    data = path.read_bytes()
    magic, version, length, text = struct.unpack_from("<4sIII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    document = json.loads(data[20 : 20 + text])
    buffer = data[28 + text :]
    found = {}
    for name, i in document["meshes"][0]["primitives"][0]["attributes"].items():
        view = document["bufferViews"][document["accessors"][i]["bufferView"]]
        part = buffer[view["byteOffset"] :][: view["byteLength"]]
        found[name] = np.frombuffer(part, "<f4").reshape(document["accessors"][i]["count"], -1)
    return found


@pytest.mark.skipif(not SPLAT_TRANSFORM, reason="splat-transform (npm) is not on the path")
@pytest.mark.parametrize("name", ["ply", "compressed-ply", "spz", "glb"])
def test_splat_transform_reads_them(tmp_path: Path, name: str) -> None:
    shot = make_shot(frames=range(1), axes=FORMATS[name].axes)
    path = tmp_path / f"a{FORMATS[name].suffix}"
    export_performance(shot, name, path)
    target = tmp_path / "b.ply"
    if name == "glb":
        pytest.skip("splat-transform writes GLB and does not read it")
    command = [str(SPLAT_TRANSFORM), "-q", "-g", "cpu", str(path), str(target)]
    subprocess.run(command, check=True, timeout=120)
    down = make_shot(frames=range(1), axes=Axes.Y_DOWN).pose_subject(0)
    g = read_ply(target)
    order = match(g.means, down.means)
    assert np.abs(g.means[order] - down.means).max() < 5e-3  # all formats stand the same way up
    assert np.abs(g.opacities[order] - down.opacities).max() < 0.01
    # not the quaternions: turning one by 180 degrees about an axis of its own changes nothing
    a, b = covariances(g)[order], covariances(down)
    assert np.abs(a - b).max() < 0.05 * np.abs(b).max()


@pytest.mark.skipif(not SPLAT_TRANSFORM, reason="splat-transform (npm) is not on the path")
def test_splat_transform_makes_sog_of_a_frame(tmp_path: Path) -> None:
    """As docs/formats.md says."""
    shot = make_shot(frames=range(1), axes=Axes.Y_DOWN)
    export_performance(shot, "ply", tmp_path / "a.ply")
    for source, target in (("a.ply", "b.sog"), ("b.sog", "c.ply")):
        command = [str(SPLAT_TRANSFORM), "-q", "-g", "cpu", tmp_path / source, tmp_path / target]
        subprocess.run(command, check=True, timeout=120)
    down, g = shot.pose_subject(0), read_ply(tmp_path / "c.ply")
    order = match(g.means, down.means)
    extent = np.ptp(down.means, axis=0).max()
    assert np.abs(g.means[order] - down.means).max() < 1e-3 * extent
    assert np.abs(g.opacities[order] - down.opacities).max() < 0.01


def test_pictures_carry_alpha_and_depth(tmp_path: Path) -> None:
    puppet = random_puppet(4)
    performance = puppet.performances[0]
    performance.w2c[:, :3, 3] = [0, 0, 6]
    shot = Shot(puppet, performance, range(2), scale=10.0)
    (png,) = export_performance(replace(shot, frames=range(1)), "png", tmp_path / "a.png")
    rgba = np.asarray(Image.open(png))
    assert rgba.shape == (64, 96, 4)
    assert 0 < (rgba[..., 3] > 128).mean() < 0.9
    exrs = export_performance(shot, "exr", tmp_path / "exr")
    assert [p.name for p in exrs] == ["base_0001.exr", "base_0002.exr"]
    (film,) = export_performance(shot, "prores", tmp_path / "a.mov")
    with av.open(str(film)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 2
    assert frames[0].format.name.startswith("yuva444p")
    (film,) = export_performance(shot, "mp4", tmp_path / "a.mp4")
    with av.open(str(film)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 2


def test_cameras(tmp_path: Path) -> None:
    shot = make_shot(axes=Axes.Y_DOWN)
    export_performance(shot, "cameras-json", tmp_path / "c.json")
    about = json.loads((tmp_path / "c.json").read_text())
    assert [c["frame"] for c in about["cameras"]] == [1, 2, 3]
    assert np.allclose(about["cameras"][0]["w2c"], shot.camera(1).w2c)
    export_performance(shot, "cameras-colmap", tmp_path / "colmap")
    pycolmap = pytest.importorskip("pycolmap")
    read = pycolmap.Reconstruction(str(tmp_path / "colmap"))
    image = read.images[1]
    assert image.name == "jump_0002.png"
    assert np.allclose(image.cam_from_world().matrix(), shot.camera(1).w2c[:3], atol=1e-6)
    assert np.abs(read.cameras[1].params - np.array([100, 100, 48, 32])).max() < 1e-6


# cameras are written at once; test_export_meshes has a puppet for the meshes
@pytest.mark.parametrize("name", [n for n in FORMATS if "camera" not in n and "mesh" not in n])
def test_cancelled_exports_leave_nothing(tmp_path: Path, name: str) -> None:
    if name == "alembic":
        pytest.importorskip("alembic3d", reason="the extra alembic is not installed")
    shot = make_shot(frames=range(5), axes=FORMATS[name].axes)
    asked = iter([False] * 3 + [True] * 100)
    path = tmp_path / ("seq" if FORMATS[name].by_frame else f"a{FORMATS[name].suffix}")
    with pytest.raises(Cancelled):
        export_performance(shot, name, path, Progress(cancelled=lambda: next(asked)))
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.mark.parametrize(
    ("name", "place", "says"),
    [
        ("usd-splats", "a.ply", "does not name a file of usd-splats"),
        ("usd-splats", "a", "ends in .usdc"),
        ("usd-points", "a.usdz", "ends in .usdc"),
        ("ply", "a.ply", "holds one frame"),
        ("spz", "a.ply", "does not name a file of spz"),
        ("cameras-colmap", "a.txt", "not a folder's name"),
    ],
)
def test_names_that_do_not_fit(tmp_path: Path, name: str, place: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_place(name, tmp_path / place, range(3))


def test_shots_that_cannot_be(tmp_path: Path) -> None:
    puppet = random_puppet(0)
    performance = puppet.performances[0]
    with pytest.raises(InputError, match="empty"):
        Shot(puppet, performance, range(0))
    with pytest.raises(InputError, match="there is no frame 4"):
        Shot(puppet, performance, range(5))
    with pytest.raises(InputError, match="scale"):
        Shot(puppet, performance, range(2), scale=float("nan"))
    shot = Shot(puppet, performance, range(2), axes=Axes.Y_DOWN)
    with pytest.raises(InputError, match="y-down"):
        export_performance(shot, "usd-splats", tmp_path / "a.usdc")
    for text in ("0:2", "3:2", "1:9", "-1", "a", "1:2:3"):
        with pytest.raises(InputError, match="are no frames"):
            read_frames(text, performance)
    assert read_frames("2:3", performance) == range(1, 3)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    puppet: Puppet = random_puppet(5)
    puppet.save(tmp_path / "a.puppet")
    command = ["export", str(tmp_path / "a.puppet"), "--format", "ply", "--frames", "2:3"]
    command += ["--performance", "base", "--axes", "z-up", "--out", str(tmp_path / "seq")]
    assert main(command) == 0
    assert "2 frames" in capsys.readouterr().out
    vertices = PlyData.read(tmp_path / "seq" / "base_0003.ply")["vertex"]
    posed = puppet.pose("base", 2).means * np.float32(0.7)
    assert np.allclose(np.stack([vertices[k] for k in "xyz"], 1), posed, atol=1e-6)
    assert main(command) == 1  # nothing is written over unasked
    assert "is there already" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0


@given(st.binary(max_size=400))
@settings(max_examples=60, deadline=None)
def test_damaged_splat_files_are_told(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".spz", ".splat", ".ply"):
            path = Path(folder) / f"a{suffix}"
            path.write_bytes(b"NGSP" * (suffix == ".spz") + data)
            with contextlib.suppress(InputError):  # no other error comes through
                assert len(read_splats(path))


def test_spz_has_limits(tmp_path: Path) -> None:
    g = make_shot().pose_subject(1)
    with pytest.raises(InputError, match="2047"):
        write_spz(tmp_path / "a.spz", replace(g, means=g.means + 3000))
    write_packed_ply(tmp_path / "a.compressed.ply", g)
    with pytest.raises(InputError, match="no kind of splats"):
        read_splats((tmp_path / "a.compressed.ply").rename(tmp_path / "a.xyz"))


@pytest.mark.skipif(not DATA.is_dir(), reason="no splats by others in ../shared/data")
def test_splats_by_others() -> None:
    biker = read_splats(DATA / "playcanvas" / "biker.spz")
    same = read_splats(DATA / "playcanvas" / "biker.compressed.ply")
    assert len(biker) == len(same) == 152746
    flipped = biker.means * np.float32([1, -1, -1])  # SPZ is y up, PLY y down
    assert np.abs(np.sort(flipped, 0) - np.sort(same.means, 0)).max() < 0.01
    folder = DATA / "splat-transform_minimal"
    for name in ("minimal-v2.spz", "minimal-v3.spz", "minimal-v4.spz", "minimal.splat"):
        assert len(read_splats(folder / name)) == 4
    for name in ("minimal-raw.spz", "minimal.ksplat"):
        with pytest.raises(InputError):
            read_splats(folder / name)
