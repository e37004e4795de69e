"""What ``restage4d evaluate`` does: one stage, a folder of stages with all tables and plots, or
a public benchmark."""

from dataclasses import dataclass
from pathlib import Path

from restage4d.evaluate import plots, runs, tables
from restage4d.evaluate.ablations import configure
from restage4d.evaluate.benchmarks import dycheck, tapvid3d
from restage4d.evaluate.benchmarks.davis import run_real_pairs
from restage4d.evaluate.metrics.perceptual import PerceptualMetrics, PerceptualWeights
from restage4d.evaluate.product import run_products
from restage4d.evaluate.runs import (
    Bench,
    Record,
    Run,
    write_json,
)
from restage4d.evaluate.sheet import write_sheet
from restage4d.evaluate.stage import list_stages, read_stage
from restage4d.evaluate.tradeoff import run_tradeoff
from restage4d.evaluate.workers import run_all
from restage4d.io.atomic import replacing
from restage4d.progress import Progress, TaskId

_BENCHMARKS = {
    "davis": run_real_pairs,
    "dycheck": dycheck.run_dycheck,
    "tapvid3d": tapvid3d.run_tapvid3d,
}
_SHOWN = {"baseline": "baseline", "full": "ours"}


@dataclass(frozen=True)
class Suite:
    """What is evaluated; exactly one of ``stage``, ``stages`` and ``benchmark`` is given.

    Attributes:
        out: folder for the results.
        stage: one stage. ``stages``: a folder of them.
        benchmark: a folder of clips in the ``layout`` "davis" (with BADJA's joints), "dycheck" or
            "tapvid3d".
        ablations: names in `restage4d.evaluate.ablations`; empty: all.
        noise: "clean" or "learned", of one stage's priors.
        seed: of noise and fits.
        settings: of every fit, each ``KEY=VALUE``.
        perceptual: where the weights of CLIP and LPIPS are.
        product: quality of the default path, which then runs on the stages in the place of the
            ablations; "" for those.
    """

    out: Path
    stage: Path | None
    stages: Path | None
    benchmark: Path | None
    layout: str
    ablations: list[str]
    noise: str
    seed: int
    settings: tuple[str, ...]
    perceptual: PerceptualWeights
    product: str = ""


def evaluate(suite: Suite, progress: Progress) -> None:
    """Does it, and writes results.json, tables and sheets into ``suite.out``. Raises `InputError`
    before work for what cannot be used."""
    out, seed, settings = suite.out, suite.seed, suite.settings
    if suite.benchmark:
        run = _BENCHMARKS[suite.layout]
        found = run(suite.benchmark, out, progress, settings)
        write_json(out / "results.json", {"format": runs.FORMAT, "runs": [], suite.layout: found})
        with replacing(out / f"{suite.layout}.md") as temporary:
            temporary.write_text(tables.write_benchmark(found), encoding="utf-8")
        return
    if suite.product:
        stages = suite.stage or suite.stages
        assert stages is not None
        records = run_products(stages, out, suite.product, settings, seed, progress)
        write_json(out / "results.json", {"format": runs.FORMAT, "runs": [], "product": records})
        return
    if suite.stage:
        todo = runs.list_runs(suite.stage, suite.ablations, suite.noise, seed, settings)
    else:
        assert suite.stages is not None
        todo = whole_set(suite.stages, suite.ablations, seed, settings)
    for run in todo:
        configure(run.ablation, settings, run.seed, 2)  # a wrong setting is said before work starts
    PerceptualMetrics(suite.perceptual)  # so are weights that cannot be read
    progress.expect([TaskId.FIT_STAGES, *([TaskId.TRADE_OFF] if suite.stages else [])])
    done: list[Record] = []
    for run, record in run_all(todo, out, suite.perceptual, progress):
        done.append(record)
        m = record["metrics"]
        print(
            f"{run.name}: held-out {m['view_psnr'] or 0:.2f} dB, L1 {m['track_l1']:.4f}, "
            f"{record['seconds']:.0f} s",
            flush=True,
        )
        _results(out, todo, done)
    records = _ordered(todo, done)
    curves: list[Record] = []
    if suite.stages:
        first = _first_of_each(suite.stages)
        for folder in first[:1]:
            curves += run_tradeoff(folder, out, seed, progress)
        plots.plot_tradeoff(out / "tradeoff.png", curves)
        plots.plot_ablations(out / "ablations.png", records)
        plots.plot_lemma(out / "lemma.png", records)
    _results(out, todo, records, curves)
    with replacing(out / "tables.md") as temporary:
        temporary.write_text(tables.write_tables(records), encoding="utf-8")
    _sheets(out, todo)
    print(f"{out / 'results.json'}, {out / 'tables.md'} and sheets of held-out views are there.")


def whole_set(folder: Path, names: list[str], seed: int, settings: tuple[str, ...]) -> list[Run]:
    """Every stage with learned priors, faults included; of each character's first stage a second
    seed and clean priors too."""
    folders = list_stages(folder)
    todo = [run for f in folders for run in runs.list_runs(f, names, "learned", seed, settings)]
    for f in _first_of_each(folder):
        todo += runs.list_runs(f, names, "learned", seed + 1, settings, faults=False)
        todo += runs.list_runs(f, names, "clean", seed, settings, faults=False)
    return todo


def _first_of_each(folder: Path) -> list[Path]:
    """The first stage of every character."""
    by_character: dict[str, Path] = {}
    for path in list_stages(folder):
        by_character.setdefault(read_stage(path).about["character"], path)
    return list(by_character.values())


def _ordered(todo: list[Run], records: list[Record]) -> list[Record]:
    key = {
        (r.stage.resolve().name, r.driving, r.faulty, r.noise, r.seed, r.ablation): i
        for i, r in enumerate(todo)
    }
    return sorted(
        records,
        key=lambda r: key[
            (r["stage"], r["driving"], r["faulty"], r["noise"], r["seed"], r["ablation"])
        ],
    )


def _results(
    out: Path, todo: list[Run], records: list[Record], curves: list[Record] | None = None
) -> None:
    write_json(
        out / "results.json",
        {"format": runs.FORMAT, "runs": _ordered(todo, records), "tradeoff": curves or []},
    )


def _sheets(out: Path, todo: list[Run]) -> None:
    """``sheet_STAGE_DRIVING.png``: truth | baseline | ours, of the first noise level and seed of
    every stage."""
    bench = Bench(out)
    shown: dict[tuple[Path, int], dict[str, Run]] = {}
    for run in todo:
        if not run.faulty and run.ablation in _SHOWN:
            shown.setdefault((run.stage, run.driving), {}).setdefault(run.ablation, run)
    for (folder, driving), found in shown.items():
        puppets = {_SHOWN[name]: bench.load_puppet(found[name]) for name in _SHOWN if name in found}
        truth = bench.get_stage(folder).driving[driving - 1]
        write_sheet(out / f"sheet_{folder.resolve().name}_{driving}.png", truth, puppets)
