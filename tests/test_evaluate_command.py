"""`restage4d evaluate`: results, tables and sheets of a stage, and what it says of bad input."""

import json
from pathlib import Path

import pytest
from stages import QUICK, write_stage

from restage4d.cli import main
from restage4d.evaluate import ablations, tables
from restage4d.evaluate.runs import Run, list_runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("stages") / "blocks"
    write_stage(folder, faults=True)
    return folder


def test_command_makes_results_tables_and_sheets(folder, tmp_path, capsys):
    out = tmp_path / "out"
    settings = [word for s in QUICK for word in ("--set", s)]
    command = [
        "evaluate",
        "--stage",
        str(folder),
        "--ablation",
        "baseline",
        "full",
        "--out",
        str(out),
        *settings,
    ]
    assert main.main(command) == 0
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert [(r["ablation"], r["faulty"]) for r in results["runs"]] == [
        ("baseline", False), ("full", False), ("baseline", True), ("full", True),
    ]  # fmt: skip
    for r in results["runs"]:
        assert r["seed"] == 0
        assert r["seconds"] > 0
        assert r["metrics"]["track_l1"] > 0
    faulty = results["runs"][-1]["metrics"]
    assert faulty["fault_ratio"] == pytest.approx(
        faulty["fault_error"] / faulty["fault_error_video"]
    )
    text = (out / "tables.md").read_text(encoding="utf-8")
    for word in (
        "Table 1",
        "Table 2",
        "Lemma 1",
        "Fault correction",
        "Baseline (driving clip alone)",
    ):
        assert word in text
    assert (out / "sheet_blocks_1.png").stat().st_size > 1000
    before = (out / "runs" / f"{Run(folder, 1, 'full').name}.json").stat().st_mtime_ns
    assert main.main(command) == 0  # everything is there: nothing is fitted again
    assert (out / "runs" / f"{Run(folder, 1, 'full').name}.json").stat().st_mtime_ns == before
    capsys.readouterr()


def test_product_runs_the_default_path_and_judges_it(folder, tmp_path, capsys):
    """From a click and two videos: nothing of the stage's truth is handed in."""
    out = tmp_path / "out"
    quick = ("fusion.steps=30", "motion.steps=30", "motion.n_bases=8")
    command = ["evaluate", "--stage", str(folder), "--product", "draft", "--out", str(out)]
    command += [word for s in quick for word in ("--set", s)]
    assert main.main(command) == 0
    (record,) = json.loads((out / "results.json").read_text(encoding="utf-8"))["product"]
    assert record["quality"] == "draft"
    metrics = record["metrics"]
    assert metrics["iou_beside"] > 0.3  # the film camera once more, here
    assert metrics["mask_iou"] > 0.3
    assert metrics["psnr_empty"] < metrics["psnr_flat"]
    assert 0.5 < metrics["unity"] <= 1
    assert "| blocks |" in (out / "product.md").read_text(encoding="utf-8")
    kept = out / "product" / "blocks_1.json"
    assert kept.with_suffix(".png").stat().st_size > 1000
    before = kept.stat().st_mtime_ns
    assert main.main(command) == 0  # it is there: nothing is fitted again
    assert kept.stat().st_mtime_ns == before
    capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--davis", "{empty}", "--product"], "--product runs on stages"),
        (["--stages", "{empty}", "--product"], "holds no stages"),
        (["--stage", "{stage}", "--product", "--set", "rigidity.weight=1"], "no setting 'weight'"),
        (["--stage", "{stage}", "--ablation", "none"], "There is no ablation 'none'"),
        (["--stage", "{empty}"], "is not a finished stage"),
        (["--stages", "{empty}"], "holds no stages"),
        (["--stage", "{stage}", "--set", "rigidity.weight=1"], "no setting 'weight'"),
        (["--stage", "{stage}", "--clip", "{empty}"], "holds no CLIP model"),
        (["--davis", "{empty}"], "no sequence with joints"),
        (["--davis", "{empty}", "--set", "rigidity.weight=1"], "no setting 'weight'"),
    ],
)
def test_bad_input_is_said(folder, tmp_path, capsys, words, says):
    words = [w.format(stage=folder, empty=tmp_path) for w in words]
    assert main.main(["evaluate", *words, "--out", str(tmp_path / "out")]) == 1
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out" / "results.json").exists()


def test_tables_of_known_records():
    def record(stage: str, ablation: str, **metrics: float) -> dict:
        return {
            "stage": stage,
            "driving": 1,
            "ablation": ablation,
            "noise": "learned",
            "seed": 0,
            "faulty": False,
            "metrics": metrics,
        }

    rows = [
        record("a", "baseline", psnr=20.0, distance_variance=2e-4, distance_variance_true=1e-4),
        record("b", "baseline", psnr=22.0, distance_variance=2e-4, distance_variance_true=1e-4),
        record("a", "joint", psnr=21.0, distance_variance=1e-4, distance_variance_true=1e-4),
        record("b", "joint", psnr=21.0, distance_variance=3e-4, distance_variance_true=1e-4),
    ]
    text = tables.write_tables(rows)
    assert "| Baseline (driving clip alone) | 21.00 ± 1.00 |" in text
    assert "| +Joint | 21.00 ± 0.00 |" in text
    assert "| a | 1.00 | 2.00 | 1.00 |  |  | yes |" in text
    assert "| b | 1.00 | 2.00 | 3.00 |  |  | no |" in text


def test_runs_of_a_stage(folder):
    runs = list_runs(folder, [], "learned", 0)
    assert len(runs) == len(ablations.ABLATIONS) + len(ablations.FAULTS)
    assert len({r.name for r in runs}) == len(runs)
