"""What a maker of driving videos did not know of the subject."""

from collections.abc import Iterable

from restage4d.checks.findings import Finding
from restage4d.driving.protocols import DrivingVideo

_POINT = "See body_plan.png, and say where its head is: --head X,Y in pixels of the first frame."


def check_doubts(videos: Iterable[DrivingVideo]) -> list[Finding]:
    """Findings about the subject as the makers of the driving videos read it."""
    return [
        Finding(
            "unsure-body-plan",
            "warning",
            f"The draft driver is not sure where the subject's head is. {video.doubt}",
            _POINT,
            0,
            0,
        )
        for video in videos
        if video.doubt
    ]
