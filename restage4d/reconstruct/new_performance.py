"""Another driving video performed by a puppet that is there already: its Gaussians, coefficients
and background stay as they are, only the bases' motion in the new frames is fitted."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restage4d import se3
from restage4d.clips import Cameras, Clip, Priors, Rewound, Tracks
from restage4d.errors import FitError
from restage4d.frame_arrays import stack_on_cores, take_frames
from restage4d.progress import Progress, TaskId
from restage4d.puppet import Performance, Puppet
from restage4d.reconstruct.config import FitConfig
from restage4d.reconstruct.fit import prepare_priors
from restage4d.reconstruct.fusion.optimisation import Fusion
from restage4d.reconstruct.fusion.rendering import render_view
from restage4d.reconstruct.fusion.seeding import interpolate_coefs
from restage4d.reconstruct.losses.hull import Hull
from restage4d.reconstruct.model.scene_model import SceneModel
from restage4d.reconstruct.motion.bases import fit_rigid_path
from restage4d.reconstruct.motion.initialisation import (
    Motion,
    choose_tracks,
    fit_motion,
    hold_first_frame,
)
from restage4d.reconstruct.motion.lifting import LiftedTracks, lift_tracks
from restage4d.splatting import drawing_device

F32 = NDArray[np.float32]
_MEMBERS = 24  # tracks that vote for the first guess of a basis
_OVERLAP = 50  # pixels that puppet and depth must share to be laid over one another


def fit_new_performance(
    puppet: Puppet, rewound: Rewound, priors: Priors, config: FitConfig, progress: Progress
) -> Fusion:
    """Fits the bases of all driving frames of ``rewound``, whose b_0 is that of the puppet's first
    performance.

    Args:
        puppet: stays as it is, to the last bit.
        rewound, priors: T frames, in any world: it is laid over the puppet's at b_0.
        config: of the fit; density control, pruning and corrected cameras have no part in this.
        progress: told every task.

    Returns:
        The finished `Fusion` over b_0 and the driving frames; its bases at b_0 are the puppet's.

    Raises:
        FitError: too few tracks, the subject is not where the puppet's camera sees it, or NaNs that
            come back.
        Cancelled: asked to stop.
    """
    device = torch.device(drawing_device())
    model = make_model(puppet, device)
    with progress.task(TaskId.ALIGN_DEPTH):
        priors = prepare_priors(rewound, priors, config)
    priors = align_priors(puppet, model, rewound.seam, priors)
    lifted = lift_tracks(rewound, priors)
    rows = np.concatenate([[rewound.seam], np.flatnonzero(rewound.source > 0)])
    rewound, priors = select_frames(rewound, rows), select_prior_frames(priors, rows)
    tracks = LiftedTracks(
        lifted.xyz[:, rows],
        lifted.xy[:, rows],
        lifted.visible[:, rows],
        lifted.confidence[:, rows],
        canonical=0,
        placed=lifted.placed[:, rows],
    )
    rng = np.random.default_rng([config.seed, 1])
    tracks = choose_tracks(tracks, config.motion.n_tracks, rng)
    start, hull = guess_motion(puppet, tracks), Hull(priors, device)
    motion = fit_motion(tracks, rewound, priors, config, progress, device, start=start, hull=hull)
    moving = {"bases.rots": motion.rots, "bases.trans": motion.trans}
    params = {name: p.detach() for name, p in model.params.items()}
    params |= {name: value.to(device) for name, value in moving.items()}
    model = SceneModel(params, model.support)
    for name, value in model.params.items():
        value.requires_grad_(name in moving)
    hold_first_frame(*(model.params[name] for name in moving))
    fusion = Fusion(model, rewound, priors, config, fixed=True, hull=hull)
    fusion.run(None, "", progress)
    return fusion


def list_performances(puppet: Puppet, fusion: Fusion, prompts: list[str]) -> list[Performance]:
    """What `fit_new_performance` fitted, a performance per driving video, named after none of the
    puppet's. All begin with b_0 as the puppet has it."""
    bases = fusion.model.compute_bases().detach().cpu().numpy()
    bases[:, 0] = puppet.performances[0].bases[:, 0]
    rewound, cameras = fusion.rewound, fusion.given
    taken, made = {p.name for p in puppet.performances}, []
    for source, prompt in enumerate(prompts, 1):
        names = ("restaged", *(f"restaged {i}" for i in range(2, len(taken) + 3)))
        name = next(n for n in names if n not in taken)
        taken.add(name)
        rows = rewound.video(source)
        made.append(
            Performance(
                name=name,
                bases=np.ascontiguousarray(bases[:, rows], np.float32),
                fps=rewound.clip.fps,
                K=cameras.K[rows],
                w2c=cameras.w2c[rows],
                size=rewound.clip.size,
                prompt=prompt,
            )
        )
    return made


