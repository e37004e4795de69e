"""Views of a guess of the subject's body: what they show, what they decide in a fit, and what
not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scenes import Truth, hinge_scene, look_at
from scipy.ndimage import distance_transform_edt

from restage4d.driving.draft.driver import model_body
from restage4d.driving.draft.standing_body import StandingBody
from restage4d.errors import Cancelled
from restage4d.priors.geometry.pixels import find_pixels
from restage4d.progress import Progress
from restage4d.reconstruct.config import FitConfig, FusionConfig, MotionConfig
from restage4d.reconstruct.fit import compute_fingerprint, fit
from restage4d.reconstruct.fusion.floaters import measure_visibility
from restage4d.reconstruct.fusion.guessed_views import draw_guessed_views
from restage4d.reconstruct.fusion.optimisation import Fusion
from restage4d.reconstruct.fusion.schedule import VIEW, insert_views, plan_visits
from restage4d.splatting import rasterize

CONFIG = FitConfig(
    motion=MotionConfig(n_bases=6, steps=10, n_tracks=100),
    fusion=FusionConfig(steps_per_frame=4, at_once=1, densify_every=20),
)


@pytest.fixture(scope="module")
def truth() -> Truth:
    return hinge_scene(n_base=5, n_driving=5)


@pytest.fixture(scope="module")
def body(truth) -> StandingBody:
    base = truth.rewound.clip
    made = model_body(
        replace(base, frames=base.frames[truth.rewound.video(0)]), find_mask(truth), Progress()
    )
    assert made is not None
    return made


@pytest.fixture(scope="module")
def fitted(truth, body) -> Fusion:
    return fit(truth.rewound, truth.priors, CONFIG, None, Progress(), body=body)


def find_mask(truth: Truth) -> np.ndarray:
    return truth.priors.masks[truth.rewound.seam] > 0.5


def draw_views(truth: Truth, body: StandingBody, scale: float = 1.0) -> list:
    t, cameras = truth.rewound.seam, truth.priors.cameras
    depth = (scale * truth.priors.depth[t]).astype(np.float32)
    return draw_guessed_views(body, depth, cameras.K[t], cameras.w2c[t])


def test_views_go_all_round_the_body(truth, body):
    t = truth.rewound.seam
    views = draw_views(truth, body)
    eyes = np.array([np.linalg.inv(view.w2c.numpy())[:3, 3] for view in views])
    centre = np.median(body.place(truth.priors.depth[t], truth.priors.cameras.K[t],
                                  truth.priors.cameras.w2c[t]), 0)  # fmt: skip
    way = eyes - centre
    azimuth = np.sort(np.degrees(np.arctan2(way[:, 1], way[:, 0])))
    assert np.diff([*azimuth, azimuth[0] + 360]).max() < 65
    assert (way[:, 2] > 0.5 * np.linalg.norm(way, axis=1)).sum() >= 4  # from above
    for view in views:
        cover, depth = view.shot.mask.numpy(), view.shot.depth.numpy()
        assert cover.shape == view.shot.size[::-1] == depth.shape
        assert max(cover[0].max(), cover[-1].max(), cover[:, 0].max(), cover[:, -1].max()) == 0
        assert 0.15 < (cover > 0.5).mean() < 0.95
        assert ((depth > 0) == (cover > 0.5)).all()
        assert np.abs(view.shot.target.numpy()[cover == 0]).max() == 0


def test_without_depth_there_is_nothing_to_look_at(truth, body):
    assert draw_views(truth, body, scale=0) == []


def test_every_view_is_visited_alike_among_the_frames():
    frames, looks = plan_visits(np.full(6, 0.5), 90, seed=1)
    numbers, kinds = insert_views(frames, looks, 7, 30, seed=1)
    assert np.array_equal(numbers[kinds != VIEW], frames)
    assert np.array_equal(kinds[kinds != VIEW] == 1, looks)
    counts = np.bincount(numbers[kinds == VIEW], minlength=7)
    assert counts.sum() == 30
    assert np.ptp(counts) <= 1
    at = np.flatnonzero(kinds == VIEW)
    assert (at < 60).sum() == pytest.approx(15, abs=7)
    same = insert_views(frames, looks, 0, 0, seed=1)
    assert np.array_equal(same[0], frames)


def test_a_view_moves_what_no_frame_shows_and_nothing_else(fitted):
    fitted._find_shown()
    shown = fitted.shown
    assert 0.1 < float(shown.float().mean()) < 0.9
    visit = int(np.flatnonzero(fitted.plan[1] == VIEW)[0])
    _, drawn, by, grads = fitted._visit(visit)
    moved = {name for name, grad in grads.items() if grad is not None and grad.abs().sum() > 0}
    fields = ("means", "quats", "log_scales", "logit_opacities", "sh0")
    assert moved == {f"subject.{name}" for name in fields}
    for name in moved:
        grad = grads[name]
        assert grad[shown].abs().max() == 0
        assert grad[~shown].abs().max() > 0
    assert by[shown].abs().max() == 0
    assert drawn.radii[shown].max() == 0


def test_a_view_is_compared_with_the_first_frame(truth, fitted):
    """As it looks there, it fits; as in the last frame, when the body leans, it does not."""
    view, model, rng = fitted.views[0], fitted.model, np.random.default_rng(0)

    def measure(frame: int) -> float:
        shot = view.shot
        with torch.no_grad():
            s = model.pose_subject(frame)
            z = (s.means @ view.w2c[2, :3] + view.w2c[2, 3])[:, None]
            parts = s.means, s.quats, s.scales, s.opacities, torch.cat([s.rgb, z], 1)
            image, alpha, _ = rasterize(*parts, view.w2c, shot.K, *shot.size)
            depth = torch.where(alpha > 0.5, image[..., 3] / alpha, 0)
            seen = replace(shot, target=image[..., :3].contiguous(), mask=alpha, depth=depth)
            given = model.compute_coefs(), model.compute_bases(), replace(view, shot=seen), rng
            return float(fitted.objective.measure_view(*given).loss)

    assert measure(truth.rewound.seam) < 1e-3
    assert measure(len(truth.rewound) - 1) > 0.03


def test_what_shows_along_an_outline_alone_is_not_decided_by_frames(truth, fitted):
    """There its colours may be mixed with the background's."""
    fitted._find_shown()
    frames, targets = list(range(0, len(truth.rewound), 4)), fitted.targets
    share, _ = measure_visibility(
        fitted.model, frames, targets.K, fitted.objective.get_camera, targets.size
    )
    assert (share[fitted.shown] > 0.15).all()
    rim = (share > 0.15) & ~fitted.shown
    assert rim.sum() > 20
    t, cameras = truth.rewound.seam, truth.priors.cameras
    points = fitted.model.compute_positions(t).detach().numpy()
    row, column, _, _ = find_pixels(points, cameras.K[t], cameras.w2c[t], find_mask(truth).shape)
    inside = np.asarray(distance_transform_edt(find_mask(truth)))[row, column]
    assert np.median(inside[rim.numpy()]) < 0.5 * np.median(inside[fitted.shown.numpy()])


