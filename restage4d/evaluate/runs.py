"""Runs of the fit on stages: one after the other, each kept as soon as it is done, so that a set
can be stopped and goes on."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from restage4d import __version__
from restage4d.evaluate import ablations
from restage4d.evaluate.measure import measure
from restage4d.evaluate.metrics.perceptual import PerceptualMetrics, PerceptualWeights
from restage4d.evaluate.noise import NoiseLevels, cut_to_driving, make_priors_from_truth
from restage4d.evaluate.stage import Stage, make_scene, read_stage
from restage4d.io.atomic import replacing
from restage4d.progress import Progress, TaskId
from restage4d.puppet import Puppet
from restage4d.reconstruct.config import FitConfig
from restage4d.reconstruct.fit import fit

FORMAT = 4
Record = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One fit to be measured.

    Attributes:
        stage: folder of the stage.
        driving: which driving clip, from 1.
        ablation: a name of `ablations.ABLATIONS`.
        noise: of the priors, "clean" or "learned".
        seed: of the noise and of the fit.
        faulty: whether the driving clip with faults is fitted.
        settings: further ``KEY=VALUE`` for the fit.
    """

    stage: Path
    driving: int
    ablation: str
    noise: str = "learned"
    seed: int = 0
    faulty: bool = False
    settings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of the run's files."""
        faulty = "_faulty" if self.faulty else ""
        stage = self.stage.resolve().name
        return f"{stage}_{self.driving}{faulty}_{self.noise}_{self.seed}_{self.ablation}"


class Bench:
    """Does runs and keeps them in a folder: ``runs/NAME.json``, ``runs/NAME.puppet`` and, while a
    fit runs, its checkpoint.

    Args:
        out: the folder.
        perceptual: weights of models that judge pictures.
    """

    def __init__(self, out: Path, perceptual: PerceptualWeights | None = None) -> None:
        self.out = out
        self.perceptual = PerceptualMetrics(perceptual or PerceptualWeights())
        self._stages: dict[Path, Stage] = {}

    def execute(self, run: Run, progress: Progress) -> Record:
        """The run's record, made now unless it is there already for the same stage and settings.

        Raises:
            InputError: the stage or a setting is wrong.
            FitError, Cancelled: see `fit`; a cancelled fit goes on the next time.
        """
        stage = self.get_stage(run.stage)
        record_at = self.out / "runs" / f"{run.name}.json"
        config = ablations.configure(
            run.ablation, run.settings, run.seed, 2 * int(stage.about["frames"]) - 1
        )
        fingerprint = self._compute_fingerprint(run, stage, config)
        kept = read_record(record_at, fingerprint)
        if kept:
            return kept
        scene = both = make_scene(stage, run.driving - 1, faulty=run.faulty)
        priors = make_priors_from_truth(both, run.noise, run.seed)
        if config.clips == "driving":
            scene = make_scene(stage, run.driving - 1, joint=False, faulty=run.faulty)
            priors = cut_to_driving(priors, both, scene, run.seed)
        checkpoint = record_at.with_suffix(".checkpoint.safetensors")
        began = time.perf_counter()
        fusion = fit(scene.rewound, priors, config, checkpoint, progress)
        seconds = time.perf_counter() - began
        prompts = [stage.about["driving"][run.driving - 1]] * scene.rewound.n_branches
        puppet = fusion.model.to_puppet(scene.rewound, fusion.cameras(), prompts, config.influences)
        puppet.save(self.locate_puppet(run))
        with progress.task(TaskId.FIGURES):
            metrics = measure(puppet, scene, stage.extent, self.perceptual, run.seed)
        metrics |= {
            "pruning_psnr_loss": fusion.pruning_psnr_loss,
            "rollbacks": float(fusion.optimiser.rollbacks),
            "n_subject": float(len(puppet.subject)),
            "n_bases": float(puppet.n_bases),
        }
        record = {
            "stage": stage.name,
            "driving": run.driving,
            "ablation": run.ablation,
            "settings": [*ablations.ABLATIONS[run.ablation].settings, *run.settings],
            "noise": run.noise,
            "faulty": run.faulty,
            "seed": run.seed,
            "seconds": round(seconds, 2),
            "fingerprint": fingerprint,
            "metrics": replace_non_finite(metrics),
        }
        write_json(record_at, record)
        checkpoint.unlink(missing_ok=True)
        return record

    def get_stage(self, folder: Path) -> Stage:
        """A stage, read once."""
        if folder not in self._stages:
            self._stages[folder] = read_stage(folder)
        return self._stages[folder]

    def locate_puppet(self, run: Run) -> Path:
        """Where the run's puppet is kept."""
        return self.out / "runs" / f"{run.name}.puppet"

    def load_puppet(self, run: Run) -> Puppet:
        """The puppet of a run that is done."""
        return Puppet.load(self.locate_puppet(run))

    def _compute_fingerprint(self, run: Run, stage: Stage, config: FitConfig) -> str:
        """Of all that decides a record: settings, noise, the stage's own description and
        pictures."""
        about = [FORMAT, __version__, asdict(config), run.name, asdict(NoiseLevels()), stage.about]
        about += [folder is not None for folder in asdict(self.perceptual.folders).values()]
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        for one in (stage.base, *stage.driving, *stage.faulty):
            digest.update(one.clip.frames.data)
        return digest.hexdigest()


def list_runs(
    folder: Path,
    names: Iterable[str],
    noise: str,
    seed: int,
    settings: tuple[str, ...] = (),
    faults: bool = True,
) -> list[Run]:
    """Runs of the given ablations on every driving clip of a stage; on the faulty ones too, where
    it has any.

    Raises:
        InputError: the folder is no stage, or there is no such ablation.
    """
    wanted = ablations.select_ablations(names)
    stage = read_stage(folder)
    numbers = range(1, len(stage.driving) + 1)
    runs = [
        Run(folder, i, name, noise, seed, settings=settings) for i in numbers for name in wanted
    ]
    if faults and stage.faulty:
        runs += [
            Run(folder, i, name, noise, seed, True, settings)
            for i in numbers
            for name in wanted
            if name in ablations.FAULTS
        ]
    return runs


def forward_cancellation(progress: Progress) -> Callable[[], bool]:
    """Whether ``progress`` was cancelled, for a Progress of one run's own."""

    def check() -> bool:
        progress.check()
        return False

    return check


def replace_non_finite(metrics: dict[str, float]) -> dict[str, float | None]:
    """NaN and infinity become null, as JSON has neither."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def read_record(path: Path, fingerprint: str) -> Record | None:
    """The record kept in ``path`` under this fingerprint; None where there is none, it is damaged
    or of something else."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("fingerprint") == fingerprint else None


def write_json(path: Path, value: Any) -> None:
    """Writes strict JSON, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
