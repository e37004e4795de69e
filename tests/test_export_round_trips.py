"""Whatever leaves comes back the same: any number of Gaussians, any SH degree, any name, with and
without a background; by our readers, and by NVIDIA's converter where it is."""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pxr import Usd, UsdGeom
from samples import random_gaussians, random_puppet
from scipy.spatial import KDTree

from restage4d import se3
from restage4d.errors import InputError
from restage4d.exporting.formats import FORMATS, Axes
from restage4d.exporting.shot import Shot
from restage4d.exporting.writing import export_performance
from restage4d.io.splat_files import read_splats
from restage4d.puppet import Gaussians

CONVERT = shutil.which("usd-convert-gsplat")
WRITABLE = [n for n in FORMATS if n != "alembic" or importlib.util.find_spec("alembic3d")]
SPLATS = ("ply", "compressed-ply", "spz", "npz", "usd-splats")
# positions (of the extent), opacity, SH degree 0, SH above, log of σ
_EXACT = (1e-5, 1e-5, 1e-5, 1e-5, 1e-4)
_PACKED = {
    "compressed-ply": (1 / 1000, 0.003, 0.02, 0.1, 0.03),
    "spz": (1 / 1000, 0.003, 0.02, 0.15, 0.04),
}


def read(path: Path) -> Gaussians:
    """The first frame of any of `SPLATS`."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return Gaussians(**{name: arrays[name] for name in arrays.files})
    if path.suffix != ".usdc":
        return read_splats(path)
    stage, parts = Usd.Stage.Open(str(path)), []
    time = stage.GetStartTimeCode()
    for name in ("Subject", "Background"):
        prim = stage.GetPrimAtPath(f"/Puppet/{name}")
        if not prim:
            continue
        means = np.array(prim.GetAttribute("positions").Get(time))
        quats = np.array(prim.GetAttribute("orientationsh").Get(time), np.float32)[:, [3, 0, 1, 2]]
        sh = np.array(prim.GetAttribute("radiance:sphericalHarmonicsCoefficients").Get(time))
        parts.append(
            Gaussians(
                means,
                quats,
                np.array(prim.GetAttribute("scales").Get()),
                np.array(prim.GetAttribute("opacities").Get()),
                sh.reshape(len(means), -1, 3),
            )
        )
    from restage4d.io.ply import join_gaussians

    return join_gaussians(*parts) if len(parts) > 1 else parts[0]


def check_same(got: Gaussians, truth: Gaussians, format_name: str) -> None:
    assert len(got) == len(truth)
    position, opacity, base, higher, size = _PACKED.get(format_name, _EXACT)
    extent = max(float(np.ptp(truth.means, axis=0).max()), 0.5)
    distance, order = KDTree(got.means).query(truth.means)  # packed formats sort
    assert distance.max() <= position * extent
    assert np.abs(got.opacities[order] - truth.opacities).max() <= opacity
    assert np.abs(got.sh[order, 0] - truth.sh[:, 0]).max() <= base
    assert got.sh.shape == truth.sh.shape
    if truth.sh.shape[1] > 1:
        inside = np.abs(truth.sh[:, 1:]).max((1, 2)) < 0.95  # SPZ holds no more
        assert np.abs(got.sh[order] - truth.sh)[inside, 1:].max(initial=0) <= higher
    assert np.abs(np.log(got.scales[order] / truth.scales)).max() <= size
    turns = np.abs((got.quats[order] * truth.quats).sum(1)) / np.linalg.norm(
        got.quats[order], axis=1
    )
    assert turns.min() > 0.9995


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    n=st.sampled_from([1, 2, 3, 40, 300]),
    degree=st.integers(0, 3),
    format_name=st.sampled_from(SPLATS),
    background=st.booleans(),
    axes=st.sampled_from(Axes),
    name=st.sampled_from(["a", "ein Füchslein – 狐", "with  spaces", "dots.in.it"]),
)
def test_round_trips(
    seed: int, n: int, degree: int, format_name: str, background: bool, axes: Axes, name: str
) -> None:
    if format_name == "usd-splats" and axes is Axes.Y_DOWN:
        axes = Axes.Y_UP
    puppet = random_puppet(seed, n=n, degree=degree, frames=2)
    puppet.subject.sh[:] = puppet.subject.sh.clip(-0.9, 0.9)
    shot = Shot(puppet, puppet.performances[0], range(1, 2), background, axes, 1.5)
    truth = next(shot.pose_frames())
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / name / f"{name}{FORMATS[format_name].suffix}"
        (path,) = export_performance(shot, format_name, place)
        assert path == place
        got = read(path)
        if degree and format_name == "usd-splats" and background:
            truth = replace(truth, sh=truth.sh[:, : got.sh.shape[1]])
        check_same(got, truth, format_name)


@pytest.mark.parametrize("format_name", SPLATS)
def test_a_puppet_without_a_background(tmp_path: Path, format_name: str) -> None:
    puppet = random_puppet(1)
    puppet.background = Gaussians(*(value[:0] for value in vars(puppet.background).values()))
    performance = puppet.performances[0]
    with pytest.raises(InputError, match="no background"):
        Shot(puppet, performance, range(1), background=True)
    place = tmp_path / f"a{FORMATS[format_name].suffix}"
    export_performance(Shot(puppet, performance, range(1)), format_name, place)
    check_same(read(place), puppet_at(puppet), format_name)


def puppet_at(puppet) -> Gaussians:
    return Shot(puppet, puppet.performances[0], range(1)).pose_subject(0)


@pytest.mark.parametrize("format_name", ["ply", "spz", "usd-splats"])
def test_half_a_million_points(tmp_path: Path, format_name: str) -> None:
    n = 500_000
    puppet = random_puppet(0, n=8, influences=2)
    rng = np.random.default_rng(0)
    puppet.subject = random_gaussians(rng, n)
    puppet.index = rng.integers(0, 5, (n, 2)).astype(np.uint16)
    puppet.weight = np.full((n, 2), 0.5, np.float32)
    shot = Shot(puppet, puppet.performances[0], range(1))
    (path,) = export_performance(shot, format_name, tmp_path / f"a{FORMATS[format_name].suffix}")
    got, truth = read(path), shot.pose_subject(0)
    if format_name != "spz":
        check_same(got, truth, format_name)
    else:  # so dense that the nearest is not always the same one
        assert KDTree(got.means).query(truth.means[::100])[0].max() < 1e-3
        assert np.allclose(np.sort(got.opacities), np.sort(truth.opacities), atol=0.003)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("format_name", WRITABLE)
def test_a_place_that_may_not_be_written(tmp_path: Path, format_name: str) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    shot = Shot(random_puppet(0), random_puppet(0).performances[0], range(1))
    with pytest.raises(InputError, match="cannot be written"):
        export_performance(
            shot, format_name, tmp_path / "locked" / f"a{FORMATS[format_name].suffix}"
        )


@pytest.mark.parametrize("format_name", [n for n in WRITABLE if "mesh" not in n])
def test_a_disk_that_may_not_be_written(locked_disk: Path, format_name: str) -> None:
    puppet, form = random_puppet(0), FORMATS[format_name]
    shot = Shot(puppet, puppet.performances[0], range(1), axes=form.axes)
    for place in [f"a{form.suffix}"] + ["sequence"] * form.by_frame:
        with pytest.raises(InputError, match="cannot be written") as caught:
            export_performance(shot, format_name, locked_disk / place)
        assert "[Errno" not in str(caught.value)
    assert not list(locked_disk.iterdir())


# test_export_meshes has dense puppets; a film's writer holds its file, and the disk, a while longer
_ELSEWHERE = ("glb-mesh", "usd-mesh", "mp4", "prores")


@pytest.mark.parametrize("format_name", [n for n in WRITABLE if n not in _ELSEWHERE])
def test_a_full_disk_is_a_sentence_and_leaves_nothing(small_disk: Path, format_name: str) -> None:
    puppet = random_puppet(0, n=3000)
    shot = Shot(puppet, puppet.performances[0], range(3), background=True)
    if FORMATS[format_name].axes is not Axes.Y_DOWN:
        shot = replace(shot, axes=FORMATS[format_name].axes)
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    place = small_disk / (
        "out" if FORMATS[format_name].by_frame else f"a{FORMATS[format_name].suffix}"
    )
    with pytest.raises(InputError, match="no room") as told:
        export_performance(shot, format_name, place)
    assert str(place) in str(told.value), "by its own name"
    assert [p for p in small_disk.rglob("*") if p.is_file() and p.name != "filler"] == []


@pytest.mark.skipif(not CONVERT, reason="usd-convert-gsplat (PyPI) is not on the path")
@pytest.mark.parametrize("degree", [0, 3])
def test_another_converter_makes_the_same_usd_of_our_ply(tmp_path: Path, degree: int) -> None:
    puppet = random_puppet(4, degree=degree)
    shot = Shot(puppet, puppet.performances[0], range(1))
    export_performance(shot, "ply", tmp_path / "a.ply")
    export_performance(shot, "usd-splats", tmp_path / "a.usdc")
    command = [str(CONVERT), "-i", str(tmp_path / "a.ply"), "-o", str(tmp_path / "b.usdc")]
    subprocess.run([*command, "--up-axis", "Z"], check=True, timeout=120, capture_output=True)
    stage = Usd.Stage.Open(str(tmp_path / "b.usdc"))
    written = Usd.Stage.Open(str(tmp_path / "a.usdc"))
    ours = written.GetPrimAtPath("/Puppet/Subject")
    (theirs,) = (p for p in stage.Traverse() if p.GetTypeName() == ours.GetTypeName())
    assert UsdGeom.GetStageUpAxis(stage) == "Z"
    for name in (
        "positions",
        "scales",
        "opacities",
        "radiance:sphericalHarmonicsCoefficients",
        "radiance:sphericalHarmonicsDegree",
    ):
        mine = np.array(ours.GetAttribute(name).Get(1))
        assert np.allclose(mine, np.array(theirs.GetAttribute(name).Get()), atol=1e-5), name
    quats = [
        np.array(prim.GetAttribute(name).Get(1), np.float32)[:, [3, 0, 1, 2]]
        for prim, name in ((ours, "orientationsh"), (theirs, "orientations"))
    ]
    assert np.allclose(*map(se3.quat_to_matrix, quats), atol=2e-3)
