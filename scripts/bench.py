"""What the pieces of a fit cost, against the last run that the repository keeps.

    python scripts/bench.py [NAME ...] [--json OUT] [--keep] [--growth PLOT.png]

Prints a table: operations sent to torch for one visit of a frame, processor milliseconds, and these
over those of a fixed piece of work (the yardstick) timed in turns with it, which makes runs on
busy machines of one kind comparable. Kinds differ by up to 2.4 times: where the kept run is of
another, run the bench of the older checkout here as well. ``--keep`` makes this run the one that
later ones are compared with. ``--growth`` plots the milliseconds of a step against frames,
Gaussians, bases and pixels, one varied at a time, and prints what each doubling costs.
"""

import argparse
import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

if __name__ == "__main__":  # not where it is imported: what that starts would have one thread
    # before numpy: a second thread of BLAS waits by working, and would be counted
    os.environ.update(
        dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    )

import numpy as np
import torch

from restage4d.reconstruct.config import FitConfig
from restage4d.threads import let_waiting_threads_sleep

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
KEPT = Path(__file__).parent / "benchmarks" / "kept.json"


@dataclass(frozen=True)
class Cost:
    """Of one visit of a frame: operations that compute, and all of them; processor milliseconds,
    and those over the yardstick's."""

    operations: float
    dispatched: float
    milliseconds: float
    ratio: float


def main() -> int:
    let_waiting_threads_sleep()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="OUT")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--growth", type=Path, metavar="PLOT.png")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.growth:
        plot_growth(arguments.growth)
        return 0
    costs = measure_workloads(arguments.names)
    print(make_table(costs, read_kept()))
    text = json.dumps({name: vars(cost) for name, cost in costs.items()}, indent=2) + "\n"
    for path in [
        *([arguments.json] if arguments.json else []),
        *([KEPT] if arguments.keep else []),
    ]:
        path.write_text(text)
    return 0


def measure_workloads(names: list[str]) -> dict[str, Cost]:
    """Of the named workloads, or of all."""
    from workloads import count_operations, list_workloads, measure

    costs = {}
    for name, (work, visits) in list_workloads().items():
        if not names or name in names:
            work()  # compiled, and everything of its size made
            counts = count_operations(work)
            values = [round(value / visits, 3) for value in (*counts, *measure(work))]
            costs[name] = Cost(*values)
    return costs


def read_kept() -> dict[str, Cost]:
    """The run that the repository keeps."""
    if not KEPT.exists():
        return {}
    return {name: Cost(**cost) for name, cost in json.loads(KEPT.read_text()).items()}


def make_table(costs: dict[str, Cost], kept: dict[str, Cost]) -> str:
    lines = [
        "| workload | operations (kept) | with views | ms | over the yardstick (kept) | change |",
        "|---|---|---|---|---|---|",
    ]
    for name, cost in costs.items():
        old = kept.get(name)
        change = f"{100 * (cost.ratio / old.ratio - 1):+.0f} %" if old else ""
        lines.append(
            f"| {name} | {cost.operations:g} ({old.operations if old else '-'}) "
            f"| {cost.dispatched:g} | {cost.milliseconds:.1f} "
            f"| {cost.ratio:.3f} ({old.ratio if old else '-'}) | {change} |"
        )
    return "\n".join(lines)


def plot_growth(path: Path) -> None:
    """A step's milliseconds against each size alone, from half to four times the usual."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from workloads import Size, make_fusion, make_steps, measure

    usual, figure, axis = Size(), *plt.subplots(figsize=(6, 4))
    one = replace(FitConfig().fusion, prune_at=0.0, steps=100_000, at_once=1)
    config = replace(FitConfig(), fusion=one)

    def scale(name: str, by: float) -> Size:
        if name == "pixels":
            side = by**0.5
            return replace(usual, width=int(usual.width * side), height=int(usual.height * side))
        names = ("subject", "background") if name == "Gaussians" else (name,)
        return replace(usual, **{n: int(getattr(usual, n) * by) for n in names})

    for name in ("frames", "Gaussians", "bases", "pixels"):
        factors = (0.5, 1.0, 2.0, 4.0)
        found = [measure(make_steps(make_fusion(scale(name, f), config)), 3)[0] for f in factors]
        slope = np.polyfit(np.log2(factors), np.log2(found), 1)[0]
        print(f"{name}: {[round(ms, 1) for ms in found]} ms, times {2**slope:.2f} a doubling")
        axis.plot(factors, found, "o-", label=name)
    axis.set(xscale="log", yscale="log", xlabel=f"times {usual}".replace("Size", ""), ylabel="ms")
    axis.xaxis.label.set_fontsize(6)
    axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
