"""Splats of others as puppets that stand still, and put under another world's ground."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from samples import random_gaussians

from restage4d import se3, sh
from restage4d.cli.export import load_stage
from restage4d.cli.main import main
from restage4d.errors import InputError
from restage4d.exporting.formats import Axes, convert_gaussians
from restage4d.exporting.still import guess_axes, make_still_puppet, stand_upright
from restage4d.io.ply import read_ply, write_ply
from restage4d.io.splat_files import write_spz
from restage4d.posing.standing import find_ground, put_under
from restage4d.puppet import Gaussians


@pytest.mark.parametrize("axes", Axes)
def test_upright_whatever_the_file_s_axes(axes: Axes) -> None:
    g = random_gaussians(np.random.default_rng(0), 30, 1)
    back = stand_upright(convert_gaussians(g, axes.turn, 100.0), axes, 100.0)
    assert np.allclose(back.means, g.means, atol=1e-6)
    assert np.allclose(back.scales, g.scales, rtol=1e-5)
    assert np.allclose(np.abs((back.quats * g.quats).sum(1)), 1, atol=1e-6)
    assert np.allclose(back.sh, g.sh, atol=1e-6)


def test_a_still_puppet_stands_and_is_seen_whole() -> None:
    g = random_gaussians(np.random.default_rng(1), 400)
    puppet = make_still_puppet(replace(g, means=g.means + np.float32([3, -2, 7])))
    posed = puppet.pose("still", 0)
    assert np.array_equal(posed.means, puppet.subject.means)
    camera = puppet.performances[0].camera(0)
    seen = posed.means @ camera.w2c[:3, :3].T + camera.w2c[:3, 3]
    assert (seen[:, 2] > 0).all()
    pixels = seen @ camera.K.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    inside = ((pixels > 0) & (pixels < camera.size)).all(1)
    assert inside.mean() > 0.85
    assert np.corrcoef(pixels[:, 1], posed.means[:, 2])[0, 1] < -0.9  # up is up


@pytest.mark.parametrize("kind", ["ply", "spz"])
def test_export_takes_splats_of_others(tmp_path: Path, kind: str) -> None:
    """What is y down in a PLY and y up in an SPZ leaves z up."""
    g = random_gaussians(np.random.default_rng(2), 50)
    path = tmp_path / f"größe 1.{kind}"
    axes = guess_axes(path)
    assert axes is {"ply": Axes.Y_DOWN, "spz": Axes.Y_UP}[kind]
    (write_ply if kind == "ply" else write_spz)(path, convert_gaussians(g, axes.turn, 1))
    out = tmp_path / "out.ply"
    command = ["export", str(path), "--format", "ply", "--axes", "z-up", "--out", str(out)]
    assert main(command) == 0
    assert np.allclose(read_ply(out).means, g.means, atol=5e-4)
    turned = load_stage(path, "z-up").subject  # told otherwise, it is taken as it is
    assert np.allclose(turned.means, g.means @ axes.turn.T, atol=5e-4)
    with pytest.raises(InputError, match="knows where up is"):
        load_stage(tmp_path / "a.puppet", "y-up")


def make_scene(rng: np.random.Generator) -> Gaussians:
    """A floor of 6 by 6 with two boxes on it and dust in the air; z up, the floor at 0."""
    floor = np.concatenate([rng.uniform(-3, 3, (1500, 2)), rng.normal(0, 0.005, (1500, 1))], 1)
    boxes = [
        rng.uniform([x, y, 0], [x + 0.7, y + 0.7, 1.2], (400, 3)) for x, y in ((1, 1), (-2, 0))
    ]
    dust = rng.uniform([-3, -3, 0], [3, 3, 3], (200, 3))
    means = np.concatenate([floor, *boxes, dust]).astype(np.float32)
    return replace(random_gaussians(rng, len(means), 1), means=means)


@pytest.mark.parametrize("tilt", [0.0, 0.2, -0.4])
def test_the_ground_is_found_and_put_under(tilt: float) -> None:
    rng = np.random.default_rng(3)
    scene = make_scene(rng)
    scene = replace(scene, opacities=rng.uniform(0.5, 1, len(scene)).astype(np.float32))
    turn = se3.quat_to_matrix(np.array([np.cos(tilt / 2), np.sin(tilt / 2), 0, 0]))
    leaning = convert_gaussians(scene, turn.astype(np.float32), 20.0)
    leaning = replace(leaning, means=leaning.means + np.float32([5, 6, 7]))
    ground = find_ground(leaning)
    assert ground.normal @ turn[:, 2] > np.cos(np.radians(0.5))
    assert ground.share > 0.5
    spot = np.float32([1, 2, 0.5])
    put = put_under(leaning, ground, spot, np.float32([0, 0, 1]), 1 / 20)
    floor = put.means[:1500]
    assert np.abs(floor[:, 2] - 0.5).max() < 0.05
    assert np.linalg.norm(np.median(put.means, 0)[:2] - spot[:2]) < 0.05
    sides = np.linalg.norm(floor[1:] - floor[:-1], axis=1)
    truth = np.linalg.norm(scene.means[1:1500] - scene.means[:1499], axis=1)
    assert np.allclose(sides, truth, atol=1e-4)
    assert np.allclose(put.scales, scene.scales, rtol=1e-4)
    back = se3.quat_to_matrix(put.quats) @ np.swapaxes(se3.quat_to_matrix(scene.quats), 1, 2)
    ray = np.tile(np.float32([0.6, 0.48, 0.64]), (len(scene), 1))
    there = np.einsum("nij,nj->ni", back, ray).astype(np.float32)
    assert np.allclose(sh.colors(put.sh, there), sh.colors(scene.sh, ray), atol=1e-3)


def test_few_points_have_a_ground_all_the_same() -> None:
    for n in (1, 2, 3):
        g = random_gaussians(np.random.default_rng(n), n)
        ground = find_ground(g)
        assert np.isfinite([*ground.normal, ground.height, *ground.middle, ground.reach]).all()
        put = put_under(g, ground, np.float32([0, 0, 0]), np.float32([0, 0, 1]), 1.0)
        assert np.isfinite(put.means).all()


def test_info_tells_of_sequences_and_of_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    g = random_gaussians(np.random.default_rng(0), 60, 1)
    for frame in range(3):
        write_ply(tmp_path / f"a_{frame:04d}.ply", g)
    assert main(["info", str(tmp_path), "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert (about["kind"], about["frames"], about["points"]) == ("sequence", 3, 60)
    assert about["sh_degree"] == 1
    assert about["wrong"] == []
    g.opacities[:4], g.means[7], g.scales[9] = 0.001, 400, 30
    write_ply(tmp_path / "b.ply", g)
    assert main(["info", str(tmp_path / "b.ply")]) == 0
    told = capsys.readouterr().out
    assert "4 of 60 are clear" in told
    assert "1 of 60 are 50 times farther off" in told
    assert "1 of 60 are larger" in told
    (tmp_path / "empty").mkdir()
    assert main(["info", str(tmp_path / "empty")]) == 1
    assert "has no .ply files" in capsys.readouterr().err
