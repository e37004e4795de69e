"""A real job that takes seconds: two clips of four small frames, a few hundred Gaussians."""

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from moving import CENTRE, moving

from restage4d.io.video import encode
from restage4d.protocol.messages import SubjectSelection, Submit

# of the fit: as little of everything as still makes a puppet
SETTINGS = {
    "motion.n_bases": 4,
    "motion.n_tracks": 60,
    "motion.steps": 6,
    "fusion.max_subject": 400,
    "fusion.max_background": 400,
    "fusion.steps": 30,
}
ENDLESS = 100_000  # steps: the job runs until it is stopped
_folder = tempfile.TemporaryDirectory(prefix="restage4d_tiny_")  # goes with this process


@cache
def tiny_clips() -> tuple[Path, Path]:
    """Base and driving video, 160 x 112: the subject goes to the right, or to the left."""
    paths = Path(_folder.name) / "base.mp4", Path(_folder.name) / "driving.mp4"
    for path, step in zip(paths, (2.5, -2.5), strict=True):
        encode(path, moving(frames=4, step=(step, 0.5)).clip.frames, 24.0)
    return paths


def tiny_job(upload: Callable[[Path], str], steps: int = 30, **fields: Any) -> Submit:
    """A job for `restage4d.protocol.client.Client.submit`.

    Args:
        upload: takes the videos to the service that shall run it, as `Client.upload` does.
        steps: of the photometric fusion; 100 take about two seconds.
        fields: of `Submit`, instead of the usual ones.
    """
    base, driving = (upload(path) for path in tiny_clips())
    usual = {
        "base": base,
        "prompt": "it rolls back",
        "selection": SubjectSelection(point=CENTRE),
        "driving": [driving],
        "quality": "draft",
        "longer_side": 96,
        "settings": SETTINGS | {"fusion.steps": steps},
    }
    return Submit(**(usual | fields))
