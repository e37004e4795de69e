# SPDX-License-Identifier: GPL-3.0-or-later
"""Long work as generators that yield (steps done, steps in all) and return what they made; closed
early, they undo it.

Who runs them decides how many steps are taken at a time: `operators.stepped.Stepped` in a window,
`drain` everywhere else. Needs no Blender.
"""

import threading
from collections.abc import Callable, Generator
from typing import TypeVar

T = TypeVar("T")
Steps = Generator[tuple[int, int], None, T]

_PATIENCE = 0.01  # seconds that a step waits for a thread


def drain(steps: Steps[T]) -> T:
    """All steps at once; returns what they made."""
    try:
        while True:
            next(steps)
    except StopIteration as end:
        return end.value
    finally:
        steps.close()


def in_thread(at: tuple[int, int], do: Callable[[], T]) -> Steps[T]:
    """Work that needs no Blender, in a thread; yields ``at`` until it is done. Raises what it
    raises.

    Closed early, it waits for the thread and drops what that made: who cleans up afterwards must
    not race it.
    """
    made: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            made.append(do())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="restage4d steps", daemon=True)
    thread.start()
    try:
        yield at
        while thread.is_alive():
            thread.join(_PATIENCE)
            yield at
    finally:
        thread.join()
    if failed:
        raise failed[0]
    return made[0]
