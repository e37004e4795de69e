"""Puppet files that are whole and say what cannot be: each is refused with what it is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from samples import random_puppet
from test_puppet import refused
from test_puppet_file import rewrite

from restage4d.puppet import Puppet


def change_array(name: str, change: Callable[[np.ndarray], object]) -> Callable[[Path], None]:
    """Changes an array of a puppet file."""

    def corrupt(path: Path) -> None:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata()
        tensors = load_file(path)
        change(tensors[name])
        save_file(tensors, path, metadata)

    return corrupt


def change_first(**values: object) -> Callable[[Path], None]:
    """Changes what the metadata say of the first performance."""
    return lambda path: rewrite(path, lambda about: about["performances"][0].update(values))


def swap_performances(path: Path) -> None:
    rewrite(path, lambda about: about["performances"].reverse())
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    tensors = {}
    for name, value in load_file(path).items():
        first, other = name.startswith("performance.0."), name.startswith("performance.1.")
        name = f"performance.{int(first)}.{name[14:]}" if first or other else name
        tensors[name] = value
    save_file(tensors, path, metadata)


NOT_ROTATIONS = "bases of 'base' are not the columns of rotations"
CORRUPTIONS: dict[str, tuple[Callable[[Path], None], str]] = {
    "base is not first": (swap_performances, "the performance 'base' is not the first one"),
    "a size with a fraction": (change_first(size=[96.5, 64]), "size is [96.5, 64]"),
    "a size that is a fraction without being one": (change_first(size=[96.0, 64]), "[96.0, 64]"),
    "a size of three": (change_first(size=[96, 64, 3]), "size is [96, 64, 3]"),
    "a version that is true": (
        lambda path: rewrite(path, lambda about: about.update(format_version=True)),
        "puppet format True",
    ),
    "a rate that is text": (change_first(fps="24"), "fps is '24'"),
    "a row of K that is zero": (
        change_array("performance.0.K", lambda K: K.__setitem__((1, 2), 0)),
        "the last row of K of 'base' is not 0 0 1",
    ),
    "another row of K that is zero": (
        change_array("performance.0.K", lambda K: K.__setitem__((1, 0), 0)),
        "focal length of 'base' is not positive",
    ),
    "a name with a slash": (change_first(name="../base"), "name '../base' has a slash"),
    "a name with a backslash": (change_first(name="a\\b"), "has a slash"),
    "a name of a folder": (change_first(name=".."), "name '..' "),
    "a thousand million pixels": (change_first(size=[10**9, 64]), "(1000000000, 64)"),
    "bases that are far too large": (
        change_array("performance.0.bases", lambda b: b.__imul__(np.float32(1e30))),
        NOT_ROTATIONS,
    ),
    "bases moved far away": (
        change_array("performance.0.bases", lambda b: b.__setitem__((0, 0, 6), 1e30)),
        "bases of 'base' leave",
    ),
    "a basis of zeros": (
        change_array("performance.0.bases", lambda b: b.__setitem__((2, 3), 0)),
        NOT_ROTATIONS,
    ),
    "a basis whose columns are parallel": (
        change_array(
            "performance.0.bases", lambda b: b.__setitem__((2, 3, slice(3, 6)), b[2, 3, :3])
        ),
        NOT_ROTATIONS,
    ),
    "a basis whose columns are not square to each other": (
        change_array(
            "performance.0.bases",
            lambda b: b.__setitem__((2, 3, slice(6)), [1, 0, 0, 0.6, 0.8, 0]),
        ),
        NOT_ROTATIONS,
    ),
}


@pytest.mark.parametrize(("corrupt", "words"), CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_what_is_corrupt_is_refused_with_what_it_is(
    tmp_path: Path, corrupt: Callable[[Path], None], words: str
) -> None:
    path = tmp_path / "a.puppet"
    random_puppet().save(path)
    corrupt(path)
    refused(lambda: Puppet.load(path), str(path), words)
