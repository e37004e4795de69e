"""The default path's fit of one filmed clip, without a driving video."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from restage4d.clips import Clip, Selection, rewind
from restage4d.evaluate.runs import FORMAT, Record, read_record, replace_non_finite, write_json
from restage4d.io.arrays import Arrays
from restage4d.io.atomic import replacing
from restage4d.io.content_cache import Cache, content_key
from restage4d.priors.cameras.sfm import SfmCameras, SfmConfig
from restage4d.priors.estimate import estimate_priors, weight_free_providers
from restage4d.progress import Progress
from restage4d.puppet import Puppet
from restage4d.reconstruct.config import FitConfig
from restage4d.reconstruct.fit import fit


def keep_record(name: str, out: Path, config: FitConfig, run: Callable[[], Record]) -> Record:
    """The record that ``run`` makes, kept in ``out/NAME.json``; one that was kept for the same
    ``config`` is read in its place."""
    at, fingerprint = out / f"{name}.json", content_key("benchmark", FORMAT, config)
    kept = read_record(at, fingerprint)
    if kept:
        return kept
    record = run()
    record |= {"fingerprint": fingerprint, "metrics": replace_non_finite(record["metrics"])}
    write_json(at, record)
    return record


def fit_clip(
    name: str,
    clip: Clip,
    known: dict[str, Arrays],
    out: Path,
    config: FitConfig,
    progress: Progress,
    focal: float | None = None,
) -> tuple[Puppet, Record]:
    """Fits what moves in ``clip``.

    Args:
        known: what a dataset gives of the clip's frames in playing order, "cameras" {K, w2c,
            points} and "depth" {depth}; the rest is estimated without learned weights.
        focal: the lens's focal length over the longer side, where it is known.
        out: gets ``NAME.puppet`` and the priors that were given.

    Returns:
        The puppet, whose one performance is the clip, and name, frames and seconds.
    """
    began = time.perf_counter()
    folder = out / f"{name}_priors"
    for part, arrays in known.items():
        with replacing(folder / "base" / f"{part}.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **(arrays | {"width": np.array(clip.size[0])}))
    providers = weight_free_providers()
    if focal:
        providers.cameras = SfmCameras(SfmConfig(focal=focal))
    first = providers.masks.select(clip, Selection(), progress)
    rewound = rewind(clip, [])
    priors = estimate_priors(
        rewound,
        first,
        providers,
        priors_dir=folder if known else None,
        cache=Cache(),
        progress=progress,
    )
    fusion = fit(rewound, priors, config, out / f"{name}.checkpoint.safetensors", progress)
    puppet = fusion.model.to_puppet(rewound, fusion.cameras(), [], config.influences)
    puppet.save(out / f"{name}.puppet")
    (out / f"{name}.checkpoint.safetensors").unlink(missing_ok=True)
    seconds = round(time.perf_counter() - began, 2)
    return puppet, {"sequence": name, "frames": len(clip), "seconds": seconds}
