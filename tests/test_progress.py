"""Progress: what the sink hears, the share of the whole, time left, cancelling. The clock is the
test's own."""

from pathlib import Path

import pytest

from restage4d import progress as module
from restage4d.errors import Cancelled
from restage4d.jobs.restaging import RestagingJob, expected_tasks, weigh_tracks
from restage4d.priors.tracks.flow_tracks import FlowTracks
from restage4d.progress import Event, Progress, TaskId


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
    with Progress(events.append).task(TaskId.FUSE, 10) as task:
        clock.now += 2.0
        task.advance(psnr=21.5)
        clock.now += 2.0
        task.advance(3)
    assert [(e.step, e.total, e.seconds, e.seconds_left) for e in events] == [
        (0, 10, 0.0, None),
        (1, 10, 2.0, pytest.approx(18.0)),
        (4, 10, 4.0, pytest.approx(6.0)),
        (10, 10, 4.0, 0.0),  # left early: what was not needed counts as done
    ]
    assert events[1].figures == {"psnr": 21.5}
    assert events[1].task is TaskId.FUSE


def test_a_resumed_task_counts_only_its_own_steps_for_the_time_left(clock) -> None:
    events: list[Event] = []
    with Progress(events.append).task(TaskId.FUSE, 100, start=90) as task:
        clock.now += 5.0
        task.advance(5)
        assert (events[-1].step, events[-1].seconds_left) == (95, pytest.approx(5.0))
    assert events[0].step == 90


def test_no_guess_in_the_first_half_second(clock) -> None:
    events: list[Event] = []
    with Progress(events.append).task(TaskId.FUSE, 10) as task:
        clock.now += 0.4
        task.advance()
    assert events[1].seconds_left is None


def test_the_sink_hears_at_most_ten_times_a_second_but_always_the_end(clock) -> None:
    events: list[Event] = []
    with Progress(events.append).task(TaskId.FUSE, 1000) as task:
        for _ in range(1000):
            clock.now += 0.001
            task.advance()
    assert len(events) <= 13
    assert events[-1].step == 1000
    assert events[-1].seconds_left == pytest.approx(0)


def test_cancelling_ends_the_next_step_and_the_next_task() -> None:
    stop = False
    progress = Progress(cancelled=lambda: stop)
    with progress.task(TaskId.FUSE, 10) as task:
        task.advance()
        stop = True
        with pytest.raises(Cancelled):
            task.advance()
        assert task.step == 2  # the step that was under way is counted
    with pytest.raises(Cancelled):
        progress.task(TaskId.FIGURES).__enter__()
    assert "figures" not in progress.seconds


def test_tasks_add_up_their_time_also_when_they_fail(clock) -> None:
    progress = Progress()
    for _ in range(2):
        with progress.task(TaskId.DECODE):
            clock.now += 1.5

    def fail() -> None:
        with progress.task(TaskId.FUSE):
            clock.now += 4.0
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert progress.seconds == {"decode": 3.0, "photometric fusion": 4.0}


def test_tasks_may_be_nested(clock) -> None:
    events: list[Event] = []
    progress = Progress(events.append)
    progress.expect([TaskId.MASKS])
    with progress.task(TaskId.MASKS, 2) as task:
        clock.now += 1
        task.advance()
        with progress.task(TaskId.OPTICAL_FLOW):
            clock.now += 2
    assert progress.seconds == {"masks": 3.0, "optical flow": 2.0}
    shares = [event.share for event in events]
    assert shares[:2] == [0.0, 0.5]
    assert 0.5 == shares[2] < shares[3] < shares[4] == 1.0


def test_a_task_of_nothing_does_not_divide_by_zero(clock) -> None:
    with Progress().task(TaskId.MASKS, 0) as task:
        clock.now += 1
        task.report()
        task.advance()


