"""What a step of the fit costs, held to the run that the repository keeps (`scripts/bench.py`)."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path[:0] = [str(SCRIPTS), str(SCRIPTS / "benchmarks")]

import bench  # noqa: E402
import workloads  # noqa: E402

_SLOWER = 1.6  # times the kept ratio to the yardstick: other machines have other caches


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_workloads_cost_no_more_than_they_did():
    kept = bench.read_kept()
    for name, (work, visits) in workloads.list_workloads().items():
        work()
        operations = workloads.count_operations(work)[0] / visits
        assert operations <= kept[name].operations, name
        for _ in range(3):  # another program may have had the cache all the time
            ratio = workloads.measure(work)[1] / visits
            if ratio <= _SLOWER * kept[name].ratio:
                break
        assert ratio <= _SLOWER * kept[name].ratio, name
    assert kept["fusion step"].operations <= 150


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
