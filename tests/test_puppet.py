"""The puppet and its file: what is written comes back bit by bit, and damage is told, never
read."""

import json
import os
import struct
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from samples import random_puppet

from restage4d import se3
from restage4d.errors import InputError
from restage4d.io import atomic
from restage4d.puppet import (
    FORMAT_VERSION,
    Gaussians,
    Puppet,
    check,
    rgb_to_sh,
    sh_to_rgb,
)


def equal(a: Any, b: Any) -> bool:
    """Bit by bit, through dataclasses and lists."""
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, list):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    if hasattr(a, "__dataclass_fields__"):
        return all(equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    return type(a) is type(b) and a == b


def refused(call: Callable[[], object], *words: str) -> None:
    with pytest.raises(InputError) as caught:
        call()
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert caught.value.remedy


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
    posed = puppet.posed(puppet.performances[1], t)
    assert np.allclose(posed.means[g], R @ arrays["subject.means"][g] + v[6:9], atol=1e-5)
    assert np.allclose(
        se3.quat_to_matrix(posed.quats[g]),
        R @ se3.quat_to_matrix(arrays["subject.quats"][g]),
        atol=1e-5,
    )


# --- the puppet itself ----------------------------------------------------------------------------


@pytest.mark.parametrize("degree", [0, 2])
def test_posed_is_eq_1_for_means_orientations_and_radiance(degree: int) -> None:
    puppet = random_puppet(degree=degree)
    performance = puppet.performance("jump!")
    coefs = np.zeros((len(puppet.subject), puppet.n_bases), np.float32)
    np.add.at(coefs, (np.arange(len(coefs))[:, None], puppet.index), puppet.weight)
    R, t = se3.blend_dense(performance.bases[:, 3], coefs)
    posed = puppet.posed(performance, 3)
    assert np.allclose(posed.means, np.einsum("nij,nj->ni", R, puppet.subject.means) + t, atol=1e-5)
    assert np.allclose(
        se3.quat_to_matrix(posed.quats), R @ se3.quat_to_matrix(puppet.subject.quats), atol=1e-5
    )
    assert np.array_equal(posed.scales, puppet.subject.scales)
    assert np.array_equal(posed.sh[:, 0], puppet.subject.sh[:, 0])
    assert (degree == 0) == np.array_equal(posed.sh, puppet.subject.sh)
    assert all(v.dtype == np.float32 for v in vars(posed).values())
    assert equal(puppet, random_puppet(degree=degree))  # posing changes nothing


def test_colours_round_trip() -> None:
    rgb = np.random.default_rng(0).uniform(0, 1, (9, 3)).astype(np.float32)
    assert np.allclose(sh_to_rgb(rgb_to_sh(rgb)), rgb, atol=1e-6)


def test_an_unknown_performance_names_those_there_are() -> None:
    with pytest.raises(KeyError, match=r"no performance 'run'; there are \['base', 'jump!'\]"):
        random_puppet().performance("run")


# --- every fault has its sentence -----------------------------------------------------------------


def scaled(name: str, factor: float) -> Callable[[Puppet], None]:
    return lambda p: setattr(p.subject, name, getattr(p.subject, name) * np.float32(factor))


def put(where: Callable[[Puppet], np.ndarray], value: float) -> Callable[[Puppet], None]:
    def change(p: Puppet) -> None:
        where(p).flat[-1] = value

    return change


def attribute(
    name: str, value: object, part: Callable[[Puppet], object] = lambda p: p
) -> Callable[[Puppet], None]:
    return lambda p: setattr(part(p), name, value)


FAULTS: list[tuple[str, Callable[[Puppet], None]]] = [
    ("subject.means has values that are not finite", put(lambda p: p.subject.means, np.nan)),
    ("background.sh has values that are not finite", put(lambda p: p.background.sh, np.inf)),
    (
        "bases of 'jump!' has values that are not finite",
        put(lambda p: p.performances[1].bases, -np.inf),
    ),
    (
        "subject.means is not float32",
        lambda p: setattr(p.subject, "means", p.subject.means.astype(np.float64)),
    ),
    (
        "subject.means has shape (60, 2), expected (60, 3)",
        lambda p: setattr(p.subject, "means", p.subject.means[:, :2]),
    ),
    (
        "subject.quats has shape (59, 4), expected (60, 4)",
        lambda p: setattr(p.subject, "quats", p.subject.quats[1:]),
    ),
    (
        "subject.opacities has shape (60, 1)",
        lambda p: setattr(p.subject, "opacities", p.subject.opacities[:, None]),
    ),
    (
        "subject.sh has 2 coefficients",
        lambda p: setattr(p.subject, "sh", np.zeros((60, 2, 3), np.float32)),
    ),
    ("subject.quats are not of unit length", scaled("quats", 1.01)),
    ("subject.scales are not all positive", scaled("scales", -1)),
    ("subject.opacities leave 0..1", put(lambda p: p.subject.opacities, 1.5)),
    ("influences.index points past the 5 bases", put(lambda p: p.index, 5)),
    ("influences.index is not uint16", lambda p: setattr(p, "index", p.index.astype(np.int64))),
    (
        "influences.index has shape (60, 2), expected (60, 3)",
        lambda p: setattr(p, "index", p.index[:, :2]),
    ),
    (
        "influences.weight does not sum to 1",
        lambda p: setattr(p, "weight", p.weight * np.float32(1.01)),
    ),
    (
        "influences.weight has negative values",
        lambda p: setattr(p, "weight", p.weight - np.float32([0.9, -0.45, -0.45])),
    ),
    (
        "there are 9 influences per Gaussian",
        lambda p: setattr(p, "weight", np.full((60, 9), 1 / 9, np.float32)),
    ),
    ("there is no performance", attribute("performances", [])),
    ("performance names repeat", attribute("name", "base", lambda p: p.performances[1])),
    ("has no name", attribute("name", "", lambda p: p.performances[1])),
    (
        "has shape (4, 5, 9), expected (5, None, 9)",
        lambda p: setattr(p.performances[1], "bases", p.performances[1].bases[1:]),
    ),
    (
        "performance 'base' has no frames",
        lambda p: setattr(p.performances[0], "bases", p.performances[0].bases[:, :0]),
    ),
    (
        "K of 'base' has shape (3, 3, 3), expected (4, 3, 3)",
        lambda p: setattr(p.performances[0], "K", p.performances[0].K[1:]),
    ),
    (
        "w2c of 'base' has shape (4, 3, 4)",
        lambda p: setattr(p.performances[0], "w2c", p.performances[0].w2c[:, :3]),
    ),
    (
        "w2c of 'base' is not a rigid motion",
        lambda p: setattr(p.performances[0], "w2c", p.performances[0].w2c * np.float32(2)),
    ),
    (
        "focal length of 'base' is not positive",
        lambda p: setattr(p.performances[0], "K", p.performances[0].K * np.float32(-1)),
    ),
    ("fps of 'base' is nan", attribute("fps", float("nan"), lambda p: p.performances[0])),
    ("fps of 'base' is 0", attribute("fps", 0.0, lambda p: p.performances[0])),
    ("size of 'base' is (0, 64)", attribute("size", (0, 64), lambda p: p.performances[0])),
    ("metres_per_unit is not positive", attribute("metres_per_unit", 0.0)),
    ("metric 'psnr' is not a finite number", attribute("metrics", {"psnr": float("nan")})),
    (
        "the subject has no Gaussians",
        lambda p: setattr(
            p, "subject", Gaussians(**{k: v[:0] for k, v in vars(p.subject).items()})
        ),
    ),
]


@pytest.mark.parametrize(("words", "fault"), FAULTS, ids=[w for w, _ in FAULTS])
def test_a_faulty_puppet_is_neither_saved_nor_loaded(
    tmp_path: Path, monkeypatch, words: str, fault
) -> None:
    puppet = random_puppet()
    fault(puppet)
    refused(lambda: check(puppet, "this puppet"), words)
    refused(lambda: puppet.save(tmp_path / "a.puppet"), words)
    assert os.listdir(tmp_path) == []
    if "finite number" in words or "nan" in words:
        return  # JSON as we write it cannot hold them; a file that does is tested below
    monkeypatch.setattr("restage4d.puppet.check", lambda *a: None)
    puppet.save(tmp_path / "a.puppet")
    monkeypatch.undo()
    refused(lambda: Puppet.load(tmp_path / "a.puppet"), "a.puppet")


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
        for v in ("fast", None, -1, 10**400, float("inf"), float("nan"))
    ),
    *(
        lambda about, v=v: about["performances"][0].update(size=v)
        for v in ([1], "ab", [0, 1], [1e400, 1], [float("nan"), 1], 5)
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
    except InputError:
        return
    check(puppet, "what was read")


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
