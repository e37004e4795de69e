"""Splat PLY: by a round trip, by an independent reader (plyfile), and against Eq. 1."""

import contextlib
import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plyfile import PlyData
from samples import random_gaussians, random_puppet

from restage4d import se3, sh
from restage4d.errors import Cancelled, InputError
from restage4d.io.ply import read_ply, write_ply, write_ply_sequence
from restage4d.progress import Progress
from restage4d.puppet import Gaussians


def same(a: Gaussians, b: Gaussians, tolerance: float = 1e-5) -> None:
    for name, value in vars(a).items():
        other = getattr(b, name)
        assert (other.shape, other.dtype) == (value.shape, np.float32), name
        assert np.abs(other - value).max(initial=0) < tolerance, name


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_round_trip(tmp_path: Path, degree: int) -> None:
    gaussians = random_gaussians(np.random.default_rng(degree), 50, degree)
    write_ply(tmp_path / "a.ply", gaussians)
    same(gaussians, read_ply(tmp_path / "a.ply"))


def test_an_independent_reader_sees_the_3dgs_convention(tmp_path: Path) -> None:
    g = random_gaussians(np.random.default_rng(0), 40, 2)
    write_ply(tmp_path / "a.ply", g)
    ply = PlyData.read(tmp_path / "a.ply")
    assert (ply.text, ply.byte_order, len(ply.elements)) == (False, "<", 1)
    vertex = ply["vertex"]
    names = [p.name for p in vertex.properties]
    assert names[:9] == ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    assert names[9:-8] == [f"f_rest_{i}" for i in range(24)]
    assert names[-8:] == [
        "opacity",
        "scale_0",
        "scale_1",
        "scale_2",
        "rot_0",
        "rot_1",
        "rot_2",
        "rot_3",
    ]
    assert all(p.val_dtype == "f4" for p in vertex.properties)
    assert np.array_equal(np.stack([vertex[k] for k in "xyz"], 1), g.means)
    assert np.allclose(1 / (1 + np.exp(-vertex["opacity"])), g.opacities, atol=1e-6)
    assert np.allclose(np.exp(vertex["scale_1"]), g.scales[:, 1], rtol=1e-5)
    assert np.array_equal(vertex["rot_0"], g.quats[:, 0])  # w first
    assert np.array_equal(vertex["f_dc_2"], g.sh[:, 0, 2])
    assert np.array_equal(vertex["f_rest_0"], g.sh[:, 1, 0])  # all red first ...
    assert np.array_equal(vertex["f_rest_8"], g.sh[:, 1, 1])  # ... then all green
    assert np.array_equal(vertex["f_rest_23"], g.sh[:, 8, 2])


def test_opaque_and_clear_splats_have_finite_logits(tmp_path: Path) -> None:
    g = random_gaussians(np.random.default_rng(0), 2)
    g.opacities[:] = 0, 1
    write_ply(tmp_path / "a.ply", g)
    assert np.isfinite(PlyData.read(tmp_path / "a.ply")["vertex"]["opacity"]).all()
    same(g, read_ply(tmp_path / "a.ply"))


@pytest.mark.parametrize("degree", [0, 3])
def test_a_sequence_is_the_restaged_performance(tmp_path: Path, degree: int) -> None:
    puppet = random_puppet(degree=degree)
    performance = puppet.performances[1]
    others = {"jump_2024.ply", "jump_0099.ply", "jump_high_0009.ply", "jump_00007.ply", "jump.ply"}
    for name in others:
        (tmp_path / name).write_bytes(b"not of this sequence")
    paths = write_ply_sequence(puppet, performance, tmp_path)
    names = [f"jump_{i:04d}.ply" for i in range(1, 6)]
    assert [p.name for p in paths] == names
    assert {p.name for p in tmp_path.iterdir()} == {*names, *others}
    assert all((tmp_path / name).read_bytes() == b"not of this sequence" for name in others)
    for t, path in enumerate(paths):
        R, translation = se3.blend_dense(performance.bases[:, t], dense(puppet))
        got = read_ply(path)
        assert (
            np.abs(
                got.means - (np.einsum("nij,nj->ni", R, puppet.subject.means) + translation)
            ).max()
            < 1e-4
        )
        axes = R @ se3.quat_to_matrix(puppet.subject.quats)
        assert np.abs(se3.quat_to_matrix(got.quats) - axes).max() < 1e-4
        assert np.allclose(got.scales, puppet.subject.scales, rtol=1e-4)