def test_a_task_that_is_not_in_the_table_is_an_error_at_once() -> None:
    with pytest.raises(TypeError, match=r"'masks' is no task: add it to .*TaskId"):
        Progress().task("masks").__enter__()  # type: ignore[arg-type]


def test_labels_are_unique_and_weights_positive() -> None:
    assert len({task.label for task in TaskId}) == len(TaskId)
    assert all(task.weight > 0 for task in TaskId)


@pytest.fixture
def round_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights to reckon with, whatever was measured last."""
    weights = {
        TaskId.CAMERAS: 8.0, TaskId.DEPTH: 8.0, TaskId.TRACKS: 4.0, TaskId.FUSE: 105.0,
        TaskId.FIGURES: 6.0,
    }  # fmt: skip
    for task, weight in weights.items():
        monkeypatch.setattr(task, "weight", weight)


def whole(events: list[Event]) -> list[float]:
    return [event.share for event in events]


def test_the_share_of_the_whole_goes_by_the_weights(clock, round_weights) -> None:
    events: list[Event] = []
    progress = Progress(events.append)
    tasks = [TaskId.CAMERAS, TaskId.DEPTH, TaskId.TRACKS]
    progress.expect(tasks)
    for task in tasks:
        with progress.task(task, 2) as running:
            for _ in range(2):
                clock.now += task.weight  # twice as slow as the weights say
                running.advance()
    assert whole(events) == pytest.approx([0, 0.2, 0.4, 0.4, 0.6, 0.8, 0.8, 0.9, 1.0])
    assert events[-1].share == 1.0
    assert [event.whole_seconds_left for event in events] == pytest.approx(
        [None, 32, 24, 24, 16, 8, 8, 4, 0]
    )


def test_a_task_that_is_lighter_than_usual_takes_a_smaller_share_and_less_time(
    clock, round_weights
) -> None:
    events: list[Event] = []
    progress = Progress(events.append)
    fuse = 16 / TaskId.FUSE.weight  # weighs 16 seconds, twice the cameras' 8
    progress.expect([TaskId.CAMERAS, TaskId.FUSE], {TaskId.FUSE: fuse})
    with progress.task(TaskId.CAMERAS) as task:
        clock.now += 8
        task.advance()
    assert events[-1].share == pytest.approx(1 / 3)
    assert events[-1].whole_seconds_left == pytest.approx(16)
    with progress.task(TaskId.FUSE, 2) as task:
        clock.now += 8
        task.advance()
    assert events[-2].share == pytest.approx(2 / 3)


def test_a_task_that_is_skipped_leaves_its_share_to_those_that_come(clock, round_weights) -> None:
    events: list[Event] = []
    progress = Progress(events.append)
    progress.expect([TaskId.CAMERAS, TaskId.FUSE, TaskId.DEPTH, TaskId.DEPTH])
    with progress.task(TaskId.CAMERAS):
        pass
    before = events[-1].share
    assert before == pytest.approx(8 / (24 + TaskId.FUSE.weight))
    with progress.task(TaskId.DEPTH):  # so there will be no fusion
        assert events[-1].share == before
    assert events[-1].share == pytest.approx((1 + before) / 2)
    with progress.task(TaskId.DEPTH):
        pass
    assert events[-1].share == 1.0


def test_a_task_that_nobody_expected_moves_the_share_too(clock, round_weights) -> None:
    events: list[Event] = []
    progress = Progress(events.append)
    progress.expect([TaskId.CAMERAS])
    with progress.task(TaskId.DEPTH):
        pass
    assert events[-1].share == pytest.approx(0.5)
    with progress.task(TaskId.CAMERAS):
        pass
    assert events[-1].share == 1.0
    with progress.task(TaskId.DEPTH):
        pass
    assert events[-1].share == 1.0


def test_work_that_begins_anew_does_not_take_the_share_back(clock) -> None:
    events: list[Event] = []
    progress = Progress(events.append)
    progress.expect([TaskId.MASKS])
    with progress.task(TaskId.MASKS, 4) as task:
        task.advance(3)
        task.step = 0  # memory ran out
        for _ in range(4):
            clock.now += 1
            task.advance()
    assert whole(events) == sorted(whole(events))
    assert whole(events)[1] == pytest.approx(0.75)
    assert 0.75 < events[-3].share < events[-2].share < 1.0 == events[-1].share


def test_what_is_done_already_takes_no_share(clock, round_weights) -> None:
    events: list[Event] = []
    progress = Progress(events.append)
    progress.expect([TaskId.FUSE, TaskId.FIGURES])
    steps, last = round(TaskId.FUSE.weight), round(TaskId.FIGURES.weight)
    with progress.task(TaskId.FUSE, steps, start=steps - last) as task:
        task.advance(last)
    assert events[-1].share == pytest.approx(0.5)  # as many seconds of either


def test_waiting_for_another_job_tells_no_time_left_and_takes_none(clock, round_weights) -> None:
    events: list[Event] = []
    progress = Progress(events.append)
    progress.expect([TaskId.CAMERAS, TaskId.DEPTH])
    with progress.task(TaskId.CAMERAS):
        clock.now += 8
    with progress.task(TaskId.WAIT) as waiting:
        clock.now += 1000
        waiting.report()
    assert [event.whole_seconds_left for event in events[-3:]] == [None] * 3
    with progress.task(TaskId.DEPTH, 2) as task:
        clock.now += 4
        task.advance()
    assert events[-2].whole_seconds_left == pytest.approx(4, rel=0.02)
    assert progress.seconds[TaskId.WAIT.label] == 1000


# Seconds of the demo's tasks as they came, default quality, two cores with little beside it; those
# without a task come in between. A slower computer is as much slower in all of them.
RECORDED = [
    (TaskId.DECODE, 0.1), (TaskId.OPTICAL_FLOW, 1.4), (TaskId.SELECT, 5.8),
    (TaskId.EMPTY_STAGE, 2.8), (TaskId.DRAW_DRIVING, 2.1), (TaskId.OPTICAL_FLOW, 2.6),
    (TaskId.MASKS, 12.5), (TaskId.BACKGROUND_POINTS, 2.2), (TaskId.CAMERAS, 15.2),
    (TaskId.DEPTH, 6.6), (TaskId.TRACKS, 0.1), (None, 1.5), (TaskId.ALIGN_DEPTH, 4.4), (None, 1.0),
    (TaskId.FIT_MOTION, 16.7), (TaskId.SEED_GAUSSIANS, 2.6), (TaskId.FUSE, 147.5),
    (TaskId.JOIN_PIECES, 15.0), (None, 1.0),
    (TaskId.FIGURES, 5.2), (TaskId.WRITE_SPLATS, 0.5), (TaskId.PREVIEW, 3.6),
    (TaskId.WRITE_BLEND, 9.9),
]  # fmt: skip


@pytest.mark.parametrize("slower", [1.0, 3.0])
def test_time_left_is_right_after_the_first_minute(clock, slower) -> None:
    job = RestagingJob(Path("base.mp4"), "it nods", Path("out"))
    told: list[tuple[float, float]] = []
    progress = Progress(lambda e: told.append((clock.now, e.whole_seconds_left or 0.0)))
    progress.expect(expected_tasks(job, blend=True), weigh_tracks(FlowTracks()))
    begun = clock.now
    for task, seconds in RECORDED:
        if task is None:
            clock.now += slower * seconds
            continue
        with progress.task(task, 200) as running:
            for _ in range(200):
                clock.now += slower * seconds / 200
                running.advance()
    late = [(left, clock.now - now) for now, left in told if now - begun > 60]
    assert len(late) > 100
    wrong = [(left, true) for left, true in late if abs(left - true) > max(0.2 * true, 3 * slower)]
    assert wrong == []
