"""Masks of later frames that a person corrected, and selecting at more pixels than the job works
at."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from demo_job import DEMO, fails
from moving import moving

from restage4d.cli.options import check_masks, parse_mask
from restage4d.clips import Clip, Selection, rewind
from restage4d.errors import InputError
from restage4d.io import video
from restage4d.jobs.footage import read_mask, resize_corrections, select_in_detail
from restage4d.priors.masks.grabcut import GrabCutMasks
from restage4d.priors.masks.keyframes import follow_from_keyframe, nearest_keyframes
from restage4d.progress import Progress


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_a_frame_follows_the_nearest_keyframe():
    assert nearest_keyframes(6, [3]).tolist() == [0, 0, 3, 3, 3, 3]
    assert nearest_keyframes(7, [2, 6]).tolist() == [0, 0, 2, 2, 2, 6, 6]
    assert nearest_keyframes(3, []).tolist() == [0, 0, 0]


@pytest.mark.parametrize(("number", "own"), [(5, [3, 4, 5, 6]), (8, [7, 8, 9]), (9, [8, 9])])
def test_every_frame_gets_its_own_mask(number, own):
    """The provider tells in each mask which picture it belongs to."""

    class Telling:
        name = "telling"

        def propagate(self, rewound, first, progress):
            assert np.array_equal(first, rewound.clip.frames[rewound.seam, ..., 0] == number)
            return rewound.clip.frames[..., 0].astype(np.float32)

    frames = np.broadcast_to(np.arange(10, dtype=np.uint8)[:, None, None, None], (10, 4, 4, 3))
    rewound = rewind(Clip(frames, 24.0), [Clip(100 + frames[:3], 24.0)])
    other = 5 if number != 5 else 8
    corrections = {n: np.ones((4, 4), bool) for n in (other, number)}
    rows, masks = follow_from_keyframe(rewound, number, corrections, Telling(), Progress())
    assert rewound.index[rows].tolist() == own
    assert set(rewound.source[rows]) == {0}
    assert masks[:, 0, 0].tolist() == own


@pytest.mark.timeout(300)
def test_a_corrected_mask_repairs_the_frames_after_it(tmp_path):
    """The subject is gone for a moment and comes back elsewhere: from the first mask alone it is
    lost."""
    from restage4d.io.content_cache import Cache
    from restage4d.priors.estimate import Providers, estimate_priors

    scene = moving(frames=14, step=(2.5, 0.5))
    shifted = moving(frames=14, step=(-3.0, 0.5))
    frames, truth = scene.clip.frames.copy(), scene.masks.copy()
    frames[8:], truth[8:] = shifted.clip.frames[8:, :, ::-1], shifted.masks[8:, :, ::-1]
    rewound = rewind(Clip(frames, 24.0), [])
    order = rewound.video(0)

    class OnlyMasks(GrabCutMasks):
        def cameras(self, rewound, masks, progress):
            self.found = masks[order] > 0.5
            raise StopIteration

    def follow(corrections):
        masks = OnlyMasks()
        with pytest.raises(StopIteration):
            estimate_priors(
                rewound,
                truth[0],
                Providers(masks, masks, masks, masks),  # type: ignore[arg-type]
                corrections=corrections,
                priors_dir=None,
                cache=Cache(tmp_path),
                progress=Progress(),
            )
        return [iou(a, b) for a, b in zip(masks.found, truth, strict=True)]

    lost = follow({})
    assert min(lost[:8]) > 0.8
    assert max(lost[8:]) < 0.4
    repaired = follow({8: truth[8]})
    assert repaired[8] > 0.99
    assert min(repaired[8:]) > 0.8
    assert repaired[:4] == lost[:4], "frames nearer to the first mask follow it"


def test_masks_by_frame_are_checked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_mask("12=a/b=c.png") == (12, Path("a/b=c.png"))
    assert parse_mask("a.png") == (0, Path("a.png"))
    Path("3=x.png").touch()
    assert parse_mask("3=x.png") == (0, Path("3=x.png"))
    a, b = Path("a.png"), Path("b.png")
    assert check_masks([(0, a), (7, b)]) == {0: a, 7: b}
    assert check_masks([(7, b)], (3.0, 4.0)) == {7: b}
    assert check_masks(None, None) == {}
    for masks, others, words in (
        ([(7, a), (7, b)], (), "given twice for frame 7"),
        ([(-1, a)], (), "There is no frame -1"),
        ([(0, a)], (None, (3.0, 4.0)), "both say where the subject is"),
    ):
        with pytest.raises(InputError, match=words):
            check_masks(masks, *others)

    base = Clip(np.zeros((5, 20, 40, 3), np.uint8), 24.0)
    mask = np.zeros((40, 80), bool)
    mask[:20] = True
    found = resize_corrections({2: mask}, (80, 40), base)
    np.testing.assert_array_equal(found[2], mask[::2, ::2])
    for number, wrong, words in (
        (5, mask, "no frame 5 for a corrected mask: 5 frames of the video are used, 0 to 4"),
        (2, mask[:30], "The mask of frame 2 is 80 x 30 pixels, the video 80 x 40"),
        (2, mask & False, "The mask of frame 2 is empty"),
        (2, mask | True, "The mask of frame 2 is full"),
    ):
        with pytest.raises(InputError, match=words):
            resize_corrections({number: wrong}, (80, 40), base)


def test_a_frame_that_is_not_there_is_refused_on_the_command_line(tmp_path, capsys):
    mask = DEMO / "masks" / "00000.png"
    arguments = [DEMO / "base.mp4", "it nods", "--frames=6", "--longer-side=96", "--mask", mask]
    message = fails(capsys, *arguments, "--mask", f"6={mask}", "--out", tmp_path / "out")
    assert "There is no frame 6 for a corrected mask: 6 frames of the video are used" in message
    assert not (tmp_path / "out").exists()


def test_a_subject_is_selected_at_384_pixels_however_small_the_job_works():
    info = video.probe(DEMO / "base.mp4")
    truth = read_mask(DEMO / "masks" / "00000.png")
    rows, cols = np.nonzero(truth)
    point = (float(np.median(cols)), float(np.median(rows)))
    scale = 160 / max(info.width, info.height)
    base = video.decode(DEMO / "base.mp4", longer_side=160)
    small = cv2.resize(truth.astype(np.float32), base.size, interpolation=cv2.INTER_AREA) > 0.5
    provider = GrabCutMasks()

    def select(base: Clip, selection: Selection) -> Selection:
        return select_in_detail(DEMO / "base.mp4", info, base, 0, selection, provider, Progress())

    found = select(base, Selection(point=point))
    assert found.point is None
    assert found.mask is not None
    assert found.mask.shape == base.frames.shape[1:3]
    assert iou(found.mask, small) > 0.85
    at_160 = Selection(point=(point[0] * scale, point[1] * scale))
    assert iou(found.mask, small) > iou(provider.select(base, at_160, Progress()), small)

    given = select(base, Selection(mask=truth)).mask
    np.testing.assert_array_equal(given, small)
    large = video.decode(DEMO / "base.mp4", longer_side=384)
    assert select(large, Selection(point=point)) == Selection(
        point=(point[0] * 384 / info.width, point[1] * 384 / info.width)
    )
