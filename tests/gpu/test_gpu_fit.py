"""The fit on a GPU: as good as on the CPU, cancelled, gone on with on either, NaNs taken back;
previews of its puppet."""

import numpy as np
import pytest
import torch
from scenes import hinge_scene
from test_fit import CONFIG, cancel_within_fusion, poison_twice

from restage4d.progress import Progress
from restage4d.reconstruct import fit as fit_module
from restage4d.reconstruct.fit import fit
from restage4d.splatting import gaussians


@pytest.fixture(scope="module")
def truth():
    return hinge_scene()


@pytest.fixture(scope="module")
def fitted(truth):
    return fit(truth.rewound, truth.priors, CONFIG, None, Progress())


def test_the_fit_is_as_good_as_on_the_cpu(truth, fitted, monkeypatch):
    assert fitted.model.device.type == "cuda"
    assert fitted.optimiser.rollbacks == 0
    monkeypatch.setattr(fit_module, "drawing_device", lambda: "cpu")
    on_cpu = fit(truth.rewound, truth.priors, CONFIG, None, Progress())
    assert on_cpu.model.device.type == "cpu"
    frames = range(len(truth.rewound))
    assert fitted.psnr(frames) > on_cpu.psnr(frames) - 0.5
    assert fitted.psnr(frames) > 34
    for t in (0, len(frames) - 1):
        one, other = (f.model.compute_positions(t).detach().cpu().mean(0) for f in (fitted, on_cpu))
        assert (one - other).norm() < 0.01


def test_a_cancelled_fit_goes_on(truth, tmp_path):
    path, seen = tmp_path / "checkpoint.safetensors", []
    cancel_within_fusion(truth, path)
    again = fit(truth.rewound, truth.priors, CONFIG, path, Progress(sink=seen.append))
    assert seen[0].task.label == "photometric fusion"
    assert seen[0].step > 100
    assert again.model.device.type == "cuda"
    assert again.psnr(range(len(truth.rewound))) > 34


def test_what_was_begun_on_the_gpu_ends_on_the_cpu(truth, tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.safetensors"
    cancel_within_fusion(truth, path)
    monkeypatch.setattr(fit_module, "drawing_device", lambda: "cpu")
    again = fit(truth.rewound, truth.priors, CONFIG, path, Progress())
    assert again.model.device.type == "cpu"
    assert again.psnr(range(len(truth.rewound))) > 34


def test_nan_in_the_fit_is_rolled_back_and_reported(truth, monkeypatch):
    poison_twice(monkeypatch)
    result = fit(truth.rewound, truth.priors, CONFIG, None, Progress())
    assert result.optimiser.rollbacks == 2
    assert all(torch.isfinite(p).all() for p in result.model.params.values())


def test_previews_are_the_cpus(truth, fitted, monkeypatch):
    puppet = fitted.model.to_puppet(truth.rewound, fitted.cameras(), ["lean"], CONFIG.influences)
    drawn = []
    for device in ("cuda", "cpu"):
        monkeypatch.setattr(gaussians, "drawing_device", lambda device=device: device)
        drawn.append(
            np.stack(list(gaussians.render_performance(puppet, puppet.performances[1]))).astype(int)
        )
    assert np.abs(drawn[0] - drawn[1]).mean() < 0.1
