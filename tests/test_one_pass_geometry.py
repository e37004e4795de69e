"""Cameras and depth of one network, with networks that answer with a scene's exact truth in their
own convention and size: what is done after the network keeps it."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from scenes import HEIGHT, WIDTH, Truth, hinge_scene

from restage4d.defaults import WEIGHT_FREE, PriorNames
from restage4d.errors import InputError
from restage4d.jobs.provider_factory import make_prior_providers
from restage4d.priors.depth.one_pass import DepthAnything3, MapAnything, OnePassConfig
from restage4d.progress import Progress
from restage4d.providers.weights import Weights

# Both are asked for frames and know which they are by their number. The truth's depth lies at the
# network's size as planar z, poses and K as each package gives them.
_TRUTH = """
import os
import numpy as np
truth = np.load(os.environ["TRUTH"])
"""
_DEPTH_ANYTHING_3 = (
    _TRUTH
    + """
from types import SimpleNamespace

class DepthAnything3:
    from_pretrained = classmethod(lambda cls, folder, local_files_only: cls())
    to = lambda self, device: self
    eval = lambda self: self

    def inference(self, image, process_res):
        assert len(image) == len(truth["depth"]) and process_res == int(truth["side"])
        assert all(a.shape == (*truth["size"], 3) and a.dtype == np.uint8 for a in image)
        return SimpleNamespace(depth=truth["depth"], conf=None, extrinsics=truth["w2c"][:, :3],
                               intrinsics=truth["K"])
"""
)
_MAP_ANYTHING = (
    _TRUTH
    + """
import torch

class MapAnything:
    from_pretrained = classmethod(lambda cls, folder, local_files_only: cls())
    to = lambda self, device: self
    eval = lambda self: self

    def infer(self, views, memory_efficient_inference, use_amp, amp_dtype, apply_mask, mask_edges):
        assert not apply_mask and not mask_edges and len(views) == len(truth["depth"])
        mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        answers = []
        for t, view in enumerate(views):
            assert view["data_norm_type"] == ["dinov2"]
            assert view["img"].shape == (1, 3, *truth["depth"].shape[1:])
            for c in range(3):
                level = view["img"][0, c] * deviation[c] + mean[c]
                assert abs(float(level.mean()) - truth["levels"][t, c]) < 0.01
            put = lambda array: torch.from_numpy(np.ascontiguousarray(array))[None]
            # cam2world in metres, as seen from the first view
            c2w = np.linalg.inv(truth["w2c"].astype(np.float64))
            answers.append({
                "depth_z": put(truth["depth"][t][..., None]),
                "camera_poses": put((np.linalg.inv(c2w[0]) @ c2w[t]).astype(np.float32)),
                "intrinsics": put(truth["K"][t]),
                "conf": put(np.ones_like(truth["depth"][t])),
            })
        return answers
"""
)


@pytest.fixture(scope="module")
def truth() -> Truth:
    return hinge_scene(n_base=5, n_driving=5)


@pytest.fixture(params=[DepthAnything3, MapAnything], ids=lambda made: made.name)
def provider(request, truth, tmp_path, monkeypatch):
    """The provider with its truth network, which sees 84 x 63 pixels of 96 x 72, or what is next to
    it in whole patches."""
    side = width = 84
    height = 56 if request.param is MapAnything else 63
    package = {
        DepthAnything3: ("depth_anything_3/api.py", _DEPTH_ANYTHING_3),
        MapAnything: ("mapanything/models.py", _MAP_ANYTHING),
    }[request.param]
    place = tmp_path / package[0]
    place.parent.mkdir()
    (place.parent / "__init__.py").write_text("")
    place.write_text(package[1])
    rows = ((np.arange(height) + 0.5) * HEIGHT / height).astype(int)
    columns = ((np.arange(width) + 0.5) * WIDTH / width).astype(int)
    K = truth.priors.cameras.K.copy()
    K[:, 0] *= width / WIDTH
    K[:, 1] *= height / HEIGHT
    np.savez(
        tmp_path / "truth.npz",
        depth=truth.priors.depth[:, rows][:, :, columns],
        w2c=truth.priors.cameras.w2c,
        K=K,
        side=side,
        size=np.array([HEIGHT, WIDTH]),
        levels=truth.rewound.clip.frames.mean((1, 2)) / 255,
    )
    monkeypatch.setenv("TRUTH", str(tmp_path / "truth.npz"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    return request.param(Path(sys.executable), tmp_path, OnePassConfig("x", side=side))


def test_cameras_are_the_truth(provider, truth):
    masks = truth.priors.masks
    cameras = provider.cameras(truth.rewound, masks, Progress())
    true = truth.priors.cameras
    assert cameras.kind == "moving"
    assert np.abs(cameras.K - true.K).max() < 0.02 * true.K[0, 0, 0]
    # each pose against the first: the world frame is the network's own
    for w2c, exact in zip(cameras.w2c, true.w2c, strict=True):
        mine = w2c @ np.linalg.inv(cameras.w2c[0])
        assert np.abs(mine - exact @ np.linalg.inv(true.w2c[0])).max() < 1e-4


def test_depth_is_the_truth_with_its_own_cameras(provider, truth):
    masks = truth.priors.masks
    cameras = provider.cameras(truth.rewound, masks, Progress())
    depth = provider.depth(truth.rewound, masks, cameras, Progress())
    true = truth.priors.depth
    assert depth.shape == true.shape
    known = true > 0
    off = np.abs(depth - true)[known] / true[known]
    assert np.median(off) < 0.005
    assert np.percentile(off, 85) < 0.03  # the rest are edges
    # a shift of one pixel would be seen
    shifted = np.abs(np.roll(depth, 1, 2) - true)[known] / true[known]
    assert off.mean() < 0.9 * shifted.mean()


@pytest.mark.parametrize("name", ["map-anything", "depth-anything-3-base"])
def test_they_need_a_python_of_their_own_and_run_once_for_both(name, tmp_path, monkeypatch):
    monkeypatch.setenv("RESTAGE4D_SETTINGS", str(tmp_path / "none.toml"))
    (tmp_path / name).mkdir()
    for file in ("config.json", "model.safetensors"):
        (tmp_path / name / file).write_bytes(b"x")
    names = PriorNames(WEIGHT_FREE.masks, name, name, WEIGHT_FREE.tracks)
    with pytest.raises(InputError, match="needs a Python of its own"):
        make_prior_providers(names, Weights(tmp_path), lambda text: None)
    for setting in ("DA3", "MAP_ANYTHING"):
        monkeypatch.setenv(f"RESTAGE4D_{setting}_PYTHON", sys.executable)
    made = make_prior_providers(names, Weights(tmp_path), lambda text: None)
    assert made.cameras is made.depth
    assert made.depth.folder == tmp_path / name
