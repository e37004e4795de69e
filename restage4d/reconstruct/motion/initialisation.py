"""Motion initialisation: bases, coefficients and canonical positions that explain the
lifted tracks."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from restage4d.clips import Priors, Rewound
from restage4d.progress import Progress, TaskId
from restage4d.reconstruct.config import FitConfig
from restage4d.reconstruct.losses import regularisers, rigidity
from restage4d.reconstruct.losses.hull import Hull
from restage4d.reconstruct.losses.paths import (
    Observations,
    bend_loss,
    observation_loss,
    rigidity_init,
)
from restage4d.reconstruct.model import se3_torch as se3
from restage4d.reconstruct.model.blending import pack_bases
from restage4d.reconstruct.model.optimizer import GuardedAdam
from restage4d.reconstruct.model.skinning import skin_points
from restage4d.reconstruct.motion.bases import initialise_bases
from restage4d.reconstruct.motion.lifting import (
    LiftedTracks,
    compute_time_weights,
    compute_viewing_directions,
    list_frame_triples,
)

# acceleration below which smoothing pulls less and less, so that it comes to rest instead of
# shaking
_ROUND = 0.005
_LOOK_UP_EVERY = 10  # steps


@dataclass
class Motion:
    """Result of motion initialisation: means (P, 3) canonical, coefs logits (P, K), rots (K, T, 6),
    trans (K, T, 3), all torch float32; visible (P, T) bool, where the tracks were seen."""

    means: Tensor
    coefs: Tensor
    rots: Tensor
    trans: Tensor
    visible: Tensor

    def compute_bases(self) -> Tensor:  # (K, T, 9)
        """M_k(t) with orthonormal rotation columns."""
        return pack_bases(self.rots, self.trans)

    def compute_points(self) -> Tensor:  # (P, T, 3)
        """All tracks in the world at all frames."""
        return skin_points(
            se3.blend_columns(self.compute_bases(), torch.softmax(self.coefs, -1)), self.means
        )


@dataclass
class _Slow:
    """What changes slowly: the strongest M bases of each point (P, M), and each basis' neighbours
    with the middles between them."""

    strongest: Tensor
    neighbours: tuple[Tensor, Tensor]


def choose_tracks(tracks: LiftedTracks, count: int, rng: np.random.Generator) -> LiftedTracks:
    """At most ``count`` tracks, spread evenly over the subject's trajectories (farthest-point
    sampling on a random pool)."""
    n = len(tracks.xyz)
    if n <= count:
        return tracks
    pool = rng.permutation(n)[: 4 * count]
    sample = np.linspace(0, tracks.xyz.shape[1] - 1, 8).astype(int)
    features = tracks.xyz[pool][:, sample].reshape(len(pool), -1)
    chosen = [0]
    nearest = ((features - features[0]) ** 2).sum(1)
    for _ in range(count - 1):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, ((features - features[chosen[-1]]) ** 2).sum(1))
    rows = np.sort(pool[chosen])
    return tracks.take(rows)


def fit_motion(
    tracks: LiftedTracks,
    rewound: Rewound,
    priors: Priors,
    config: FitConfig,
    progress: Progress,
    device: torch.device | str = "cpu",
    start: Motion | None = None,
    hull: Hull | None = None,
) -> Motion:  # on the CPU, wherever it was fitted
    """Adam on 3D track error (visible), 2D error (visible and confidently hidden), sparsity,
    smoothness, Eq. 2-3 rigidity, and what the frames say of hidden points (`Hull`).

    Args:
        tracks: P tracks over T frames, in world units; at most ``config.motion.n_tracks`` of them
            are used.
        rewound, priors: the same T frames.
        config: weights, rates and steps.
        progress: notified of every step.
        device: where it is computed.
        start: of the same tracks, no more than ``n_tracks``: its means and coefficients are held,
            and its bases at frame 0.
        hull: of the same priors on ``device``, where the caller has it already.

    Raises:
        FitError: NaNs that come back after every rollback.
        Cancelled: asked to stop.
    """
    c, cameras = config.motion, priors.cameras
    rng = np.random.default_rng([config.seed, 1])
    hull = hull or Hull(priors, device)

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(device)

    if start is not None:
        params = {name: getattr(start, name).to(device) for name in ("means", "coefs")}
        moving = {name: getattr(start, name).to(device) for name in ("rots", "trans")}
        params |= {name: value.clone().requires_grad_() for name, value in moving.items()}
        hold_first_frame(params["rots"], params["trans"])
    else:
        tracks = choose_tracks(tracks, c.n_tracks, rng)
        bases, logits, canonical = initialise_bases(
            tracks, c.n_bases, compute_time_weights(rewound, c.start_smoothing), rng
        )
        params = {
            "means": tensor(canonical),
            "coefs": tensor(logits),
            "rots": tensor(bases[..., :6].copy()),
            "trans": tensor(bases[..., 6:].copy()),
        }
        params = {name: value.requires_grad_() for name, value in params.items()}
    rates = {"means": c.lr_means, "coefs": c.lr_coefs, "rots": c.lr_rots, "trans": c.lr_trans}
    optimiser = GuardedAdam(params, rates, dict.fromkeys(params, c.lr_decay), c.steps)

    xyz, xy, visible, placed, confidence = (
        tensor(a) for a in (tracks.xyz, tracks.xy, tracks.visible, tracks.placed, tracks.confidence)
    )
    K, w2c, rays = (
        tensor(cameras.K),
        tensor(cameras.w2c),
        tensor(compute_viewing_directions(cameras)),
    )
    triples = tensor(list_frame_triples(rewound))
    edges = tensor(rigidity.knn_edges(tracks.xyz[:, tracks.canonical], config.rigidity.k))
    n_frames = xyz.shape[1]
    with progress.task(TaskId.FIT_MOTION, c.steps) as task:
        for step in range(c.steps):
            if step % _LOOK_UP_EVERY == 0:
                slow = _look_up(params["coefs"], params["means"], config.influences)
            picks = _draw_frames(
                np.random.default_rng([config.seed, 2, step]),
                n_frames,
                len(triples),
                c.frames_per_step,
            )
            frames, starts = tensor(picks[0]), triples[tensor(picks[1])]
            loss = _compute_loss(
                Motion(**params, visible=visible), xyz, placed, xy, confidence, K, w2c, rays,
                triples, edges, frames, starts, hull,
                config, slow,
            )  # fmt: skip
            optimiser.step(loss)
            task.advance(loss=float(loss.detach()))
    return Motion(
        **{name: value.detach().cpu() for name, value in params.items()}, visible=visible.cpu()
    )


@torch.no_grad()
def _look_up(logits: Tensor, means: Tensor, influences: int) -> _Slow:
    coefs = torch.softmax(logits, -1)
    strongest = coefs.topk(min(influences, coefs.shape[1]), dim=1).indices
    return _Slow(strongest, rigidity.basis_edges(coefs, means))


def hold_first_frame(*params: Tensor) -> None:  # (K, T, ...) each
    """Lets the optimiser change every frame but the first."""
    for param in params:
        later = torch.ones_like(param)
        later[:, 0] = 0
        param.register_hook(lambda gradient, later=later: gradient * later)


def _draw_frames(
    rng: np.random.Generator, n_frames: int, n_triples: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    frames = np.sort(rng.permutation(n_frames)[: min(count, n_frames)])
    return frames, np.sort(rng.permutation(n_triples)[: min(count // 4, n_triples)])


def _compute_loss(
    motion: Motion, xyz: Tensor, placed: Tensor, xy: Tensor, confidence: Tensor, K: Tensor,
    w2c: Tensor, rays: Tensor,
    triples: Tensor, edges: Tensor, frames: Tensor, starts: Tensor, hull: Hull, config: FitConfig,
    slow: _Slow,
) -> Tensor:  # fmt: skip
    c = config.motion
    bases, coefs = motion.compute_bases(), torch.softmax(motion.coefs, -1)
    points = skin_points(
        se3.blend_columns(bases.index_select(1, frames), coefs), motion.means
    )  # (P, F, 3)
    seen, trust = placed.index_select(1, frames), confidence.index_select(1, frames)
    tracks = Observations(
        xyz.index_select(1, frames), xy.index_select(1, frames), seen, trust, K[frames], w2c[frames]
    )
    loss = observation_loss(points, tracks, (c.track_3d, c.track_2d))
    if c.hull > 0:
        loss = loss + c.hull * hull.compute_mean_excess(points, frames, K[frames], w2c[frames])
    loss = loss + c.sparsity * regularisers.sparsity(coefs)
    if config.influences < coefs.shape[1]:
        loss = loss + c.tail * (1 - coefs.gather(1, slow.strongest).sum(1)).mean()
    loss = loss + c.smooth_bases * regularisers.smooth_bases(bases, triples)
    if config.rigidity.init_weight > 0:
        stretch = rigidity_init(points, motion.means, coefs, edges)
        loss = loss + config.rigidity.init_weight * config.rigidity.k * stretch
        apart = rigidity.basis_disagreement(bases.index_select(1, frames), *slow.neighbours)
        loss = loss + config.rigidity.init_weight * config.rigidity.between_bases * apart
    if len(starts):
        columns = se3.blend_columns(bases.index_select(1, starts.flatten()), coefs)
        path = skin_points(columns, motion.means).unflatten(1, (-1, 3))  # (P, S, 3, 3)
        weights = c.smooth_tracks, c.smooth_depth
        loss = loss + bend_loss(path, rays.index_select(0, starts[:, 1]), _ROUND, weights)
    return loss
