"""Who makes what in a run, as the command line says it: providers by name, the driver, weights and
consent."""

import argparse
import sys
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from restage4d.errors import InputError
from restage4d.providers.registry import ENTRIES

if TYPE_CHECKING:  # the command line is read before anything heavy is imported
    from restage4d.driving.protocols import DrivingProvider
    from restage4d.priors.estimate import Providers

DRAFT = "kinematic"


@dataclass(frozen=True)
class DriverChoice:
    """What was asked for.

    Attributes:
        driver: name in the catalogue, a diffusers model's id on the hub, or its folder.
        model: a hosted service's model; None for its usual one.
        frames, fps: of a diffusion model's video; None for its usual ones. ``seconds``: of a hosted
            service's.
        seed: of the first candidate; the next have the next seeds.
        candidates: how many videos are made to pick from. ``pick``: number of the one to keep;
            None: ask, or the best.
        refine_url, refine_model: endpoint that refines the prompt; "" for the settings' one, or the
            template.
        refined_prompt: used as it is instead.
    """

    driver: str = DRAFT
    model: str | None = None
    frames: int | None = None
    fps: float | None = None
    seconds: int = 5
    seed: int = 0
    candidates: int = 1
    pick: int | None = None
    refine_url: str = ""
    refine_model: str = ""
    refined_prompt: str | None = None


@dataclass(frozen=True)
class Choices:
    """Names as in `restage4d.providers.registry`.

    Attributes:
        weights, download: where weights may come from
            (`restage4d.providers.weights.Weights.chosen`).
        auto: take the best candidate without asking.
        driver: see `DriverChoice`; its seed is added to the run's.
    """

    masks: str = "grabcut"
    cameras: str = "sfm"
    depth: str = "relief"
    tracks: str = "flow"
    weights: Path | None = None
    download: bool = False
    auto: bool = False
    driver: DriverChoice = field(default_factory=DriverChoice)

    def priors(self) -> "Providers":
        """Providers of the priors, loaded. Raises `InputError` saying what is missing and how to
        get it."""
        from restage4d.jobs.make_priors_providers import choose_priors
        from restage4d.providers.weights import Weights

        return choose_priors(
            masks=self.masks,
            cameras=self.cameras,
            depth=self.depth,
            tracks=self.tracks,
            weights=Weights.chosen(self.weights, self.download),
        )

    def drivers(self, out: Path, seed: int) -> "list[DrivingProvider]":
        """The maker of the driving video; candidates go to ``out/candidates``. Raises `InputError`
        as `priors` does."""
        from restage4d.io.content_cache import Cache
        from restage4d.jobs.make_driver import choose_driver
        from restage4d.providers.weights import Weights

        choice = replace(self.driver, seed=self.driver.seed + seed)
        ask = None if self.auto or not sys.stdin.isatty() else _ask
        weights = Weights.chosen(self.weights, self.download)
        return [
            choose_driver(choice, weights, folder=out / "candidates", cache=Cache(), choose=ask)
        ]

    @property
    def drafts(self) -> bool:
        """Whether the draft driver acts, which understands simple directions only."""
        return self.driver.driver == DRAFT


def _ask(table: str) -> int:
    """The artist's pick; 0 for the best."""
    answer = input("Which one? Its number, or Enter for the marked one: ").strip()
    return int(answer) if answer.isdigit() else 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `from_arguments` reads."""
    group = parser.add_argument_group(
        "providers (restage4d doctor lists them with licences and needs)"
    )
    for kind, default in (
        ("masks", "grabcut"),
        ("cameras", "sfm"),
        ("depth", "relief"),
        ("tracks", "flow"),
    ):
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
        default=DRAFT,
        metavar="NAME",
        help=f"{names}, a model's id on the hub, or its folder (default: {DRAFT})",
    )
    driver.add_argument("--driver-model", metavar="NAME", help="which model of a hosted service")
    driver.add_argument(
        "--driver-seconds",
        type=int,
        default=5,
        metavar="N",
        help="length asked of a hosted service (default: 5)",
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
        help="OpenAI-compatible endpoint that refines the prompt",
    )
    driver.add_argument(
        "--refine-model", default="", metavar="NAME", help="its model; it must see pictures"
    )
    driver.add_argument("--refined-prompt", metavar="TEXT", help="use this prompt as it is")


def from_arguments(arguments: dict[str, object]) -> Choices:
    """Takes the options out of ``arguments`` and returns the choices. Raises `InputError` for
    impossible numbers."""
    renamed = {
        "driver_model": "model",
        "driver_seconds": "seconds",
        "driver_frames": "frames",
        "driver_fps": "fps",
    }
    mine = (
        "driver",
        *renamed,
        "candidates",
        "pick",
        "refine_url",
        "refine_model",
        "refined_prompt",
    )
    driver = DriverChoice(**{renamed.get(n, n): arguments.pop(n) for n in mine})  # type: ignore[arg-type]
    if not 1 <= driver.candidates <= 16:
        raise InputError(
            f"--candidates {driver.candidates} is not a number of videos.", "Give 1 to 16."
        )
    rest = {f.name: arguments.pop(f.name) for f in fields(Choices) if f.name in arguments}
    return Choices(driver=driver, **rest)  # type: ignore[arg-type]
