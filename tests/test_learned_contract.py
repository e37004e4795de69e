"""What every learned provider of priors must do, whatever it is: the same numbers twice, stop when
told to, take less where memory is short, and one clear error for weights that are damaged or
another model's."""

import sys
from pathlib import Path

import numpy as np
import pytest

from restage4d.clips import (
    Cameras,
    Clip,
    Rewound,
    rewind,
)
from restage4d.errors import Cancelled, InputError
from restage4d.progress import Progress
from restage4d.providers.weights import Weights

pytest.importorskip("transformers", reason="the extra models is not installed")

import stand_in_trackers
import tiny_models
import torch

from restage4d.defaults import PriorNames
from restage4d.jobs.provider_factory import make_prior_providers

W, H = 60, 40
PROVIDERS = [
    ("masks", "sam2"),
    ("masks", "edgetam"),
    ("masks", "sam3"),
    ("depth", "depth-anything-v2"),
    ("tracks", "bootstapir"),
    ("tracks", "tapnext"),
    ("tracks", "cotracker3"),
]
every_provider = pytest.mark.parametrize(("kind", "name"), PROVIDERS)
FILES = {
    "bootstapir": "bootstapir_checkpoint_v2.pt",
    "tapnext": "bootstapnext_ckpt.npz",
    "cotracker3": "scaled_offline.pth",
}


def write(kind: str, name: str, folder: Path) -> Path:
    """Tiny random weights (a stand-in checkout for trackers) of one provider, in ``folder / name``;
    returns ``folder``."""
    if kind == "tracks":
        return stand_in_trackers.write(folder)
    maker = {"sam2": tiny_models.sam2, "edgetam": tiny_models.edgetam, "sam3": tiny_models.sam3}
    maker.get(name, tiny_models.depth_anything)(folder / name)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("weights")
    return {name: write(kind, name, root / name) for kind, name in PROVIDERS}


@pytest.fixture(autouse=True)
def modules_are_there(monkeypatch):
    """The real EdgeTAM wants timm and the real checkouts einops and more, which the stand-ins do
    without."""
    monkeypatch.setattr("restage4d.jobs.provider_factory.need_modules", lambda entry: None)
    for loaded in [m for m in sys.modules if m.startswith("tapnet")]:
        monkeypatch.delitem(sys.modules, loaded)


@pytest.fixture(scope="module")
def clip() -> Rewound:
    """A red square on noise that goes right in the base, down in the driving video; frames 0-4 and
    5-8."""
    rng = np.random.default_rng(0)
    base, driving = (rng.integers(60, 120, (5, H, W, 3), np.uint8) for _ in range(2))
    driving[0] = base[0]
    for t in range(5):
        base[t, 10:26, 20 + t : 36 + t] = driving[t, 10 + t : 26 + t, 20:36] = (230, 20, 20)
    return rewind(Clip(base, 24.0), [Clip(driving, 24.0)])


def made(kind: str, name: str, folder: Path):
    names = PriorNames(**{kind: name})
    return getattr(make_prior_providers(names, Weights(folder), lambda text: None), kind)


def work(kind: str, provider, clip: Rewound, progress: Progress) -> list[np.ndarray]:
    """Everything that the provider gives for the clip."""
    masks = (clip.clip.frames[..., 0] > 200).astype(np.float32)
    if kind == "masks":
        return [provider.propagate(clip, masks[clip.seam] > 0.5, progress)]
    if kind == "tracks":
        return list(vars(provider.tracks(clip, masks, progress)).values())
    K = np.tile(np.array([[70, 0, 30], [0, 70, 20], [0, 0, 1]], np.float32), (len(clip), 1, 1))
    return [
        provider.depth(
            clip,
            masks,
            Cameras(K, np.tile(np.eye(4, dtype=np.float32), (len(clip), 1, 1)), "static"),
            progress,
        )
    ]


@every_provider
def test_the_same_weights_and_frames_give_the_same_numbers(weights, clip, kind, name):
    first, second = (
        work(kind, made(kind, name, weights[name]), clip, Progress()) for _ in range(2)
    )
    for a, b in zip(first, second, strict=True):
        assert a.shape == b.shape
        assert len(clip) in a.shape or kind == "tracks"
        assert np.isfinite(a).all()
        np.testing.assert_array_equal(a, b)
    assert np.ptp(first[0]) > 0


@every_provider
def test_cancelled_work_ends_before_the_network_has_run_through(
    weights, clip, kind, name, monkeypatch
):
    provider = made(kind, name, weights[name])
    calls: list[int] = []
    inner = provider._model.forward

    def counted(*arguments, **named):
        calls.append(1)
        return inner(*arguments, **named)

    monkeypatch.setattr(provider._model, "forward", counted)
    work(kind, provider, clip, Progress())
    whole, calls[:] = len(calls), []
    with pytest.raises(Cancelled):
        work(kind, provider, clip, Progress(None, lambda: len(calls) > 0))
    assert len(calls) <= (2 if name == "tapnext" else 1) < whole  # TAPNext goes both ways in time


@every_provider
def test_less_is_taken_where_memory_runs_out_and_the_result_is_the_same(
    weights, clip, kind, name, monkeypatch
):
    provider = made(kind, name, weights[name])
    # two devices of one precision, of which the first one will run out of memory in the middle of
    # its work
    monkeypatch.setattr(
        sys.modules[type(provider).__module__], "devices", lambda: [torch.device("cpu")] * 2
    )
    usual = work(kind, provider, clip, Progress())
    calls: list[int] = []
    inner = provider._model.forward

    def scarce(*arguments, **named):
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return inner(*arguments, **named)

    monkeypatch.setattr(provider._model, "forward", scarce)
    for a, b in zip(work(kind, provider, clip, Progress()), usual, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)

    def none(*arguments, **named):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(provider._model, "forward", none)
    with pytest.raises(InputError, match=r"does not fit into memory.*smaller"):
        work(kind, provider, clip, Progress())


@every_provider
@pytest.mark.parametrize("what", ["half of it", "a web page", "another model's"])
def test_wrong_weights_are_one_clear_error_that_names_the_file(tmp_path, kind, name, what):
    folder = write(kind, name, tmp_path)
    path = folder / name / FILES.get(name, "model.safetensors")
    if what == "half of it":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif what == "a web page":
        path.write_bytes(b"<!DOCTYPE html><title>404</title>")
    elif path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file({"weight": torch.zeros(3)}, path, {"format": "pt"})
    elif path.suffix == ".npz":
        np.savez(path, weight=np.zeros(3))
    else:
        torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(InputError) as caught:
        made(kind, name, folder)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
