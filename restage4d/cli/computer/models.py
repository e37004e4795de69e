"""``restage4d models``: the recommended weights of learned estimators, fetched with consent."""

import argparse
import json
import os
import subprocess
import sys
import time
from importlib.metadata import requires
from pathlib import Path
from typing import Any

from restage4d.defaults import PriorNames
from restage4d.errors import InputError
from restage4d.providers.fetching import Advance, fetch_model, find_damaged
from restage4d.providers.model_set import OFFERS, Offer, choose_estimators, recommend
from restage4d.providers.modules import find_missing_modules
from restage4d.providers.nvidia_driver import read_driver
from restage4d.providers.registry import find_entry
from restage4d.providers.settings import (
    UserSettings,
    read_settings,
    settings_file,
    write_setting,
)
from restage4d.providers.weights import Weights, default_folder


def add(commands: Any) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser("models", help="weights of learned estimators: list, get, check")
    parser.set_defaults(do=_list)
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")
    _add_commercial(parser)
    actions = parser.add_subparsers(dest="action")
    get = actions.add_parser("get", help="fetch recommended weights, after asking")
    get.add_argument("names", nargs="*", metavar="NAME", help="default: those recommended here")
    get.add_argument("--yes", action="store_true", help="do not ask")
    get.add_argument("--json", action="store_true", help="progress as JSON objects, one a line")
    _add_commercial(get)
    get.set_defaults(do=_get)
    actions.add_parser("check", help="whether fetched weights are whole").set_defaults(do=_check)


def _add_commercial(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--commercial",
        choices=("yes", "no"),
        help="whether what you make is for commercial use; asked once, kept in the settings",
    )


def find_gpu_memory() -> float:
    """Gigabytes of the largest GPU that the driver lists, 0 where there is none."""
    driver = read_driver()
    return max((gpu.memory / 1e9 for gpu in driver.gpus), default=0.0) if driver else 0.0


def _folder() -> Path:
    return Path(read_settings().weights or default_folder())


def _list(arguments: argparse.Namespace) -> None:
    if arguments.commercial:
        write_setting("commercial", arguments.commercial == "yes")
    settings, gpu = read_settings(), find_gpu_memory()
    wanted = recommend(gpu, commercial=settings.commercial)
    weights = Weights.from_settings(None, False)
    if arguments.json:
        print(json.dumps(_tell_programs(settings, wanted, weights, gpu)))
        return
    print(f"Weights go into {_folder()}. Commercial use: {'yes' if settings.commercial else 'no'}.")
    for offer in OFFERS:
        here = weights.find_local(offer.entry) is not None
        state = "here" if here else "recommended" if offer in wanted else "-"
        print(f"  {state:<12} {_describe(offer)}")
    print("restage4d models get fetches the recommended ones; nothing is fetched without asking.")


def _tell_programs(
    settings: UserSettings, wanted: list[Offer], weights: Weights, gpu: float
) -> dict[str, Any]:
    """What the list says. ``commercial`` is null where nobody was asked yet; ``used``: by whom each
    prior is estimated now where nothing is chosen."""
    taken = choose_estimators(PriorNames(), weights, settings, gpu, lambda text: None)
    missing = {name for offer in wanted for name in find_missing_modules(offer.entry)}
    return {
        "folder": str(_folder()),
        "commercial": settings.commercial if _is_commercial_known() else None,
        "libraries": _list_libraries() if missing else [],
        "offers": [
            {
                "name": offer.entry.name,
                "title": offer.entry.title,
                "gigabytes": offer.entry.size,
                "licence": offer.entry.licence,
                "changes": offer.changes,
                "here": weights.find_local(offer.entry) is not None,
            }
            for offer in wanted
        ],
        "used": {kind: find_entry(kind, name).title for kind, name in vars(taken).items()},
    }


def _describe(offer: Offer) -> str:
    entry = offer.entry
    limits = "" if entry.commercial else ", NOT for everybody's commercial use"
    return (
        f"{entry.name}: {entry.title}, {entry.size:g} GB, {entry.licence}{limits}; {offer.changes}"
    )


