"""Python modules that providers need: whether they can be imported, without importing them."""

from importlib.util import find_spec

from restage4d.errors import InputError
from restage4d.providers.entry import Entry


def is_importable(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the package around it is missing
        return False


def find_missing_modules(entry: Entry) -> list[str]:
    """Those of the provider's modules that are not installed."""
    return [name for name in entry.modules if not is_importable(name)]


def need_modules(entry: Entry) -> None:
    """Raises `InputError` saying what to install, where a module that the provider needs is
    missing."""
    if missing := find_missing_modules(entry):
        how = f'pip install "restage4d[{entry.extra}]"' if entry.extra else ""
        raise InputError(
            f"{entry.title} needs {', '.join(missing)}, not installed here.",
            "; ".join(p for p in (how, entry.get) if p) + ".",
        )
