"""Learned tracks and cameras: the real loading and running code, with stand-in checkouts and
programs."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest

from restage4d.clips import Clip, Rewound, rewind
from restage4d.defaults import WEIGHT_FREE, PriorNames
from restage4d.errors import Cancelled, InputError
from restage4d.progress import Progress
from restage4d.providers.weights import Weights

pytest.importorskip("transformers", reason="the extra models is not installed")

import stand_in_trackers
import torch

from restage4d.jobs.provider_factory import make_prior_providers
from restage4d.priors.cameras.camera_files import CameraFiles
from restage4d.priors.depth.one_pass import DepthAnything3, OnePassConfig

W, H = 60, 40


@pytest.fixture(scope="module")
def clip() -> Rewound:
    """Noise of 4 base frames and two driving videos of 4 and 3: frames 0-3, 4-6 and 7-8."""
    frames = np.random.default_rng(0).integers(0, 255, (4, H, W, 3), np.uint8)
    return rewind(
        Clip(frames, 24.0), [Clip(frames[[0, 2, 1, 3]], 24.0), Clip(frames[[0, 3, 1]], 24.0)]
    )


def blob_clip() -> tuple[Rewound, np.ndarray, np.ndarray]:
    """A red disk that goes right in the base, down in driving video 1 and up in 2; its masks and
    centres (T, 2)."""
    size = (96, 64)

    def video(ways: np.ndarray) -> tuple[Clip, np.ndarray]:
        frames = np.full((len(ways), size[1], size[0], 3), 90, np.uint8)
        x, y = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
        for frame, (u, v) in zip(frames, ways, strict=True):
            frame[(x - u) ** 2 + (y - v) ** 2 < 9**2] = (230, 20, 20)
        return Clip(frames, 24.0), ways

    start, t = np.array([48.0, 32.0]), np.arange(6)[:, None]
    videos = [video(start + t * np.array(step)) for step in ((3.0, 0.0), (0.0, 2.0), (0.0, -2.0))]
    rewound = rewind(videos[0][0], [v for v, _ in videos[1:]])
    centres = np.array(
        [videos[s][1][i] for s, i in zip(rewound.source, rewound.index, strict=True)]
    )
    masks = (rewound.clip.frames[..., 0] > 160).astype(np.float32)
    return rewound, masks, centres


@pytest.mark.parametrize("name", ["bootstapir", "tapnext", "cotracker3"])
def test_trackers_follow_the_subject_into_every_branch(tmp_path, name, monkeypatch):
    monkeypatch.setattr(
        "restage4d.jobs.provider_factory.need_modules", lambda entry: None
    )  # the real ones need einops and more
    for loaded in [m for m in sys.modules if m.startswith("tapnet")]:
        monkeypatch.delitem(sys.modules, loaded)
    told: list[str] = []
    provider = make_prior_providers(
        replace(WEIGHT_FREE, tracks=name), Weights(stand_in_trackers.write(tmp_path)), told.append
    ).tracks
    assert bool(told) == (name == "cotracker3")
    rewound, masks, centres = blob_clip()
    tracks = provider.tracks(rewound, masks, Progress())
    count = len(tracks.query)
    assert count > 500
    assert tracks.xy.shape == (count, len(rewound), 2)
    assert (tracks.xy.dtype, tracks.visible.dtype, tracks.confidence.dtype, tracks.query.dtype) == (
        np.float32, np.bool_, np.float32, np.int32,
    )  # fmt: skip
    assert np.isfinite(tracks.xy).all()
    assert ((tracks.confidence >= 0) & (tracks.confidence <= 1)).all()
    rows = np.arange(count)
    start = tracks.xy[rows, tracks.query]
    truth = start[:, None] + (centres[None] - centres[tracks.query][:, None])
    source = rewound.source[tracks.query]
    known = (
        (source[:, None] == 0)
        | (rewound.source[None] == 0)
        | (rewound.source[None] == source[:, None])
    )
    off = np.linalg.norm(tracks.xy - truth, axis=-1)
    assert off[known].max() < 1.0
    assert (tracks.confidence[~known] == 0).all()
    assert not tracks.visible[~known].any()
    assert tracks.visible[known].mean() > (0.7 if name == "bootstapir" else 0.99)
    if name == "bootstapir":  # it says that points are hidden in a path's first frame, b_m
        other = tracks.query != 0
        assert not tracks.visible[other, 0].any()
        assert (tracks.confidence[other, 0] > 0.9).all()


def test_cotracker_comes_by_torch_hub_with_consent(tmp_path, monkeypatch):
    """Code from torch.hub (here from its cache, as without a network), weights from the hub, none
    of them unpickled."""
    monkeypatch.setattr("restage4d.jobs.provider_factory.need_modules", lambda entry: None)
    there = stand_in_trackers.write(tmp_path / "there") / "cotracker3"
    (tmp_path / "hub").mkdir()
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.setattr(
        torch.hub, "urlopen", lambda *_, **__: (_ for _ in ()).throw(URLError("no network"))
    )
    asked: list[tuple[str, str]] = []

    def download(repo: str, name: str) -> str:
        asked.append((repo, name))
        return str(there / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(InputError, match=r"facebookresearch/co-tracker cannot be used"):
        make_prior_providers(
            PriorNames(tracks="cotracker3"), Weights(None, download=True), lambda text: None
        )
    shutil.copytree(there / "co-tracker", tmp_path / "hub" / "facebookresearch_co-tracker_main")
    provider = make_prior_providers(
        PriorNames(tracks="cotracker3"), Weights(None, download=True), lambda text: None
    ).tracks
    assert asked == [("facebook/cotracker3", "scaled_offline.pth")]
    rewound, masks, centres = blob_clip()
    tracks = provider.tracks(rewound, masks, Progress())
    base = (rewound.source == 0).nonzero()[0]
    mine = np.isin(tracks.query, base)
    way = (centres[None] - centres[tracks.query[mine]][:, None])[:, base]
    start = tracks.xy[mine, tracks.query[mine]][:, None]
    assert np.abs(tracks.xy[mine][:, base] - start - way).max() < 1.0
    with pytest.raises(
        InputError, match=r"scaled_offline.pth, co-tracker is missing"
    ):  # without consent nothing is asked for
        make_prior_providers(PriorNames(tracks="cotracker3"), Weights(None), lambda text: None)
    assert len(asked) == 1


def test_a_missing_checkout_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("restage4d.jobs.provider_factory.need_modules", lambda entry: None)
    with pytest.raises(
        InputError, match=r"bootstapir_checkpoint_v2.pt, tapnet is missing.*google-deepmind/tapnet"
    ):
        make_prior_providers(PriorNames(tracks="bootstapir"), Weights(tmp_path))


# --- cameras --------------------------------------------------------------------------------------


def poses(count: int) -> np.ndarray:
    c2w = np.tile(np.eye(4), (count, 1, 1))
    c2w[:, 0, 3] = 0.1 * np.arange(count)
    return c2w


def test_cameras_of_megasam_with_their_depth(tmp_path, clip):
    path = tmp_path / "dog_sgd_cvd_hr.npz"
    K = np.array([[140, 0, 60], [0, 140, 40], [0, 0, 1]], np.float32)
    depths = np.full((9, 80, 120), 3.0, np.float32)
    np.savez(
        path,
        images=np.zeros((9, 80, 120, 3), np.uint8),
        depths=depths,
        intrinsic=K,
        cam_c2w=poses(9),
    )
    chosen = make_prior_providers(PriorNames(cameras=str(path), depth=str(path)), Weights(tmp_path))
    assert chosen.cameras is chosen.depth
    masks = np.zeros((9, H, W), np.float32)
    cameras = chosen.cameras.cameras(clip, masks, Progress())
    np.testing.assert_allclose(cameras.K[4], [[70, 0, 30], [0, 70, 20], [0, 0, 1]])
    np.testing.assert_allclose(cameras.w2c[5, 0, 3], -0.5, atol=1e-6)
    assert cameras.kind == "moving"
    assert (chosen.depth.depth(clip, masks, cameras, Progress()) == 3).all()


def test_cameras_of_vipe_for_the_base_with_a_frame_missing(tmp_path, clip):
    (tmp_path / "vipe" / "pose").mkdir(parents=True)
    (tmp_path / "vipe" / "intrinsics").mkdir()
    inds = np.array([0, 1, 3])
    np.savez(tmp_path / "vipe" / "pose" / "dog.npz", data=poses(4)[inds], inds=inds)
    np.savez(
        tmp_path / "vipe" / "intrinsics" / "dog.npz",
        data=np.tile([140, 140, 60, 40], (3, 1)),
        inds=inds,
    )
    cameras = CameraFiles(tmp_path / "vipe").cameras(
        clip, np.zeros((9, H, W), np.float32), Progress()
    )
    np.testing.assert_allclose(cameras.K[0], [[70, 0, 30], [0, 70, 20], [0, 0, 1]])
    # the base is rewound: frame 3 stands first; frame 2 lies between its neighbours; driving videos
    # stand still
    np.testing.assert_allclose(-cameras.w2c[:, 0, 3], [0.3, 0.2, 0.1, 0, 0, 0, 0, 0, 0], atol=1e-6)


def test_camera_files_of_another_clip_are_refused(tmp_path, clip):
    path = tmp_path / "x_droid.npz"
    np.savez(path, images=np.zeros((5, 8, 12, 3), np.uint8), intrinsic=np.eye(3), cam_c2w=poses(5))
    with pytest.raises(InputError, match="5 frames, the rewound clip 9, the base 4"):
        CameraFiles(path).cameras(clip, np.zeros((9, H, W), np.float32), Progress())
    with pytest.raises(InputError, match="no cameras at"):
        CameraFiles(tmp_path / "gone.npz")


_DA3 = '''
import numpy as np

class Said:
    pass

class DepthAnything3:
    """As depth_anything_3.api has it: from_pretrained, to, eval, inference -> depth, conf,
    extrinsics (N, 3, 4), intrinsics."""

    @classmethod
    def from_pretrained(cls, folder, **options):
        return cls()

    def to(self, device):
        return self

    eval = lambda self: self

    def inference(self, image, process_res=504, ref_view_strategy=""):
        if process_res > 300:
            raise RuntimeError("CUDA out of memory")
        said, n = Said(), len(image)
        said.depth = np.stack([np.full((20, 30), 2.0 + 0.1 * i, np.float32) for i in range(n)])
        said.conf = None
        said.extrinsics = np.tile(np.eye(4, dtype=np.float32)[:3], (n, 1, 1))
        said.extrinsics[:, 0, 3] = -0.1 * np.arange(n)
        K = np.array([[35, 0, 15], [0, 35, 10], [0, 0, 1]], np.float32)
        said.intrinsics = np.tile(K, (n, 1, 1))
        return said
'''


def test_depth_anything_3_runs_in_a_python_of_its_own(tmp_path, clip, monkeypatch):
    (tmp_path / "depth_anything_3").mkdir()
    (tmp_path / "depth_anything_3" / "__init__.py").write_text("")
    (tmp_path / "depth_anything_3" / "api.py").write_text(_DA3)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    provider = DepthAnything3(Path(sys.executable), tmp_path, OnePassConfig("x"))
    masks = np.zeros((9, H, W), np.float32)
    cameras = provider.cameras(clip, masks, Progress())
    np.testing.assert_allclose(cameras.K[0], [[70, 0, 30], [0, 70, 20], [0, 0, 1]])
    np.testing.assert_allclose(cameras.w2c[4, 0, 3], -0.4, atol=1e-6)
    depth = provider.depth(clip, masks, cameras, Progress())  # with its own cameras: as it is
    np.testing.assert_allclose(depth[:, 20, 30], 2.0 + 0.1 * np.arange(9), rtol=1e-5)
    with pytest.raises(Cancelled):
        DepthAnything3(Path(sys.executable), tmp_path, OnePassConfig("x")).cameras(
            clip, masks, Progress(None, lambda: True)
        )
    (tmp_path / "depth_anything_3" / "api.py").write_text("raise ImportError('no xformers here')")
    with pytest.raises(InputError, match="no xformers here"):
        DepthAnything3(Path(sys.executable), tmp_path, OnePassConfig("x")).cameras(
            clip, masks, Progress()
        )
