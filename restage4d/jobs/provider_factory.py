"""Providers by name (`restage4d.providers.registry`): checked, announced and loaded before any work
starts. What needs a heavy library is imported where it is made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from restage4d.defaults import PriorNames
from restage4d.driving.candidates import BestOf
from restage4d.driving.draft.driver import KinematicDriving
from restage4d.driving.prompt_refinement import RefineConfig, RefinedPromptDriving
from restage4d.driving.protocols import DrivingProvider, VideoModel
from restage4d.errors import InputError
from restage4d.io.content_cache import Cache
from restage4d.jobs.provider_choice import DriverChoice, is_prior_file
from restage4d.priors.cameras.camera_files import CameraFiles
from restage4d.priors.estimate import Providers, weight_free_providers
from restage4d.providers.api_keys import need_key
from restage4d.providers.modules import need_modules
from restage4d.providers.registry import Entry, describe_terms, find_entry
from restage4d.providers.settings import read_settings
from restage4d.providers.weights import Weights, fingerprint

_BOTH = "depth-anything-3"  # one network makes cameras and depth


def make_prior_providers(
    names: PriorNames, weights: Weights, announce: Callable[[str], None] = print
) -> Providers:
    """The providers of those names.

    Args:
        names: of each prior's provider.
        weights: where weights may come from.
        announce: told what a person must know, such as a licence that is not for commercial use.

    Raises:
        InputError: a name is unknown, or a module, checkpoint or checkout is missing or damaged;
            says how to get it.
    """
    announced: set[str] = set()
    made: dict[tuple[str, str], Any] = {}  # one object where cameras and depth come from the same
    for kind, name in vars(names).items():
        key = _key(kind, name)
        if key[0] != "file":
            found = find_entry(kind, name)
            need_modules(found)
            text = describe_terms(found)
            if text and found.repo + name not in announced:
                announce(text)
                announced.add(found.repo + name)
        if key not in made:
            made[key] = _make_prior_provider(kind, name, weights)
    return Providers(**{kind: made[_key(kind, name)] for kind, name in vars(names).items()})


def _key(kind: str, name: str) -> tuple[str, str]:
    if is_prior_file(kind, name):
        return "file", name
    return (_BOTH, "") if name == _BOTH else (kind, name)


def _make_prior_provider(kind: str, name: str, weights: Weights) -> Any:
    if _key(kind, name)[0] == "file":
        return CameraFiles(Path(name))
    if name == getattr(PriorNames(), kind):
        return getattr(weight_free_providers(), kind)
    found = find_entry(kind, name)
    if name == "cotracker3" and weights.download and weights.find_local(found) is None:
        from restage4d.priors.tracks.point_trackers import CoTrackerTracks, PointTrackerConfig

        return CoTrackerTracks(name, None, PointTrackerConfig("torch.hub"))
    folder = weights.find(found)
    state = fingerprint(folder)
    if kind == "masks":
        from restage4d.priors.masks.sam import SamConfig, SamMasks

        return SamMasks(name, folder, SamConfig(name.split("-")[0], state))
    if kind == "tracks":
        from restage4d.priors.tracks import point_trackers as p

        return {
            "bootstapir": p.TapirTracks,
            "tapnext": p.TapNextTracks,
            "cotracker3": p.CoTrackerTracks,
        }[name](name, folder, p.PointTrackerConfig(state))
    if name == _BOTH:
        from restage4d.priors.depth.depth_anything3 import DepthAnything3, DepthAnything3Config

        python = Path(read_settings().da3_python)
        if not python.is_file():
            raise InputError(
                "Depth Anything 3 needs a Python of its own, and RESTAGE4D_DA3_PYTHON names none.",
                f"{found.get}.",
            )
        return DepthAnything3(python, folder, DepthAnything3Config(state))
    from restage4d.priors.depth.depth_anything import DepthAnythingConfig, DepthAnythingDepth

    return DepthAnythingDepth(name, folder, DepthAnythingConfig(state))


def make_driving_provider(
    choice: DriverChoice,
    weights: Weights,
    *,
    seed: int = 0,
    head: tuple[float, float] | None = None,
    folder: Path | None = None,
    cache: Cache | None = None,
    choose: Callable[[str], int] | None = None,
    announce: Callable[[str], None] = print,
) -> DrivingProvider:
    """The maker of the driving video: refines the prompt, makes the candidates, keeps one. The
    draft driver is left as it is.

    Args:
        choice: which one, and how.
        weights: where weights may come from.
        seed: of the first candidate; the next have the next seeds.
        head: see `KinematicDriving`; the others do not use it.
        folder: where candidates/, or the draft driver's body_plan.png, are put to look at.
        cache: where videos and refined prompts are kept.
        choose: see `BestOf`.
        announce: told licences, costs, prompts and figures.

    Raises:
        InputError: no such driver, or a module, key or weight is missing; says how to get it.
    """
    if choice.is_draft:
        return KinematicDriving(head, folder)
    found, place = _find_driver(choice.driver)
    need_modules(found)
    if text := describe_terms(found):
        announce(text)
    if found.key:
        need_key(found.key)
    seeds = [seed + i for i in range(choice.candidates)]
    if found.key:
        models = _make_hosted(found.name, choice, seeds, announce)
    else:
        models = _make_diffusers(found.name, place or weights.find(found), choice, seeds)
    best = BestOf(
        models,
        pick=choice.pick,
        choose=choose,
        folder=folder / "candidates" if folder else None,
        cache=cache,
        announce=announce,
    )
    settings = read_settings()
    url = choice.refine_url or settings.refine_url
    model = choice.refine_model or settings.refine_model
    config = RefineConfig(url, model) if url and model else None
    return RefinedPromptDriving(best, config, choice.refined_prompt, cache, announce)


def _find_driver(driver: str) -> tuple[Entry, Path | None]:
    """The catalogue's entry, and the folder where ``driver`` is one; another model of the hub gets
    an entry of its own."""
    if Path(driver).is_dir() or "/" in driver or "\\" in driver:
        needs = find_entry("driving", "ltx")
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
    return find_entry("driving", driver), None


def _make_hosted(
    name: str, choice: DriverChoice, seeds: list[int], announce: Callable[[str], None]
) -> list[VideoModel]:
    from restage4d.driving.hosted import HostedConfig

    if name == "veo":
        from restage4d.driving.veo import MODEL
        from restage4d.driving.veo import VeoDriving as Hosted
    else:
        from restage4d.driving.runway import MODEL  # type: ignore[assignment]
        from restage4d.driving.runway import RunwayDriving as Hosted
    model = choice.model or MODEL
    return [Hosted(HostedConfig(model, choice.seconds, seed), announce) for seed in seeds]


def _make_diffusers(
    name: str, folder: Path, choice: DriverChoice, seeds: list[int]
) -> list[VideoModel]:
    from restage4d.driving.diffusion import DiffusersDriving, DiffusionConfig

    state = fingerprint(folder)
    configs = [DiffusionConfig(seed, choice.frames, choice.fps, weights=state) for seed in seeds]
    return [DiffusersDriving(name, folder, config) for config in configs]
