"""Photometric fusion: Gaussians, coefficients and bases refined together against the frames."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from restage4d.clips import Cameras, Priors, Rewound
from restage4d.errors import Cancelled
from restage4d.progress import Progress, Task, TaskId
from restage4d.reconstruct.checkpoint import save_checkpoint
from restage4d.reconstruct.config import FitConfig
from restage4d.reconstruct.fusion.closeups import Closeups
from restage4d.reconstruct.fusion.density import DensityControl, keep_rows
from restage4d.reconstruct.fusion.floaters import (
    find_protruding,
    find_small_components,
    measure_guessed_visibility,
    measure_visibility,
)
from restage4d.reconstruct.fusion.guessed_views import GuessedView
from restage4d.reconstruct.fusion.objective import Drawn, Objective
from restage4d.reconstruct.fusion.rendering import render_view
from restage4d.reconstruct.fusion.schedule import (
    LOOK,
    VIEW,
    choose_rates,
    insert_views,
    plan_visits,
)
from restage4d.reconstruct.fusion.targets import Shot
from restage4d.reconstruct.losses.hull import Hull
from restage4d.reconstruct.model.optimizer import GuardedAdam
from restage4d.reconstruct.model.scene_model import SPLAT_FIELDS, SceneModel
from restage4d.threads import map_on_cores

_CHECKPOINT_EVERY = 200  # visits
_VISIBILITY_FRAMES = 60  # frames from which is judged what is hidden
_SHOWN = 0.3  # share of its footprint above which a Gaussian's colour is its own
_DECIDED = 0.15  # and above which frames decide a Gaussian: they overlap
_RIM = 1.5  # pixels along the outline that do not count for it
_EVERY = 4  # every how many-th frame is asked for that
_ENOUGH = 100_000  # pixels that tell how far away the scene is


class Fusion:
    """The loop and its state; `run` goes from the last checkpoint, or from the start, to the end.

    Each visit of a frame is a step of the optimiser. The gradients of `FusionConfig.at_once` visits
    are taken at the same parameters, on a CPU at the same time: the later ones lag by a step or so,
    which costs such small steps next to nothing (asynchronous descent with a bounded delay, e.g.
    Recht et al. 2011), where one step by their mean would go half as far."""

    def __init__(
        self,
        model: SceneModel,
        rewound: Rewound,
        priors: Priors,
        config: FitConfig,
        closeups: Closeups | None = None,
        *,
        fixed: bool = False,  # the Gaussians are those of a finished puppet, none comes or goes
        hull: Hull | None = None,  # of the same priors, where the caller has it already
        views: Sequence[GuessedView] = (),
    ) -> None:
        self.model, self.config, self.rewound, self.fixed = model, config, rewound, fixed
        c = config.fusion
        self.given = priors.cameras
        distance = measure_typical_depth(priors.depth)
        rates, decay = choose_rates(c, distance, float(priors.cameras.K[:, 0, 0].mean()))
        looks = np.where(rewound.source == 0, c.base_looks, c.driving_looks)
        looks = 0 * looks if fixed else looks  # a finished puppet's bases alone are fitted
        steps = c.total_steps(looks)
        self.views, more = views, int(c.guessed_views * steps) if views else 0
        plan = plan_visits(looks, steps, config.seed)
        self.plan = insert_views(*plan, len(views), more, config.seed)
        self.steps = steps + more
        self.optimiser = GuardedAdam(model.params, rates, decay, self.steps)
        self.density = [
            DensityControl("subject", c.max_subject, 1.0),
            DensityControl("background", c.max_background, max(distance, 1.0)),
        ]
        self.step = 0  # visits until now
        self.inner = list(measure_inner(priors.masks, model.device)) if views else None
        self.shown = torch.zeros(0, dtype=torch.bool, device=model.device)  # (N,) by frames
        self.pruning_psnr_loss = 0.0
        self.objective = Objective(model, rewound, priors, config, closeups, hull)
        self.targets = self.objective.targets
        if not fixed and c.prune_at == 0 and model.support is None:
            self._keep_strongest()

    def cameras(self) -> Cameras:
        """The given cameras with their corrections."""
        with torch.no_grad():
            w2c = torch.stack([self.objective.get_camera(t) for t in range(len(self.rewound))])
        return replace(self.given, w2c=w2c.cpu().numpy())

    def run(self, checkpoint: Path | None, fingerprint: str, progress: Progress) -> None:
        """Fits from ``self.step`` on; ``checkpoint`` is kept up to date under ``fingerprint``.

        Raises:
            FitError: NaNs that come back after every rollback.
            Cancelled: asked to stop; the checkpoint holds the last step.
        """
        with progress.task(TaskId.FUSE, self.steps, start=self.step) as task:
            try:
                with self._sharing_cores():
                    while self.step < self.steps:
                        before = self.step
                        self.take_step(task)
                        progress.observe(self)
                        if checkpoint and self._passes(before, _CHECKPOINT_EVERY, every=True):
                            self._save(checkpoint, fingerprint)
            except Cancelled:
                if checkpoint:
                    self._save(checkpoint, fingerprint)
                raise
        if checkpoint:
            self._save(checkpoint, fingerprint)

    def take_step(self, task: Task) -> None:
        c, before = self.config.fusion, self.step
        if self.views and len(self.shown) != self.model.n_subject:
            self._find_shown()
        visits = range(before, min(before + c.at_once, self.steps))
        done = self._run_each([lambda visit=visit: self._visit(visit) for visit in visits])
        good = all(self.optimiser.apply(loss, grads) for loss, *_, grads in done)
        loss = done[0][0]
        self.step = visits.stop
        if self.fixed:
            task.advance(len(visits), loss=float(loss), gaussians=float(self.model.n_subject))
            return
        if good and before < c.densify_until * self.steps:
            n = self.model.n_subject
            for _, drawn, gradient, _ in done:
                for control, rows in zip(self.density, (slice(0, n), slice(n, None)), strict=True):
                    if len(drawn.radii[rows]):  # guessed views have no background
                        control.observe(gradient[rows], drawn.radii[rows], *drawn.size)
        if self._passes(before, c.densify_every, every=True):
            if good and c.densify_from * self.steps <= self.step < c.densify_until * self.steps:
                for i, control in enumerate(self.density):
                    control.refine(
                        self.model,
                        self.optimiser,
                        c,
                        seed=self.config.seed * 1_000_003 + 2 * self.step + i,
                    )
            self.objective.look_up()
            if self.views:
                self._find_shown()
        if self._passes(before, int(c.clean_at * self.steps)) or self.step == self.steps:
            self._remove_floaters()
        if self._passes(before, int(c.prune_at * self.steps)):
            self._prune()
        task.advance(len(visits), loss=float(loss), gaussians=float(self.model.n_subject))

    def _passes(self, before: int, visit: int, *, every: bool = False) -> bool:
        """Whether this step came by ``visit``, or by a multiple of it."""
        if every:
            return before // visit < self.step // visit
        return before < visit <= self.step

    def _visit(self, visit: int) -> tuple[Tensor, Drawn, Tensor, dict[str, Tensor | None]]:
        """The loss with one frame, what was drawn, and the gradients by where Gaussians lie on the
        picture and by the parameters."""
        model, objective = self.model, self.objective
        rng = np.random.default_rng([self.config.seed, 3, visit])
        frame, kind = (int(column[visit]) for column in self.plan)
        if kind == VIEW:
            return self._visit_view(self.views[frame], rng)
        look = kind == LOOK
        shot = self._choose_shot(visit, frame, look, rng)
        moved = model.compute_coefs(), model.compute_bases()
        drawn = objective.measure_frame(*moved, frame, shot, rng)
        loss = drawn.loss + objective.measure_model(*moved, visit / self.steps, rng)
        leaves = {name: leaf for name, leaf in model.params.items() if leaf.requires_grad}
        if look:  # whole frames decide the background: here it is a rim, and that of the base alone
            leaves = {n: leaf for n, leaf in leaves.items() if not n.startswith("background.")}
        by, *grads = torch.autograd.grad(loss, [drawn.means2d, *leaves.values()], allow_unused=True)
        return loss.detach(), drawn, by, dict(zip(leaves, grads, strict=True))

    def _visit_view(
        self, view: GuessedView, rng: np.random.Generator
    ) -> tuple[Tensor, Drawn, Tensor, dict[str, Tensor | None]]:
        """The same for a guessed view, which leaves what frames show as it is."""
        model = self.model
        drawn = self.objective.measure_view(model.compute_coefs(), model.compute_bases(), view, rng)
        leaves = {f"subject.{name}": model.params[f"subject.{name}"] for name in SPLAT_FIELDS}
        by, *grads = torch.autograd.grad(drawn.loss, [drawn.means2d, *leaves.values()])
        free = ~self.shown
        drawn.radii = drawn.radii * free
        by, *grads = (g * free.view(-1, *[1] * (g.ndim - 1)) for g in (by, *grads))
        every = {name: None for name, leaf in model.params.items() if leaf.requires_grad}
        return drawn.loss.detach(), drawn, by, every | dict(zip(leaves, grads, strict=True))

    def _find_shown(self) -> None:
        """Notes which of the subject's Gaussians some frame shows away from its outline, along
        which colours may be mixed with the background's."""
        frames = list(range(0, len(self.rewound), _EVERY))
        share, _ = measure_visibility(
            self.model,
            frames,
            self.targets.K,
            self.objective.get_camera,
            self.targets.size,
            self.inner,
        )
        self.shown = share > _DECIDED

    def _run_each(self, work: list[Callable]) -> list:
        """What each piece of work gives; on a CPU all run at the same time."""
        if self.model.device.type != "cpu" or len(work) < 2:
            return [do() for do in work]
        # Two threads that use a parameter can wait for each other for good: one makes the node of
        # its gradient and needs the interpreter, the other has the interpreter and needs the node
        # (torch 2.13). Where some tensor keeps the node, it is looked up and needs neither. A
        # reference to it in Python would not do: looking it up needs the interpreter then, too.
        _kept = [p.view_as(p) for p in self.model.params.values() if p.requires_grad]
        others = [self._pool.submit(do) for do in work[1:]]
        return [work[0](), *(other.result() for other in others)]

    @contextmanager
    def _sharing_cores(self):
        """Visits at the same time, each on its part of the cores."""
        cores, at_once = torch.get_num_threads(), self.config.fusion.at_once
        each = max(cores // at_once, 1)
        if self.model.device.type != "cpu" or at_once < 2:
            yield
            return
        with ThreadPoolExecutor(
            at_once - 1, "visit", initializer=torch.set_num_threads, initargs=(each,)
        ) as self._pool:
            torch.set_num_threads(each)
            try:
                yield
            finally:
                torch.set_num_threads(cores)

    def _choose_shot(self, visit: int, frame: int, look: bool, rng: np.random.Generator) -> Shot:
        """The whole frame, its subject alone or, late in the fit, now and then the closer look at
        it."""
        c, closeup = self.config.fusion, None
        if look:
            return self.targets.get_subject(frame)
        if visit >= c.closeups_from * self.steps:
            closeup = self.targets.get_closeup(frame)
        if closeup and rng.random() < c.closeups:
            return closeup
        return self.targets.get_frame(frame)

    def _remove_floaters(self) -> None:
        """Drops what no frame shows and small components away from the body; notes which colours to
        hold to their neighbours'."""
        frames = list(range(0, len(self.rewound), max(len(self.rewound) // _VISIBILITY_FRAMES, 1)))
        with torch.no_grad():
            paths = torch.stack(
                [self.model.compute_positions(t) for t in frames[:: max(len(frames) // 12, 1)]], 1
            )
            w2c = torch.stack([self.objective.get_camera(t) for t in frames])
            points = torch.stack([self.model.compute_positions(t) for t in frames], 1)
        protruding = find_protruding(
            self.objective.hull,
            points,
            frames,
            torch.stack([self.targets.K[t] for t in frames]),
            w2c,
        )
        shares = measure_visibility(
            self.model, frames, self.targets.K, self.objective.get_camera, self.targets.size
        )
        subject, background = shares
        if self.views:
            guessed = measure_guessed_visibility(self.model, self.rewound.seam, self.views)
            subject = torch.maximum(subject, guessed)
        for part, share in (("subject", subject), ("background", background)):
            keep = share > self.config.fusion.cull_shown
            if part == "subject":
                far = self.model.far > 0
                keep = torch.where(far, ~protruding, keep)
                keep &= ~find_small_components(self.objective.edges, paths)
            rows = keep.nonzero()[:, 0]
            if len(rows) < 8:  # nothing downstream is made for an empty part
                rows = torch.arange(len(keep), device=keep.device)
            keep_rows(self.model, self.optimiser, part, rows)
            if part == "subject":
                self.objective.unsure = (1 - share[rows] / _SHOWN).clamp(0, 1)
        self.objective.look_up()

    def _prune(self) -> None:
        """Dense coefficients become the strongest M; the fit goes on with that support. Notes the
        PSNR this costs at once."""
        before = self.psnr(range(0, len(self.rewound), max(len(self.rewound) // 8, 1)))
        self._keep_strongest()
        after = self.psnr(range(0, len(self.rewound), max(len(self.rewound) // 8, 1)))
        self.pruning_psnr_loss = before - after

    def _keep_strongest(self) -> None:
        """Only the strongest M bases move a Gaussian from now on."""
        index, weight = self.model.find_top_influences(self.config.influences)
        self.model.support = index
        self.optimiser.resize(
            "subject.coefs",
            weight.clamp_min(1e-6).log(),
            torch.arange(len(weight), device=weight.device),
        )
        self.objective.look_up()

    def psnr(self, frames) -> float:
        """Mean PSNR in dB of whole rendered frames."""
        values = []
        with torch.no_grad():
            for t in frames:
                view = render_view(
                    self.model.pose_subject(t),
                    self.model.get_background(),
                    self.targets.K[t],
                    self.objective.get_camera(t),
                    self.targets.size,
                )
                error = (view.rgb.clamp(0, 1) - self.targets.get_frame(t).target).square().mean()
                values.append(-10 * float(error.clamp_min(1e-10).log10()))
        return float(np.mean(values))

    def _save(self, path: Path, fingerprint: str) -> None:
        model, objective = self.model, self.objective
        tensors = {f"p.{n}": p for n, p in model.params.items()} | self.optimiser.state()
        tensors |= {"far": model.far, "shown": self.shown} | objective.state()
        for control in self.density:
            tensors |= control.state()
        if model.support is not None:
            tensors["support"] = model.support
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
        self.objective.load_state(tensors)
        for control in self.density:
            control.load_state(tensors)
        self.shown = tensors["shown"]
        self.step, self.pruning_psnr_loss = about["step"], about["pruning_psnr_loss"]


def measure_inner(masks: NDArray[np.float32], device: torch.device) -> Tensor:
    """1 on the subject away from its outline, 0 elsewhere: (T, H, W)."""
    inner = np.zeros(masks.shape, np.float32)

    def measure(t: int) -> None:
        inner[t] = np.asarray(distance_transform_edt(masks[t] > 0.5)) > _RIM

    map_on_cores(measure, range(0, len(masks), _EVERY))
    return torch.from_numpy(inner).to(device)


def measure_typical_depth(depth: NDArray[np.float32]) -> float:  # (T, H, W)
    """The median of what is known (over 0), from about `_ENOUGH` pixels evenly spread; 1 where
    nothing is."""
    step = max(sum(int((frame > 0).sum()) for frame in depth) // _ENOUGH, 1)
    taken, passed = [], 0
    for frame in depth:
        known = frame[frame > 0]
        taken.append(known[-passed % step :: step])
        passed += len(known)
    return float(np.median(np.concatenate(taken))) if passed else 1.0
