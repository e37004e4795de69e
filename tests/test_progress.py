"""Progress: what the sink hears, time left, cancelling. The clock is the test's own."""

import pytest

from restage4d import progress as module
from restage4d.errors import Cancelled
from restage4d.progress import Event, Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch):
    class Clock:
        now = 100.0

        def perf_counter(self) -> float:
            return self.now

    it = Clock()
    monkeypatch.setattr(module, "time", it)
    return it


def test_time_left_is_for_the_steps_that_remain(clock) -> None:
    events: list[Event] = []
    with Progress(events.append).stage("fit", 10) as stage:
        clock.now += 2.0
        stage.advance(psnr=21.5)
        clock.now += 2.0
        stage.advance(3)
    assert [(e.step, e.total, e.seconds, e.seconds_left) for e in events] == [
        (0, 10, 0.0, None),
        (1, 10, 2.0, pytest.approx(18.0)),
        (4, 10, 4.0, pytest.approx(6.0)),
    ]
    assert events[1].figures == {"psnr": 21.5}
    assert events[1].stage == "fit"


def test_a_resumed_stage_counts_only_its_own_steps_for_the_time_left(clock) -> None:
    events: list[Event] = []
    with Progress(events.append).stage("fit", 100, start=90) as stage:
        clock.now += 5.0
        stage.advance(5)
    assert events[0].step == 90
    assert (events[-1].step, events[-1].seconds_left) == (95, pytest.approx(5.0))


def test_no_guess_in_the_first_half_second(clock) -> None:
    events: list[Event] = []
    with Progress(events.append).stage("fit", 10) as stage:
        clock.now += 0.4
        stage.advance()
    assert events[-1].seconds_left is None


def test_the_sink_hears_at_most_ten_times_a_second_but_always_the_end(clock) -> None:
    events: list[Event] = []
    with Progress(events.append).stage("fit", 1000) as stage:
        for _ in range(1000):
            clock.now += 0.001
            stage.advance()
    assert len(events) <= 13
    assert events[-1].step == 1000
    assert events[-1].seconds_left == pytest.approx(0)


def test_cancelling_ends_the_next_step_and_the_next_stage() -> None:
    stop = False
    progress = Progress(cancelled=lambda: stop)
    with progress.stage("fit", 10) as stage:
        stage.advance()
        stop = True
        with pytest.raises(Cancelled):
            stage.advance()
    assert stage.step == 2  # the step that was under way is counted
    with pytest.raises(Cancelled):
        progress.stage("next").__enter__()
    assert "next" not in progress.seconds


def test_stages_add_up_their_time_also_when_they_fail(clock) -> None:
    progress = Progress()
    for _ in range(2):
        with progress.stage("decode"):
            clock.now += 1.5

    def fail() -> None:
        with progress.stage("fit"):
            clock.now += 4.0
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert progress.seconds == {"decode": 3.0, "fit": 4.0}


def test_stages_may_be_nested(clock) -> None:
    progress = Progress()
    with progress.stage("all"):
        clock.now += 1
        with progress.stage("part"):
            clock.now += 2
    assert progress.seconds == {"all": 3.0, "part": 2.0}


def test_a_stage_of_nothing_does_not_divide_by_zero(clock) -> None:
    with Progress().stage("empty", 0) as stage:
        clock.now += 1
        stage.tell()
        stage.advance()
