"""The trade-off between the number of bases and the weight of rigidity (supplement Fig. 1), by
motion initialisation alone."""

import hashlib
import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from restage4d.clips import Cameras, Rewound
from restage4d.evaluate.measure import measure_points
from restage4d.evaluate.noise import NoiseLevels, make_priors_from_truth
from restage4d.evaluate.runs import (
    FORMAT,
    Record,
    forward_cancellation,
    read_record,
    replace_non_finite,
    write_json,
)
from restage4d.evaluate.stage import make_scene, read_stage
from restage4d.progress import Progress, TaskId
from restage4d.puppet import Gaussians, Performance, Puppet
from restage4d.reconstruct.config import preset
from restage4d.reconstruct.fit import lift_usable_tracks, prepare_priors
from restage4d.reconstruct.motion.initialisation import Motion, fit_motion

BASES = (10, 30, 100)
WEIGHTS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)


def run_tradeoff(folder: Path, out: Path, seed: int, progress: Progress) -> list[Record]:
    """One record per number of bases and weight, for the stage's first driving clip with learned
    priors; kept as runs are."""
    stage = read_stage(folder)
    scene = make_scene(stage, 0)
    priors = prepare_priors(
        scene.rewound, make_priors_from_truth(scene, "learned", seed), preset("draft")
    )
    records = []
    with progress.task(TaskId.TRADE_OFF, len(BASES) * len(WEIGHTS)) as counter:
        for k in BASES:
            for weight in WEIGHTS:
                config = preset("draft")
                config = replace(
                    config,
                    seed=seed,
                    motion=replace(config.motion, n_bases=k),
                    rigidity=replace(config.rigidity, init_weight=weight),
                )
                about = json.dumps(
                    [FORMAT, asdict(config), asdict(NoiseLevels()), stage.about], sort_keys=True
                )
                fingerprint = hashlib.sha256(about.encode()).hexdigest()
                at = out / "tradeoff" / f"{stage.name}_{seed}_{k}_{weight:g}.json"
                record = read_record(at, fingerprint)
                if record is None:
                    began = time.perf_counter()
                    tracks = lift_usable_tracks(scene.rewound, priors, config)
                    motion = fit_motion(
                        tracks,
                        scene.rewound,
                        priors,
                        config,
                        Progress(cancelled=forward_cancellation(progress)),
                    )
                    puppet = make_puppet(motion, scene.rewound, priors.cameras, config.influences)
                    metrics = measure_points(
                        puppet, puppet.performances[-1], scene, stage.extent, seed
                    )
                    record = {
                        "stage": stage.name,
                        "n_bases": k,
                        "weight": weight,
                        "seed": seed,
                        "seconds": round(time.perf_counter() - began, 2),
                        "fingerprint": fingerprint,
                        "metrics": replace_non_finite(metrics),
                    }
                    write_json(at, record)
                records.append(record)
                counter.advance()
    return records


def make_puppet(motion: Motion, rewound: Rewound, cameras: Cameras, influences: int) -> Puppet:
    """A puppet whose Gaussians are the tracks of motion initialisation: enough to carry points,
    nothing to look at."""
    weight, index = torch.softmax(motion.coefs, -1).topk(
        min(influences, motion.coefs.shape[1]), dim=1
    )
    weight = (weight / weight.sum(1, keepdim=True)).numpy()
    n = len(motion.means)
    splats = Gaussians(
        motion.means.numpy(),
        np.tile(np.array([1, 0, 0, 0], np.float32), (n, 1)),
        np.full((n, 3), 0.01, np.float32),
        np.ones(n, np.float32),
        np.zeros((n, 1, 3), np.float32),
    )
    none = Gaussians(*(np.zeros((0, *a.shape[1:]), np.float32) for a in vars(splats).values()))
    bases = motion.compute_bases().numpy()
    performances = []
    for source in range(rewound.n_branches + 1):
        rows = rewound.video(source)
        name = "base" if source == 0 else f"restaged {source}"
        performances.append(
            Performance(
                name,
                bases[:, rows],
                rewound.clip.fps,
                cameras.K[rows],
                cameras.w2c[rows],
                rewound.clip.size,
            )
        )
    return Puppet(splats, index.numpy().astype(np.uint16), weight, performances, none)
