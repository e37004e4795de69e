"""A contact sheet of held-out views: truth | baseline | ours, from behind and beside, over the
driving part."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.evaluate.measure import render_alone
from restage4d.evaluate.metrics import image
from restage4d.evaluate.stage import StageClip, View
from restage4d.io.atomic import replacing
from restage4d.puppet import Puppet

U8 = NDArray[np.uint8]


def write_sheet(path: Path, truth: StageClip, puppets: dict[str, Puppet]) -> None:
    """PNG with one column per picture and, for every view and for the film camera, one row of truth
    and one per puppet."""
    first = next(iter(truth.views.values()), None)
    step = len(truth.clip) // 6 + 1
    frames = first.frame if first else np.arange(0, len(truth.clip), step, dtype=np.int32)
    film = View(
        truth.clip.frames[frames], truth.masks[frames], truth.K[frames], truth.w2c[frames], frames
    )
    rows: list[U8] = []
    for name, view in {"film camera": film, **truth.views}.items():
        rows.append(
            _join_row(
                [image.cut_out(p, m) for p, m in zip(view.pictures, view.masks, strict=True)],
                f"truth, {name}",
            )
        )
        rows += [
            _join_row(list(render_alone(p, p.performances[-1], view)), f"{title}, {name}")
            for title, p in puppets.items()
        ]
    with replacing(path) as temporary:
        temporary.write_bytes(
            cv2.imencode(".png", cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR))[1].tobytes()
        )


def _join_row(pictures: list[U8], label: str) -> U8:
    row = np.ascontiguousarray(np.concatenate(pictures, axis=1))
    cv2.putText(
        row, label, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (255, 255, 255), 1, cv2.LINE_AA
    )
    return row
