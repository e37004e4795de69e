"""One provider in the catalogue (`restage4d.providers.registry`)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One provider.

    Attributes:
        kind: "masks", "cameras", "depth", "tracks" or "driving".
        name: what is written on the command line; unique within its kind.
        title: what it is.
        licence: of the weights (of the service's terms where it is hosted).
        commercial: whether that licence lets everybody use the results commercially.
        repo: where the weights are on the Hugging Face hub, "" where they are not there.
        files: what a local folder must hold, relative to it.
        size: gigabytes of weights, 0 where there are none.
        memory: gigabytes of GPU memory, 0 where none is needed.
        modules: Python modules that must import.
        extra: extra of this package that installs them, "" where it is none of ours (``get`` then
            says how).
        get: how to get what no extra installs, "" if nothing.
        key: environment variable (and keyring name) of the key that a service wants, "" if none.
        terms: what a person must know before use, "" if nothing.
    """

    kind: str
    name: str
    title: str
    licence: str
    commercial: bool = True
    repo: str = ""
    files: tuple[str, ...] = ()
    size: float = 0.0
    memory: float = 0.0
    modules: tuple[str, ...] = ()
    extra: str = ""
    get: str = ""
    key: str = ""
    terms: str = ""
