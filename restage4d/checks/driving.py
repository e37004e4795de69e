"""Driving videos as their makers hand them over: what they do not show of the prompt, what their
makers did not know of the subject, and their frames."""

from collections.abc import Iterable, Iterator

from restage4d.checks.findings import Finding
from restage4d.checks.frames import check_frames
from restage4d.driving.protocols import DrivingVideo

_POINT = "See body_plan.png, and say where its head is: --head X,Y in pixels of the first frame."


def check_driving(videos: Iterable[tuple[str, DrivingVideo]]) -> Iterator[Finding]:
    """Findings of driving videos, each with the name that findings call it by.

    Frames of a video whose maker knows every mask and track were drawn, not filmed: they are not
    looked at, as a subject that holds still in them is meant to.
    """
    for name, video in videos:
        if video.doubt:
            text = f"The draft driver is not sure where the subject's head is. {video.doubt}"
            yield Finding("unsure-body-plan", "warning", text, _POINT, 0, 0)
        for note in video.notes:
            yield Finding("not-acted", "warning", note, "", 0, len(video.clip) - 1, name)
        if video.known.masks is None or video.known.tracks is None:
            yield from check_frames(video.clip, video=name)
