"""Work that all cores share."""

import threading

import pytest

from restage4d.threads import count_cores, iterate_on_cores, map_on_cores


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


def test_what_is_iterated_is_made_shortly_before(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    met, begun, ready = threading.Barrier(3, timeout=20), [], []

    def work(i: int) -> int:
        begun.append(i)
        met.wait()  # nobody gets past here alone
        return 2 * i

    results = iterate_on_cores(work, range(9), lambda: ready.append(threading.current_thread()))
    assert next(results) == 0
    assert max(begun) <= 3, "no more than one a core is worked at ahead of the reader"
    assert list(results) == [2, 4, 6, 8, 10, 12, 14, 16]
    assert len(set(ready)) == 3


@pytest.mark.parametrize("cores", ["1", "2"])
def test_an_exception_comes_in_its_turn(monkeypatch, cores):
    monkeypatch.setenv("OMP_NUM_THREADS", cores)
    results = iterate_on_cores(lambda i: 6 // (2 - i), range(4))
    assert [next(results), next(results)] == [3, 6]
    with pytest.raises(ZeroDivisionError):
        next(results)
