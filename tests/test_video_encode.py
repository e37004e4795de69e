"""Writing a video that fails: whole or not at all."""

import os
from pathlib import Path

import av
import numpy as np
import pytest
from test_video import gradient, refused

from restage4d.errors import InputError
from restage4d.io import video


def test_a_failed_encode_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"old")

    def broken():
        yield gradient(1)[0]
        raise RuntimeError("the renderer fell over")

    with pytest.raises(RuntimeError, match="fell over"):
        video.encode(tmp_path / "a.mp4", broken(), 24)
    assert (tmp_path / "a.mp4").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.mp4"]
    with pytest.raises(InputError, match="no frames"):
        video.encode(tmp_path / "b.mp4", [], 24)
    assert os.listdir(tmp_path) == ["a.mp4"]


@pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full"
)
def test_disk_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = av.open

    def on_a_full_disk(name: str, *args, **kwargs):
        os.symlink("/dev/full", name)
        return opened(name, *args, **kwargs)

    monkeypatch.setattr(av, "open", on_a_full_disk)
    noise = np.random.default_rng(0).integers(0, 255, (60, 128, 128, 3), dtype=np.uint8)
    refused(lambda: video.encode(tmp_path / "a.mp4", noise, 24), "no room left", "a.mp4")
    assert os.listdir(tmp_path) == []


def test_writing_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(lambda: video.encode(tmp_path / "file" / "a.mp4", gradient(2), 24), "cannot be written")
