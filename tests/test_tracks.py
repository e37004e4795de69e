"""Tracks without models: where points are, whether they are seen, and the one packed file."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from moving import moving

from restage4d.clips import Clip, Tracks, rewind
from restage4d.errors import InputError
from restage4d.io.video import decode
from restage4d.priors.motion.optical_flow import Flow, compute_optical_flow
from restage4d.priors.tracks.flow_tracks import (
    FlowTracks,
    FlowTracksConfig,
    load_tracks,
    save_tracks,
)
from restage4d.progress import Progress

DEMO = Path(__file__).parent.parent / "scripts" / "demo_clip"


def follow(scene, other=None, points: int = 300, query_frames: int = 3):
    rewound = rewind(scene.clip, [other.clip] if other else [])
    masks = np.concatenate([scene.masks[::-1], *([other.masks[1:]] if other else [])]).astype(
        np.float32
    )
    shift = np.concatenate([scene.shift[::-1], *([other.shift[1:]] if other else [])])
    return (
        rewound,
        FlowTracks(FlowTracksConfig(points, query_frames)).tracks(rewound, masks, Progress()),
        masks,
        shift,
    )


def truth(tracks: Tracks, shift: np.ndarray) -> np.ndarray:
    """Where every point really is, (P, T, 2): it moves as the whole subject does."""
    start = tracks.xy[np.arange(len(tracks.query)), tracks.query]
    return start[:, None] + shift[None] - shift[tracks.query][:, None]


def test_points_stay_on_a_moving_subject_over_the_seam():
    rewound, tracks, _masks, shift = follow(moving(), moving(step=(-2.0, 0.5), pan=1.0))
    assert len(tracks.xy) > 150
    assert tracks.xy.shape[1] == len(rewound)
    assert set(tracks.query) >= {rewound.seam}
    miss = np.linalg.norm(tracks.xy - truth(tracks, shift), axis=-1)
    assert np.median(miss[tracks.visible]) < 0.15
    assert (miss[tracks.visible] < 1.5).mean() > 0.75
    assert tracks.visible.mean() > 0.85, "nothing hides the subject"
    across = tracks.visible[:, 0] & tracks.visible[:, -1]
    assert across.mean() > 0.5, "tracks run from the base's end to the driving video's"
    jump = np.linalg.norm(np.diff(tracks.xy, axis=1), axis=-1)
    assert jump[tracks.visible[:, 1:] & tracks.visible[:, :-1]].max() < 6


def test_every_visible_point_lies_on_the_subject_and_is_never_lost_in_its_own_frame():
    _, tracks, masks, _ = follow(moving(pillar=True))
    rows, frames = np.nonzero(tracks.visible)
    col, row = tracks.xy[rows, frames].astype(int).T
    assert (masks[frames, row, col] > 0.5).all()
    own = (np.arange(len(tracks.query)), tracks.query)
    assert tracks.visible[own].all()
    assert (tracks.confidence[own] == 1).all()
    assert np.isfinite(tracks.xy).all()
    assert tracks.confidence.min() >= 0
    assert tracks.confidence.max() <= 1


def test_points_behind_a_pillar_are_told_to_be_hidden():
    _, tracks, _masks, shift = follow(moving(frames=14, pillar=True))
    real = truth(tracks, shift)
    hidden = (real[..., 0] > 94) & (real[..., 0] < 102)
    assert hidden.sum() > 50
    assert tracks.visible[hidden].mean() < 0.15
    assert tracks.visible[~hidden].mean() > 0.5
    guessed = np.linalg.norm(tracks.xy - real, axis=-1)[hidden]
    assert np.median(guessed) < 6.0, "hidden points are carried along by their visible neighbours"
    assert (tracks.confidence[~tracks.visible] == 0).all(), "which nothing is to rely on"


def test_confidence_falls_with_the_error():
    _, tracks, _, shift = follow(moving(frames=8, pillar=True), query_frames=1)
    miss = np.linalg.norm(tracks.xy - truth(tracks, shift), axis=-1)[tracks.visible]
    trust = tracks.confidence[tracks.visible]
    low, high = np.quantile(trust, (0.2, 0.8))
    assert miss[trust <= low].mean() > miss[trust >= high].mean()


def test_forward_and_backward_flow_agree_but_where_something_is_hidden():
    scene = moving()
    rewound = rewind(scene.clip, [])
    flow = compute_optical_flow(rewound, Progress())
    assert flow is compute_optical_flow(rewound, Progress()), "one clip's flow is made once"
    a, b = rewound.seam, int(rewound.parent[rewound.seam])
    error = flow.compute_error(a, b)
    assert np.median(error[scene.masks[0]]) < 0.2
    uncovered = scene.masks[1] & ~scene.masks[0]  # seen in frame 0, behind the subject in frame 1
    assert np.median(error[uncovered]) > 4 * np.median(error[scene.masks[0]])
    assert np.allclose(
        np.median(flow.get_flow(a, b)[scene.masks[0]], axis=0), scene.shift[1], atol=0.15
    )


def test_flow_is_taken_over_from_a_clip_that_shares_frames():
    frames = moving(frames=6).clip.frames
    whole = rewind(Clip(frames[:4], 24.0), [Clip(frames[[0, 4, 5]], 24.0)])
    fresh = Flow(whole, Progress())
    base, rows = whole.pick_videos([])
    part = compute_optical_flow(base, Progress())
    np.testing.assert_array_equal(part.ahead, fresh.ahead[rows])
    part.ahead[1:] += 1  # tells whether it is looked at
    again = compute_optical_flow(whole, Progress())
    np.testing.assert_array_equal(again.ahead[1:4], fresh.ahead[1:4] + 1)
    np.testing.assert_array_equal(again.ahead[4:], fresh.ahead[4:])
    np.testing.assert_array_equal(again.back, fresh.back)


def test_flow_of_a_clip_played_backwards_is_the_same_flow():
    frames = moving(frames=4).clip.frames
    there, back = (rewind(Clip(f, 24.0), []) for f in (frames, frames[::-1]))
    known, fresh = Flow(there, Progress()), Flow(back, Progress())
    taken = Flow(back, Progress(), known)
    np.testing.assert_array_equal(taken.ahead, fresh.ahead)
    known.ahead[1:] += 1  # tells whether it is looked at
    np.testing.assert_array_equal(Flow(back, Progress(), known).back[1:], fresh.back[1:] + 1)


def test_videos_are_picked_out_of_a_rewound_clip():
    frames = moving(frames=9).clip.frames
    base = Clip(frames[:3], 24.0)
    drivings = [Clip(frames[[0, *rows]], 24.0) for rows in ((3, 4), (5,), (6, 7, 8))]
    whole = rewind(base, drivings)
    for sources in ([], [2], [1, 3], [3]):
        part, rows = whole.pick_videos(sources)
        fresh = rewind(base, [drivings[i - 1] for i in sources])
        for name in ("source", "index", "parent"):
            np.testing.assert_array_equal(getattr(part, name), getattr(fresh, name))
        np.testing.assert_array_equal(part.clip.frames, fresh.clip.frames)
        np.testing.assert_array_equal(whole.clip.frames[rows], fresh.clip.frames)
    assert whole.pick_videos([1, 2, 3])[0] is whole, "its flow is not computed again"


def test_two_runs_agree_and_an_empty_mask_is_an_input_error():
    scene = moving(frames=4)
    first, second = follow(scene, points=100)[1], follow(scene, points=100)[1]
    for name in ("xy", "visible", "confidence", "query"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
    with pytest.raises(InputError, match="every mask is empty"):
        FlowTracks().tracks(
            rewind(scene.clip, []), np.zeros(scene.masks.shape, np.float32), Progress()
        )


def test_the_packed_file_comes_back_whole_and_bad_ones_are_refused(tmp_path):
    tracks = follow(moving(frames=4), points=80)[1]
    save_tracks(tmp_path / "tracks.npz", tracks)
    again = load_tracks(tmp_path / "tracks.npz")
    for name, value in vars(tracks).items():
        assert np.array_equal(value, getattr(again, name))
    good = vars(tracks)
    for name, bad, says in (
        (
            "xy",
            np.where(np.arange(good["xy"].size).reshape(good["xy"].shape) == 3, np.nan, good["xy"]),
            "not finite",
        ),
        ("visible", good["visible"][:-1], "visible has shape"),
        ("confidence", good["confidence"] * 2, "confidence"),
        ("query", good["query"] + 99, "query names a frame"),
        ("xy", good["xy"][..., 0], "instead of"),
    ):
        np.savez(tmp_path / "bad.npz", **{**good, name: bad})
        with pytest.raises(InputError, match=says):
            load_tracks(tmp_path / "bad.npz")
    np.savez(tmp_path / "pickled.npz", **{**good, "query": np.array([{}] * 3, object)})
    with pytest.raises(InputError, match="cannot be read"):
        load_tracks(tmp_path / "pickled.npz")


def test_on_the_demo_clip_visible_points_follow_the_true_surface():
    count = 8
    rewound = rewind(Clip(decode(DEMO / "base.mp4").frames[:count], 24.0), [])
    paths = sorted((DEMO / "masks").glob("*.png"))[:count]
    masks = np.stack(
        [np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)) > 127 for path in paths]
    )[::-1].astype(np.float32)
    tracks = FlowTracks(FlowTracksConfig(400, 2)).tracks(rewound, masks, Progress())
    with np.load(DEMO / "points.npz") as file:
        points, shown = file["points"][:, :count], file["visible"][:, :count]
    with np.load(DEMO / "cameras.npz") as file:
        K, w2c = file["K"][:count], file["w2c"][:count]
    seen = np.einsum("tij,ptj->pti", w2c[:, :3, :3], points) + w2c[None, :, :3, 3]
    pixel = np.einsum("tij,ptj->pti", K, seen)
    pixel = (pixel[..., :2] / pixel[..., 2:])[:, ::-1]  # in the rewound clip's order
    shown = shown[:, ::-1]
    seam = rewound.seam
    at_seam = np.flatnonzero(tracks.query == seam)
    usable = np.flatnonzero(shown[:, seam])
    apart = np.linalg.norm(tracks.xy[at_seam, seam][:, None] - pixel[usable, seam][None], axis=-1)
    near = apart.argmin(1)
    close = apart[np.arange(len(at_seam)), near] < 1.5
    assert close.sum() > 50
    ours, true = at_seam[close], usable[near[close]]
    offset = tracks.xy[ours, seam] - pixel[true, seam]
    miss = np.linalg.norm(tracks.xy[ours] - pixel[true] - offset[:, None], axis=-1)
    both = tracks.visible[ours] & shown[true]
    assert both.mean() > 0.6
    assert np.median(miss[both]) < 1.2
