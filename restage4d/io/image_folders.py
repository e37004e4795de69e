"""A clip as a folder of numbered pictures, by their names alone. Needs no library: Blender's side
uploads folders by it (`restage4d.io.image_sequences` looks into the pictures, too)."""

import itertools
import re
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from restage4d.errors import InputError

PictureFile = Path | zipfile.Path
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
_MASK_NAME = re.compile(r"(^|[^a-z])(mask|matte|alpha|seg|label)", re.IGNORECASE)
_MAX_FRAMES = 100_000  # of a sequence with its gaps filled


@dataclass(frozen=True)
class PictureSequence:
    """The frames of a folder in order of time.

    Attributes:
        files: one for every number; where a number is missing, the nearest one's.
        masks: as many masks, from a second series of pictures with the same numbers; None without.
        notes: sentences about gaps and about pictures left out.
    """

    files: list[PictureFile]
    masks: list[PictureFile] | None
    notes: tuple[str, ...]


@dataclass
class _Series:
    """Pictures whose names differ in one number only; ``pattern`` is the name with ``*`` there."""

    pattern: str
    files: dict[int, PictureFile]


def pictures_in(folder: Path) -> list[Path]:
    """The frames of a folder, see `find_sequence`; where one is missing, the nearest one again."""
    return [p for p in find_sequence(folder, list_pictures(folder)).files if isinstance(p, Path)]


def list_pictures(folder: Path) -> list[Path]:
    """All pictures of a folder in the natural order of their names. Raises `InputError` where there
    is none or no access."""
    try:
        files = sorted(
            (p for p in folder.iterdir() if p.suffix.lower() in PICTURES and p.name[0] != "."),
            key=natural_order,
        )
    except OSError as error:
        raise InputError(
            f"{folder} cannot be read: {error.strerror}.", "Check its permissions."
        ) from error
    if not files:
        raise InputError(
            f"{folder} holds no pictures.", f"Give a folder of {', '.join(PICTURES)} files."
        )
    return files


def find_sequence(
    folder: Path,
    files: list[Path] | list[zipfile.Path],
    looks_like_mask: Callable[[PictureFile], bool] | None = None,
) -> PictureSequence:
    """The one sequence of frames among pictures in natural order.

    ``looks_like_mask`` decides by a picture's pixels where names do not tell; None: by names alone.

    Pictures belong together whose names differ in one number. A second series of masks (by its
    name, or because it is black and white while the other is not) is kept apart; single pictures
    beside a series are left out. A series that counts in steps (every tenth frame) has no gaps.
    Names without a common number keep the natural order.

    Raises:
        InputError: several takes, or more numbers missing than there are pictures.
    """
    series = _group(list(files))
    if all(len(s.files) == 1 for s in series):
        return PictureSequence(list(files), None, ())
    notes = []
    single = [next(iter(s.files.values())) for s in series if len(s.files) == 1]
    series = [s for s in series if len(s.files) > 1]
    if single:
        names = ", ".join(p.name for p in single[:3]) + (" ..." if len(single) > 3 else "")
        notes.append(f"{names} in {folder} belongs to no series of frames and is left out.")
    masks = None
    if len(series) > 1:
        chosen = _frames_of(series, looks_like_mask)
        if chosen is None:
            names = ", ".join(f"{s.pattern} ({len(s.files)})" for s in series[:4])
            raise InputError(
                f"{folder} holds {len(series)} series of pictures: {names}.",
                "Put each into a folder of its own.",
            )
        others = [s for s in series if s is not chosen]
        names = ", ".join(s.pattern for s in others[:4])
        notes.append(f"{names} in {folder} are taken for masks, not for frames.")
        masks = others[0] if len(others) == 1 else None
        series = [chosen]
    times, missing = _times(folder, series[0])
    if missing:
        notes.append(
            f"{series[0].pattern} in {folder} lacks {_ranges(missing)}; the nearest frame stands "
            "there."
        )
    frames = [series[0].files[_nearest(series[0].files, t)] for t in times]
    beside = None
    if masks is not None and set(masks.files) >= set(series[0].files):
        beside = [masks.files[_nearest(series[0].files, t)] for t in times]
    return PictureSequence(frames, beside, tuple(notes))


