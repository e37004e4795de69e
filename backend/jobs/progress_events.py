"""What an artist sees while a job runs: percent and time left of the whole, every few seconds a
picture and the points."""

import time
from typing import Any

import cv2
import numpy as np
import torch

from backend.jobs.job_folder import Folder
from restage4d import progress as work
from restage4d.protocol.messages import Points, Preview, Progress
from restage4d.reconstruct.fusion.optimisation import Fusion
from restage4d.reconstruct.fusion.rendering import render_view

_EVERY_S = 3.0
_POINTS = 20_000
_PREVIEW_SIDE = 320  # pixels of one picture's longer side

# About how the time of a job is shared out, in order; stages that are not named are short or belong
# to the one before.
_SHARES = (
    ("decode", 1),
    ("select", 1),
    ("driving", 8),
    ("masks", 4),
    ("cameras", 10),
    ("depth", 3),
    ("tracks", 8),
    ("motion", 15),
    ("seeding", 2),
    ("photometric", 45),
    ("figures", 1),
    ("preview", 3),
)


class Observer:
    """Turns the pipeline's progress into events in the job's folder.

    Args:
        folder: of the job.
        job: its id.
    """

    def __init__(self, folder: Folder, job: str) -> None:
        self.folder, self.job = folder, job
        self._seen = 0.0  # when pictures and points were last made
        self._told = 0.0
        self._percent = 0.0
        self._stage = ""
        self._gone: set[int] = set()  # stages that are behind us

    def __call__(self, event: work.Event) -> None:
        now = time.monotonic()
        if event.stage == self._stage and now - self._told < 0.2 and event.step < event.total:
            return
        self._told, self._stage = now, event.stage
        at = next((i for i, (name, _) in enumerate(_SHARES) if event.stage.startswith(name)), None)
        if at is None:
            self.folder.tell("progress", self._body(event, None))
            return
        self._gone |= set(range(at))
        whole = sum(share for _, share in _SHARES)
        gone = sum(_SHARES[i][1] for i in self._gone - {at})
        done = min(event.step / event.total, 1.0)
        self._percent = min(max(self._percent, 100 * (gone + _SHARES[at][1] * done) / whole), 99.9)
        left = None
        if event.seconds_left is not None:
            rate = event.seconds_left / max(
                _SHARES[at][1] * (1 - done), 1e-6
            )  # seconds per share, as this stage goes
            left = event.seconds_left + (
                rate * max(whole - gone - _SHARES[at][1], 0) if done < 1 else 0.0
            )
        self.folder.tell("progress", self._body(event, left))

    def _body(self, event: work.Event, left: float | None) -> Progress:
        return Progress(
            job=self.job,
            stage=event.stage,
            step=event.step,
            steps=event.total,
            percent=round(self._percent, 2),
            time_left_s=left,
            losses={
                name: float(value) for name, value in event.figures.items() if np.isfinite(value)
            },
        )

    def observe(self, fit: Any) -> None:
        """Called by the fit after every step; makes a picture and points every few seconds."""
        if time.monotonic() - self._seen < _EVERY_S or not isinstance(fit, Fusion):
            return
        with torch.no_grad():
            self.folder.tell("preview", Preview(job=self.job, step=fit.step), [_picture(fit)])
            body = Points(job=self.job, step=fit.step, fps=fit.rewound.clip.fps)
            self.folder.tell("points", body, _points(fit))
        self._seen = time.monotonic()


def _picture(fit: Fusion) -> np.ndarray:  # (bytes,) uint8, a PNG
    """The middle frame of each video above what the fit makes of it."""
    columns = []
    for source in range(min(fit.rewound.n_branches, 2) + 1):
        rows = fit.rewound.video(source)
        t = int(rows[len(rows) // 2])
        view = render_view(
            fit.model.subject(t), fit.model.background(), fit.K[t], fit.w2c[t], fit.size
        )
        drawn = (view.rgb.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        both = np.concatenate([fit.rewound.clip.frames[t], drawn])
        scale = min(_PREVIEW_SIDE / max(fit.size), 1.0)
        size = (max(round(both.shape[1] * scale), 1), max(round(both.shape[0] * scale), 1))
        columns.append(cv2.resize(both, size, interpolation=cv2.INTER_AREA))
    whole = np.ascontiguousarray(np.concatenate(columns, 1)[..., ::-1])
    return cv2.imencode(".png", whole)[1].reshape(-1)


def _points(fit: Fusion) -> list[np.ndarray]:
    """Arrays of a `Points` event."""
    model, rewound = fit.model, fit.rewound
    step = max(1, -(-model.n_subject // _POINTS))
    subject = model._activate("subject")
    index, weight = model.find_top_influences(fit.config.influences)
    return [
        subject.means[::step].cpu().numpy(),
        (subject.rgb[::step] * 255).round().to(torch.uint8).cpu().numpy(),
        index[::step].to(torch.int32).cpu().numpy().astype(np.uint16),
        weight[::step].cpu().numpy(),
        np.ascontiguousarray(model.bases().cpu().numpy(), np.float32),
        rewound.source.astype(np.int32),
        rewound.index.astype(np.int32),
    ]
