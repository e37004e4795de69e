"""Pictures and films through other cameras than the shot's, read from JSON."""

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from samples import random_puppet

from restage4d.cli.main import main
from restage4d.exporting.cameras import film_with, read_camera_json
from restage4d.exporting.formats import Axes
from restage4d.exporting.shot import Shot
from restage4d.exporting.writing import export_performance
from restage4d.puppet import Puppet


@pytest.fixture
def puppet(tmp_path: Path) -> Puppet:
    puppet = random_puppet(4)
    for performance in puppet.performances:
        performance.w2c[:, :3, 3] = [0, 0, 6]
    puppet.save(tmp_path / "p.puppet")
    return puppet


def write_cameras(puppet: Puppet, path: Path, frames: range, **options: Any) -> dict[str, Any]:
    shot = Shot(puppet, puppet.performances[0], frames, **options)
    export_performance(shot, "cameras-json", path)
    return json.loads(path.read_text())


def export(folder: Path, form: str, name: str, *options: str) -> int:
    command = ["export", str(folder / "p.puppet"), "--format", form, "--performance", "base"]
    return main([*command, "--out", str(folder / name), "--overwrite", *options])


@pytest.mark.parametrize("axes", Axes)
def test_a_camera_comes_back_where_it_stood(tmp_path: Path, puppet: Puppet, axes: Axes) -> None:
    performance = puppet.performances[0]
    performance.w2c[1, :3, :3] = [[0, 0, -1], [0, 1, 0], [1, 0, 0]]
    write_cameras(puppet, tmp_path / "c.json", range(3), axes=axes, scale=100.0)
    cameras = read_camera_json(tmp_path / "c.json", puppet.metres_per_unit)
    assert len(cameras) == 3
    for frame, camera in enumerate(cameras):
        assert np.allclose(camera.w2c, performance.w2c[frame], atol=1e-5)
        assert np.array_equal(camera.K, performance.K[frame])
        assert camera.size == performance.size


def test_each_frame_gets_its_camera(tmp_path: Path, puppet: Puppet) -> None:
    about = write_cameras(puppet, tmp_path / "c.json", range(2))
    about["cameras"][1]["w2c"][0][3] += 0.35
    (tmp_path / "c.json").write_text(json.dumps(about))
    cameras = read_camera_json(tmp_path / "c.json", puppet.metres_per_unit)
    base = puppet.performances[0]
    filmed = film_with(base, range(1, 3), cameras)
    assert np.allclose(filmed.w2c[1], base.w2c[0], atol=1e-6)
    moved = filmed.w2c[2, 0, 3] - base.w2c[1, 0, 3]
    assert moved == pytest.approx(0.35 / puppet.metres_per_unit, rel=1e-5)
    still = film_with(base, range(1, 3), cameras[1:])
    assert np.array_equal(still.w2c[1], filmed.w2c[2])
    assert np.array_equal(still.w2c[2], filmed.w2c[2])


def test_pictures_of_the_shot_s_own_cameras_are_the_shot_s(tmp_path: Path, puppet: Puppet) -> None:
    write_cameras(puppet, tmp_path / "c.json", range(2), axes=Axes.Y_UP, scale=10.0)
    assert export(tmp_path, "png", "own", "--frames", "1:2") == 0
    assert export(tmp_path, "png", "file", "--frames", "1:2", "--camera", f"{tmp_path}/c.json") == 0
    for name in ("base_0001.png", "base_0002.png"):
        own, file = (np.asarray(Image.open(tmp_path / f / name), int) for f in ("own", "file"))
        assert own[..., 3].max() > 100
        assert np.abs(own - file).max() <= 2


def test_a_larger_still_camera(tmp_path: Path, puppet: Puppet) -> None:
    """Twice the size: the picture is as it was, twice as fine; films have that size too."""
    about = write_cameras(puppet, tmp_path / "c.json", range(1))
    (camera,) = about["cameras"]
    camera["size"] = [2 * side for side in camera["size"]]
    camera["K"][:2] = (2 * np.array(camera["K"][:2])).tolist()
    (tmp_path / "c.json").write_text(json.dumps(about))
    given = ("--frames", "1:2", "--camera", str(tmp_path / "c.json"))
    assert export(tmp_path, "png", "small.png", "--frames", "1") == 0
    assert export(tmp_path, "png", "large", *given) == 0
    small = np.asarray(Image.open(tmp_path / "small.png"), float)[..., 3]
    large = np.asarray(Image.open(tmp_path / "large" / "base_0001.png"), float)[..., 3]
    assert large.shape == (128, 192)
    halved = large.reshape(64, 2, 96, 2).mean((1, 3))
    assert np.corrcoef(halved.ravel(), small.ravel())[0, 1] > 0.95
    for form, name in (("mp4", "a.mp4"), ("prores", "a.mov")):
        assert export(tmp_path, form, name, *given) == 0
        with av.open(str(tmp_path / name)) as film:
            assert [(f.width, f.height) for f in film.decode(video=0)] == [(192, 128)] * 2
    assert export(tmp_path, "exr", "a.exr", "--frames", "1", *given[2:]) == 0


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("restage4d: ")
    return said


def spoil(about: Any, where: str, value: Any) -> Any:
    *path, last = where.split("/")
    inner = about
    for key in path:
        inner = inner[int(key) if key.isdigit() else key]
    inner[last] = value
    return about


@pytest.mark.parametrize(
    ("where", "value", "why"),
    [
        ("axes", "x-up", "axes"),
        ("units_per_metre", 0, "units_per_metre"),
        ("units_per_metre", "many", "units_per_metre"),
        ("cameras", [], "no cameras"),
        ("cameras", 3, "wrong"),
        ("cameras/0/K", [[1, 2], [3]], "K"),
        ("cameras/0/K", [[0, 0, 1], [0, 9, 1], [0, 0, 1]], "camera 1"),
        ("cameras/0/w2c", [[float("nan")] * 4] * 4, "camera 1"),
        ("cameras/0/w2c", [[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]], "camera 1"),
        ("cameras/0/size", [96.5, 64], "size"),
        ("cameras/0/size", [1000000, 1000000], "size"),
        ("cameras/0/size", [32, 32], "differ in size"),
    ],
)
def test_bad_cameras_are_refused(
    tmp_path: Path,
    puppet: Puppet,
    capsys: pytest.CaptureFixture[str],
    where: str,
    value: object,
    why: str,
) -> None:
    about = write_cameras(puppet, tmp_path / "c.json", range(2))
    (tmp_path / "c.json").write_text(json.dumps(spoil(about, where, value)))
    given = ("--frames", "1:2", "--camera", str(tmp_path / "c.json"))
    assert export(tmp_path, "png", "out", *given) != 0
    said = refused(capsys)
    assert "does not hold cameras" in said
    assert why in said
    assert not (tmp_path / "out").exists()


def test_what_is_no_camera_file_is_refused(
    tmp_path: Path, puppet: Puppet, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.json").write_text("none")
    (tmp_path / "list.json").write_text("[1]")
    write_cameras(puppet, tmp_path / "two.json", range(2))
    for form, name, file, why in (
        ("png", "o", "c.json", "not JSON"),
        ("png", "o", "list.json", "does not hold cameras"),
        ("png", "o", "missing.json", "cannot be read"),
        ("png", "o", "two.json", "2 cameras for 3 frames"),
        ("ply", "o", "two.json", "not drawn through a camera"),
    ):
        assert export(tmp_path, form, name, "--frames", "1:3", "--camera", f"{tmp_path}/{file}")
        assert why in refused(capsys)
    assert not (tmp_path / "o").exists()
