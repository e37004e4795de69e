"""Parts of the subject that a mask loses are unknown, what leaves the picture is background."""

import cv2
import numpy as np
import pytest
from moving import H, W, moving

from restage4d.checks.masks import check_masks
from restage4d.clips import Clip, rewind
from restage4d.priors.estimate import Providers, estimate_priors
from restage4d.priors.masks.grabcut import GrabCutMasks
from restage4d.priors.masks.lost_parts import mark_lost_parts
from restage4d.priors.masks.regions import find_thin_parts
from restage4d.priors.motion.optical_flow import compute_optical_flow
from restage4d.progress import Progress


def mark(clip: Clip, masks: np.ndarray, given: tuple[int, ...] = (0,)) -> np.ndarray:
    """Masks (T, H, W) in playing order, lost parts marked; those of frames ``given`` stand."""
    rewound = rewind(clip, [])
    order = rewound.video(0)
    stand = np.zeros(len(clip), bool)
    stand[order[list(given)]] = True
    found = np.empty(masks.shape, np.float32)
    found[order] = masks
    return mark_lost_parts(rewound, compute_optical_flow(rewound, Progress()), found, stand)[order]


def grow(mask: np.ndarray, pixels: int) -> np.ndarray:
    size = 2 * pixels + 1
    return cv2.dilate(mask.astype(np.uint8), np.ones((size, size), np.uint8)) > 0


@pytest.fixture(scope="module")
def animal() -> tuple[Clip, np.ndarray, np.ndarray]:
    """A textured body on four legs that moves over textured ground; its masks, and its last leg
    (T, H, W)."""
    scene = moving(frames=10)
    frames, masks = scene.clip.frames.copy(), scene.masks.copy()
    legs = np.zeros_like(masks)
    texture = np.random.default_rng(3).normal(0, 1, (24, 6, 1)).astype(np.float32)
    texture = np.float32([190, 120, 60]) + 60 * cv2.GaussianBlur(texture, (0, 0), 1.0)[..., None]
    for t, (x, y) in enumerate(scene.shift):
        for k in range(4):
            left, top = round(40 + 11 * k + x), round(68 + y)
            frames[t, top : top + 24, left : left + 6] = np.clip(texture, 0, 255)
            masks[t, top : top + 24, left : left + 6] = True
        legs[t, top + 8 : top + 24, left : left + 6] = True
    return Clip(frames, 24.0), masks, legs & ~scene.masks


def test_a_leg_that_is_missing_for_three_frames_is_unknown(animal):
    clip, truth, legs = animal
    masks = truth.astype(np.float32)
    masks[4:7][legs[4:7]] = 0
    found = mark(clip, masks)
    for t in range(len(truth)):
        if 4 <= t < 7:
            assert (found[t][legs[t]] == -1).mean() > 0.6
            assert not ((found[t] == -1) & ~grow(legs[t], 2)).any()
        else:
            np.testing.assert_array_equal(found[t], masks[t])
    np.testing.assert_array_equal(found > 0.5, masks > 0.5)
    (finding,) = check_masks(found)
    assert finding.code == "mask-lost-part"
    assert finding.text == "A part of the subject is missing in its mask in base, frames 4-6."
    assert (finding.first_frame, finding.last_frame) == (4, 6)
    np.testing.assert_array_equal(mark(clip, masks, (0, 4, 5, 6)), masks)  # a person's masks stand


@pytest.mark.parametrize("share", [0.05, 0.0])
def test_a_mask_that_collapses_stays_unknown_to_the_end(share):
    scene = moving(frames=24, step=(2.0, 0.0))
    masks = scene.masks.astype(np.float32)
    for t in range(5, 24):
        rows, cols = np.nonzero(scene.masks[t])
        left = (cols <= np.quantile(cols, share)) & (share > 0)
        masks[t] = 0
        masks[t][rows[left], cols[left]] = 1
    found = mark(scene.clip, masks)
    missing = scene.masks & (masks == 0)
    for t in range(5, 24):
        assert (found[t][missing[t]] == -1).mean() > 0.75, t
        assert not ((found[t] == -1) & ~grow(scene.masks[t], 3)).any()
    np.testing.assert_array_equal(found[:5], masks[:5])
    assert ("mask-lost-part", 5, 23) in [
        (f.code, f.first_frame, f.last_frame) for f in check_masks(found)
    ]


@pytest.mark.parametrize(
    "about",
    [{"step": (9.0, 0.0), "frames": 14}, {"step": (4.0, 0.0), "frames": 16, "pillar": True}],
)
def test_what_leaves_the_picture_or_goes_behind_something_stays_background(about):
    scene = moving(**about)
    masks = scene.masks.astype(np.float32)
    assert masks[-1].sum() < 0.9 * masks[0].sum()
    np.testing.assert_array_equal(mark(scene.clip, masks), masks)


def test_good_masks_stay_as_they_are(animal):
    clip, truth, _ = animal
    np.testing.assert_array_equal(mark(clip, truth.astype(np.float32)), truth)
    assert check_masks(truth.astype(np.float32)) == []


def test_limbs_are_what_is_thin():
    mask = np.zeros((H, W), bool)
    mask[20:60, 30:100] = True
    leg = np.zeros_like(mask)
    leg[60:90, 40:46] = True
    thin = find_thin_parts(mask | leg)
    assert thin[62:89, 41:45].all()
    assert not thin[22:56].any()
    assert not find_thin_parts(mask)[25:55, 35:95].any()
    assert not find_thin_parts(np.zeros_like(mask)).any()


def test_estimated_masks_lose_no_part_unseen(animal):
    clip, truth, legs = animal
    masks = truth.astype(np.float32)
    masks[4:7][legs[4:7]] = 0
    rewound = rewind(clip, [])
    order = rewound.video(0)

    class LosesALeg(GrabCutMasks):
        def propagate(self, rewound, first, progress):
            found = np.empty(masks.shape, np.float32)
            found[order] = masks
            return found

        def cameras(self, rewound, masks, progress):
            self.found = masks[order]
            raise StopIteration

    one = LosesALeg()
    with pytest.raises(StopIteration):
        estimate_priors(
            rewound,
            truth[0],
            Providers(one, one, one, one),  # type: ignore[arg-type]
            priors_dir=None,
            cache=None,
            progress=Progress(),
        )
    assert (one.found[5][legs[5]] == -1).mean() > 0.6
    np.testing.assert_array_equal(one.found, mark(clip, masks))
