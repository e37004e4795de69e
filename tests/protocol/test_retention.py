"""What the service keeps, under clocks that run, jump and lie."""

import logging
import os
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from backend import retention
from backend.jobs.job_table import JobTable
from backend.retention import DAY_S, Retention
from backend.settings import ServiceSettings
from backend.store.content_store import Store
from restage4d.errors import InputError
from restage4d.protocol.messages import ENDED, Limits, Submit
from restage4d.protocol.transfer import PACKED, PackedFile


@dataclass
class Service:
    """A service's folder, swept under clocks that the test sets."""

    home: Path
    settings: ServiceSettings = field(default_factory=ServiceSettings)
    wall: float = 1.8e9
    monotonic: float = 500.0

    def __post_init__(self) -> None:
        self.jobs, self.store = JobTable(self.home / "jobs.sqlite"), Store(self.home / "store")
        self.start()

    def start(self, **settings: float) -> None:
        self.settings = replace(self.settings, **settings)
        self.retention = Retention(
            self.jobs,
            self.store,
            self.home / "jobs",
            self.home / "ages.json",
            self.settings,
            wall=lambda: self.wall,
            monotonic=lambda: self.monotonic,
        )

    def add_content(self, size: int = 1000) -> str:
        (self.home / "f").write_bytes(os.urandom(size))
        return self.store.add(self.home / "f")[0]

    def add_job(self, number: int, *, ended: bool) -> str:
        """Returns its video's content."""
        content = self.add_content()
        spec = Submit(key=f"{number:032x}", base=content, prompt="p")
        self.jobs.add("local", spec, 100)
        if ended:
            self.jobs.change_state(spec.key, ("queued",), "cancelled")
        (self.home / "jobs" / spec.key).mkdir(parents=True, exist_ok=True)
        return content

    def sweep_after(self, days: float) -> None:
        self.wall += days * DAY_S
        self.monotonic += days * DAY_S
        self.retention.sweep()

    def left(self) -> set[int]:
        return {int(job.id, 16) for job in self.jobs.list()}


@pytest.fixture
def service(tmp_path) -> Service:
    return Service(tmp_path)


def test_by_age_and_by_size_the_oldest_first(service):
    contents = []
    for i in range(2):
        contents.append(service.add_job(i, ended=True))
        service.sweep_after(1)
    contents.append(service.add_job(2, ended=False))
    service.sweep_after(1)
    assert service.left() == {0, 1, 2}
    service.start(keep_gigabytes=2.5e-6)
    service.sweep_after(0)
    assert service.left() == {1, 2}
    assert service.store.size(contents[0]) is None
    assert not (service.home / "jobs" / f"{0:032x}").exists()
    assert (service.home / "jobs" / f"{1:032x}").exists()
    service.sweep_after(28.5)
    assert service.left() == {1, 2}
    service.sweep_after(1)  # it was first seen 30.5 days ago
    assert service.left() == {2}
    service.sweep_after(3000)
    assert service.store.size(contents[2]) == 1000, "a queued job's video went"
    assert service.left() == {2}


def test_frames_of_a_folder_stay_with_their_job(service):
    """Of a folder that is brought after the first sweep, too, and for as long as the job is."""
    frames = [service.add_content() for _ in range(2)]
    packed = PACKED + msgspec.msgpack.encode([PackedFile(".png", frame) for frame in frames])
    (service.home / "packed").write_bytes(packed)
    folder = sha256(packed).hexdigest()
    service.jobs.add("local", Submit(key=f"{0:032x}", base=folder, prompt="p"), 100)
    service.sweep_after(1)
    assert service.store.add(service.home / "packed")[0] == folder
    for _ in range(3):
        service.sweep_after(40)
        assert [service.store.size(frame) for frame in frames] == [1000, 1000]
    service.jobs.change_state(f"{0:032x}", ("queued",), "cancelled")
    service.sweep_after(1)
    service.sweep_after(31)
    assert service.left() == set()
    assert [service.store.size(c) for c in (*frames, folder)] == [None] * 3


def test_a_clock_that_is_put_forward_makes_nothing_old(service, caplog):
    contents = [service.add_job(i, ended=True) for i in range(3)]
    upload = service.add_content()
    (service.store.partial / "half.part").write_bytes(b"half an upload")
    (service.home / "jobs" / "lost").mkdir()
    service.sweep_after(0)
    everything = sorted(service.home.rglob("*"))
    service.wall += 40 * DAY_S
    service.monotonic += 600
    with caplog.at_level(logging.WARNING):
        service.retention.sweep()
    assert "went from one sweep to the next by 40.0 days; 0.0 are counted" in caplog.text
    for _ in range(12):  # two hours on, the date as wrong as before
        service.sweep_after(600 / DAY_S)
    assert service.left() == {0, 1, 2}
    service.start()  # and to the next process one day at most
    service.wall += 400 * DAY_S
    service.monotonic = 3.0
    service.retention.sweep()
    service.wall -= 440 * DAY_S  # put right again
    service.sweep_after(0)
    assert service.left() == {0, 1, 2}
    assert all(service.store.size(content) for content in (*contents, upload))
    assert sorted(service.home.rglob("*")) == everything
    service.sweep_after(31)
    assert service.left() == set()
    assert service.store.size(upload) is None
    assert not (service.store.partial / "half.part").exists()
    assert not (service.home / "jobs" / "lost").exists()


