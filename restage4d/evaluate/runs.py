"""Runs of the fit on stages: one after the other, each kept as soon as it is done, so that a set can be stopped and goes on."""

import hashlib
import json
import math
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from restage4d import __version__
from restage4d.evaluate import ablations
from restage4d.evaluate.clip import ClipSimilarity
from restage4d.evaluate.measure import measure
from restage4d.evaluate.noise import Learned, priors_from_truth
from restage4d.evaluate.stage import Stage, read_stage, scene_of
from restage4d.files import replacing
from restage4d.progress import Progress
from restage4d.puppet import Puppet
from restage4d.reconstruct.fit import fit

FORMAT = 1


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
        return f"{self.stage.resolve().name}_{self.driving}{faulty}_{self.noise}_{self.seed}_{self.ablation}"


class Bench:
    """Does runs and keeps them in a folder: ``runs/NAME.json``, ``runs/NAME.puppet`` and, while a fit runs, its checkpoint.

    Args:
        out: the folder.
        progress: told every stage of every fit.
        clip: where CLIP similarity is wanted.
    """

    def __init__(self, out: Path, progress: Progress, clip: ClipSimilarity | None = None) -> None:
        self.out, self.progress, self.clip = out, progress, clip
        self._stages: dict[Path, Stage] = {}

    def do(self, run: Run) -> dict[str, Any]:
        """The run's record, made now unless it is there already for the same stage and settings."""
        stage = self.stage(run.stage)
        record_at = self.out / "runs" / f"{run.name}.json"
        frames = stage.about["frames"] * 2 - 1
        config = ablations.configure(run.ablation, run.settings, run.seed, frames)
        fingerprint = _fingerprint(run, stage, asdict(config), self.clip is not None)
        kept = _kept(record_at, fingerprint)
        if kept:
            return kept
        print(f"{run.name}", flush=True)
        scene = scene_of(stage, run.driving - 1, joint=config.clips != "driving", faulty=run.faulty)
        priors = priors_from_truth(scene, run.noise, run.seed)
        checkpoint = record_at.with_suffix(".checkpoint.safetensors")
        began = time.perf_counter()
        fusion = fit(scene.rewound, priors, config, checkpoint, self.progress)
        seconds = time.perf_counter() - began
        prompts = [stage.about["driving"][run.driving - 1]] * scene.rewound.n_branches
        puppet = fusion.model.to_puppet(scene.rewound, priors.cameras, prompts, config.influences)
        puppet.save(self.puppet_at(run))
        with self.progress.stage("figures"):
            metrics = measure(puppet, scene, stage.extent, self.clip, run.seed)
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
            "metrics": {name: value if math.isfinite(value) else None for name, value in metrics.items()},
        }
        write_json(record_at, record)
        checkpoint.unlink(missing_ok=True)
        return record

    def stage(self, folder: Path) -> Stage:
        """A stage, read once."""
        if folder not in self._stages:
            self._stages[folder] = read_stage(folder)
        return self._stages[folder]

    def puppet_at(self, run: Run) -> Path:
        """Where the run's puppet is kept."""
        return self.out / "runs" / f"{run.name}.puppet"

    def puppet(self, run: Run) -> Puppet:
        """The puppet of a run that is done."""
        return Puppet.load(self.puppet_at(run))


def one_stage(folder: Path, names: Iterable[str], noise: str, seed: int, settings: tuple[str, ...]) -> list[Run]:
    """Runs of the given ablations on every driving clip of a stage; of the first one's faults too, where it has any."""
    wanted = ablations.named(names)
    stage = read_stage(folder)
    runs = [Run(folder, i, name, noise, seed, settings=settings) for i in range(1, len(stage.driving) + 1) for name in wanted]
    if stage.faulty:
        runs += [Run(folder, 1, name, noise, seed, True, settings) for name in wanted if name in ablations.FAULTS]
    return runs


def write_json(path: Path, value: Any) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _kept(path: Path, fingerprint: str) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("fingerprint") == fingerprint else None


def _fingerprint(run: Run, stage: Stage, config: dict[str, Any], clip: bool) -> str:
    """Of all that decides a record: settings, noise, the stage's own description and pictures."""
    about = [FORMAT, __version__, config, run.name, asdict(Learned()), stage.about, clip]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for one in (stage.base, *stage.driving, *stage.faulty):
        digest.update(one.clip.frames.data)
    return digest.hexdigest()
