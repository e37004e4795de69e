"""The guarded optimiser and its checkpoints."""

import pytest
import torch

from restage4d.errors import FitError
from restage4d.reconstruct.checkpoint import load_checkpoint, save_checkpoint
from restage4d.reconstruct.model.optimizer import GuardedAdam


def quadratic(steps: int = 100) -> tuple[dict[str, torch.Tensor], GuardedAdam]:
    params = {"x": torch.full((4,), 3.0, requires_grad=True)}
    return params, GuardedAdam(params, {"x": 0.1}, {}, steps)


def test_guarded_adam_rolls_back_a_nan_at_a_lower_rate():
    params, adam = quadratic()
    for step in range(120):
        loss = params["x"].square().sum() * (float("nan") if step == 60 else 1.0)
        assert adam.step(loss) == (step != 60)
    assert adam.rollbacks == 1
    assert adam.rate_scale == 0.5
    assert params["x"].abs().max() < 0.05


def test_guarded_adam_catches_a_nan_gradient_of_a_finite_loss():
    params, adam = quadratic()
    assert adam.step(params["x"].square().sum())
    before = params["x"].detach().clone()
    bad = (params["x"] * 0).sqrt().sum()  # 0, with the gradient 0/0
    assert not adam.step(bad)
    assert torch.isfinite(params["x"]).all()
    assert (params["x"] - before).abs().max() <= 0.2


def test_guarded_adam_gives_up_in_the_end():
    params, adam = quadratic()
    adam.step(params["x"].sum())
    poisoned = params["x"].sum() * float("nan")
    for _ in range(adam.max_rollbacks):
        assert not adam.step(poisoned)
    with pytest.raises(FitError, match="not finite"):
        adam.step(poisoned)


def test_resized_rows_keep_their_moments():
    params, adam = quadratic()
    adam.step((params["x"] * torch.tensor([1.0, 2, 3, 4])).sum())
    old = adam.state()["exp_avg.x"]
    adam.resize("x", torch.arange(3.0), torch.tensor([3, -1, 1]))
    assert adam.state()["exp_avg.x"].tolist() == [float(old[3]), 0.0, float(old[1])]
    assert adam.step(params["x"].square().sum())


def test_checkpoint_comes_back_and_foreign_or_damaged_ones_do_not(tmp_path):
    path = tmp_path / "c.safetensors"
    tensors = {"a": torch.arange(6).reshape(2, 3)}
    save_checkpoint(path, tensors, {"fingerprint": "f", "step": 3})
    got = load_checkpoint(path, "f")
    assert got is not None
    assert torch.equal(got[0]["a"], tensors["a"])
    assert got[1]["step"] == 3
    assert load_checkpoint(path, "g") is None
    path.write_bytes(path.read_bytes()[:-5])
    assert load_checkpoint(path, "f") is None
    assert load_checkpoint(tmp_path / "none", "f") is None
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]
