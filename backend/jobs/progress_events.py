"""What an artist sees while a job runs: percent and time left of the whole, every few seconds a
picture and the points."""

import time
from typing import Any

import cv2
import numpy as np
import torch

from backend.jobs.job_folder import Folder
from restage4d import progress as work
from restage4d.protocol.messages import JobProgress, Preview, PreviewPoints
from restage4d.reconstruct.fusion.optimisation import Fusion
from restage4d.reconstruct.fusion.rendering import render_view
from restage4d.reconstruct.sketch import Sketch
from restage4d.se3 import IDENTITY

_EVERY_S = 3.0
_POINTS = 20_000
_PREVIEW_SIDE = 320  # pixels of one picture's longer side


class Observer:
    """Turns the pipeline's progress into events in the job's folder.

    Args:
        folder: of the job.
        job: its id.
    """

    def __init__(self, folder: Folder, job: str) -> None:
        self.folder, self.job = folder, job
        self._last_picture = 0.0
        self._last_event = 0.0
        self._task: work.TaskId | None = None

    def __call__(self, event: work.Event) -> None:
        now = time.monotonic()
        if event.task is self._task and now - self._last_event < 0.2 and event.step < event.total:
            return
        self._last_event, self._task = now, event.task
        self.folder.write_event(
            "progress",
            JobProgress(
                job=self.job,
                stage=event.task.label,
                step=event.step,
                steps=event.total,
                percent=round(min(100 * event.share, 99.9), 2),  # 100 once the results are stored
                time_left_s=event.whole_seconds_left,
                losses={
                    name: float(value)
                    for name, value in event.figures.items()
                    if np.isfinite(value)
                },
            ),
        )

    def observe(self, fit: Any) -> None:
        """Called with a sketch, of which points are made at once, and by the fit after every step,
        of which a picture and points are made every few seconds."""
        if isinstance(fit, Sketch):
            body = PreviewPoints(job=self.job, step=0, fps=1.0)
            self.folder.write_event("points", body, _still_points(fit))
            return
        if time.monotonic() - self._last_picture < _EVERY_S or not isinstance(fit, Fusion):
            return
        with torch.no_grad():
            self.folder.write_event(
                "preview", Preview(job=self.job, step=fit.step), [_picture(fit)]
            )
            body = PreviewPoints(job=self.job, step=fit.step, fps=fit.rewound.clip.fps)
            self.folder.write_event("points", body, _points(fit))
        self._last_picture = time.monotonic()


def _picture(fit: Fusion) -> np.ndarray:  # (bytes,) uint8, a PNG
    """The middle frame of each video above what the fit makes of it."""
    columns = []
    for source in range(min(fit.rewound.n_branches, 2) + 1):
        rows = fit.rewound.video(source)
        t = int(rows[len(rows) // 2])
        shown = fit.model.pose_subject(t), fit.model.get_background()
        view = render_view(*shown, fit.targets.K[t], fit.objective.w2c[t], fit.targets.size)
        drawn = (view.rgb.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        both = np.concatenate([fit.rewound.clip.frames[t], drawn])
        scale = min(_PREVIEW_SIDE / max(fit.targets.size), 1.0)
        size = (max(round(both.shape[1] * scale), 1), max(round(both.shape[0] * scale), 1))
        columns.append(cv2.resize(both, size, interpolation=cv2.INTER_AREA))
    whole = np.ascontiguousarray(np.concatenate(columns, 1)[..., ::-1])
    return cv2.imencode(".png", whole)[1].reshape(-1)


def _still_points(sketch: Sketch) -> list[np.ndarray]:
    """Arrays of a `PreviewPoints` event: one basis, which stands still in one frame."""
    n = len(sketch.points)
    return [
        sketch.points,
        sketch.rgb,
        np.zeros((n, 1), np.uint16),
        np.ones((n, 1), np.float32),
        IDENTITY.astype(np.float32)[None, None],
        np.zeros(1, np.int32),
        np.zeros(1, np.int32),
    ]


def _points(fit: Fusion) -> list[np.ndarray]:
    """Arrays of a `PreviewPoints` event."""
    model, rewound = fit.model, fit.rewound
    step = max(1, -(-model.n_subject // _POINTS))
    subject = model._activate("subject")
    index, weight = model.find_top_influences(fit.config.influences)
    return [
        subject.means[::step].cpu().numpy(),
        (subject.rgb[::step] * 255).round().to(torch.uint8).cpu().numpy(),
        index[::step].to(torch.int32).cpu().numpy().astype(np.uint16),
        weight[::step].cpu().numpy(),
        np.ascontiguousarray(model.compute_bases().cpu().numpy(), np.float32),
        rewound.source.astype(np.int32),
        rewound.index.astype(np.int32),
    ]