def test_time_between_services_counts_a_day_at_most(service):
    service.add_job(0, ended=True)
    service.sweep_after(0)
    for day in range(31):
        service.start()
        service.wall += 3 * DAY_S
        service.monotonic = 1.0
        service.retention.sweep()
        assert service.left() == ({0} if day < 30 else set())


def test_what_came_within_the_hour_stays_however_full_it_is(service):
    service.start(keep_gigabytes=1e-9)
    old, done = service.add_content(), service.add_job(0, ended=True)
    service.sweep_after(0)
    service.sweep_after(0.9 / 24)
    assert service.left() == {0}
    service.store.touch(done)
    service.store.touch(old)  # somebody is about to submit a job with it
    os.utime(service.store.path(old), (1.9e9, 1.9e9))
    service.sweep_after(0.2 / 24)
    assert service.left() == set()
    assert service.store.size(old) == 1000
    service.sweep_after(1.1 / 24)
    assert service.store.size(old) is None


def test_one_sweep_deletes_few(service, monkeypatch):
    monkeypatch.setattr(retention, "_MOST_JOBS", 2)
    for i in range(5):
        service.add_job(i, ended=True)
    service.sweep_after(0)
    for left in (3, 1, 0):
        service.sweep_after(40)
        assert len(service.left()) == left


def test_a_job_that_is_resumed_or_whose_content_another_needs_stays(service, monkeypatch):
    content = service.add_job(0, ended=True)
    service.jobs.add("local", Submit(key=f"{1:032x}", base=content, prompt="q"), 100)
    service.sweep_after(0)
    assert service.jobs.change_state(f"{0:032x}", ("cancelled",), "queued")
    assert not service.jobs.delete(f"{0:032x}", ENDED)
    service.sweep_after(100)
    assert service.left() == {0, 1}
    service.jobs.change_state(f"{0:032x}", ("queued",), "cancelled")
    service.sweep_after(0)
    service.sweep_after(100)
    assert service.left() == {1}
    assert service.store.size(content) == 1000


def test_without_a_ledger_nothing_goes(service, monkeypatch):
    service.add_job(0, ended=True)
    service.sweep_after(0)
    (service.home / "ages.json").write_text("{")
    service.start()
    service.sweep_after(100)  # ages begin anew
    assert service.left() == {0}
    (service.home / "ages.json").unlink()
    (service.home / "ages.json").mkdir()
    with pytest.raises(InputError):
        service.sweep_after(100)
    assert service.left() == {0}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("keep_dayz = 3", "sets keep_dayz"),
        ("keep_days = 'x'", "cannot be used"),
        ("[limits]\nframez = 1", "sets framez"),
        ("==", "cannot be used"),
        ("keep_days = -1", "keep_days = -1 is not a number from 1 to 36500. The default is 30"),
        ("keep_days = 0", "keep_days = 0 is not"),
        ("keep_days = nan", "keep_days = nan is not"),
        ("keep_gigabytes = -5", "keep_gigabytes = -5 is not"),
        ("keep_gigabytes = inf", "keep_gigabytes = inf is not"),
        ("slots = 0", "slots = 0 is not"),
        ("attempts = 0", "attempts = 0 is not"),
        ("memory_gigabytes = 0", "memory_gigabytes = 0 is not"),
        ("[limits]\nframes = 0", "frames = 0 is below 1"),
    ],
)
def test_settings_are_checked(tmp_path, text, words):
    path = tmp_path / "service.toml"
    assert ServiceSettings.load(path) == ServiceSettings()
    path.write_text("keep_days = 3\n[limits]\nframes = 10\n")
    assert ServiceSettings.load(path) == ServiceSettings(keep_days=3, limits=Limits(frames=10))
    path.write_text(text)
    with pytest.raises(InputError, match=r"service\.toml") as caught:
        ServiceSettings.load(path)
    assert words in str(caught.value)


def test_what_is_deleted_is_gone_and_what_others_need_is_not(service):
    """Also where the service ended between the two."""
    kept, own, again = service.add_content(), service.add_content(), service.add_content()
    for number, contents in enumerate(([kept, own, again], [kept])):
        spec = Submit(key=f"{number:032x}", base=contents[0], driving=contents[1:] or "kinematic")
        service.jobs.add("local", spec, 100)
    first = f"{0:032x}"
    (service.home / "jobs" / first / "log.txt").write_text("what was asked")
    path = service.store.path(again)
    later = service.jobs.get(first).created + 60
    os.utime(path, (later, later))  # sent once more, for a job that is not handed in yet
    for content in (own, kept):
        service.jobs.note_holding("local", content, 1000)
    assert service.jobs.count_holdings() == {"local": 2000}
    assert service.jobs.delete(first)
    assert not service.jobs.delete(first)
    service.start()
    service.retention.empty_trash()
    assert not (service.home / "jobs" / first).exists()
    assert service.store.size(own) is None
    assert service.store.size(kept)
    assert service.store.size(again)
    assert service.jobs.count_holdings() == {"local": 1000}
    assert service.jobs.list_trash() == []
