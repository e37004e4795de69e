"""Work that all cores share."""

import threading

import pytest

from restage4d.threads import count_cores, map_on_cores


def test_results_come_in_order_and_each_is_told_in_the_callers_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert count_cores() == 3
    met, told = threading.Barrier(3, timeout=20), []

    def work(i: int) -> int:
        met.wait()  # nobody gets past here alone
        return 2 * i

    results = map_on_cores(work, range(6), lambda: told.append(threading.current_thread()))
    assert results == [0, 2, 4, 6, 8, 10]
    assert told == [threading.current_thread()] * 6


def test_an_exception_ends_the_work(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    begun = []

    def work(i: int) -> None:
        begun.append(i)
        raise ValueError(i)

    with pytest.raises(ValueError, match="0"):
        map_on_cores(work, range(1000))
    assert len(begun) < 1000


def test_one_core_has_no_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert map_on_cores(lambda _: threading.current_thread(), [0]) == [threading.current_thread()]