def dense(puppet) -> np.ndarray:
    coefs = np.zeros((len(puppet.subject), puppet.n_bases), np.float32)
    np.add.at(coefs, (np.arange(len(coefs))[:, None], puppet.index), puppet.weight)
    return coefs


def test_the_background_joins_where_asked(tmp_path: Path) -> None:
    puppet = random_puppet(degree=1)
    paths = write_ply_sequence(puppet, puppet.performances[0], tmp_path, background=True)
    got = read_ply(paths[-1])
    assert len(got) == len(puppet.subject) + len(puppet.background)
    assert got.sh.shape[1] == 4
    assert np.array_equal(got.means[len(puppet.subject) :], puppet.background.means)
    assert not got.sh[len(puppet.subject) :, 1:].any()


def frames_in(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.ply")}


def test_a_shorter_sequence_leaves_no_frame_of_the_longer_one(tmp_path: Path) -> None:
    puppet = random_puppet()
    long = puppet.performances[1]
    short = replace(long, bases=long.bases[:, :3], w2c=long.w2c[:3], K=long.K[:3])
    assert (long.n_frames, short.n_frames) == (5, 3)
    write_ply_sequence(puppet, long, tmp_path)
    shutil.copyfile(tmp_path / "jump_0005.ply", tmp_path / "jump_2024.ply")  # the user's copy
    write_ply_sequence(puppet, short, tmp_path)
    names = [f"jump_{i:04d}.ply" for i in (1, 2, 3, 2024)]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    write_ply_sequence(puppet, long, tmp_path)
    assert len(list(tmp_path.iterdir())) == 6


def test_a_sequence_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    puppet = random_puppet()
    written = []

    def cancelled() -> bool:
        written.append(len(list(tmp_path.rglob("*.ply"))))
        return written[-1] > 1

    with pytest.raises(Cancelled):
        write_ply_sequence(puppet, puppet.performances[0], tmp_path, Progress(cancelled=cancelled))
    assert written[-1] == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("at", [1, 3, 6, 9])
def test_a_disk_that_fills_up_leaves_the_old_sequence_whole(
    tmp_path: Path, monkeypatch, at: int
) -> None:
    """Writing frame ``at`` fails, or moving a file while old and new frames change places."""
    puppet = random_puppet()
    write_ply_sequence(puppet, puppet.performances[1], tmp_path)
    before = frames_in(tmp_path)
    changed = random_puppet()
    changed.subject.means += 1
    move, moves = os.replace, []

    def fail(source, target) -> None:
        moves.append((source, target))
        if len(moves) == at:
            raise OSError(errno.ENOSPC, "No space left on device")
        move(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(InputError, match="no room left"):
        write_ply_sequence(changed, changed.performances[1], tmp_path)
    assert len(moves) >= at
    assert frames_in(tmp_path) == before
    assert not [p for p in tmp_path.iterdir() if p.name[0] == "."]


def test_frames_on_a_small_disk(small_disk: Path) -> None:
    puppet = random_puppet()
    write_ply_sequence(puppet, puppet.performances[1], small_disk / "splats")
    before = frames_in(small_disk)
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - 8192))
    with pytest.raises(InputError, match="no room left"):
        write_ply_sequence(puppet, puppet.performances[1], small_disk / "splats")
    assert frames_in(small_disk) == before
    assert len(list((small_disk / "splats").iterdir())) == len(before)


