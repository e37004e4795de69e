"""Learned masks and depth with networks of the same interface that answer with a scene's exact
truth, in the model's own convention and size: what is done after the network keeps it."""

from types import SimpleNamespace

import numpy as np
import pytest
from scenes import HEIGHT, WIDTH, Truth, hinge_scene

from restage4d.clips import Clip, Rewound, Selection
from restage4d.evaluate.metrics.image import iou
from restage4d.progress import Progress

pytest.importorskip("transformers", reason="the extra models is not installed")

import tiny_models
import torch
import torch.nn.functional as F
from torch import nn

from restage4d.priors.depth.depth_anything import DepthAnythingConfig, DepthAnythingDepth
from restage4d.priors.masks.sam import SamConfig, SamMasks


@pytest.fixture(scope="module")
def truth() -> Truth:
    return hinge_scene(n_base=6, n_driving=6)


def find_frame(clip: Rewound, frame: np.ndarray) -> int:
    """The number of a picture in the clip."""
    return next(t for t, known in enumerate(clip.clip.frames) if np.array_equal(known, frame))


class TruthSam(nn.Module):
    """Sam2VideoModel: logits (1, 1, 256, 256) of a session's frame, positive on the subject."""

    def __init__(self, truth: Truth, side: int) -> None:
        super().__init__()
        self.truth, self.config = truth, SimpleNamespace(image_size=side)
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, session, frame_idx, reverse=False):
        frames = session.processed_frames
        t = find_frame(self.truth.rewound, frames.frames[frame_idx])
        self.check_input(frames, frame_idx)
        inside = torch.from_numpy(self.truth.priors.masks[t] > 0.5)[None, None].float()
        if session.point_inputs_per_obj[0]:
            inside = inside * self.is_hit(session, inside)
        large = F.interpolate(inside, (256, 256), mode="bilinear", align_corners=False)
        return SimpleNamespace(pred_masks=20 * (large - 0.5))

    def check_input(self, frames, frame_idx) -> None:
        """The picture is the frame, squeezed to the model's square and normalised as SAM 2's."""
        picture = frames[frame_idx]
        assert picture.shape == (3, self.config.image_size, self.config.image_size)
        mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        for c in range(3):
            levels = picture[c].float() * deviation[c] + mean[c]
            assert levels.mean() == pytest.approx(
                float(frames.frames[frame_idx][..., c].mean() / 255), abs=0.02
            )

    def is_hit(self, session, inside) -> float:
        """Whether the prompt's first point, in pixels of the square with whole centres, is on the
        subject."""
        (prompt,) = session.point_inputs_per_obj[0].values()
        x, y = (prompt["point_coords"][0, 0, 0] + 0.5).tolist()
        scale = np.array([WIDTH, HEIGHT]) / self.config.image_size
        column, row = (np.array([x, y]) * scale).astype(int)
        return float(inside[0, 0, row, column])


@pytest.fixture
def sam(tmp_path, truth) -> SamMasks:
    provider = SamMasks("sam2", tiny_models.sam2(tmp_path / "sam2"), SamConfig("sam2", "x"))
    provider._model = TruthSam(truth, provider._model.config.image_size)
    return provider


def test_masks_of_sam_are_the_truth_in_every_frame_and_branch(sam, truth):
    masks = truth.priors.masks > 0.5
    found = sam.propagate(truth.rewound, masks[truth.rewound.seam], Progress())
    assert min(iou(f > 0.5, m) for f, m in zip(found, masks, strict=True)) > 0.95


def test_a_click_for_sam_lands_where_it_was_made(sam, truth):
    seam = truth.rewound.seam
    mask = truth.priors.masks[seam] > 0.5
    base = Clip(truth.rewound.clip.frames[seam : seam + 1], 24.0)
    for row, column in np.argwhere(mask)[:: mask.sum() // 12]:
        point = (float(column) + 0.5, float(row) + 0.5)
        assert iou(sam.select(base, Selection(point=point), Progress()), mask) > 0.95


class TruthDepth(nn.Module):
    """DepthAnythingForDepthEstimation: of pictures (B, 3, h, w) the disparity, scaled and shifted
    by other amounts in every frame, or for a metric model the depth."""

    def __init__(self, truth: Truth, config) -> None:
        super().__init__()
        self.truth, self.config = truth, config
        self.scale = np.random.default_rng(3).uniform(0.8, 1.25, len(truth.rewound))
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, pixel_values):
        frames = self.truth.rewound.clip.frames.astype(np.float32).mean((1, 2)) / 255
        mean = torch.tensor((0.485, 0.456, 0.406))[:, None, None]
        seen = pixel_values * torch.tensor((0.229, 0.224, 0.225))[:, None, None] + mean
        out = []
        for picture in seen:
            t = int(np.abs(frames - picture.mean((1, 2)).numpy()).sum(1).argmin())
            known = self.truth.priors.depth[t]
            depth = torch.from_numpy(np.where(known > 0, known, known.max()))[None, None]
            metric = self.config.depth_estimation_type == "metric"
            value = depth if metric else 10 * self.scale[t] / depth + 0.4 * self.scale[t]
            size = picture.shape[1:]
            out.append(F.interpolate(value, size, mode="bilinear", align_corners=False)[0, 0])
        return SimpleNamespace(predicted_depth=torch.stack(out).float())


@pytest.mark.parametrize("kind", ["relative", "metric"])
def test_depth_of_depth_anything_is_the_truth(tmp_path, truth, kind):
    """Whatever scale and shift every frame has; in the cameras' units, from the points that
    structure from motion would give."""
    folder = tiny_models.depth_anything(tmp_path / "model", kind)
    provider = DepthAnythingDepth("depth-anything-v2", folder, DepthAnythingConfig("x"))
    provider._model = TruthDepth(truth, provider._model.config)
    rewound, masks, cameras = truth.rewound, truth.priors.masks, truth.priors.cameras
    rng = np.random.default_rng(0)
    rows, columns = np.nonzero(masks[0] < 0.5)
    chosen = rng.permutation(len(rows))[:300]
    xy = np.stack([columns[chosen], rows[chosen]], 1) + 0.5
    z = truth.priors.depth[0, rows[chosen], columns[chosen]]
    ray = np.concatenate([xy, np.ones((300, 1))], 1) @ np.linalg.inv(cameras.K[0]).T
    w2c = cameras.w2c[0]
    cameras.points = ((ray * z[:, None] - w2c[:3, 3]) @ w2c[:3, :3]).astype(np.float32)
    found = provider.depth(rewound, masks, cameras, Progress())
    subject = masks > 0.5
    off = np.abs(found - truth.priors.depth)[subject] / truth.priors.depth[subject]
    assert np.median(off) < 0.02
    ratio = [
        np.median(found[t][subject[t]] / truth.priors.depth[t][subject[t]])
        for t in range(len(rewound))
    ]
    assert np.std(ratio) < 0.02  # the network's own scales, 0.8 to 1.25, are gone
