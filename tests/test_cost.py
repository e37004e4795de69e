"""The operations that a step of the fit sends to torch, held to the run that the repository keeps,
and the bench that also times them (`scripts/bench.py`): times are not held, for they say more of
the machine."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path[:0] = [str(SCRIPTS), str(SCRIPTS / "benchmarks")]

_BEFORE = dict(os.environ)
import bench  # noqa: E402
import workloads  # noqa: E402

_AFTER = dict(os.environ)


def test_workloads_send_no_more_operations_than_they_did(tmp_path):
    kept, out = bench.read_kept(), tmp_path / "costs.json"
    # in a process of its own, which alone decides how many threads numpy's libraries have
    command = [sys.executable, str(SCRIPTS / "bench.py"), "--json", str(out)]
    subprocess.run(command, check=True, capture_output=True, timeout=200)
    costs = {name: bench.Cost(**cost) for name, cost in json.loads(out.read_text()).items()}
    assert costs.keys() == kept.keys()
    for name, cost in costs.items():
        assert cost.operations <= kept[name].operations, name
        assert cost.milliseconds > 0, name
    assert costs["fusion step"].operations <= 150


def test_importing_the_bench_leaves_the_environment_alone():
    names = [n for n in _AFTER if n.endswith("_NUM_THREADS")]
    assert {n: _AFTER[n] for n in names} == {n: _BEFORE[n] for n in names if n in _BEFORE}


def test_operations_are_counted_backwards_too_and_views_apart():
    x = torch.ones(3, requires_grad=True)

    def work():
        (x.view(3, 1) * 2).sum().backward()

    computing, everything = workloads.count_operations(work)
    # forwards: multiply, add up, start the gradient; backwards: multiply
    assert computing >= 3
    assert everything > computing


def test_the_table_compares_with_the_kept_run():
    cost = bench.Cost(10, 20, 5.0, 2.0)
    table = bench.make_table({"a": cost, "b": cost}, {"a": replace(cost, ratio=1.0)})
    assert "+100 %" in table.splitlines()[2]
    assert "(-)" in table.splitlines()[3]


def test_growth_is_plotted(tmp_path, monkeypatch, capsys):
    small = partial(
        workloads.Size, frames=8, subject=120, background=160, bases=4, width=64, height=36
    )
    monkeypatch.setattr(workloads, "Size", small)
    bench.plot_growth(tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 5000
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["frames", "Gaussians", "bases", "pixels"]
