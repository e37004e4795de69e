"""Reading named arrays safely, with errors that name the file."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from restage4d.errors import InputError

Arrays = dict[str, NDArray]


def load_arrays(path: Path, names: tuple[str, ...]) -> Arrays:
    """Named arrays of an npz file. Raises `InputError` for a missing name, a damaged or a pickled file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [n for n in names if n not in file.files]
            if missing:
                raise InputError(
                    f"{path} lacks {', '.join(missing)}; it has {', '.join(file.files)}.", "docs/priors.md has the names."
                )
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be read: {error}.", "Write it again with numpy.savez; pickles are never opened."
        ) from error


def need(truth: object, path: Path, what: str) -> None:
    """Raises `InputError` naming the file unless ``truth``."""
    if not truth:
        raise InputError(f"{path}: {what}.", "docs/priors.md says what is expected.")
