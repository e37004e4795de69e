"""The options that choose who makes what (`restage4d.jobs.provider_choice`)."""

import argparse
from dataclasses import asdict
from pathlib import Path

from restage4d.defaults import DRAFT_DRIVER, HOSTED_SECONDS, PriorNames
from restage4d.errors import InputError
from restage4d.jobs.provider_choice import DriverChoice, ProviderChoice
from restage4d.providers.registry import ENTRIES

_MOST_CANDIDATES = 16


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `read` reads, and ``--auto``."""
    group = parser.add_argument_group(
        "providers (restage4d doctor lists them with licences and needs)"
    )
    for kind, default in asdict(PriorNames()).items():
        names = ", ".join(e.name for e in ENTRIES if e.kind == kind)
        paths = ", or a file of MegaSaM, a folder of ViPE" if kind in ("cameras", "depth") else ""
        group.add_argument(
            f"--{kind}",
            default=default,
            metavar="NAME",
            help=f"{names}{paths} (default: {default})",
        )
    group.add_argument(
        "--weights", type=Path, metavar="DIR", help="folder with model weights (docs/providers.md)"
    )
    group.add_argument(
        "--download",
        action="store_true",
        help="weights that are missing may be fetched from the Hugging Face hub",
    )
    names = ", ".join(e.name for e in ENTRIES if e.kind == "driving")
    driver = parser.add_argument_group("driving video")
    driver.add_argument(
        "--driver",
        default=DRAFT_DRIVER,
        metavar="NAME",
        help=f"{names}, a model's id on the hub, or its folder (default: {DRAFT_DRIVER})",
    )
    driver.add_argument("--driver-model", metavar="NAME", help="which model of a hosted service")
    driver.add_argument(
        "--driver-seconds",
        type=int,
        default=HOSTED_SECONDS,
        metavar="N",
        help=f"length asked of a hosted service (default: {HOSTED_SECONDS})",
    )
    driver.add_argument(
        "--driver-frames", type=int, metavar="N", help="frames of a diffusion model's video"
    )
    driver.add_argument(
        "--driver-fps", type=float, metavar="N", help="rate of a diffusion model's video"
    )
    driver.add_argument(
        "--candidates", type=int, default=1, metavar="N", help="make N driving videos and pick one"
    )
    driver.add_argument(
        "--pick",
        type=int,
        metavar="N",
        help="keep candidate N; those made before are not made again",
    )
    driver.add_argument(
        "--auto", action="store_true", help="keep the best candidate without asking"
    )
    driver.add_argument(
        "--refine-url",
        default="",
        metavar="URL",
        help="OpenAI-compatible endpoint that refines the prompt or makes the draft script",
    )
    driver.add_argument(
        "--refine-model", default="", metavar="NAME", help="its model; it must see pictures"
    )
    driver.add_argument(
        "--refined-prompt", default="", metavar="TEXT", help="use this prompt as it is"
    )


def read(arguments: argparse.Namespace) -> ProviderChoice:
    """The choice. Raises `InputError` for impossible numbers."""
    if not 1 <= arguments.candidates <= _MOST_CANDIDATES:
        raise InputError(
            f"--candidates {arguments.candidates} is not a number of videos.",
            f"Give 1 to {_MOST_CANDIDATES}.",
        )
    return ProviderChoice(
        priors=PriorNames(arguments.masks, arguments.cameras, arguments.depth, arguments.tracks),
        driver=DriverChoice(
            driver=arguments.driver,
            model=arguments.driver_model,
            frames=arguments.driver_frames,
            fps=arguments.driver_fps,
            seconds=arguments.driver_seconds,
            candidates=arguments.candidates,
            pick=arguments.pick,
            refine_url=arguments.refine_url,
            refine_model=arguments.refine_model,
            refined_prompt=arguments.refined_prompt,
        ),
        weights=arguments.weights,
        download=arguments.download,
    )