def make_model(puppet: Puppet, device: torch.device) -> SceneModel:
    """The puppet's scene, at b_0 alone."""

    def tensor(array: F32) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(device)

    params = {}
    for part, g in (("subject", puppet.subject), ("background", puppet.background)):
        opacity = np.clip(g.opacities, 1e-6, 1 - 1e-6)
        params[f"{part}.means"], params[f"{part}.quats"] = tensor(g.means), tensor(g.quats)
        params[f"{part}.log_scales"] = tensor(np.log(g.scales))
        params[f"{part}.logit_opacities"] = tensor(np.log(opacity / (1 - opacity)))
        params[f"{part}.sh0"] = tensor(g.sh[:, 0])
    first = puppet.performances[0].bases[:, :1]
    params["bases.rots"], params["bases.trans"] = tensor(first[..., :6]), tensor(first[..., 6:])
    params["subject.coefs"] = tensor(np.log(np.maximum(puppet.weight, 1e-12)))
    support = torch.from_numpy(puppet.index.astype(np.int64)).to(device)
    return SceneModel(params, support)


def align_priors(puppet: Puppet, model: SceneModel, seam: int, priors: Priors) -> Priors:
    """The priors in the puppet's world: at b_0 their camera is the puppet's, and lengths are scaled
    so that the subject is as far away. Raises `FitError` where the two do not overlap."""
    p, cameras = puppet.performances[0], priors.cameras
    with torch.no_grad():
        K, w2c = (torch.from_numpy(a[0]).to(model.device) for a in (p.K, p.w2c))
        view = render_view(model.pose_subject(0), model.get_background(), K, w2c, p.size)
        drawn, depth = view.subject.cpu().numpy(), view.depth.cpu().numpy()
    both = (drawn > 0.7) & (priors.masks[seam] > 0.5) & (priors.depth[seam] > 0)
    if both.sum() < _OVERLAP:
        raise FitError("The puppet is not where the subject is in the first frame.")
    scale = np.float32(np.median(depth[both] / priors.depth[seam][both]))
    moved = cameras.w2c.astype(np.float64) @ np.linalg.inv(cameras.w2c[seam].astype(np.float64))
    moved[:, :3, 3] *= scale
    zoom = cameras.K / np.where(cameras.K[seam] == 0, 1, cameras.K[seam])
    return replace(
        priors,
        depth=stack_on_cores(lambda frame: frame * scale, priors.depth),
        cameras=Cameras(
            (p.K[0] * zoom).astype(np.float32),
            (moved @ p.w2c[0].astype(np.float64)).astype(np.float32),
            cameras.kind,
        ),
    )


def select_frames(rewound: Rewound, rows: NDArray[np.intp]) -> Rewound:
    """Some frames of a rewound clip, of which every one but the first has its parent among them."""
    place = np.full(len(rewound), -1)
    place[rows] = np.arange(len(rows))
    parent = np.where(rewound.parent[rows] >= 0, place[rewound.parent[rows]], -1)
    clip = Clip(take_frames(rewound.clip.frames, rows), rewound.clip.fps)
    return Rewound(clip, rewound.source[rows], rewound.index[rows], parent.astype(np.int32))


def select_prior_frames(priors: Priors, rows: NDArray[np.intp]) -> Priors:
    """The priors of some frames."""
    c, t = priors.cameras, priors.tracks
    return replace(
        priors,
        masks=take_frames(priors.masks, rows),
        depth=take_frames(priors.depth, rows),
        cameras=Cameras(c.K[rows], c.w2c[rows], c.kind),
        tracks=Tracks(
            np.ascontiguousarray(t.xy[:, rows]), t.visible[:, rows], t.confidence[:, rows],
            np.zeros(len(t.query), np.int32),
        ),
    )  # fmt: skip


def guess_motion(puppet: Puppet, tracks: LiftedTracks) -> Motion:
    """Tracks as points of the puppet, which stands at their frame 0 as at b_0, and each basis moved
    as the tracks nearest to its points move."""
    first = puppet.performances[0].bases[:, 0]
    posed = se3.transform(*se3.blend(first, puppet.index, puppet.weight), puppet.subject.means)
    dense = puppet.compute_dense_weight()
    near = posed.astype(np.float32)
    seen = np.ones(len(near), bool)
    beta = interpolate_coefs(tracks.xyz[:, 0], near, seen, dense, puppet.index.shape[1])
    R, t = se3.blend_dense(first, beta)
    means = se3.inverse_transform(R, t, tracks.xyz[:, 0]).astype(np.float32)
    trust = np.where(tracks.visible, tracks.confidence, 0.1).astype(np.float32)
    total = np.maximum(dense.sum(0), 1e-6)
    place = (dense.T @ near) / total[:, None]
    bases = np.empty((len(first), tracks.xyz.shape[1], 9), np.float32)
    for k, start in enumerate(first):
        apart = np.linalg.norm(tracks.xyz[:, 0] - place[k], axis=1)
        members = np.argsort(apart, kind="stable")[:_MEMBERS]
        width = apart[members[-1]] + 1e-6
        share = np.exp(-2 * (apart[members] / width) ** 2) + 0.02
        weight = (trust[members] * share[:, None]).T
        turn, shift = fit_rigid_path(tracks.xyz[members].transpose(1, 0, 2), weight, 0)
        R0 = se3.gram_schmidt(start[:6])
        bases[k] = se3.pack(turn @ R0, turn @ start[6:] + shift)
    bases[:, 0] = first
    return Motion(
        torch.from_numpy(means),
        torch.from_numpy(np.log(np.maximum(beta, 1e-6))),
        torch.from_numpy(bases[..., :6].copy()),
        torch.from_numpy(bases[..., 6:].copy()),
        torch.from_numpy(tracks.visible),
    )
