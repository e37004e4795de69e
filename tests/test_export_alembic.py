"""Alembic files by its own readers: every frame's points in place, and all that a Gaussian has but
SH above degree 0."""

import sys
from pathlib import Path

import numpy as np
import pytest
from samples import place_oblique_camera, random_puppet
from test_puppet import refused

from restage4d.exporting import alembic
from restage4d.exporting.formats import Axes
from restage4d.exporting.shot import Shot
from restage4d.exporting.writing import export_performance
from restage4d.puppet import sh_to_rgb
from restage4d.srgb import srgb_to_linear


def make_shot(**options) -> Shot:
    puppet = random_puppet(3, degree=1)
    return Shot(puppet, puppet.performances[1], range(1, 4), **({"axes": Axes.Y_UP} | options))


def test_what_alembic_holds(tmp_path: Path) -> None:
    bindings = pytest.importorskip("alembic3d", reason="the extra alembic is not installed")
    geometry = bindings.AbcGeom
    shot = make_shot(background=True, scale=100.0)
    assert export_performance(shot, "alembic", tmp_path / "ä b.abc") == [tmp_path / "ä b.abc"]
    archive = bindings.Abc.IArchive(str(tmp_path / "ä b.abc"))
    top = archive.getTop()
    points = geometry.IPoints(top, "Subject").getSchema()
    assert points.getNumSamples() == 3
    times = [points.getTimeSampling().getSampleTime(i) for i in range(3)]
    assert np.allclose(times, np.array([2, 3, 4]) / 24), "frame 1 of Blender at 1/fps"
    parameters = points.getArbGeomParams()

    def at(frame: int):
        return bindings.Abc.ISampleSelector(times[frame])

    def read(name: str, kind: str, frame: int) -> np.ndarray:
        parameter = getattr(geometry, f"I{kind}GeomParam")(parameters, name)
        return table(parameter.getExpandedValue(at(frame)).getVals(), kind)

    for i, (posed, velocity) in enumerate(shot.pose_moving_subjects()):
        sample = points.getValue(at(i))
        assert np.array_equal(table(sample.getPositions(), "V3f"), posed.means)
        assert np.allclose(table(sample.getVelocities(), "V3f"), velocity)
        assert list(sample.getIds()) == list(range(len(posed)))
        assert np.allclose(read("orient", "Quatf", i), posed.quats, atol=1e-6)
        colour = srgb_to_linear(sh_to_rgb(posed.sh[:, 0]).clip(0, 1))
        assert np.allclose(read("Cs", "C3f", i), colour, atol=1e-6)
        assert np.array_equal(read("opacity", "Float", i), posed.opacities)
        assert np.allclose(read("scale", "C3f", i), posed.scales)
        widths = points.getWidthsParam().getExpandedValue(at(i)).getVals()
        assert np.allclose(table(widths, "Float"), 2 * posed.scales.mean(1), rtol=1e-5)
    still = geometry.IPoints(top, "Background").getSchema()
    assert still.getNumSamples() == 1
    placed = table(still.getValue().getPositions(), "V3f")
    assert np.array_equal(placed, shot.get_background().means)


def table(values, kind: str) -> np.ndarray:
    """An array of Alembic's as rows of numbers."""
    parts = {"V3f": "xyz", "C3f": "rgb", "Quatf": "rxyz"}.get(kind)
    if parts is None:
        return np.array([float(v) for v in values], np.float32)
    columns = [[float(v) for v in getattr(values, part)] for part in parts]
    return np.array(columns, np.float32).T


def test_velocities_lead_to_the_next_frame() -> None:
    shot = make_shot()
    (a, moves), (b, again), (c, last) = shot.pose_moving_subjects()
    assert np.allclose(a.means + moves / 24, b.means, atol=1e-5)
    assert np.allclose(b.means + again / 24, c.means, atol=1e-5)
    assert np.array_equal(last, again)
    (_, still) = next(Shot(shot.puppet, shot.performance, range(2, 3)).pose_moving_subjects())
    assert not still.any()


def test_other_axes_and_missing_bindings_are_told(tmp_path: Path, monkeypatch) -> None:
    place = tmp_path / "a.abc"
    refused(lambda: export_performance(make_shot(axes=Axes.Z_UP), "alembic", place), "y-up")
    monkeypatch.setitem(sys.modules, "alembic3d", None)
    told = "not installed", "pip install alembic3d=="
    refused(lambda: export_performance(make_shot(), "alembic", place), *told)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"Ogawa\xff\0\1", b"Ogawa\0\0\1" + bytes(64)])
def test_a_file_that_was_not_closed_is_not_whole(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.abc").write_bytes(content)
    assert not alembic.is_whole(tmp_path / "a.abc")


def test_the_camera_stands_where_it_stood(tmp_path: Path) -> None:
    bindings = pytest.importorskip("alembic3d", reason="the extra alembic is not installed")
    puppet = random_puppet(1)
    place_oblique_camera(puppet.performances[1])
    shot = Shot(puppet, puppet.performances[1], range(2), axes=Axes.Y_UP)
    export_performance(shot, "alembic", tmp_path / "a.abc")
    archive = bindings.Abc.IArchive(str(tmp_path / "a.abc"))
    place = bindings.AbcGeom.IXform(archive.getTop(), "ShotCamera")
    moved = place.getSchema().getValue().getMatrix()
    seen = np.array([[moved[i][j] for j in range(4)] for i in range(4)]).T
    truth = np.linalg.inv(shot.camera(0).w2c.astype(np.float64)) @ np.diag([1, -1, -1, 1])
    assert np.allclose(seen, truth, atol=1e-6)
    lens = bindings.AbcGeom.ICamera(place, "ShotCameraShape").getSchema().getValue()
    width, height = shot.performance.size
    film = lens.getHorizontalAperture() * 10, lens.getVerticalAperture() * 10
    focal = lens.getFocalLength()
    assert focal / film[0] * width == pytest.approx(110)
    assert focal / film[1] * height == pytest.approx(90)
    off = lens.getHorizontalFilmOffset() * 10, lens.getVerticalFilmOffset() * 10
    assert off[0] / film[0] * width == pytest.approx(width / 2 - 40)
    assert off[1] / film[1] * height == pytest.approx(36 - height / 2)
