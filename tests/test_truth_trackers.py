"""Learned trackers with networks that answer with a scene's exact tracks, in the model's own
convention and size: what is done after the network keeps them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import HEIGHT, WIDTH, Truth, hinge_scene

from restage4d.priors.tracks.point_trackers import (
    CoTrackerTracks,
    PointTrackerConfig,
    PointTracks,
    TapirTracks,
    TapNextTracks,
)
from restage4d.progress import Progress

SIDE = 256  # of the square that TAPIR and TAPNext see


@pytest.fixture(scope="module")
def truth() -> Truth:
    return hinge_scene(n_base=5, n_driving=5)


class TruthNetwork(torch.nn.Module):
    """Knows every surface point: a query is answered with the tracks of the nearest one that is
    seen in its frame, carried along with its offset; hidden where that is."""

    def __init__(self, truth: Truth) -> None:
        super().__init__()
        tracks = truth.priors.tracks
        self.xy, self.visible = tracks.xy, tracks.visible  # clip's pixels, centres at +0.5

    def follow(self, time: np.ndarray, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tracks (P, T, 2) and visibility (P, T) of queries in the clip's own pixels."""
        nearest = []
        for t, place in zip(time.astype(int), xy, strict=True):
            gap = np.linalg.norm(self.xy[:, t] - place, axis=1)
            nearest.append(np.where(self.visible[:, t], gap, np.inf).argmin())
        rows = np.array(nearest)
        offset = xy - self.xy[rows, time.astype(int)]
        return self.xy[rows] + offset[:, None], self.visible[rows]


class TruthTapir(TruthNetwork):
    """Queries t, y, x and tracks x, y in pixels of the square; logits of what is hidden."""

    def forward(self, video, query_points):
        assert video.shape[2:] == (SIDE, SIDE, 3)
        query = query_points[0].numpy()
        scale = np.array([SIDE / WIDTH, SIDE / HEIGHT])
        xy, visible = self.follow(query[:, 0], query[:, :0:-1] / scale)
        hidden = torch.from_numpy(np.where(visible, -9.0, 9.0))[None]
        return {
            "tracks": torch.from_numpy(xy * scale)[None],
            "occlusion": hidden,
            "expected_dist": torch.full_like(hidden, -9.0),
        }


class TruthTapNext(TruthNetwork):
    """Queries t, y, x and tracks y, x in pixels of the square, frame by frame; nothing before the
    query."""

    def forward(self, video, query_points):
        query = query_points[0].numpy()
        scale = np.array([SIDE / WIDTH, SIDE / HEIGHT])
        time = query[:, 0].astype(int)
        # the second pass is played backwards: the first picture is the last one of the clip
        backwards = not np.allclose(video[0, 0].mean(), self.first, atol=1e-4)
        total = self.xy.shape[1]
        at = total - 1 - time if backwards else time
        xy, visible = self.follow(at, query[:, :0:-1] / scale)
        if backwards:
            xy, visible = xy[:, ::-1], visible[:, ::-1]
        before = np.arange(total) < time[:, None]
        yx = np.where(before[..., None], 999.0, (xy * scale)[..., ::-1])
        logits = np.where(visible & ~before, 9.0, -9.0)
        put = lambda array: torch.from_numpy(np.ascontiguousarray(array))  # noqa: E731
        return put(yx.swapaxes(0, 1))[None], None, put(logits.T)[None, ..., None], None


class TruthCoTracker(TruthNetwork):
    """Queries t, x, y and tracks x, y in the clip's pixels whose centres are whole numbers."""

    def forward(self, video, queries=None, backward_tracking=False):
        assert video.shape[2:] == (3, HEIGHT, WIDTH)
        assert backward_tracking
        query = queries[0].numpy()
        xy, visible = self.follow(query[:, 0], query[:, 1:] + 0.5)
        return (
            torch.from_numpy(xy - 0.5).transpose(0, 1)[None],
            torch.from_numpy(visible).T[None],
        )


@pytest.mark.parametrize(
    ("made", "network"),
    [(TapirTracks, TruthTapir), (TapNextTracks, TruthTapNext), (CoTrackerTracks, TruthCoTracker)],
    ids=lambda made: made.__name__,
)
def test_tracks_are_the_truth(truth, made: type[PointTracks], network, monkeypatch):
    model = network(truth)
    if network is TruthTapNext:
        from restage4d.priors.tracks.point_trackers import _resize_to_square

        square, _ = _resize_to_square(truth.rewound.clip.frames[:1], torch.device("cpu"))
        model.first = float(square.mean())
    monkeypatch.setattr(made, "_load", lambda self, folder: model)
    provider = made("truth", Path(), PointTrackerConfig("x", points=300, query_frames=4))
    found = provider.tracks(truth.rewound, truth.priors.masks, Progress())
    assert len(found.xy) > 100
    asked = np.arange(len(found.xy))
    at = found.xy[asked, found.query]
    exact, seen = model.follow(found.query, at)
    inside = ((exact >= 0) & (exact < [WIDTH, HEIGHT])).all(-1)
    both = found.visible & seen & inside
    off = np.linalg.norm(found.xy - exact, axis=-1)
    assert off[both].max() < 2e-3  # pixels: half of one would be a wrong convention
    later = np.arange(found.xy.shape[1]) != found.query[:, None]
    agree = (found.visible == (seen & inside))[later]
    assert agree.mean() > 0.999
    assert 0.05 < seen[later].mean() < 0.999  # there are hidden ones to be told
