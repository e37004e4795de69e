"""What a step of photometric fusion minimises: terms of one drawn frame, and terms of the model
alone."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from restage4d.clips import Priors, Rewound
from restage4d.puppet import SH_C0
from restage4d.reconstruct.config import FitConfig
from restage4d.reconstruct.fusion.assembly import Parameters, assemble
from restage4d.reconstruct.fusion.closeups import Closeups
from restage4d.reconstruct.fusion.floaters import average_neighbour_colours
from restage4d.reconstruct.fusion.guessed_views import GuessedView
from restage4d.reconstruct.fusion.targets import Shot, Targets
from restage4d.reconstruct.losses import regularisers, rigidity
from restage4d.reconstruct.losses.hull import Hull
from restage4d.reconstruct.losses.picture import DEPTH, TrackPairs, Weights, picture_loss
from restage4d.reconstruct.model.camera_correction import correct_camera
from restage4d.reconstruct.model.scene_model import SceneModel
from restage4d.reconstruct.model.skinning import skin_points, skin_splats
from restage4d.reconstruct.motion.lifting import list_frame_triples
from restage4d.splatting import rasterize

_DRAWN_TRACKS = 2000  # Gaussians whose paths are smoothed in one step


@dataclass
class Drawn:
    """One frame's terms: the loss, and for density control where Gaussians lie on the picture,
    ``means2d`` (N + B, 2) in the graph, ``radii`` (N + B,) and its size."""

    loss: Tensor
    means2d: Tensor
    radii: Tensor
    size: tuple[int, int]


class Objective:
    """Losses of a model against frames and priors.

    Attributes:
        unsure: (N,) once pruned: how little each subject Gaussian's colour is decided by the
            frames.
        edges, similarity, strongest, colour: what `look_up` found last.
    """

    def __init__(
        self,
        model: SceneModel,
        rewound: Rewound,
        priors: Priors,
        config: FitConfig,
        closeups: Closeups | None,
        hull: Hull | None = None,
    ) -> None:
        c = config.fusion
        self.model, self.config, self.seam = model, config, rewound.seam
        self.targets = Targets(rewound, priors, closeups, model.device)
        self.hull = hull or Hull(priors, model.device)
        self.triples = torch.from_numpy(list_frame_triples(rewound)).to(model.device)
        self.w2c = list(torch.from_numpy(priors.cameras.w2c).to(model.device).unbind(0))
        self.at = list(torch.arange(len(rewound), device=model.device).split(1))
        self.weights = Weights(c.rgb, c.dssim, c.mask, c.depth, c.depth_gradient, c.track_2d)
        self.unsure = torch.zeros(0)
        self.look_up()

    def get_camera(self, frame: int) -> Tensor:  # (4, 4)
        """w2c of a frame with its correction."""
        turns, shifts = (self.model.params.get(f"cameras.{name}") for name in ("turns", "shifts"))
        if turns is None or frame == self.seam:
            return self.w2c[frame]
        shift = None if shifts is None else shifts[frame]
        return correct_camera(self.w2c[frame], turns[frame], shift)

    def look_up(self) -> None:
        """Looks up afresh what changes slowly: the k-NN graph Ω, its similarities (Eq. 3), the
        strongest M bases."""
        model = self.model
        means = model.params["subject.means"].detach().cpu().numpy()
        edges = rigidity.knn_edges(means, self.config.rigidity.k)
        self.edges = torch.from_numpy(edges).to(model.device)
        self.has_guesses = bool((model.far > 0).any())
        with torch.no_grad():
            self.similarity = rigidity.motion_similarity(model.compute_dense_coefs(), self.edges)
            if len(self.unsure):
                self.colour = average_neighbour_colours(
                    model.params["subject.sh0"], 1 - self.unsure, self.edges
                )
            if model.support is None:
                self.strongest = model.find_top_influences(self.config.influences)[0]

    def state(self) -> dict[str, Tensor]:
        """What `look_up` found, as it is not looked up at every step."""
        names = ["edges", "similarity"]
        names += ["strongest"] if self.model.support is None else []
        names += ["unsure", "colour"] if len(self.unsure) else []
        return {name: getattr(self, name) for name in names}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        for name in ("edges", "similarity", "strongest", "unsure", "colour"):
            if name in tensors:
                setattr(self, name, tensors[name])

    def measure_frame(
        self, coefs: Tensor, bases: Tensor, frame: int, shot: Shot, rng: np.random.Generator
    ) -> Drawn:  # (N, K) or (N, M), (K, T, 9)
        """Colour, mask, depth, tracks, hull and rigidity (Eq. 4-6) where the frame is drawn."""
        c, r, model, p = self.config.fusion, self.config.rigidity, self.model, self.model.params
        other = self.targets.choose_other(frame, rng)
        pair = bases.index_select(1, torch.cat([self.at[frame], self.at[other]]))
        now, then = model.blend(pair, coefs).unbind(1)
        means, quats = skin_splats(now, p["subject.means"], p["subject.quats"])
        K, w2c = self.targets.K[frame], self.get_camera(frame)
        held = self.hull.flag_guesses(means, frame, K, w2c, model.far)
        carry = skin_points(then[:, None], p["subject.means"])[:, 0]
        subject, background = (
            Parameters(*(p[f"{part}.{name}"] for name in ("log_scales", "logit_opacities", "sh0")))
            for part in ("subject", "background")
        )
        still = p["background.means"], p["background.quats"]
        g = assemble((means, quats), carry, held, still, subject, background, w2c)
        image, alpha, info = rasterize(
            g.means, g.quats, g.scales, g.opacities, g.channels, w2c, shot.K, *shot.size
        )
        tracks = None
        if shot.depth is not None and other != frame:
            tracks = TrackPairs(
                *self.targets.get_tracks(frame, other), self.targets.K[other],
                self.get_camera(other),
            )  # fmt: skip
        loss = picture_loss(image, alpha, shot.target, shot.mask, shot.depth, tracks, self.weights)
        if c.hull > 0:
            excess = self.hull.compute_mean_excess(
                means[:, None], self.at[frame], K[None], w2c[None]
            )
            loss = loss + c.hull * excess
        if r.refine_weight > 0:
            surface = image[..., DEPTH], alpha
            hidden = rigidity.measure_hidden(means, surface, shot.K, w2c, (r.tau0, r.tau1))
            hidden = hidden.clamp_min(r.visible**0.5)
            stretch = rigidity.rigidity_refine(
                means, p["subject.means"], self.similarity, hidden, self.edges
            )
            loss = loss + r.refine_weight * r.k * stretch
        return Drawn(loss, info["means2d"], info["radii"], shot.size)

    def measure_view(
        self, coefs: Tensor, bases: Tensor, view: GuessedView, rng: np.random.Generator
    ) -> Drawn:
        """Colour, mask and depth of a guessed view, over any colour. It is of one moment, and says
        nothing of motion: no gradient by ``coefs`` and ``bases``."""
        model, p, shot = self.model, self.model.params, view.shot
        with torch.no_grad():
            columns = model.blend(bases[:, self.seam], coefs)
        means, quats = skin_splats(columns, p["subject.means"], p["subject.quats"])
        rgb = (0.5 + SH_C0 * p["subject.sh0"]).clamp(0, 1)
        z = (means @ view.w2c[2, :3] + view.w2c[2, 3])[:, None]
        image, alpha, info = rasterize(
            means,
            quats,
            p["subject.log_scales"].exp(),
            p["subject.logit_opacities"].sigmoid(),
            torch.cat([rgb, torch.ones_like(z), z], 1),
            view.w2c,
            shot.K,
            *shot.size,
        )
        behind = torch.from_numpy(rng.random(3, np.float32)).to(image.device)
        over = image[..., :3] + (1 - alpha[..., None]) * behind
        target = shot.target + (1 - shot.mask[..., None]) * behind
        image = torch.cat([over, image[..., 3:]], -1)
        loss = picture_loss(image, alpha, target, shot.mask, shot.depth, None, self.weights)
        return Drawn(loss, info["means2d"], info["radii"], shot.size)

    def measure_model(
        self, coefs: Tensor, bases: Tensor, share: float, rng: np.random.Generator
    ) -> Tensor:
        """Smoothness, few bases a point, round Gaussians, undecided colours.

        Args:
            coefs, bases: (N, K) or (N, M) coefficients and (K, T, 9) bases, as of Eq. 1.
            share: of the fit that is done, 0..1.
            rng: draws whose paths are smoothed.
        """
        c, model, p = self.config.fusion, self.model, self.model.params
        loss = c.smooth_bases * regularisers.smooth_bases(bases, self.triples)
        if len(self.triples):
            loss = loss + c.smooth_tracks * self._measure_paths(coefs, bases, rng)
        loss = loss + c.scale_variance * regularisers.scale_variance(p["subject.log_scales"])
        if model.support is None:
            # Grows towards the step that prunes, so that there is next to nothing left to cut off
            # by then.
            beyond = (1 - coefs.gather(1, self.strongest).sum(1)).mean()
            loss = loss + c.tail * (1 + 9 * share / c.prune_at) * beyond
        if len(self.unsure):
            apart = (p["subject.sh0"] - self.colour).abs().sum(-1)
            loss = loss + c.unsure_colour * (self.unsure * apart).mean()
        return loss

    def _measure_paths(self, coefs: Tensor, bases: Tensor, rng: np.random.Generator) -> Tensor:
        """Roughness of some paths over three frames that follow one another."""
        n = self.model.n_subject
        rows = torch.from_numpy(rng.integers(0, n, min(n, _DRAWN_TRACKS))).to(self.model.device)
        triple = self.triples[int(rng.integers(len(self.triples)))]
        columns = self.model.blend(bases.index_select(1, triple), coefs, rows)
        means = self.model.params["subject.means"].index_select(0, rows)
        return regularisers.smooth_tracks(skin_points(columns, means))