def test_the_far_side_looks_as_guessed(truth, body, fitted):
    """From behind; a fit without a body is compared with it."""
    alone = fit(truth.rewound, truth.priors, CONFIG, None, Progress())
    K, size = torch.tensor([[100.0, 0, 48], [0, 100, 36], [0, 0, 1]]), (96, 72)
    w2c = look_at(np.array([0.0, 2.2, 0.9]), np.array([0, 0, 0.4]))
    t, cameras = truth.rewound.seam, truth.priors.cameras
    points = body.place(truth.priors.depth[t], cameras.K[t], cameras.w2c[t])
    goal = body.draw(points, K.numpy(), w2c, size)

    def measure(fusion: Fusion) -> float:
        with torch.no_grad():
            s = fusion.model.pose_subject(t)
            parts = s.means, s.quats, s.scales, s.opacities, s.rgb
            image, alpha, _ = rasterize(*parts, torch.from_numpy(w2c), K, *size)
        error = np.abs(image.numpy() - goal.picture / 255).mean(-1)
        return float((error + np.abs(alpha.numpy() - goal.cover))[goal.cover > 0.5].mean())

    assert measure(fitted) < 0.8 * measure(alone)


def test_frames_look_as_without(truth, fitted):
    alone = fit(truth.rewound, truth.priors, CONFIG, None, Progress())
    frames = range(len(truth.rewound))
    assert fitted.psnr(frames) > alone.psnr(frames) - 0.3


def test_a_fit_with_views_goes_on_where_it_was_cancelled(truth, body, fitted, tmp_path):
    path = tmp_path / "checkpoint.safetensors"

    def stop(event) -> None:
        if event.task.name == "FUSE" and event.step >= 23:
            raise Cancelled

    with pytest.raises(Cancelled):
        fit(truth.rewound, truth.priors, CONFIG, path, Progress(sink=stop), body=body)
    assert path.is_file()
    again = fit(truth.rewound, truth.priors, CONFIG, path, Progress(), body=body)
    for name, value in fitted.model.params.items():
        assert torch.equal(value, again.model.params[name]), name


def test_another_body_is_another_fit(truth, body):
    given = truth.rewound, truth.priors, CONFIG, None
    other = replace(body, texture=body.texture[:, ::-1])
    prints = {compute_fingerprint(*given, b) for b in (None, body, other)}
    assert len(prints) == 3


def test_without_visits_of_views_there_are_none(truth, body):
    config = replace(CONFIG, fusion=replace(CONFIG.fusion, guessed_views=0, completion=False))
    with_body, alone = (
        fit(truth.rewound, truth.priors, config, None, Progress(), body=b) for b in (body, None)
    )
    for name, value in alone.model.params.items():
        assert torch.equal(value, with_body.model.params[name]), name
