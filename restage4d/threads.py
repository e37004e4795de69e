"""How threads wait, for the processes that are Restage4D's own, and work that all cores share."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def let_waiting_threads_sleep() -> None:
    """Lets threads that wait sleep instead of spin, in this process and those it starts, unless the
    environment says otherwise. Called before torch or numba is loaded: OpenMP reads this once.

    Beside a busy Blender a spinning fit runs five times slower (two cores and a load of 7: 8 s
    against 47 s). Importing restage4d does not do this: a library leaves the environment alone.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def count_cores() -> int:
    """Cores that one job may keep busy: OMP_NUM_THREADS, as torch takes it, or all there are."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) > 0 else os.cpu_count() or 1


def map_on_cores(
    function: Callable[[T], R], items: Iterable[T], advance: Callable[[], None] = lambda: None
) -> list[R]:
    """``[function(item) for item in items]`` with the items shared out to the cores; ``advance`` is
    called in this thread for each that is done, in order.

    For functions that let other threads run: those of OpenCV, numpy and scipy on arrays, and
    kernels with ``nogil``. Kernels with ``parallel`` must not run several times at once. What one
    raises is raised here, and what has not begun is left out.
    """
    done, cores = [], count_cores()

    def take(results: Iterable[R]) -> list[R]:
        for result in results:
            done.append(result)
            advance()
        return done

    if cores < 2:
        return take(map(function, items))
    with ThreadPoolExecutor(cores, "core") as pool:
        return take(pool.map(function, items))


def iterate_on_cores(
    function: Callable[[T], R], items: Iterable[T], begin: Callable[[], None] = lambda: None
) -> Iterator[R]:
    """What `map_on_cores` gives, one after the other, each worked out shortly before it is taken,
    so that no more than the cores can work at are held. ``begin`` is called once in every thread.
    """
    cores = count_cores()
    if cores < 2:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(cores, "core", initializer=begin) as pool:
        ahead: deque[Future[R]] = deque()
        for item in items:
            ahead.append(pool.submit(function, item))
            if len(ahead) > cores:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
