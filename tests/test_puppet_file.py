"""The puppet's file: what is written comes back bit by bit, and damage is told, never read."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from samples import random_puppet
from test_puppet import LIBRARY, equal, refused

from restage4d import se3
from restage4d.errors import InputError
from restage4d.finding import Finding
from restage4d.io import atomic
from restage4d.puppet import (
    FORMAT_VERSION,
    Gaussians,
    Puppet,
    check,
)

FLASH = Finding("flash", "warning", "A flash in base.", "Cut it out.", 6, 7, "base")

# --- round trip -----------------------------------------------------------------------------------


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("influences", [1, 8])
def test_save_then_load_is_identity(tmp_path: Path, degree: int, influences: int) -> None:
    puppet = random_puppet(degree=degree, influences=influences)
    puppet.save(tmp_path / "a.puppet")
    assert equal(puppet, Puppet.load(tmp_path / "a.puppet"))


def test_saving_is_deterministic_and_saving_what_was_loaded_gives_the_same_bytes(
    tmp_path: Path,
) -> None:
    random_puppet().save(tmp_path / "a.puppet")
    Puppet.load(tmp_path / "a.puppet").save(tmp_path / "b.puppet")
    assert (tmp_path / "a.puppet").read_bytes() == (tmp_path / "b.puppet").read_bytes()


def test_an_empty_background_and_arrays_in_any_memory_order(tmp_path: Path) -> None:
    puppet = random_puppet()
    puppet.background = Gaussians(**{k: v[:0] for k, v in vars(puppet.background).items()})
    expected = puppet.performances[0].bases.copy()
    puppet.performances[0].bases = np.asfortranarray(puppet.performances[0].bases)
    puppet.subject.means = np.ascontiguousarray(puppet.subject.means.T).T
    puppet.save(tmp_path / "a.puppet")
    loaded = Puppet.load(tmp_path / "a.puppet")
    assert len(loaded.background) == 0
    assert np.array_equal(loaded.performances[0].bases, expected)
    assert np.array_equal(loaded.subject.means, puppet.subject.means)


def test_findings_travel_and_files_without_any_stay_as_they_were(tmp_path: Path) -> None:
    puppet, path = random_puppet(), tmp_path / "a.puppet"
    puppet.save(path)
    with safe_open(path, "numpy") as file:
        assert "findings" not in json.loads(file.metadata()["restage4d.puppet"])
    assert Puppet.load(path).findings == []
    puppet.findings = [FLASH]
    puppet.save(path)
    rewrite(path, lambda about: about["findings"][0].update(new="ignored"))
    assert Puppet.load(path).findings == [FLASH]


def test_the_file_is_plain_safetensors_with_one_json_entry(tmp_path: Path) -> None:
    puppet = random_puppet()
    puppet.save(tmp_path / "a.puppet")
    with safe_open(tmp_path / "a.puppet", "numpy") as file:
        assert set(file.metadata()) == {"restage4d.puppet"}
        about = json.loads(file.metadata()["restage4d.puppet"])
        names = set(file.keys())
    assert about["format_version"] == FORMAT_VERSION
    assert about["performances"][1] == {
        "name": "jump!",
        "fps": 24.0,
        "size": [96, 64],
        "prompt": "jump über the fence",
    }
    parts = [
        f"{s}.{k}"
        for s in ("subject", "background")
        for k in ("means", "quats", "scales", "opacities", "sh")
    ]
    parts += [f"performance.{i}.{k}" for i in (0, 1) for k in ("bases", "K", "w2c")]
    assert names == {*parts, "influences.index", "influences.weight"}


def test_a_reader_written_from_the_documentation_alone_agrees(tmp_path: Path) -> None:
    """docs/puppet_format.md to the byte, with nothing but struct, json and numpy; then Eq. 1 as it
    is written there."""
    puppet = random_puppet()
    puppet.save(tmp_path / "a.puppet")
    data = (tmp_path / "a.puppet").read_bytes()
    (n,) = struct.unpack("<Q", data[:8])
    assert data[8:9] == b"{"
    assert (8 + n) % 8 == 0
    header = json.loads(data[8 : 8 + n])
    assert json.loads(header.pop("__metadata__")["restage4d.puppet"])["performances"][1][
        "size"
    ] == [96, 64]
    arrays, covered = {}, []
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        dtype = {"F32": "<f4", "U16": "<u2"}[entry["dtype"]]
        arrays[name] = np.frombuffer(data[8 + n + begin : 8 + n + end], dtype).reshape(
            entry["shape"]
        )
        covered.append((begin, end))
    covered.sort()
    assert [begin for begin, _ in covered] == [0, *(end for _, end in covered[:-1])]
    assert covered[-1][1] == len(data) - 8 - n
    g, t = 7, 3
    v = (
        arrays["influences.weight"][g]
        @ arrays["performance.1.bases"][arrays["influences.index"][g], t]
    )
    b0 = v[0:3] / np.linalg.norm(v[0:3])
    b1 = v[3:6] - (b0 @ v[3:6]) * b0
    b1 /= np.linalg.norm(b1)
    R = np.stack([b0, b1, np.cross(b0, b1)], 1)
    posed = puppet.pose(puppet.performances[1], t)
    assert np.allclose(posed.means[g], R @ arrays["subject.means"][g] + v[6:9], atol=1e-5)
    assert np.allclose(
        se3.quat_to_matrix(posed.quats[g]),
        R @ se3.quat_to_matrix(arrays["subject.quats"][g]),
        atol=1e-5,
    )


# --- damaged, foreign and hostile files -----------------------------------------------------------


@pytest.fixture
def good(tmp_path: Path) -> Path:
    random_puppet().save(tmp_path / "a.puppet")
    return tmp_path / "a.puppet"


def rewrite(path: Path, change: Callable[[dict], object]) -> None:
    """Changes the metadata of a puppet file."""
    with safe_open(path, "numpy") as file:
        about = json.loads(file.metadata()["restage4d.puppet"])
    change(about)
    save_file(load_file(path), path, {"restage4d.puppet": json.dumps(about)})


def test_missing_foreign_and_empty_files(tmp_path: Path) -> None:
    refused(lambda: Puppet.load(tmp_path / "no.puppet"), "no.puppet", "cannot be read")
    refused(lambda: Puppet.load(tmp_path), "cannot be read")
    path = tmp_path / "a.puppet"
    pickled = b"\x80\x04\x95\x0c\x00\x00\x00\x00\x00\x00\x00\x8c\x02os."
    for content in (
        b"",
        b"\0" * 7,
        b"\0" * 64,
        b"ply\nformat ascii 1.0\n",
        pickled,
        struct.pack("<Q", 2) + b"{}",
        b"PK\3\4" + bytes(99),
    ):
        path.write_bytes(content)
        refused(lambda: Puppet.load(path), "not a puppet file")
    save_file({"weights": np.zeros(3)}, path)  # someone else's safetensors
    refused(lambda: Puppet.load(path), "not a puppet file")


def test_a_huge_header_length_allocates_nothing(good: Path) -> None:
    data = good.read_bytes()
    for length in (1 << 62, (1 << 64) - 1, 1 << 40):
        good.write_bytes(struct.pack("<Q", length) + data[8:])
        refused(lambda: Puppet.load(good), "not a puppet file")


@pytest.mark.parametrize("part", [0.001, 0.1, 0.5, 0.999])
def test_truncated(good: Path, part: float) -> None:
    data = good.read_bytes()
    good.write_bytes(data[: int(len(data) * part)])
    refused(lambda: Puppet.load(good), "a.puppet")


def test_a_file_with_bytes_behind_its_end_is_damaged(good: Path) -> None:
    good.write_bytes(good.read_bytes() + b"more")
    refused(lambda: Puppet.load(good), "damaged")


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, 0, "1", None, [1]])
def test_another_version_is_refused_before_its_tensors_are_read(
    good: Path, version: object
) -> None:
    rewrite(good, lambda about: about.update(format_version=version))
    data = good.read_bytes()
    good.write_bytes(data[: len(data) // 2])  # damage that reading the tensors would find
    refused(lambda: Puppet.load(good), f"puppet format {version}", f"reads format {FORMAT_VERSION}")


@pytest.mark.parametrize("name", ["subject.sh", "influences.weight", "performance.1.w2c"])
def test_a_missing_tensor(good: Path, name: str) -> None:
    with safe_open(good, "numpy") as file:
        metadata = file.metadata()
    tensors = load_file(good)
    del tensors[name]
    save_file(tensors, good, metadata)
    refused(lambda: Puppet.load(good), "lacks a part", name)


HOSTILE: list[Callable[[dict], object]] = [
    lambda about: about.update(format_version=True),
    lambda about: about.update(format_version=1.0),
    *(
        lambda about, k=k: about.pop(k)
        for k in ("performances", "metres_per_unit", "provenance", "metrics")
    ),
    *(
        lambda about, v=v: about.update(performances=v)
        for v in ({}, [], 3, "ab", [[]], [None, None], None)
    ),
    *(lambda about, v=v: about["performances"][0].update(name=v) for v in (["base"], None, 3, {})),
    *(
        lambda about, v=v: about["performances"][0].update(fps=v)
        for v in ("fast", "24", True, None, -1, 10**400, float("inf"), float("nan"))
    ),
    *(
        lambda about, v=v: about["performances"][0].update(size=v)
        for v in (
            [1],
            "ab",
            [0, 1],
            [1e400, 1],
            [float("nan"), 1],
            5,
            [9.5, 4],
            [9, 4, 3],
            [True, 4],
        )
    ),
    lambda about: about["performances"][0].update(prompt=["jump"]),
    *(
        lambda about, v=v: about.update(metres_per_unit=v)
        for v in ("big", [], 10**400, -1, float("nan"))
    ),
    *(
        lambda about, v=v: about.update(metrics=v)
        for v in ([], {"psnr": "high"}, {"psnr": float("nan")}, None)
    ),
    *(lambda about, v=v: about.update(provenance=v) for v in ([], "x", None)),
    *(
        lambda about, v=v: about.update(findings=v)
        for v in (
            *(None, 3, [3], [{}], [FLASH.to_record() | {"first_frame": "6"}]),
            [FLASH.to_record() | {"text": None}],
        )
    ),
]


@pytest.mark.parametrize("change", HOSTILE)
def test_metadata_of_wrong_types(good: Path, change: Callable[[dict], object]) -> None:
    rewrite(good, change)
    refused(lambda: Puppet.load(good), "a.puppet")


def test_json_that_nests_too_deep(good: Path) -> None:
    save_file(load_file(good), good, {"restage4d.puppet": "[" * 100_000 + "]" * 100_000})
    refused(lambda: Puppet.load(good), "not a puppet file")


BYTES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8)


@settings(max_examples=200, deadline=None)
@given(changes=BYTES, header=BYTES, cut=st.floats(0, 1))
@example(changes=[], header=[], cut=1.0)
def test_damaged_bytes_never_give_anything_but_a_valid_puppet_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, changes, header, cut: float
) -> None:
    """Flips bytes anywhere and, more densely, in the header, and cuts the end off."""
    path = tmp_path_factory.getbasetemp() / "fuzz.puppet"
    random_puppet(n=5, frames=2, bases=2).save(path)
    data = bytearray(path.read_bytes())
    length = 8 + struct.unpack("<Q", data[:8])[0]
    for where, value in changes:
        data[int(where * len(data))] = value
    for where, value in header:
        data[int(where * length)] = value
    path.write_bytes(data[: int(cut * len(data))] if cut < 0.5 else data)
    try:
        puppet = Puppet.load(path)
    except InputError as error:
        told = str(error)
    else:
        told = ""
        check(puppet, "what was read")
    assert not LIBRARY.search(told), told


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 300))
def test_random_bytes_are_no_puppet(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, length: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "random.puppet"
    path.write_bytes(struct.pack("<Q", length) + content)
    refused(lambda: Puppet.load(path), "not a puppet file")


# --- writing --------------------------------------------------------------------------------------


@pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full"
)
def test_a_full_disk_leaves_the_old_puppet_and_nothing_else(
    good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = good.read_bytes()
    write = Path.write_bytes

    def on_a_full_disk(path: Path, data: bytes) -> int:
        os.symlink("/dev/full", path)
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", on_a_full_disk)
    refused(lambda: random_puppet(1).save(good), "no room left", "a.puppet")
    monkeypatch.undo()
    assert good.read_bytes() == before
    assert os.listdir(good.parent) == ["a.puppet"]


def test_replacing_makes_folders_and_files_that_others_may_read(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    with atomic.replacing(tmp_path / "new" / "deep" / "a.txt") as temporary:
        temporary.write_text("hello")
        assert temporary.parent == tmp_path / "new" / "deep"
        assert temporary.suffix == ".txt"
    made = tmp_path / "new" / "deep" / "a.txt"
    assert made.read_text() == "hello"
    assert made.stat().st_mode == plain.stat().st_mode


def test_replacing_passes_other_errors_on(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic.replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text(str(1 / 0))
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(InputError, match="cannot be written"),
        atomic.replacing(tmp_path / "folder") as temporary,
    ):
        temporary.write_text("x")
    assert os.listdir(tmp_path) == ["folder"]
