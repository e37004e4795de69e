"""The recommended weights: what each changes, which of them fit a computer and a licence, and who
estimates what where nobody chose.

What a model changes is told by what exact priors change on the stages (docs/metrics.md): what the
model itself reaches of it is not measured here, as its weights are not part of the project.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from restage4d.defaults import AUTO, WEIGHT_FREE, PriorNames
from restage4d.providers.availability import find_needs
from restage4d.providers.entry import Entry
from restage4d.providers.registry import find_entry
from restage4d.providers.settings import UserSettings
from restage4d.providers.weights import Weights

_FOR_CPU = 0.2  # gigabytes of weights of a model that a CPU may be asked to run
_MASKS = "the subject is followed by a network instead of colour and flow"
_DEPTH = (
    "depth is seen instead of guessed from the outline; exact depth raised IoU beside and behind "
    "by 0.25 on the fox's stage"
)


@dataclass(frozen=True)
class Offer:
    """A recommended model: its entry in the catalogue and what it changes."""

    entry: Entry
    changes: str


# best first within a kind
OFFERS = (
    Offer(find_entry("masks", "sam2"), _MASKS),
    Offer(find_entry("masks", "sam2-tiny"), _MASKS),
    Offer(find_entry("depth", "depth-anything-v2-large"), _DEPTH),
    Offer(find_entry("depth", "depth-anything-v2"), _DEPTH),
)
# best first; those of no offer are taken too where a person has put them there
_RANKING: Mapping[str, tuple[str, ...]] = {
    "masks": ("sam2", "sam2-tiny", "mediapipe"),
    "cameras": (),
    "depth": ("depth-anything-v2-large", "depth-anything-v2", "mediapipe"),
    "tracks": ("cotracker3", "bootstapir"),
}


def is_fitting(entry: Entry, gpu: float, *, commercial: bool) -> bool:
    """Whether a model runs well here and may be used.

    Args:
        entry: of the catalogue.
        gpu: gigabytes of the GPU, 0 where there is none.
        commercial: whether what is made is for commercial use.
    """
    runs = entry.memory <= gpu if gpu else entry.size <= _FOR_CPU
    return runs and (entry.commercial or not commercial)


def recommend(gpu: float, *, commercial: bool) -> list[Offer]:
    """One model of each kind: the best that runs well here and may be used."""
    chosen: dict[str, Offer] = {}
    for offer in OFFERS:
        if is_fitting(offer.entry, gpu, commercial=commercial):
            chosen.setdefault(offer.entry.kind, offer)
    return list(chosen.values())


def choose_estimators(
    names: PriorNames,
    weights: Weights,
    settings: UserSettings,
    gpu: float,
    announce: Callable[[str], None],
) -> PriorNames:
    """The names without "auto": where weights lie here, fit the computer and may be used
    commercially (unless the settings say that this is not asked), the best of them, else the
    estimator without weights.

    Args:
        names: as chosen.
        weights, settings: of this computer.
        gpu: gigabytes of the GPU, 0 where there is none.
        announce: told what was taken, where anything was.
    """
    taken: dict[str, str] = {}
    for kind, name in vars(names).items():
        if name != AUTO:
            continue
        entries = [find_entry(kind, candidate) for candidate in _RANKING[kind]]
        taken[kind] = next(
            (
                entry.name
                for entry in entries
                if is_fitting(entry, gpu, commercial=settings.commercial)
                and not find_needs(entry, weights, settings)
            ),
            getattr(WEIGHT_FREE, kind),
        )
    if taken:
        told = [f"{kind}: {find_entry(kind, name).title}" for kind, name in taken.items()]
        learned = any(name != getattr(WEIGHT_FREE, kind) for kind, name in taken.items())
        hint = "" if learned else ". restage4d models offers better ones"
        announce(f"Estimators taken: {'; '.join(told)}{hint}.")
    return PriorNames(**{**vars(names), **taken})
