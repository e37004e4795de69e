"""The contact sheet and the preview video, judged by the colours of a box that has another colour
on each side."""

from pathlib import Path

import cv2
import numpy as np
from samples import box_puppet, mostly

from restage4d.clips import Clip
from restage4d.io import video
from restage4d.jobs.preview import ROWS, write_preview


def test_the_sheet_and_the_preview(tmp_path: Path) -> None:
    puppet = box_puppet(frames=10, size=(160, 100))
    base = np.full((6, 100, 160, 3), (255, 0, 255), np.uint8)  # shorter than the driving video
    driving = np.full((10, 100, 160, 3), (0, 255, 255), np.uint8)
    clips = {"base": Clip(base, 12.0), "restaged": Clip(driving, 12.0)}
    write_preview(puppet, clips, tmp_path / "sheet.png", tmp_path / "preview.mp4")
    sheet = cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1]
    assert sheet.shape == (ROWS * 100, 5 * 160, 3)
    for row in np.split(sheet, ROWS):
        cells = np.split(row, 5, axis=1)
        assert tuple(cells[0][-1, -1]) == (255, 0, 255)
        assert tuple(cells[1][-1, -1]) == (0, 255, 255)
        assert [mostly(cell) for cell in cells[2:]] == ["front", "back", "left"]
        assert all(
            (cell[:16, :60] > 200).all(-1).any() and (cell[:4, :9] < 70).all() for cell in cells
        )  # a label in every cell
    clip = video.decode(tmp_path / "preview.mp4", longer_side=None)
    assert (len(clip), clip.size, clip.fps) == (10, (800, 100), 12.0)
    assert np.abs(clip.frames[0].astype(int) - sheet[:100]).mean() < 6


def test_several_performances_follow_one_another_and_none_shows_the_base(tmp_path: Path) -> None:
    puppet = box_puppet(frames=4, size=(64, 48))
    grey = Clip(np.full((4, 48, 64, 3), 99, np.uint8), 12.0)
    second = box_puppet(frames=4, size=(64, 48)).performances[1]
    second.name = "restaged 2"
    puppet.performances.append(second)
    names = [p.name for p in puppet.performances]
    write_preview(puppet, dict.fromkeys(names, grey), tmp_path / "s.png", tmp_path / "p.mp4")
    assert len(video.decode(tmp_path / "p.mp4")) == 8
    puppet.performances = puppet.performances[:1]
    write_preview(puppet, {"base": grey}, tmp_path / "s.png", tmp_path / "p.mp4")
    assert cv2.imread(str(tmp_path / "s.png")).shape[1] == 4 * 64