def _group(files: list[PictureFile]) -> list[_Series]:
    """Series by the one number that counts: of the numbers in names that are else alike, the one
    with the most values."""
    alike: dict[tuple[str, ...], list[tuple[PictureFile, list[str]]]] = {}
    for file in files:
        stem = file.name.rpartition(".")[0]
        alike.setdefault(tuple(re.split(r"[0-9]+", stem.lower())), []).append(
            (file, re.findall(r"[0-9]+", stem))
        )
    series: list[_Series] = []
    for words, members in alike.items():
        columns = list(zip(*(numbers for _, numbers in members), strict=True))
        if not columns:
            series += [_Series(f.name, {0: f}) for f, _ in members]
            continue
        values = [len(set(column)) for column in columns]
        counting = max(range(len(columns)), key=lambda i: (values[i], i))
        groups: dict[str, list[tuple[int, PictureFile]]] = {}
        for file, numbers in members:
            rest = [n if i != counting else "*" for i, n in enumerate(numbers)]
            name = "".join(w + n for w, n in zip(words, [*rest, ""], strict=True))
            groups.setdefault(name, []).append((int(numbers[counting]), file))
        distinct = {number for group in groups.values() for number, _ in group}
        if len(groups) > 1 and len(distinct) == len(members):  # a time of day, say
            series.append(_Series("*".join(words), dict(enumerate(f for f, _ in members))))
            continue
        for name, group in groups.items():
            series += _split_endings(name, group)
    return series


def _split_endings(name: str, group: list[tuple[int, PictureFile]]) -> list[_Series]:
    """One series, or one for every ending where numbers stand twice (frame and mask)."""
    if len({number for number, _ in group}) == len(group):
        endings = Counter(f.suffix.lower() for _, f in group)
        return [_Series(f"{name}{endings.most_common(1)[0][0]}", dict(group))]
    found: dict[str, _Series] = {}
    for number, file in group:
        ending = file.suffix.lower()
        found.setdefault(ending, _Series(f"{name}{ending}", {})).files[number] = file
    return list(found.values())


def _frames_of(
    series: list[_Series], looks_like_mask: Callable[[PictureFile], bool] | None
) -> _Series | None:
    """The one series that is no mask; None where none or several are."""
    frames = [s for s in series if not _MASK_NAME.search(s.pattern)]
    if len(frames) != 1 and looks_like_mask is not None:
        frames = [s for s in series if not looks_like_mask(next(iter(s.files.values())))]
    return frames[0] if len(frames) == 1 else None


def _times(folder: Path, series: _Series) -> tuple[list[int], list[int]]:
    """All numbers of a series from its first to its last in its own steps, and those missing."""
    numbers = sorted(series.files)
    steps = Counter(b - a for a, b in itertools.pairwise(numbers))
    step = min(steps, key=lambda s: (-steps[s], s))
    if any(s % step for s in steps):
        step = 1
    if (numbers[-1] - numbers[0]) // step + 1 > min(2 * len(numbers), _MAX_FRAMES):
        parts = _parts(numbers, step)
        raise InputError(
            f"{series.pattern} in {folder} has the numbers {_ranges(numbers, step)}: more are "
            "missing than are there.",
            "Put each take into a folder of its own."
            if len(parts) < len(numbers) / 2
            else "Number the frames one by one.",
        )
    times = list(range(numbers[0], numbers[-1] + 1, step))
    return times, [t for t in times if t not in series.files]


def _nearest(files: dict[int, PictureFile], number: int) -> int:
    """The nearest number that is there, the earlier of two."""
    for distance in range(len(files) * 2 + 1):
        for n in (number - distance, number + distance):
            if n in files:
                return n
    return min(files, key=lambda n: abs(n - number))


def _parts(numbers: list[int], step: int = 1) -> list[tuple[int, int]]:
    parts: list[tuple[int, int]] = []
    for n in numbers:
        if parts and n == parts[-1][1] + step:
            parts[-1] = (parts[-1][0], n)
        else:
            parts.append((n, n))
    return parts


def _ranges(numbers: list[int], step: int = 1) -> str:
    """Numbers as a person writes them: "8 to 12, 15"."""
    parts = _parts(numbers, step)
    words = [f"{a}" if a == b else f"{a} to {b}" for a, b in parts[:6]]
    return ", ".join(words) + (f" and {len(parts) - 6} more" if len(parts) > 6 else "")


def natural_order(path: PictureFile) -> list[tuple[int, str]]:
    """Sorts frame2 before frame10."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.split(r"(\d+)", path.name.lower())
        if part
    ]
