"""Splat files of others, cut and changed at random: what comes in is finite, or a sentence says why
it does not; never another error, a warning, or a wait without end."""

import gzip
import random
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from samples import random_gaussians

from restage4d.cli.main import main
from restage4d.errors import InputError
from restage4d.io.ply import write_ply
from restage4d.io.splat_files import read_splats, write_packed_ply, write_spz

MINIMAL = Path(__file__).resolve().parents[2] / "shared/data/splats/splat-transform_minimal"
TRIES = 240

pytestmark = [pytest.mark.timeout(120), pytest.mark.filterwarnings("error")]


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, bytes]]:
    """Suffix and content of whole files, SPZ as it is and unpacked (which is packed again)."""
    folder, rng = tmp_path_factory.mktemp("seeds"), np.random.default_rng(0)
    files = []
    for degree in (0, 1):
        g = random_gaussians(rng, 300, degree)
        for suffix, write in (
            (".ply", write_ply),
            (".compressed.ply", write_packed_ply),
            (".spz", write_spz),
        ):
            write(folder / f"a{suffix}", g)
            files.append((suffix, (folder / f"a{suffix}").read_bytes()))
    for path in MINIMAL.iterdir() if MINIMAL.is_dir() else ():
        files.append((path.suffix, path.read_bytes()))
    packed = [data for suffix, data in files if suffix == ".spz" and data[:2] == b"\x1f\x8b"]
    return files + [("unpacked.spz", gzip.decompress(data)) for data in packed]


def cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def flip(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def change_header(data: bytearray, rng: random.Random) -> None:
    for _ in range(4):
        data[rng.randrange(min(len(data), 600))] = rng.randrange(256)


def change_count(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(min(len(data), 600))
    number = rng.choice([0, 1, 1 << 20, 0x7FFFFFFF, 0xFFFFFFFF])
    data[at : at + 4] = struct.pack("<I", number)


def clear(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    data[at : at + 200] = bytes(len(data[at : at + 200]))


def insert(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data)) : 0] = rng.randbytes(rng.randrange(1, 50))


def append(data: bytearray, rng: random.Random) -> None:
    data += data[: rng.randrange(len(data))]


DAMAGES = (cut, flip, change_header, change_count, clear, insert, append)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_files_are_told_or_read(
    tmp_path: Path, seeds: list[tuple[str, bytes]], damage: Callable
) -> None:
    rng, told = random.Random(damage.__name__), 0
    for i in range(TRIES // len(DAMAGES)):
        suffix, content = seeds[i % len(seeds)]
        data = bytearray(content)
        damage(data, rng)
        unpacked = suffix == "unpacked.spz"
        path = tmp_path / ("a.spz" if unpacked else f"a{suffix}")
        path.write_bytes(gzip.compress(bytes(data)) if unpacked else data)
        try:
            g = read_splats(path)
        except InputError as error:
            text, told = str(error), told + 1
        else:
            text = ""
            assert len(g)
            assert all(np.isfinite(v).all() for v in vars(g).values())
            assert np.allclose(np.linalg.norm(g.quats, axis=1), 1, atol=1e-4)
        assert "Error" not in text
        assert not text or path.name in text or path.suffix in text
    assert told > 3


@pytest.mark.parametrize("suffix", [".ply", ".compressed.ply", ".spz"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.05, 0.5, 0.99])
def test_a_file_that_breaks_off_is_told_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str, share: float
) -> None:
    """A compressed PLY cut in its header once was read for ever."""
    write = {".ply": write_ply, ".compressed.ply": write_packed_ply, ".spz": write_spz}[suffix]
    path = tmp_path / f"a{suffix}"
    write(path, random_gaussians(np.random.default_rng(0), 300, 1))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert main(["info", str(path)]) == 1
    told = capsys.readouterr().err
    assert path.name in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"element chunk 2", b"element chunk 1"),
        (b"element vertex 300", b"element vertex 200"),
        (b"element vertex 300", b"element vertex 999"),
        (b"element sh 300", b"element sh 299"),
        (b"property float min_r\n", b""),
        (b"property uint packed_color", b"property uchar packed_color"),
        (b"element sh", b"element xx"),
    ],
)
def test_a_compressed_header_that_does_not_fit_its_data(
    tmp_path: Path, old: bytes, new: bytes
) -> None:
    """gsply would read past the chunks."""
    path = tmp_path / "a.compressed.ply"
    write_packed_ply(path, random_gaussians(np.random.default_rng(0), 300, 1))
    assert len(read_splats(path)) == 300
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    with pytest.raises(InputError, match="damaged or of an unknown version"):
        read_splats(path)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("column", ["rot_1", "scale_0", "opacity", "x", "f_dc_1"])
def test_numbers_that_are_no_numbers_are_told(tmp_path: Path, column: str, wrong: float) -> None:
    path, g = tmp_path / "a.ply", random_gaussians(np.random.default_rng(0), 5)
    write_ply(path, g)
    data = path.read_bytes()
    head, mark, rows = data.partition(b"end_header\n")
    names = [line.split()[-1].decode() for line in head.splitlines() if line[:8] == b"property"]
    table = np.frombuffer(rows, "<f4").reshape(5, len(names)).copy()
    table[2, names.index(column)] = wrong
    path.write_bytes(head + mark + table.tobytes())
    if column == "rot_1" and wrong == 1e30:
        assert np.allclose(read_splats(path).quats[2], [0, 1, 0, 0])
    elif (np.isfinite(wrong) and column != "scale_0") or (column == "opacity" and wrong == np.inf):
        assert len(read_splats(path)) == 5  # an infinite logit is opaque
    else:
        with pytest.raises(InputError, match="not finite"):
            read_splats(path)
