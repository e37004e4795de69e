"""The quick posing of exports is the puppet's own, in every axes and for every turn."""

import threading
import time

import numpy as np
import pytest
from samples import random_puppet

from restage4d import se3, sh
from restage4d.exporting.formats import Axes, convert_gaussians
from restage4d.exporting.posing import Poser, pose_ahead
from restage4d.exporting.shot import Shot
from restage4d.puppet import Gaussians, Puppet


def check_same(got: Gaussians, truth: Gaussians) -> None:
    assert np.abs(got.means - truth.means).max() < 2e-6
    assert np.abs((got.quats * truth.quats).sum(1)).min() > 1 - 1e-6
    assert np.abs(got.sh - truth.sh).max() < 5e-6
    assert np.array_equal(got.scales, truth.scales)
    assert np.array_equal(got.opacities, truth.opacities)
    for name, value in vars(got).items():
        assert value.dtype == np.float32, name
        assert value.flags.c_contiguous, name


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("n", [1, 70])
def test_it_is_equation_1(degree: int, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restage4d.exporting.posing._BLOCK", 32)  # more than one, the last short
    puppet = random_puppet(7, n=n, degree=degree, influences=3)
    poser = Poser(puppet.subject, puppet.index, puppet.weight, puppet.n_bases)
    for frame in range(4):
        bases = puppet.performances[0].bases[:, frame]
        check_same(poser.pose(bases), puppet.pose(bases))


def make_turned(quats: np.ndarray) -> Puppet:  # (K, 4)
    """One Gaussian on each of K bases, which stand turned so."""
    puppet = random_puppet(1, n=len(quats), bases=len(quats), influences=1, degree=1)
    puppet.index[:, 0], puppet.weight[:] = np.arange(len(quats)), 1
    turns = se3.quat_to_matrix(quats / np.linalg.norm(quats, axis=1, keepdims=True))
    performance = puppet.performances[0]
    performance.bases[:] = se3.pack(turns, np.zeros((len(quats), 3)))[:, None]
    return puppet


def test_turns_by_half_a_circle_and_nearly_so() -> None:
    axes = np.eye(4)
    close = axes[1:] + np.array([1e-4, 3e-4, -2e-4, 1e-4])
    everywhere = np.random.default_rng(0).normal(size=(200, 4))
    for quats in (axes, close, -close, everywhere):
        puppet = make_turned(quats)
        poser = Poser(puppet.subject, puppet.index, puppet.weight, puppet.n_bases)
        bases = puppet.performances[0].bases[:, 0]
        check_same(poser.pose(bases), puppet.pose(bases))


@pytest.mark.parametrize("axes", Axes)
def test_axes_and_scale_are_in_the_bases(axes: Axes) -> None:
    puppet = random_puppet(2, degree=3)
    shot = Shot(puppet, puppet.performances[1], range(1, 5), axes=axes, scale=3.0)
    seen = list(shot.pose_subjects())
    assert len(seen) == 4
    for frame, got in zip(shot.frames, seen, strict=True):
        posed = puppet.pose("jump!", frame)
        check_same(got, convert_gaussians(posed, axes.turn, shot.factor))


def test_the_directions_tell_every_band_apart() -> None:
    Y = sh.basis(sh.DIRECTIONS, 3)
    for band in (1, 2, 3):
        part = Y[: 2 * band + 1, band**2 : (band + 1) ** 2]
        assert np.linalg.cond(part) < 4.2
        assert np.allclose(sh.INVERSES[band - 1] @ part, np.eye(2 * band + 1))


def test_ahead_and_in_order() -> None:
    done: list[int] = []

    def job(i: int):
        def run() -> int:
            time.sleep(0.02 if i == 0 else 0)  # the first is the slowest
            done.append(i)
            return i

        return run

    results = pose_ahead(job(i) for i in range(40))
    assert next(results) == 0
    time.sleep(0.05)
    assert 1 < len(done) <= 4, "a few are ready before they are asked for, not all"
    results.close()
    time.sleep(0.02)
    assert len(done) <= 4
    assert list(pose_ahead(job(i) for i in range(40))) == list(range(40))
    assert not [t for t in threading.enumerate() if t.name.startswith("pose")]


def test_what_fails_ahead_is_told_where_it_is_taken() -> None:
    def fail() -> int:
        raise ValueError("no such frame")

    results = pose_ahead([lambda: 1, fail, lambda: 3])
    assert next(results) == 1
    with pytest.raises(ValueError, match="no such frame"):
        next(results)
