"""The subject's closer look at base frames: where its crops lie, and what a fit makes of them."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from scenes import Truth, hinge_scene

from restage4d.clips import Clip
from restage4d.progress import Progress
from restage4d.reconstruct.config import FitConfig, FusionConfig, MotionConfig
from restage4d.reconstruct.fit import compute_fingerprint, fit
from restage4d.reconstruct.fusion import objective
from restage4d.reconstruct.fusion.closeups import cut_closeups
from restage4d.reconstruct.fusion.targets import Shot, Targets
from restage4d.splatting import rasterize


@pytest.fixture(scope="module")
def truth() -> Truth:
    return hinge_scene()


def enlarge(truth: Truth, width: int, height: int) -> Clip:
    """The base's frames at another size, b_0 first."""
    rows = truth.rewound.video(0)
    frames = [cv2.resize(truth.rewound.clip.frames[row], (width, height)) for row in rows]
    return Clip(np.stack(frames).astype(np.uint8), 24)


def get_closeup(targets: Targets, row: int) -> Shot:
    """The one that there must be."""
    shot = targets.get_closeup(row)
    assert shot is not None
    return shot


def test_a_closeup_is_a_crop_of_the_finer_picture(truth):
    """What its pinhole draws is what the whole picture's pinhole draws there, also where the scale
    is not a whole number."""
    for width, height in ((192, 144), (154, 115)):
        finer = enlarge(truth, width, height)
        closeups = cut_closeups(finer, truth.rewound, truth.priors.masks)
        targets = Targets(truth.rewound, truth.priors, closeups, "cpu")
        row = truth.rewound.seam
        shot = get_closeup(targets, row)
        x, y = closeups.corners[row]
        w, h = shot.size
        picture = finer.frames[0][y : y + h, x : x + w]
        assert np.array_equal((shot.target * 255).round().numpy(), picture)
        whole = targets.K[row] * torch.tensor([[width / 96], [height / 72], [1]])
        dots = torch.from_numpy(truth.points[::20, row])
        n = len(dots)
        splats = dots, torch.ones(n, 4), torch.full((n, 3), 0.02), torch.ones(n), torch.ones(n, 1)
        w2c = torch.from_numpy(truth.priors.cameras.w2c[row])
        large, _, _ = rasterize(*splats, w2c, whole, width, height)
        small, _, _ = rasterize(*splats, w2c, shot.K, w, h)
        assert float(large[y : y + h, x : x + w].sum()) == pytest.approx(float(large.sum()))
        assert torch.allclose(small, large[y : y + h, x : x + w], atol=1e-4)


def test_a_closeups_mask_is_the_frames(truth):
    closeups = cut_closeups(enlarge(truth, 192, 144), truth.rewound, truth.priors.masks)
    targets = Targets(truth.rewound, truth.priors, closeups, "cpu")
    row = truth.rewound.seam
    x, y = closeups.corners[row]
    large = cv2.resize(truth.priors.masks[row], (192, 144), interpolation=cv2.INTER_LINEAR)
    mask = get_closeup(targets, row).mask.numpy()
    height, width = mask.shape
    assert np.allclose(mask, large[y : y + height, x : x + width], atol=1e-5)
    assert 0.2 < (mask > 0.5).mean() < 0.8


def test_a_masks_unknown_band_is_unknown_in_closeups(truth):
    masks = truth.priors.masks.copy()
    closeups = cut_closeups(enlarge(truth, 192, 144), truth.rewound, masks)
    row = truth.rewound.seam
    left, top = closeups.corners[row][0] // 2 + 10, closeups.corners[row][1] // 2 + 20
    masks[row, top : top + 4, left : left + 6] = -1
    targets = Targets(truth.rewound, replace(truth.priors, masks=masks), closeups, "cpu")
    shot = get_closeup(targets, row)
    out = torch.zeros_like(shot.mask, dtype=torch.bool)
    out[40:48, 20:32] = True
    assert torch.equal(shot.mask == -1, out)


def test_only_the_base_has_closeups(truth):
    closeups = cut_closeups(enlarge(truth, 192, 144), truth.rewound, truth.priors.masks)
    assert sorted(closeups.corners) == sorted(truth.rewound.video(0).tolist())
    targets = Targets(truth.rewound, truth.priors, closeups, "cpu")
    assert targets.get_closeup(int(truth.rewound.video(1)[3])) is None
    assert Targets(truth.rewound, truth.priors, None, "cpu").get_closeup(0) is None


def test_late_steps_on_the_base_look_closer(truth, monkeypatch):
    """From the given step on, at base frames alone; a fit without crops draws the same random
    numbers as ever."""
    closeups = cut_closeups(enlarge(truth, 192, 144), truth.rewound, truth.priors.masks)
    config = FitConfig(
        motion=MotionConfig(n_bases=8, steps=10, n_tracks=100),
        fusion=FusionConfig(
            steps=30,
            base_looks=0,
            driving_looks=0,
            at_once=1,
            closeups=1.0,
            closeups_from=0.5,
            completion=False,
        ),
    )
    drawn = []
    original = objective.rasterize

    def note(*args):
        drawn.append(args[7:])
        return original(*args)

    monkeypatch.setattr(objective, "rasterize", note)
    fit(truth.rewound, truth.priors, config, None, Progress(), closeups)
    whole = np.array([size == truth.rewound.clip.size for size in drawn])
    assert len(drawn) == 30
    assert whole[:15].all()
    assert (~whole[15:]).sum() == 8  # of the 15 frames, each once
    drawn.clear()
    fit(truth.rewound, truth.priors, config, None, Progress(), None)
    assert all(size == truth.rewound.clip.size for size in drawn)


def test_a_fits_checkpoint_knows_its_closeups(truth):
    closeups = cut_closeups(enlarge(truth, 192, 144), truth.rewound, truth.priors.masks)
    with_them = compute_fingerprint(truth.rewound, truth.priors, FitConfig(), closeups)
    assert with_them != compute_fingerprint(truth.rewound, truth.priors, FitConfig())
