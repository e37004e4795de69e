"""A changed performance solved anew: the change is kept, comes and goes smoothly, and the rest
stays."""

from dataclasses import replace

import numpy as np
import pytest

from restage4d import se3
from restage4d.cli.main import main
from restage4d.errors import InputError
from restage4d.puppet import Gaussians, Performance, Puppet
from restage4d.reconstruct import refining
from restage4d.reconstruct.refining import refine

K, T, FRAME = 6, 20, 10


@pytest.fixture(scope="module")
def puppet():
    """A post of 600 points that stands on the ground and sways a little."""
    rng = np.random.default_rng(0)
    means = rng.uniform(-0.5, 0.5, (600, 3)) * [0.1, 0.1, 1.0]
    place = np.linspace(-0.5, 0.5, K)
    coefs = np.exp(-(((means[:, 2:] - place) / 0.15) ** 2))
    index = np.argsort(-coefs, axis=1)[:, :4].astype(np.uint16)
    weight = np.take_along_axis(coefs, index.astype(int), 1)
    weight = (weight / weight.sum(1, keepdims=True)).astype(np.float32)
    bases = np.tile(se3.IDENTITY, (K, T, 1))
    sway = 0.05 * np.sin(2 * np.pi * np.arange(T) / T)
    bases[..., 6] = sway * (place[:, None] + 0.5) ** 2
    subject = Gaussians(
        means.astype(np.float32),
        np.tile(np.array([1, 0, 0, 0], np.float32), (600, 1)),
        np.full((600, 3), 0.02, np.float32),
        np.full(600, 0.9, np.float32),
        np.zeros((600, 1, 3), np.float32),
    )
    camera = np.tile(np.eye(3, dtype=np.float32), (T, 1, 1))
    w2c = np.tile(np.eye(4, dtype=np.float32), (T, 1, 1))
    base = Performance("base", bases.astype(np.float32), 24.0, camera, w2c, (8, 8))
    empty = Gaussians(*(np.zeros((0, *s), np.float32) for s in ((3,), (4,), (3,), (), (1, 3))))
    return Puppet(subject, index, weight, [base], empty)


@pytest.fixture(scope="module")
def tweaked(puppet):
    """At one frame the upper bases are pushed aside, and apart from the lower ones."""
    bases = puppet.performances[0].bases.copy()
    bases[3:, FRAME, 6] += 0.15
    bases[:, 0, 6] += 1e-6  # as float32 comes back from bones
    return replace(puppet.performances[0], bases=bases)


def test_the_change_is_kept_and_comes_and_goes(puppet, tweaked):
    before = puppet.performances[0]
    result = refine(puppet, tweaked, before, name="new", blend=4)
    new, figures = result.performance, result.figures
    was, wanted, now = (
        np.stack([puppet.pose(p, f).means for f in range(T)], 1) for p in (before, tweaked, new)
    )
    top = puppet.subject.means[:, 2] > 0.35
    foot = puppet.subject.means[:, 2] < -0.46
    push = (now - was)[top, :, 0].mean(0)
    assert push[FRAME] == pytest.approx((wanted - was)[top, FRAME, 0].mean(), rel=0.2)
    assert push[FRAME] > push[FRAME + 1] > push[FRAME + 2] > push[FRAME + 4] - 0.01
    assert push[FRAME - 1] > 0.3 * push[FRAME]
    assert figures["refined_jerk"] < 0.5 * figures["tweaked_jerk"]
    assert figures["refined_off_keys"] < 0.03
    assert np.abs(now - was)[foot].max() < 0.01  # it stands
    assert now[..., 2].min() > was[..., 2].min() - 0.01
    for frame in (0, FRAME - 5, FRAME + 5, T - 1):
        np.testing.assert_array_equal(new.bases[:, frame], before.bases[:, frame])
    assert np.abs(np.linalg.norm(new.bases[..., :3], axis=-1) - 1).max() < 1e-5
    assert new.name == "new"


def test_neighbours_keep_their_distances(puppet, tweaked, monkeypatch):
    figures = refine(puppet, tweaked, puppet.performances[0], name="new").figures
    assert figures["refined_stretch"] < 0.9 * figures["tweaked_stretch"]
    monkeypatch.setattr(refining, "_RIGID", 0.0)
    loose = refine(puppet, tweaked, puppet.performances[0], name="new").figures
    assert figures["refined_stretch"] < 0.97 * loose["refined_stretch"]


def test_nothing_changed_and_another_length_are_refused(puppet, tweaked):
    base = puppet.performances[0]
    with pytest.raises(InputError, match="as it was before"):
        refine(puppet, base, base, name="new")
    short = replace(base, bases=base.bases[:, :5])
    with pytest.raises(InputError, match="bases of shape"):
        refine(puppet, tweaked, short, name="new")


def test_command(puppet, tweaked, tmp_path, capsys):
    a, b, out = (tmp_path / f"{name}.puppet" for name in ("before", "after", "out"))
    puppet.save(a)
    replace(puppet, performances=[tweaked]).save(b)
    command = ["refine", str(b), "--before", str(a), "--performance", "base", "--out", str(out)]
    assert main(command) == 0
    made = Puppet.load(out)
    assert [p.name for p in made.performances] == ["base", "base refined"]
    np.testing.assert_array_equal(made.performances[0].bases, tweaked.bases)
    assert "refined_jerk" in capsys.readouterr().out
    assert main(command) == 1  # it is there already
    assert "exists" in capsys.readouterr().err
