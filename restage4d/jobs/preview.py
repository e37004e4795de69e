"""Pictures of a puppet: its performances as the clip's camera saw them and from behind and beside,
side by side.

The contact sheet and the preview video have the columns base | driving | restaged | from behind |
from beside.
"""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip
from restage4d.io import video
from restage4d.io.atomic import replacing
from restage4d.io.video_frames import BACKDROP
from restage4d.progress import Progress, TaskId
from restage4d.puppet import Performance, Puppet
from restage4d.splatting.gaussians import render_performance
from restage4d.splatting.orbit import orbit_cameras

U8 = NDArray[np.uint8]

ROWS = 8  # of the contact sheet, for every performance
_BACKDROP = (0.78, 0.78, 0.78)  # of the views that nobody filmed
_GREY = (BACKDROP / 255, BACKDROP / 255, BACKDROP / 255)


def write_preview(
    puppet: Puppet,
    clips: dict[str, Clip],
    sheet: str | Path,
    movie: str | Path,
    progress: Progress | None = None,
) -> None:
    """Writes the contact sheet (PNG, `ROWS` evenly spaced frames a performance) and the preview
    (mp4, every frame).

    Args:
        puppet: with "base" as its first performance; every further one is shown beside it, one
            after the other.
        clips: the footage of each performance by its name, b_0 first, of the performance's size.
        sheet: path of the PNG.
        movie: path of the mp4.
        progress: told every frame.
    """
    base, restaged = puppet.performances[0], puppet.performances[1:] or puppet.performances[:1]
    rows: list[U8] = []

    def frames() -> Iterator[U8]:
        total = sum(p.n_frames for p in restaged)
        with (progress or Progress()).task(TaskId.PREVIEW, total) as task:
            for performance in restaged:
                picked = set(
                    np.linspace(0, performance.n_frames - 1, ROWS).round().astype(int).tolist()
                )
                for t, row in enumerate(_rows_of(puppet, base, performance, clips)):
                    if t in picked:
                        rows.append(row)
                    yield row
                    task.advance()

    video.encode(movie, frames(), restaged[0].fps)
    ok, png = cv2.imencode(".png", cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR))
    if not ok:
        raise RuntimeError(f"the contact sheet of {len(rows)} rows could not be coded as PNG")
    with replacing(sheet) as temporary:
        temporary.write_bytes(png.tobytes())


def choose_backdrop(puppet: Puppet) -> tuple[float, float, float] | None:
    """What `render_performance` takes to show a puppet as its footage does: None with a background
    of its own, else that of a cut-out."""
    return None if len(puppet.background) else _GREY


def _rows_of(
    puppet: Puppet, base: Performance, performance: Performance, clips: dict[str, Clip]
) -> Iterator[U8]:
    """One labelled row of columns for every frame of a performance; the base holds its last frame
    where it is shorter."""
    views = {"from behind": 180, "from beside": 90}
    drawn = [render_performance(puppet, performance, backdrop=choose_backdrop(puppet))]
    for degrees in views.values():
        cameras = orbit_cameras(puppet, performance, degrees)
        drawn.append(render_performance(puppet, performance, cameras=cameras, backdrop=_BACKDROP))
    footage = [("base", clips[base.name])]
    if performance is not base:
        footage.append(("driving", clips[performance.name]))
    names = [name for name, _ in footage] + [
        performance.name if performance is not base else "puppet",
        *views,
    ]
    for t, pictures in enumerate(zip(*drawn, strict=True)):
        cells = [clip.frames[min(t, len(clip) - 1)] for _, clip in footage] + list(pictures)
        labels = [f"{name} {t}" if i == 0 else name for i, name in enumerate(names)]
        yield np.concatenate(
            [_labelled(cell, label) for cell, label in zip(cells, labels, strict=True)], axis=1
        )


def _labelled(picture: U8, text: str) -> U8:
    """A copy with a small white text on a darkened strip in the upper left corner."""
    picture = picture.copy()
    scale = max(0.35, picture.shape[1] / 900)
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    picture[: height + below + 6, : width + 10] //= 4
    cv2.putText(
        picture,
        text,
        (5, height + 3),
        cv2.FONT_HERSHEY_SIMPLEX,
        scale,
        (255, 255, 255),
        1,
        cv2.LINE_AA,
    )
    return picture