def _get(arguments: argparse.Namespace) -> None:
    commercial = _ask_commercial(arguments)
    wanted = _choose(arguments.names, commercial=commercial)
    missing = sorted({name for offer in wanted for name in find_missing_modules(offer.entry)})
    libraries = _list_libraries() if missing else []
    if not arguments.json:
        print(f"From huggingface.co into {_folder()}:")
        for offer in wanted:
            print(f"  {_describe(offer)}")
    if libraries and not arguments.json:
        print(f"and, as {', '.join(missing)} is missing, by pip: {', '.join(libraries)}")
    if not arguments.yes and _ask("Fetch them? [y/N] ", "--yes") not in ("y", "yes"):
        print("Nothing was fetched.")
        return
    if libraries:
        command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
        if subprocess.run([*command, *libraries], check=False).returncode != 0:
            raise InputError(
                "pip could not install the libraries; its own words stand above.",
                "Check the network, then start again.",
            )
    advance = _make_meter(in_json=arguments.json)
    for offer in wanted:
        fetch_model(offer.entry, _folder(), advance)
    if arguments.json:
        return
    print("They are used from now on where nothing else is chosen (--masks, --depth), offline.")


def _make_meter(*, in_json: bool) -> Advance:
    """Tells how far a file is, twice a second for a program, now and then for a person."""
    every, told = (0.5 if in_json else 5.0), float("-inf")

    def advance(model: str, here: int, size: int) -> None:
        nonlocal told
        if time.monotonic() < told + every and here < size:
            return
        told = time.monotonic() if here < size else float("-inf")  # the next file is told at once
        words = f"{model}: {here / 1e6:.0f} of {size / 1e6:.0f} MB"
        print(
            json.dumps({"model": model, "bytes": here, "size": size}) if in_json else words,
            flush=True,
        )

    return advance


def _choose(names: list[str], *, commercial: bool) -> list[Offer]:
    if not names:
        return recommend(find_gpu_memory(), commercial=commercial)
    offers = {offer.entry.name: offer for offer in OFFERS}
    for name in names:
        if name not in offers:
            raise InputError(f"{name} is not offered.", f"There are: {', '.join(offers)}.")
        if commercial and not offers[name].entry.commercial:
            raise InputError(
                f"{name} ({offers[name].entry.licence}) is not for commercial use.",
                "Choose another, or say --commercial no where that is not what you do.",
            )
    return [offers[name] for name in names]


def _ask_commercial(arguments: argparse.Namespace) -> bool:
    """The answer, asked for once and kept in the settings."""
    if arguments.commercial is None and _is_commercial_known():
        return read_settings().commercial
    answer = arguments.commercial or (
        "yes"
        if arguments.yes
        else _ask("Is what you make for commercial use? [Y/n] ", "--commercial yes or no")
    )
    commercial = answer not in ("n", "no")
    write_setting("commercial", commercial)
    return commercial


def _is_commercial_known() -> bool:
    """Whether somebody has answered it."""
    said = settings_file().read_text("utf-8") if settings_file().is_file() else ""
    return "commercial" in said or bool(os.environ.get("RESTAGE4D_COMMERCIAL"))


def _ask(question: str, option: str) -> str:
    if not sys.stdin.isatty():
        raise InputError(f"Nobody is here to be asked: {question.strip()}", f"Give {option}.")
    return input(question).strip().lower()


def _list_libraries() -> list[str]:
    """What the extra "models" installs, as this package pins it."""
    mark = 'extra == "models"'
    return [line.split(";")[0].strip() for line in requires("restage4d") or [] if mark in line]


def _check(arguments: argparse.Namespace) -> None:
    bad = []
    for offer in OFFERS:
        damaged = find_damaged(_folder() / offer.entry.name)
        if damaged is None:
            continue
        print(f"{offer.entry.name}: {'damaged: ' + ', '.join(damaged) if damaged else 'whole'}")
        bad += [offer.entry.name] if damaged else []
    if bad:
        raise InputError(
            f"The weights of {', '.join(bad)} are damaged.", f"restage4d models get {' '.join(bad)}"
        )
