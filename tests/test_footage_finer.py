"""The base decoded at a finer scale than a job works at."""

import cv2
import numpy as np
import pytest

from restage4d.io import video
from restage4d.jobs import footage


@pytest.fixture
def pictures(tmp_path):
    """Five frames of 240 x 120 pixels, each of its own grey."""
    for i in range(5):
        cv2.imwrite(str(tmp_path / f"{i:03d}.png"), np.full((120, 240, 3), 40 * i + 20, np.uint8))
    return tmp_path


@pytest.mark.parametrize(
    ("longer_side", "size"), [(80, (160, 80)), (160, (240, 120)), (200, None), (240, None)]
)
def test_scale_is_the_videos_or_twice_the_working_size(pictures, longer_side, size):
    """And none where that is hardly finer."""
    info = video.probe(pictures)
    base = footage.decode_part(pictures, info.fps, longer_side, 1, 3)
    finer = footage.decode_finer(pictures, info, base, 1)
    assert (finer.size if finer else None) == size
    if finer:
        assert finer.frames[:, 0, 0, 0].tolist() == [60, 100, 140]


def test_long_clips_are_bounded(pictures, monkeypatch):
    """Their frames together have no more pixels than fit."""
    info = video.probe(pictures)
    base = footage.decode_part(pictures, info.fps, 80, 0, None)
    monkeypatch.setattr(footage, "_MOST", 5 * 120 * 60)
    finer = footage.decode_finer(pictures, info, base, 0)
    assert finer is not None
    assert finer.size == (120, 60)
    monkeypatch.setattr(footage, "_MOST", 5 * 80 * 40)
    assert footage.decode_finer(pictures, info, base, 0) is None
