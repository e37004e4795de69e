"""Options that several commands share."""

import argparse
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from restage4d.defaults import LONGER_SIDE, QUALITIES, QUALITY
from restage4d.errors import InputError


def parse_numbers(count: int) -> Callable[[str], tuple[float, ...]]:
    """A type of argparse: ``count`` numbers with commas between. It raises `InputError`."""

    def parse(text: str) -> tuple[float, ...]:
        try:
            values = tuple(float(v) for v in text.split(","))
        except ValueError:
            values = ()
        if len(values) != count:
            raise InputError(
                f"{text} is not {count} numbers with commas between.", "Write it like 120,80."
            )
        return values

    return parse


def parse_mask(text: str) -> tuple[int, Path]:
    """A type of argparse: FILE, or FRAME=FILE."""
    numbered = re.fullmatch(r"(\d{1,9})=(.+)", text)
    if numbered and not Path(text).exists():
        return int(numbered[1]), Path(numbered[2])
    return 0, Path(text)


def check_masks(masks: Iterable[tuple[int, Path]] | None, *others: object) -> dict[int, Path]:
    """The files of ``--mask`` by their frames. Raises `InputError` for two of one frame, a frame
    below 0, or one of the first frame where ``others`` select the subject there."""
    found: dict[int, Path] = {}
    for frame, path in masks or ():
        if frame in found:
            raise InputError(f"--mask is given twice for frame {frame}.", "Give one.")
        if frame < 0:
            raise InputError(f"There is no frame {frame} for --mask.", "Count frames from 0.")
        found[frame] = path
    if 0 in found and any(other is not None for other in others):
        raise InputError(
            "--mask and another option both say where the subject is in the first frame.",
            "Give one; of other frames write --mask FRAME=FILE.",
        )
    return found


def add_selection(parser: argparse.ArgumentParser, *, words: bool) -> None:
    """``--select``, ``--box``, ``--mask``, ``--head`` and, where ``words``, ``--select-text``."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--select",
        type=parse_numbers(2),
        metavar="X,Y",
        help="a point on the subject in the first frame, in the video's pixels",
    )
    where.add_argument(
        "--box",
        type=parse_numbers(4),
        metavar="X0,Y0,X1,Y1",
        help="a box around the subject in the first frame",
    )
    if words:
        where.add_argument(
            "--select-text",
            metavar="WORDS",
            help='words for the subject, e.g. "the camel" (needs --masks sam3)',
        )
    parser.add_argument(
        "--head",
        type=parse_numbers(2),
        metavar="X,Y",
        help="a point on the subject's head in the first frame, for the draft driver",
    )
    parser.add_argument(
        "--mask",
        type=parse_mask,
        action="append",
        metavar="[FRAME=]FILE",
        help="picture of the video's size, white on the subject, of the first frame or, to correct "
        "it there, of another one; repeat it for several",
    )


def add_fit(parser: argparse.ArgumentParser) -> None:
    """What part of the base is fitted, and how."""
    parser.add_argument(
        "--longer-side",
        type=int,
        default=LONGER_SIDE,
        metavar="PIXELS",
        help=f"working size (default: {LONGER_SIDE})",
    )
    parser.add_argument(
        "--first",
        type=int,
        default=0,
        metavar="N",
        help="begin at frame N of the video (default: 0); it is the first frame for all else",
    )
    parser.add_argument("--frames", type=int, metavar="N", help="use only so many frames")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quality", choices=QUALITIES, default=QUALITY)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of the fit, e.g. fusion.steps=500",
    )
