"""Providers by name (`restage4d.providers.registry`): checked, announced and loaded before any work
starts. What needs a heavy library is imported where it is made."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from restage4d.defaults import AUTO, WEIGHT_FREE, PriorNames
from restage4d.driving.candidates import BestOf
from restage4d.driving.draft.directions.script import Directions
from restage4d.driving.draft.driver import KinematicDriving
from restage4d.driving.endpoint import EndpointConfig
from restage4d.driving.prompt_refinement import RefinedPromptDriving
from restage4d.driving.protocols import DrivingProvider, VideoModel
from restage4d.errors import InputError
from restage4d.io.content_cache import Cache
from restage4d.jobs.provider_choice import DriverChoice, is_prior_file
from restage4d.priors.cameras.camera_files import CameraFiles
from restage4d.priors.estimate import Providers, weight_free_providers
from restage4d.priors.people.person_depth import PersonConfig, PersonDepth
from restage4d.priors.people.person_masks import PersonMasks
from restage4d.providers.api_keys import need_key
from restage4d.providers.entry import Entry
from restage4d.providers.model_set import choose_estimators
from restage4d.providers.modules import need_modules
from restage4d.providers.registry import describe_terms, find_entry
from restage4d.providers.settings import read_settings
from restage4d.providers.weights import Weights, fingerprint

# one network makes cameras and depth
_BOTH = ("depth-anything-3", "depth-anything-3-base", "map-anything")


def make_prior_providers(
    names: PriorNames, weights: Weights, announce: Callable[[str], None] = print
) -> Providers:
    """The providers of those names.

    Args:
        names: of each prior's provider; "auto" is `resolve_estimators`'s business.
        weights: where weights may come from.
        announce: told what a person must know, such as a licence that is not for commercial use.

    Raises:
        InputError: a name is unknown, or a module, checkpoint or checkout is missing or damaged;
            says how to get it.
    """
    names = resolve_estimators(names, weights, announce)
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


def resolve_estimators(
    names: PriorNames, weights: Weights, announce: Callable[[str], None] = print
) -> PriorNames:
    """The names with what "auto" takes on this computer in its place; see `choose_estimators`."""
    if AUTO not in vars(names).values():
        return names
    import torch  # late: the doctor and the service know all names without it

    gpu = torch.cuda.get_device_properties(0).total_memory / 1e9 if torch.cuda.is_available() else 0
    return choose_estimators(names, weights, read_settings(), gpu, announce)


def _key(kind: str, name: str) -> tuple[str, str]:
    if is_prior_file(kind, name):
        return "file", name
    return ("both", name) if name in _BOTH else (kind, name)


def _make_prior_provider(kind: str, name: str, weights: Weights) -> Any:
    if _key(kind, name)[0] == "file":
        return CameraFiles(Path(name))
    if name == getattr(WEIGHT_FREE, kind):
        return getattr(weight_free_providers(), kind)
    found = find_entry(kind, name)
    make = PRIOR_MAKERS.get((kind, name))
    if make is None:
        raise _refuse_unmade(found)
    if name == "cotracker3" and weights.download and weights.find_local(found) is None:
        from restage4d.priors.tracks.point_trackers import CoTrackerTracks, PointTrackerConfig

        return CoTrackerTracks(name, None, PointTrackerConfig("torch.hub"))
    folder = weights.find(found) if found.files or found.repo else Path()
    return make(found, folder, fingerprint(folder) if folder.name else "")


def _refuse_unmade(found: Entry) -> InputError:
    return InputError(
        f"{found.name} ({found.kind}) is in the catalogue, but nothing here makes it.",
        "Choose another: restage4d doctor lists them.",
    )


def _make_sam(family: str, found: Entry, folder: Path, state: str) -> Any:
    from restage4d.priors.masks.sam import SamConfig, SamMasks

    return SamMasks(found.name, folder, SamConfig(family, state))


def _make_tracker(class_name: str, found: Entry, folder: Path, state: str) -> Any:
    from restage4d.priors.tracks import point_trackers

    made = getattr(point_trackers, class_name)
    return made(found.name, folder, point_trackers.PointTrackerConfig(state))


def _make_depth_anything(found: Entry, folder: Path, state: str) -> Any:
    from restage4d.priors.depth.depth_anything import DepthAnythingConfig, DepthAnythingDepth

    return DepthAnythingDepth(found.name, folder, DepthAnythingConfig(state))


def _make_one_pass(class_name: str, setting: str, found: Entry, folder: Path, state: str) -> Any:
    from restage4d.priors.depth import one_pass

    made = getattr(one_pass, class_name)
    python = Path(getattr(read_settings(), setting))
    if not python.is_file():
        raise InputError(
            f"{made.title} needs a Python of its own, and RESTAGE4D_{setting.upper()} names none.",
            f"{found.get}.",
        )
    return made(python, folder, one_pass.OnePassConfig(state))


def _make_person_masks(found: Entry, folder: Path, state: str) -> Any:
    return PersonMasks(_find_people_config(found))


def _make_person_depth(found: Entry, folder: Path, state: str) -> Any:
    return PersonDepth(_find_people_config(found))


def _find_people_config(found: Entry) -> PersonConfig:
    python = Path(read_settings().mediapipe_python)
    if not python.is_file():
        raise InputError(
            "MediaPipe needs a Python of its own, and RESTAGE4D_MEDIAPIPE_PYTHON names none.",
            f"{found.get}.",
        )
    return PersonConfig(python)


# who is made from (entry, folder of weights, fingerprint of it)
PRIOR_MAKERS: dict[tuple[str, str], Callable[[Entry, Path, str], Any]] = {
    ("masks", "sam2"): partial(_make_sam, "sam2"),
    ("masks", "sam2-tiny"): partial(_make_sam, "sam2"),
    ("masks", "edgetam"): partial(_make_sam, "edgetam"),
    ("masks", "sam3"): partial(_make_sam, "sam3"),
    ("masks", "mediapipe"): _make_person_masks,
    ("depth", "mediapipe"): _make_person_depth,
    **{
        (kind, name): partial(_make_one_pass, class_name, setting)
        for kind in ("cameras", "depth")
        for name, class_name, setting in (
            ("depth-anything-3", "DepthAnything3", "da3_python"),
            ("depth-anything-3-base", "DepthAnything3", "da3_python"),
            ("map-anything", "MapAnything", "map_anything_python"),
        )
    },
    ("depth", "depth-anything-v2"): _make_depth_anything,
    ("depth", "depth-anything-v2-large"): _make_depth_anything,
    ("tracks", "bootstapir"): partial(_make_tracker, "TapirTracks"),
    ("tracks", "tapnext"): partial(_make_tracker, "TapNextTracks"),
    ("tracks", "cotracker3"): partial(_make_tracker, "CoTrackerTracks"),
}


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
    script: Directions | None = None,
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
        script: what the draft driver acts; None: what it reads in the prompt itself.

    Raises:
        InputError: no such driver, or a module, key or weight is missing; says how to get it.
    """
    if choice.is_draft:
        return KinematicDriving(head, folder, script)
    found, place = _find_driver(choice.driver)
    need_modules(found)
    if text := describe_terms(found):
        announce(text)
    if found.key:
        need_key(found.key)
    seeds = [seed + i for i in range(choice.candidates)]
    if found.key:
        models = _make_hosted(found, choice, seeds, announce)
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
    return RefinedPromptDriving(best, find_endpoint(choice), choice.refined_prompt, cache, announce)


