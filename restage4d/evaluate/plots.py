"""Plots of records as PNG (needs matplotlib, in the extra "evaluate")."""

from pathlib import Path

import numpy as np

from restage4d.errors import InputError
from restage4d.evaluate.ablations import TABLE_1
from restage4d.evaluate.runs import Record
from restage4d.evaluate.tables import collect_values, name_scene
from restage4d.io.atomic import replacing


def _pyplot():
    try:
        import matplotlib
    except ImportError as error:
        raise InputError("Plots need matplotlib.", "Install restage4d[evaluate].") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def plot_tradeoff(path: Path, records: list[Record]) -> None:
    """Supplement Fig. 1: for every number of bases a curve over the weight of rigidity, how much
    edges vary against the error."""
    plt = _pyplot()
    stages = sorted({r["stage"] for r in records})
    figure, axes = plt.subplots(1, len(stages), figsize=(5.2 * len(stages), 4.2), squeeze=False)
    for axis, name in zip(axes[0], stages, strict=True):
        some = [r for r in records if r["stage"] == name]
        for k in sorted({r["n_bases"] for r in some}):
            line = sorted((r for r in some if r["n_bases"] == k), key=lambda r: r["weight"])
            x = [r["metrics"]["surface_edge_cv"] for r in line]
            y = [r["metrics"]["track_l1"] for r in line]
            axis.plot(x, y, "o-", label=f"K = {k}", markersize=4)
            for r, a, b in zip(line, x, y, strict=True):
                axis.annotate(
                    f"{r['weight']:g}",
                    (a, b),
                    fontsize=7,
                    xytext=(3, 3),
                    textcoords="offset points",
                )
        true = some[0]["metrics"]["surface_edge_cv_true"]
        axis.axvline(true, color="grey", linestyle=":", label="truth's own")
        axis.set(title=name, xlabel="variation of edge lengths", ylabel="3D track L1 / extent")
        axis.legend(fontsize=8)
    _save(figure, path)


def plot_ablations(path: Path, records: list[Record]) -> None:
    """Table 1 as bars: one group per figure, one bar per ablation, a dot per scene."""
    plt = _pyplot()
    rows = [r for r in records if not r["faulty"] and r["noise"] == "learned" and r["seed"] == 0]
    shown = (
        ("psnr", "train PSNR"),
        ("view_psnr", "held-out PSNR"),
        ("edge_consistency", "edge C"),
        ("track_l1_hidden", "L1 hidden"),
    )
    figure, axes = plt.subplots(1, len(shown), figsize=(3.4 * len(shown), 3.6))
    for axis, (metric, title) in zip(axes, shown, strict=True):
        for i, name in enumerate(TABLE_1):
            found = list(collect_values(rows, name, metric).values())
            if found:
                axis.bar(i, np.mean(found), color=f"C{i}", alpha=0.6)
                axis.plot(np.full(len(found), i), found, "k.", markersize=4)
        axis.set_xticks(range(len(TABLE_1)), TABLE_1, rotation=40, fontsize=8)
        axis.set_title(title, fontsize=10)
        heights = [v for n in TABLE_1 for v in collect_values(rows, n, metric).values()]
        if heights and min(heights) > 0 and "psnr" in metric:
            axis.set_ylim(min(heights) - 1)
    _save(figure, path)


def plot_lemma(path: Path, records: list[Record]) -> None:
    """Lemma 1: variance of pairwise distances in the driving part by scene, with and without the
    base clip."""
    plt = _pyplot()
    rows = [r for r in records if not r["faulty"] and r["noise"] == "learned" and r["seed"] == 0]
    scenes = sorted({name_scene(r) for r in rows})
    figure, axis = plt.subplots(figsize=(1.6 + 1.3 * len(scenes), 3.6))
    for i, name in enumerate(("baseline", "joint", "arap", "joint_arap")):
        found = collect_values(rows, name, "distance_variance")
        axis.bar(
            np.arange(len(scenes)) + 0.18 * i, [found.get(s, 0) for s in scenes], 0.17, label=name
        )
    true = {name_scene(r): r["metrics"]["distance_variance_true"] for r in rows}
    axis.plot(
        np.arange(len(scenes)) + 0.27, [true[s] for s in scenes], "k_", markersize=40, label="truth"
    )
    axis.set_xticks(np.arange(len(scenes)) + 0.27, scenes, fontsize=8)
    axis.set_ylabel("variance of distances / extent²")
    axis.legend(fontsize=8)
    _save(figure, path)


def _save(figure, path: Path) -> None:
    figure.tight_layout()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
    _pyplot().close(figure)
