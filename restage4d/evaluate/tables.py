"""Tables in Markdown from the records of runs: the paper's Table 1 and 2, Lemma 1, faults, every
scene by itself."""

from collections.abc import Iterable

import numpy as np

from restage4d.evaluate.ablations import ABLATIONS, TABLE_1, TABLE_2
from restage4d.evaluate.runs import Record

_TABLE_1 = (
    ("PSNR", "psnr", 2),
    ("subject PSNR", "psnr_subject", 2),
    ("held-out PSNR", "view_psnr", 2),
    ("held-out SSIM", "view_ssim", 3),
    ("held-out LPIPS", "view_lpips", 3),
    ("OCV CLIP", "ocv_clip", 2),
    ("volume C", "volume_consistency", 2),
    ("volume CV", "volume_cv", 4),
    ("edge C", "edge_consistency", 2),
    ("edge CV", "edge_cv", 4),
)
_TABLE_2 = (
    ("L1 all", "track_l1", 4),
    ("visible", "track_l1_visible", 4),
    ("hidden", "track_l1_hidden", 4),
    ("revealed", "track_l1_revealed", 4),
    ("median all", "track_l1_median", 4),
    ("Sim(3) all", "track_l1_sim3", 4),
    ("3D-AJ", "3d_aj", 3),
    ("APD", "apd", 3),
    ("OA", "oa", 3),
    ("edge CV of the surface, ours / truth", "surface_edge_ratio", 2),
)
_FAULTS = (
    ("error", "fault_error", 4),
    ("driving video's own", "fault_error_video", 4),
    ("ratio", "fault_ratio", 2),
)


def write_benchmark(records: list[Record]) -> str:
    """One row per sequence and their mean, a column per figure."""
    names = list(dict.fromkeys(name for r in records for name in r["metrics"]))
    rows = [(r["sequence"], [r["metrics"].get(name) for name in names]) for r in records]
    means = []
    for column in zip(*(values for _, values in rows), strict=True):
        finite = [v for v in column if v is not None]
        means.append(float(np.mean(finite)) if finite else None)
    lines = ["| sequence | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for name, values in [*rows, ("mean", means)]:
        cells = ["" if v is None else f"{v:.4g}" for v in values]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def write_tables(records: Iterable[Record]) -> str:
    """All tables that the records give."""
    rows = list(records)
    groups = sorted(
        {(r["noise"], r["seed"]) for r in rows if not r["faulty"]},
        key=lambda g: (g[0] != "learned", g[1]),
    )
    parts = []
    for noise, seed in groups:
        some = [r for r in rows if not r["faulty"] and (r["noise"], r["seed"]) == (noise, seed)]
        scenes = sorted({name_scene(r) for r in some})
        about = (
            f"{noise} priors, seed {seed}, {len(scenes)} scene{'s' * (len(scenes) > 1)}: "
            f"{', '.join(scenes)}"
        )
        parts += [f"### Table 1 ({about})", _tabulate_means(some, TABLE_1, _TABLE_1)]
        parts += [f"### Table 2 ({about})", _tabulate_means(some, TABLE_2, _TABLE_2)]
        parts += [
            "### Lemma 1: variance of pairwise distances in the driving part",
            _tabulate_lemma(some),
        ]
        if len(scenes) > 1:
            parts += [f"### Every scene ({noise}, seed {seed})", _tabulate_scenes(some)]
    faulty = [r for r in rows if r["faulty"]]
    if faulty:
        parts += [
            "### Fault correction (mean absolute colour error of the subject on faulty frames, "
            "against the clean truth)"
        ]
        parts += [
            _tabulate_by_scene(
                faulty, [n for n in ABLATIONS if any(r["ablation"] == n for r in faulty)], _FAULTS
            )
        ]
    return "\n\n".join(parts) + "\n"


def name_scene(record: Record) -> str:
    """A stage's name, with the number of its driving clip where that is not the first."""
    return record["stage"] + (f" ({record['driving']})" if record["driving"] > 1 else "")


def collect_values(records: Iterable[Record], ablation: str, metric: str) -> dict[str, float]:
    """A metric of an ablation by scene, where it is there."""
    found = {name_scene(r): r["metrics"].get(metric) for r in records if r["ablation"] == ablation}
    return {name: value for name, value in found.items() if value is not None}


def _tabulate_means(rows: list[Record], names: Iterable[str], columns: tuple) -> str:
    """Mean ± standard deviation over scenes, one row per ablation."""
    shown = [c for c in columns if any(collect_values(rows, n, c[1]) for n in names)]
    lines = [["", *(title for title, _, _ in shown)]]
    for name in names:
        found = [list(collect_values(rows, name, metric).values()) for _, metric, _ in shown]
        if any(found):
            cells = [
                _format_spread(v, digits) for v, (_, _, digits) in zip(found, shown, strict=True)
            ]
            lines.append([ABLATIONS[name].title, *cells])
    return format_markdown(lines)


def _tabulate_lemma(rows: list[Record]) -> str:
    lines = [
        [
            "scene",
            "truth",
            "Baseline",
            "+Joint",
            "+ARAP",
            "+Joint +ARAP",
            "lower with the base clip",
        ]
    ]
    for name in sorted({name_scene(r) for r in rows}):
        here = [r for r in rows if name_scene(r) == name]
        v = {
            a: collect_values(here, a, "distance_variance").get(name)
            for a in ("baseline", "joint", "arap", "joint_arap")
        }
        true = next((r["metrics"]["distance_variance_true"] for r in here), None)
        pairs = [(v["baseline"], v["joint"]), (v["arap"], v["joint_arap"])]
        lower = ["yes" if b < a else "no" for a, b in pairs if a is not None and b is not None]
        cells = [
            f"{1e4 * x:.2f}" if x is not None else ""
            for x in (true, *(v[a] for a in ("baseline", "joint", "arap", "joint_arap")))
        ]
        lines.append([name, *cells, ", ".join(lower)])
    return (
        format_markdown(lines)
        + "\n\nIn 1e-4 squared extents; the last column says it without and with rigidity."
    )


def _tabulate_scenes(rows: list[Record]) -> str:
    columns = (
        _TABLE_1[0],
        _TABLE_1[2],
        ("volume CV", "volume_cv", 4),
        ("edge CV", "edge_cv", 4),
        *_TABLE_2[:3],
        _TABLE_2[-1],
    )
    return _tabulate_by_scene(rows, list(ABLATIONS), columns)


def _tabulate_by_scene(rows: list[Record], names: list[str], columns: tuple) -> str:
    lines = [["scene", "", *(title for title, _, _ in columns)]]
    for where in sorted({(name_scene(r), r["noise"], r["seed"]) for r in rows}):
        for name in names:
            found = [
                r
                for r in rows
                if (name_scene(r), r["noise"], r["seed"]) == where and r["ablation"] == name
            ]
            if found:
                metrics = found[0]["metrics"]
                cells = [
                    "" if metrics.get(m) is None else f"{metrics[m]:.{digits}f}"
                    for _, m, digits in columns
                ]
                lines.append([where[0], ABLATIONS[name].title, *cells])
    return format_markdown(lines)


def _format_spread(found: list[float], digits: int) -> str:
    if not found:
        return ""
    mean = f"{np.mean(found):.{digits}f}"
    return mean if len(found) == 1 else f"{mean} ± {np.std(found):.{digits}f}"


def format_markdown(lines: list[list[str]]) -> str:
    """A Markdown table; the first line is its head."""
    head, *rest = lines
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rest))
