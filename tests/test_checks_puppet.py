"""The puppet alone: legs that the background paints do not count."""

from dataclasses import fields, replace

import numpy as np
from samples import box_puppet

from restage4d.checks.puppet import (
    AloneFigures,
    check_alone,
    check_bridges,
    check_unity,
    measure_alone,
)
from restage4d.evaluate.metrics.image import mean_psnr
from restage4d.puppet import Gaussians, Puppet
from restage4d.splatting.gaussians import render_gaussians, render_performance


def take(gaussians: Gaussians, which: np.ndarray) -> Gaussians:
    return Gaussians(**{f.name: getattr(gaussians, f.name)[which] for f in fields(Gaussians)})


def join(a: Gaussians, b: Gaussians) -> Gaussians:
    return Gaussians(
        **{
            f.name: np.concatenate([getattr(a, f.name), getattr(b, f.name)])
            for f in fields(Gaussians)
        }
    )


def film(puppet: Puppet) -> tuple[np.ndarray, np.ndarray]:
    """The frames of its base performance, and the masks."""
    base = puppet.performances[0]
    frames = np.stack(list(render_performance(puppet, base)))
    alphas = [
        render_gaussians([puppet.pose(base, t)], base.camera(t))[0][..., 3]
        for t in range(base.n_frames)
    ]
    return frames, (np.stack(alphas) > 0.5).astype(np.float32)


def test_a_puppet_whose_legs_the_background_paints():
    whole = box_puppet(frames=4)
    frames, masks = film(whole)
    figures = measure_alone(whole, whole.performances[0], frames, masks)
    assert figures.mean_iou == 1.0
    alone = figures.mean_psnr  # the mask's edges are half grey
    assert alone > 16
    assert check_alone(figures, "base") == []

    above = whole.subject.means[:, 2] > 0.25
    halved = replace(
        whole,
        subject=take(whole.subject, above),
        index=whole.index[above],
        weight=whole.weight[above],
        background=join(whole.background, take(whole.subject, ~above)),
    )
    picture = list(render_performance(halved, halved.performances[0]))
    assert mean_psnr(picture, list(frames)) > 35  # the whole picture shows no fault
    figures = measure_alone(halved, halved.performances[0], frames, masks)
    assert 0.4 < figures.mean_iou < 0.6
    assert figures.mean_psnr < alone - 2
    (found,) = check_alone(figures, "base")
    assert (found.code, found.severity) == ("puppet-silhouette", "warning")
    assert (found.first_frame, found.last_frame) == (0, 3)
    assert "below 0.6 in frames 0-3" in found.text


def test_pixels_that_are_unknown_do_not_count():
    puppet = box_puppet(frames=2)
    frames, masks = film(puppet)
    masks[:, :, :80] = -1
    figures = measure_alone(puppet, puppet.performances[0], frames, masks)
    assert figures.mean_iou == 1.0
    masks[:] = -1
    empty = measure_alone(puppet, puppet.performances[0], frames, masks)
    assert np.isnan(empty.mean_psnr)


def test_single_frames_and_the_mean():
    one = AloneFigures(np.array([0.9, 0.9, 0.5, 0.95]), np.full(4, 20.0))
    (found,) = check_alone(one, "restaged")
    assert (found.first_frame, found.last_frame, found.video) == (2, 2, "restaged")
    assert "0.50 at worst (frame 2); below 0.6 in frame 2." in found.text
    (found,) = check_alone(AloneFigures(np.full(4, 0.75), np.full(4, 20.0)), "base")
    assert (found.first_frame, found.last_frame) == (0, 3)
    assert check_alone(AloneFigures(np.full(4, 0.85), np.full(4, 20.0)), "base") == []


def test_a_puppet_that_comes_apart_is_said():
    assert check_unity(np.array([1.0, 0.98, 0.99]), "base") == []
    (found,) = check_unity(np.array([1.0, 0.9, 0.8, 0.99]), "restaged")
    assert (found.code, found.severity, found.video) == ("puppet-torn", "warning", "restaged")
    assert (found.first_frame, found.last_frame) == (1, 2)
    assert "20 % of it" in found.text


def test_what_was_added_between_parts_is_said():
    assert check_bridges(0, 9) == []
    (found,) = check_bridges(312, 9)
    assert (found.code, found.severity) == ("puppet-bridged", "note")
    assert (found.first_frame, found.last_frame) == (0, 8)
    assert "312 Gaussians" in found.text
