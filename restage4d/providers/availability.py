"""What a provider still needs before it can run on this computer."""

from pathlib import Path

from restage4d.providers.api_keys import find_key, how_to_set
from restage4d.providers.entry import Entry
from restage4d.providers.modules import find_missing_modules
from restage4d.providers.settings import UserSettings
from restage4d.providers.weights import Weights, find_missing_files


def find_needs(entry: Entry, weights: Weights, settings: UserSettings) -> list[str]:
    """What the provider still needs, each with how to get it; empty if it could run now."""
    modules = find_missing_modules(entry)
    needs = []
    if modules:
        ours = f'pip install "restage4d[{entry.extra}]"' if entry.extra else ""
        needs.append(
            f"Python modules {', '.join(modules)}: {'; '.join(p for p in (ours, entry.get) if p)}"
        )
    apart = {
        "depth-anything-3": settings.da3_python,
        "depth-anything-3-base": settings.da3_python,
        "map-anything": settings.map_anything_python,
        "mediapipe": settings.mediapipe_python,
    }
    if entry.name in apart and not Path(apart[entry.name] or "-").is_file():
        needs.append(entry.get)
    if entry.files and weights.find_local(entry) is None:
        place = weights.folder / entry.name if weights.folder else None
        files = find_missing_files(place, entry.files) if place else list(entry.files)
        source = f" of {entry.repo}" if entry.repo else ""
        where = f"into {place}" if place else f"into {entry.name}/ of the weights folder"
        other = ", or allow --download" if entry.repo else f" ({entry.get})" if not modules else ""
        needs.append(f"{', '.join(files)}{source} {where}{other}")
    if entry.key and not find_key(entry.key):
        needs.append(how_to_set(entry.key))
    return needs
