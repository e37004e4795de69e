"""Photometric fusion: Gaussians, coefficients and bases refined together against the frames."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from restage4d.clips import Cameras, Priors, Rewound
from restage4d.errors import Cancelled
from restage4d.progress import Progress, Task, TaskId
from restage4d.reconstruct.checkpoint import save_checkpoint
from restage4d.reconstruct.config import FitConfig
from restage4d.reconstruct.fusion.closeups import Closeups
from restage4d.reconstruct.fusion.density import DensityControl, keep_rows
from restage4d.reconstruct.fusion.far_side import limit_gradients
from restage4d.reconstruct.fusion.floaters import (
    average_neighbour_colours,
    find_protruding,
    find_small_components,
    measure_visibility,
)
from restage4d.reconstruct.fusion.rates import choose_rates
from restage4d.reconstruct.fusion.rendering import View, render_view
from restage4d.reconstruct.fusion.targets import Shot, Targets
from restage4d.reconstruct.losses import data_terms, regularisers, rigidity
from restage4d.reconstruct.losses.hull import Hull
from restage4d.reconstruct.losses.photometric import photometric
from restage4d.reconstruct.model.camera_correction import correct_camera
from restage4d.reconstruct.model.optimizer import GuardedAdam
from restage4d.reconstruct.model.projection import project
from restage4d.reconstruct.model.scene_model import SceneModel
from restage4d.reconstruct.model.skinning import skin_points
from restage4d.reconstruct.motion.lifting import list_frame_triples

_CHECKPOINT_EVERY = 200  # steps
_VISIBILITY_FRAMES = 60  # frames from which is judged what is hidden
_SHOWN = 0.3  # share of its footprint above which a Gaussian's colour is its own
_DRAWN_TRACKS = 2000  # Gaussians whose paths are smoothed in one step


class Fusion:
    """The loop and its state; `run` goes from the last checkpoint, or from the start, to the
    end."""

    def __init__(
        self,
        model: SceneModel,
        rewound: Rewound,
        priors: Priors,
        config: FitConfig,
        closeups: Closeups | None = None,
        *,
        fixed: bool = False,  # the Gaussians are those of a finished puppet, none comes or goes
    ) -> None:
        self.model, self.config, self.rewound, self.fixed = model, config, rewound, fixed
        c = config.fusion
        self.targets = Targets(rewound, priors, closeups, model.device)
        self.K, self.w2c = self.targets.K, self._tensor(priors.cameras.w2c)
        self.given = priors.cameras
        self.triples = self._tensor(list_frame_triples(rewound))
        self.hull = Hull(priors, model.device)
        far = self.targets.depth[self.targets.depth > 0]
        distance = float(far[:: max(len(far) // 100_000, 1)].median()) if len(far) else 1.0
        rates, decay = choose_rates(c, distance, float(self.K[:, 0, 0].mean()))
        self.steps = c.total_steps(len(rewound))
        self.optimiser = GuardedAdam(model.params, rates, decay, self.steps)
        self.density = [
            DensityControl("subject", c.max_subject, 1.0),
            DensityControl("background", c.max_background, max(distance, 1.0)),
        ]
        self.unsure = torch.zeros(
            0
        )  # (N,) once pruned: how little each subject Gaussian's colour is decided by the frames
        self.step = 0
        self.pruning_psnr_loss = 0.0
        self._update_graph()

    def _tensor(self, array: np.ndarray) -> Tensor:
        """On the model's device."""
        return torch.from_numpy(array).to(self.model.device)

    def camera(self, frame: int) -> Tensor:  # (4, 4)
        """w2c of a frame with its correction."""
        turns, shifts = (self.model.params.get(f"cameras.{name}") for name in ("turns", "shifts"))
        if turns is None or frame == self.rewound.seam:
            return self.w2c[frame]
        return correct_camera(
            self.w2c[frame], turns[frame], None if shifts is None else shifts[frame]
        )

    def cameras(self) -> Cameras:
        """The given cameras with their corrections."""
        with torch.no_grad():
            w2c = torch.stack([self.camera(t) for t in range(len(self.rewound))])
        return replace(self.given, w2c=w2c.cpu().numpy())

    def run(self, checkpoint: Path | None, fingerprint: str, progress: Progress) -> None:
        """Fits from ``self.step`` on; ``checkpoint`` is kept up to date under ``fingerprint``.

        Raises:
            FitError: NaNs that come back after every rollback.
            Cancelled: asked to stop; the checkpoint holds the last step.
        """
        with progress.task(TaskId.FUSE, self.steps, start=self.step) as task:
            try:
                while self.step < self.steps:
                    self._take_step(task)
                    progress.observe(self)
                    if checkpoint and self.step % _CHECKPOINT_EVERY == 0:
                        self._save(checkpoint, fingerprint)
            except Cancelled:
                if checkpoint:
                    self._save(checkpoint, fingerprint)
                raise
        if checkpoint:
            self._save(checkpoint, fingerprint)

    def _take_step(self, task: Task) -> None:
        c, step = self.config.fusion, self.step
        rng = np.random.default_rng([self.config.seed, 3, step])
        frame = self._choose_frame(step)
        shot = self._choose_shot(frame, rng)
        loss, view = self._compute_loss(frame, shot, rng)
        view.info["means2d"].retain_grad()
        good = self.optimiser.step(loss)
        if good and view.info["means2d"].grad is not None and step < c.densify_until * self.steps:
            n = self.model.n_subject
            gradient, radii = view.info["means2d"].grad, view.info["radii"]
            for control, rows in zip(self.density, (slice(0, n), slice(n, None)), strict=True):
                control.observe(gradient[rows], radii[rows], *shot.size)
        self.step += 1
        if self.fixed:
            task.advance(loss=float(loss.detach()), gaussians=float(self.model.n_subject))
            return
        if self.step % c.densify_every == 0:
            if good and c.densify_from * self.steps <= self.step < c.densify_until * self.steps:
                for i, control in enumerate(self.density):
                    control.refine(
                        self.model,
                        self.optimiser,
                        c,
                        seed=self.config.seed * 1_000_003 + 2 * self.step + i,
                    )
            self._update_graph()
        if self.step == int(c.prune_at * self.steps):
            self._remove_floaters()
            self._prune()
        if self.step == self.steps:
            self._remove_floaters()
        task.advance(loss=float(loss.detach()), gaussians=float(self.model.n_subject))

    def _choose_frame(self, step: int) -> int:
        """Every frame once per epoch, in an order drawn per epoch."""
        n = len(self.rewound)
        epoch, i = divmod(step, n)
        return int(np.random.default_rng([self.config.seed, 4, epoch]).permutation(n)[i])

    def _choose_shot(self, frame: int, rng: np.random.Generator) -> Shot:
        """The whole frame or, late in the fit, now and then the closer look at its subject."""
        c, closeup = self.config.fusion, None
        if self.step >= c.closeups_from * self.steps:
            closeup = self.targets.get_closeup(frame)
        if closeup and rng.random() < c.closeups:
            return closeup
        return self.targets.get_frame(frame)

    def _compute_loss(
        self, frame: int, shot: Shot, rng: np.random.Generator
    ) -> tuple[Tensor, View]:
        c, model = self.config.fusion, self.model
        bases, coefs = model.compute_bases(), model.compute_coefs()
        pairs, other = self.targets.choose_track_pairs(frame, rng)
        now, then = model.blend(bases[:, [frame, other]], coefs=coefs).unbind(1)
        subject = model.skin(now)
        carry = skin_points(then[:, None], model.params["subject.means"])[:, 0]
        K, w2c = self.K[frame], self.camera(frame)
        drawn = subject
        if (model.far > 0).any():
            outside, behind = self.hull.classify(subject.means, frame, K, w2c, 0.5 * model.far)
            outside, behind = outside & (model.far > 0), behind & (model.far > 0)
            drawn, carry = (
                limit_gradients(subject, outside, behind),
                torch.where(behind[:, None], carry.detach(), carry),
            )
        view = render_view(drawn, model.get_background(), shot.K, w2c, shot.size, carry)
        loss = c.rgb * photometric(view.rgb, shot.target, c.dssim)
        loss = loss + c.mask * data_terms.mask_loss(view.subject, shot.mask)
        if shot.depth is not None:
            known = ((shot.depth > 0) & (shot.mask >= 0)).to(shot.depth)
            loss = loss + c.depth * data_terms.depth_loss(view.depth, shot.depth, known)
            loss = loss + c.depth_gradient * data_terms.depth_gradient_loss(
                view.depth, shot.depth, known * ((shot.mask > 0.5) | (shot.mask == 0)).to(known)
            )
            loss = loss + c.track_2d * self._compute_track_loss(view, pairs, frame, other)
        if c.hull > 0:
            at = torch.tensor([frame], device=model.device)
            loss = (
                loss
                + c.hull
                * self.hull.compute_excess(subject.means[:, None], at, K[None], w2c[None]).mean()
            )
        loss = loss + c.smooth_bases * regularisers.smooth_bases(
            bases[..., :6], bases[..., 6:], self.triples
        )
        loss = loss + c.smooth_tracks * self._compute_path_roughness(bases, coefs, rng)
        loss = loss + c.scale_variance * regularisers.scale_variance(
            model.params["subject.log_scales"]
        )
        if model.support is None:
            # Grows towards the step that prunes, so that there is next to nothing left to cut off
            # by then.
            loss = loss + c.tail * (
                1 + 9 * self.step / (c.prune_at * self.steps)
            ) * self._compute_tail(coefs)
        if len(self.unsure):
            apart = (model.params["subject.sh0"] - self.colour).abs().sum(-1)
            loss = loss + c.unsure_colour * (self.unsure * apart).mean()
        if self.config.rigidity.refine_weight > 0:
            loss = (
                loss
                + self.config.rigidity.refine_weight
                * self.config.rigidity.k
                * self._compute_rigidity(subject.means, view, shot, w2c)
            )
        return loss, view

    def _compute_track_loss(self, view: View, pairs: np.ndarray, frame: int, other: int) -> Tensor:
        """Where the Gaussians seen at a track's pixel go in frame ``other``, against the track
        (over the longer side)."""
        if len(pairs) < 4:
            return view.rgb.new_zeros(())
        xy = self._tensor(self.targets.tracks.xy[pairs, frame])
        goal = self._tensor(self.targets.tracks.xy[pairs, other])
        trust = self._tensor(
            self.targets.tracks.confidence[pairs, frame]
            * self.targets.tracks.confidence[pairs, other]
        )
        return data_terms.track_loss(
            view.carried, view.subject, xy, goal, trust, self.K[other], self.camera(other)
        )

    def _compute_path_roughness(
        self, bases: Tensor, coefs: Tensor, rng: np.random.Generator
    ) -> Tensor:
        if len(self.triples) == 0:
            return bases.new_zeros(())
        n = self.model.n_subject
        rows = self._tensor(rng.integers(0, n, min(n, _DRAWN_TRACKS)))
        triple = self.triples[int(rng.integers(len(self.triples)))]
        columns = self.model.blend(bases.index_select(1, triple), rows, coefs)
        return regularisers.smooth_tracks(
            skin_points(columns, self.model.params["subject.means"].index_select(0, rows))
        )

    def _compute_rigidity(self, points: Tensor, view: View, shot: Shot, w2c: Tensor) -> Tensor:
        """Eq. 4-6 at the rendered frame."""
        r = self.config.rigidity
        with torch.no_grad():
            xy, z = project(points, shot.K, w2c)
            width, height = shot.size
            inside = (
                (xy[:, 0] >= 0)
                & (xy[:, 1] >= 0)
                & (xy[:, 0] < width)
                & (xy[:, 1] < height)
                & (z > 0.01)
            )
            col, row = xy[:, 0].clamp(0, width - 1).long(), xy[:, 1].clamp(0, height - 1).long()
            hidden = rigidity.invisibility(z, view.depth[row, col], r.tau0, r.tau1)
            hidden = torch.where(inside, hidden, 1.0)  # outside the image nothing supervises either
            hidden = hidden.clamp_min(r.visible**0.5)
        return rigidity.rigidity_refine(
            points, self.model.params["subject.means"], self.similarity, hidden, self.edges
        )

    def _compute_tail(self, coefs: Tensor) -> Tensor:
        """Mean share of the coefficients beyond the strongest M: what pruning will cut off."""
        return (1 - coefs.gather(1, self.strongest).sum(1)).mean()

    def _update_graph(self) -> None:
        """Looks up afresh what changes slowly: the k-NN graph Ω, its similarities (Eq. 3), the
        strongest M bases."""
        means = self.model.params["subject.means"].detach().cpu().numpy()
        self.edges = self._tensor(rigidity.knn_edges(means, self.config.rigidity.k))
        with torch.no_grad():
            self.similarity = rigidity.motion_similarity(
                self.model.compute_dense_coefs(), self.edges
            )
            if len(self.unsure):
                self.colour = average_neighbour_colours(
                    self.model.params["subject.sh0"], 1 - self.unsure, self.edges
                )
            if self.model.support is None:
                self.strongest = self.model.find_top_influences(self.config.influences)[0]

    def _remove_floaters(self) -> None:
        """Drops what no frame shows and small components away from the body; notes which colours to
        hold to their neighbours'."""
        frames = list(range(0, len(self.rewound), max(len(self.rewound) // _VISIBILITY_FRAMES, 1)))
        with torch.no_grad():
            paths = torch.stack(
                [self.model.compute_positions(t) for t in frames[:: max(len(frames) // 12, 1)]], 1
            )
            w2c = torch.stack([self.camera(t) for t in frames])
            points = torch.stack([self.model.compute_positions(t) for t in frames], 1)
        protruding = find_protruding(self.hull, points, frames, self.K[frames], w2c)
        shares = measure_visibility(self.model, frames, self.K, self.camera, self.targets.size)
        for part, share in zip(("subject", "background"), shares, strict=True):
            keep = share > self.config.fusion.cull_shown
            if part == "subject":
                far = self.model.far > 0
                keep = torch.where(far, ~protruding, keep) & ~find_small_components(
                    self.edges, paths
                )
            rows = keep.nonzero()[:, 0]
            if len(rows) < 8:  # nothing downstream is made for an empty part
                rows = torch.arange(len(keep), device=keep.device)
            keep_rows(self.model, self.optimiser, part, rows)
            if part == "subject":
                self.unsure = (1 - share[rows] / _SHOWN).clamp(0, 1)
        self._update_graph()

    def _prune(self) -> None:
        """Dense coefficients become the strongest M; the fit goes on with that support. Notes the
        PSNR this costs at once."""
        before = self.psnr(range(0, len(self.rewound), max(len(self.rewound) // 8, 1)))
        index, weight = self.model.find_top_influences(self.config.influences)
        self.model.support = index
        self.optimiser.resize(
            "subject.coefs",
            weight.clamp_min(1e-6).log(),
            torch.arange(len(weight), device=weight.device),
        )
        self._update_graph()
        after = self.psnr(range(0, len(self.rewound), max(len(self.rewound) // 8, 1)))
        self.pruning_psnr_loss = before - after

    def psnr(self, frames) -> float:
        """Mean PSNR in dB of whole rendered frames."""
        values = []
        with torch.no_grad():
            for t in frames:
                view = render_view(
                    self.model.pose_subject(t),
                    self.model.get_background(),
                    self.K[t],
                    self.camera(t),
                    self.targets.size,
                )
                error = (view.rgb.clamp(0, 1) - self.targets.get_frame(t).target).square().mean()
                values.append(-10 * float(error.clamp_min(1e-10).log10()))
        return float(np.mean(values))

    def _save(self, path: Path, fingerprint: str) -> None:
        tensors = {f"p.{n}": p for n, p in self.model.params.items()} | self.optimiser.state()
        tensors |= {
            "edges": self.edges,
            "similarity": self.similarity,
            "strongest": self.strongest,
            "far": self.model.far,
        }
        for control in self.density:
            tensors |= control.state()
        if self.model.support is not None:
            tensors |= {"support": self.model.support, "unsure": self.unsure, "colour": self.colour}
        about = {
            "fingerprint": fingerprint,
            "step": self.step,
            "pruning_psnr_loss": self.pruning_psnr_loss,
        }
        save_checkpoint(path, tensors, about)

    def load(self, tensors: dict[str, Tensor], about: dict) -> None:
        """Takes up the loop's state from a checkpoint (on the model's device) whose parameters the
        model already has."""
        self.optimiser.load_state(tensors)
        for control in self.density:
            control.load_state(tensors)
        self.edges, self.similarity, self.strongest = (
            tensors["edges"],
            tensors["similarity"],
            tensors["strongest"],
        )
        if "unsure" in tensors:
            self.unsure, self.colour = tensors["unsure"], tensors["colour"]
        self.step, self.pruning_psnr_loss = about["step"], about["pruning_psnr_loss"]