def test_a_folder_in_a_frames_place_is_not_removed(tmp_path: Path) -> None:
    puppet = random_puppet()
    (tmp_path / "jump_0003.ply").mkdir()
    (tmp_path / "jump_0003.ply" / "mine.txt").write_text("kept")
    with pytest.raises(InputError, match="cannot be written"):
        write_ply_sequence(puppet, puppet.performances[1], tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["jump_0003.ply"]
    assert (tmp_path / "jump_0003.ply" / "mine.txt").read_text() == "kept"


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    with pytest.raises(InputError, match="cannot be read"):
        read_ply(path)
    for content in (
        b"",
        b"ply\n",
        b"not a ply",
        b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n0\n",
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match="not a splat PLY"):
            read_ply(path)
    write_ply(path, random_gaussians(np.random.default_rng(0), 9))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="breaks off: it promises 9 splats"):
        read_ply(path)


def test_a_nan_is_refused(tmp_path: Path) -> None:
    g = random_gaussians(np.random.default_rng(0), 9)
    g.means[3, 1] = np.nan
    write_ply(tmp_path / "a.ply", g)
    with pytest.raises(InputError, match="not finite"):
        read_ply(tmp_path / "a.ply")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_bytes_are_refused_or_read_but_never_worse(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.ply"
    write_ply(path, random_gaussians(np.random.default_rng(0), 3))
    content = bytearray(path.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=6)):
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(InputError):
        assert isinstance(read_ply(path), Gaussians)


# --- spherical harmonics turn with their Gaussian -------------------------------------------------


def directions(rng: np.random.Generator, n: int) -> np.ndarray:
    d = rng.normal(size=(n, 3))
    return d / np.linalg.norm(d, axis=1, keepdims=True)


def test_the_basis_is_orthonormal() -> None:
    Y = sh.basis(directions(np.random.default_rng(0), 200_000), 3)
    assert np.abs(4 * np.pi * Y.T @ Y / len(Y) - np.eye(16)).max() < 0.03  # Monte Carlo
    grid = sh._spiral(20_000)
    assert (
        np.abs(4 * np.pi * sh.basis(grid, 3).T @ sh.basis(grid, 3) / len(grid) - np.eye(16)).max()
        < 1e-4
    )


def test_the_basis_has_the_signs_of_3dgs() -> None:
    x, y, z = 0.48, 0.6, 0.64
    assert np.allclose(
        sh.basis(np.array([x, y, z]), 1),
        [0.28209479, -0.48860251 * y, 0.48860251 * z, -0.48860251 * x],
    )
    assert sh.basis(np.array([1.0, 0, 0]), 3)[8] == pytest.approx(0.54627422)
    assert sh.basis(np.array([1.0, 0, 0]), 3)[15] == pytest.approx(-0.59004359)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_turned_radiance_seen_from_the_turned_side_is_the_same(degree: int) -> None:
    rng = np.random.default_rng(degree)
    n = 100
    coefs = rng.normal(size=(n, (degree + 1) ** 2, 3))
    R = se3.quat_to_matrix(rng.normal(size=(n, 4)))
    d = directions(rng, n)
    there = np.einsum("nij,nj->ni", R, d)
    assert np.abs(sh.colors(sh.rotate(coefs, R), there) - sh.colors(coefs, d)).max() < 1e-12


def test_turning_is_a_group() -> None:
    rng = np.random.default_rng(0)
    coefs = rng.normal(size=(20, 16, 3))
    A, B = se3.quat_to_matrix(rng.normal(size=(2, 20, 4)))
    assert np.allclose(sh.rotate(coefs, np.tile(np.eye(3), (20, 1, 1))), coefs)
    assert np.allclose(sh.rotate(sh.rotate(coefs, B), A), sh.rotate(coefs, A @ B))
    assert np.allclose(
        np.linalg.norm(sh.rotate(coefs, A), axis=1), np.linalg.norm(coefs, axis=1)
    )  # bands keep their energy


def test_degree_of_refuses_other_counts() -> None:
    with pytest.raises(ValueError, match="5 coefficients"):
        sh.degree_of(5)
