"""Makers of driving videos by name (`restage4d.providers.registry`), a model's id on the hub, or a
local folder."""

from collections.abc import Callable
from pathlib import Path

from restage4d.driving.candidates import BestOf
from restage4d.driving.draft.driver import KinematicDriving
from restage4d.driving.prompt_refinement import RefineConfig, Refined
from restage4d.driving.protocols import DrivingProvider
from restage4d.io.content_cache import Cache
from restage4d.jobs.provider_choice import DRAFT, DriverChoice
from restage4d.providers.api_keys import need_key
from restage4d.providers.registry import Entry, announcement, entry
from restage4d.providers.settings import read_settings
from restage4d.providers.weights import Weights, fingerprint, need_modules


def choose_driver(
    choice: DriverChoice,
    weights: Weights,
    *,
    folder: Path | None = None,
    cache: Cache | None = None,
    choose: Callable[[str], int] | None = None,
    announce: Callable[[str], None] = print,
) -> DrivingProvider:
    """The maker of driving videos: refines the prompt, makes the candidates, keeps one. The draft
    driver is left as it is.

    Args:
        weights: where weights may come from.
        folder: where candidates are put to look at.
        cache: where videos and refined prompts are kept.
        choose: see `BestOf`.
        announce: told licences, costs, prompts and figures.

    Raises:
        InputError: no such driver, or a module, key or weight is missing; says how to get it.
    """
    if choice.driver == DRAFT:
        return KinematicDriving()
    found, place = _find(choice.driver)
    need_modules(found)
    if said := announcement(found):
        announce(said)
    if found.key:
        need_key(found.key)
    drivers = _drivers(choice, found, place, weights, announce)
    best = BestOf(
        drivers, pick=choice.pick, choose=choose, folder=folder, cache=cache, announce=announce
    )
    settings = read_settings()
    url, model = (
        choice.refine_url or settings.refine_url,
        choice.refine_model or settings.refine_model,
    )
    config = RefineConfig(url, model) if url and model else None
    return Refined(best, config, choice.refined_prompt, cache, announce)


def _find(driver: str) -> tuple[Entry, Path | None]:
    """The catalogue's entry, and the folder where ``driver`` is one; another model of the hub gets
    an entry of its own."""
    if Path(driver).is_dir() or "/" in driver or "\\" in driver:
        needs = entry("driving", "ltx")
        place = Path(driver) if Path(driver).is_dir() else None
        repo = "" if place else driver
        other = Entry(
            kind="driving",
            name=Path(driver).name,
            title=driver,
            licence="its own",
            repo=repo,
            files=needs.files,
            modules=needs.modules,
            extra="models",
            terms=(
                "its licence is not known here: read the one that comes with the weights before "
                "you use what it makes"
            ),
        )
        return other, place
    return entry("driving", driver), None


def _drivers(
    choice: DriverChoice,
    found: Entry,
    place: Path | None,
    weights: Weights,
    announce: Callable[[str], None],
) -> list[DrivingProvider]:
    seeds = [choice.seed + i for i in range(choice.candidates)]
    if found.key:
        from restage4d.driving.hosted import HostedConfig

        if found.name == "veo":
            from restage4d.driving.veo import MODEL
            from restage4d.driving.veo import VeoDriving as Hosted
        else:
            from restage4d.driving.runway import MODEL  # type: ignore[assignment]
            from restage4d.driving.runway import RunwayDriving as Hosted
        model = choice.model or MODEL
        return [Hosted(HostedConfig(model, choice.seconds, seed), announce) for seed in seeds]
    from restage4d.driving.diffusion import DiffusersDriving, DiffusionConfig

    folder = place or weights.find(found)
    state = fingerprint(folder)
    configs = [DiffusionConfig(seed, choice.frames, choice.fps, weights=state) for seed in seeds]
    return [DiffusersDriving(found.name, folder, config) for config in configs]