def find_endpoint(choice: DriverChoice) -> EndpointConfig | None:
    """The endpoint that refines prompts and makes the draft driver's scripts; None for none. Raises
    `InputError` for settings that cannot be read."""
    settings = read_settings()
    url = choice.refine_url or settings.refine_url
    model = choice.refine_model or settings.refine_model
    return EndpointConfig(url, model) if url and model else None


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
    found: Entry, choice: DriverChoice, seeds: list[int], announce: Callable[[str], None]
) -> list[VideoModel]:
    from restage4d.driving.hosted import HostedConfig

    if found.name == "veo":
        from restage4d.driving.veo import MODEL
        from restage4d.driving.veo import VeoDriving as Hosted
    elif found.name == "runway":
        from restage4d.driving.runway import MODEL  # type: ignore[assignment]
        from restage4d.driving.runway import RunwayDriving as Hosted
    else:
        raise _refuse_unmade(found)
    model = choice.model or MODEL
    return [Hosted(HostedConfig(model, choice.seconds, seed), announce) for seed in seeds]


def _make_diffusers(
    name: str, folder: Path, choice: DriverChoice, seeds: list[int]
) -> list[VideoModel]:
    from restage4d.driving.diffusion import DiffusersDriving, DiffusionConfig

    state = fingerprint(folder)
    configs = [DiffusionConfig(seed, choice.frames, choice.fps, weights=state) for seed in seeds]
    return [DiffusersDriving(name, folder, config) for config in configs]
