"""The fit of a stage on the CPU and on the GPU, one after the other: seconds of each part, quality,
memory.

    python scripts/benchmarks/fit.py STAGE [--ablation full] [--quality default] [KEY=VALUE ...]

STAGE is a folder that `scripts/render_stage.py` made; KEY=VALUE as for `restage4d run --set`;
``--quality`` takes the settings of `restage4d run --quality` instead of those of the tables. Each
fit runs in a process of its own with all cores. Without a GPU that gsplat can use, only the CPU's
line is printed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from restage4d.evaluate.runs import Bench, Run
from restage4d.progress import Progress
from restage4d.reconstruct.config import preset
from restage4d.splatting import drawing_device
from restage4d.threads import let_waiting_threads_sleep

FIGURES = {
    "psnr": "PSNR",
    "psnr_subject": "subject",
    "view_psnr": "held-out",
    "track_l1": "L1",
    "surface_edge_ratio": "edges",
    "n_subject": "Gaussians",
}


def main() -> int:
    let_waiting_threads_sleep()  # in the processes that fit
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", type=Path)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--ablation", default="full")
    parser.add_argument("--quality", choices=("draft", "default", "high"))
    parser.add_argument(
        "--on", choices=("cpu", "cuda"), help=argparse.SUPPRESS
    )  # one fit, in this process
    arguments = parser.parse_args()
    if arguments.on:
        product = each_setting(preset(arguments.quality)) if arguments.quality else ()
        one(arguments.stage, arguments.ablation, (*product, *arguments.settings))
        return 0
    for device in dict.fromkeys(("cpu", drawing_device())):
        hidden = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
        subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--on", device],
            env=os.environ | hidden,
            check=True,
        )
    return 0


def each_setting(config: Any, path: str = "") -> Iterator[str]:
    """Every field as KEY=VALUE."""
    for f in fields(config):
        value = getattr(config, f.name)
        if is_dataclass(value):
            yield from each_setting(value, f"{path}{f.name}.")
        else:
            yield f"{path}{f.name}={value}"


def one(stage: Path, ablation: str, settings: tuple[str, ...]) -> None:
    """One fit on the best device that this process sees."""
    device, progress = drawing_device(), Progress()
    if device == "cuda":
        torch.zeros(1, device=device)  # what starting CUDA takes is not the fit's
    with tempfile.TemporaryDirectory() as out:
        record = Bench(Path(out)).execute(Run(stage, 1, ablation, settings=settings), progress)
    where = (
        torch.cuda.get_device_name()
        if device == "cuda"
        else f"CPU, {torch.get_num_threads()} threads"
    )
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in progress.seconds.items())
    figures = ", ".join(f"{title} {record['metrics'][name]:.4g}" for name, title in FIGURES.items())
    memory = f"{psutil.Process().memory_info().rss / 2**30:.1f} GiB of main memory afterwards"
    if device == "cuda":
        memory = f"{torch.cuda.max_memory_allocated() / 2**30:.2f} GiB of the GPU at most, {memory}"
    print(
        f"{where}, torch {torch.__version__}: fit {record['seconds']:.1f} s ({seconds}); "
        f"{figures}; {memory}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
