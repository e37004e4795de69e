"""Who makes what in a run: providers by name, the driver, weights and consent."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from restage4d.defaults import AUTO, DRAFT_DRIVER, HOSTED_SECONDS, PriorNames
from restage4d.providers.registry import ENTRIES


@dataclass(frozen=True)
class DriverChoice:
    """The maker of the driving video.

    Attributes:
        driver: name in the catalogue, a diffusers model's id on the hub, or its folder.
        model: a hosted service's model; None for its usual one.
        frames, fps: of a diffusion model's video; None for its usual ones. ``seconds``: of a hosted
            service's.
        candidates: how many videos are made to pick from. ``pick``: number of the one to keep;
            None: ask, or the best.
        refine_url, refine_model: endpoint that refines the prompt; "" for the settings' one, or the
            template.
        refined_prompt: used as it is instead, "" for none.
    """

    driver: str = DRAFT_DRIVER
    model: str | None = None
    frames: int | None = None
    fps: float | None = None
    seconds: int = HOSTED_SECONDS
    candidates: int = 1
    pick: int | None = None
    refine_url: str = ""
    refine_model: str = ""
    refined_prompt: str = ""

    @property
    def is_draft(self) -> bool:
        """Whether the draft driver acts, which understands simple directions only."""
        return self.driver == DRAFT_DRIVER


@dataclass(frozen=True)
class ProviderChoice:
    """Names as in `restage4d.providers.registry`.

    Attributes:
        priors: who estimates which prior.
        driver: see `DriverChoice`.
        weights, download: where weights may come from
            (`restage4d.providers.weights.Weights.from_settings`).

    Names that are files or folders become absolute paths.
    """

    priors: PriorNames = field(default_factory=PriorNames)
    driver: DriverChoice = field(default_factory=DriverChoice)
    weights: Path | None = None
    download: bool = False

    def __post_init__(self) -> None:
        files = {
            kind: os.path.abspath(name)
            for kind, name in vars(self.priors).items()
            if is_prior_file(kind, name)
        }
        object.__setattr__(self, "priors", replace(self.priors, **files))
        if Path(self.driver.driver).is_dir():
            place = os.path.abspath(self.driver.driver)
            object.__setattr__(self, "driver", replace(self.driver, driver=place))
        if self.weights is not None:
            object.__setattr__(self, "weights", self.weights.absolute())


def is_prior_file(kind: str, name: str) -> bool:
    """Whether a provider's name is the path of MegaSaM's or ViPE's cameras and depth."""
    return kind in ("cameras", "depth") and (name.endswith(".npz") or "/" in name or "\\" in name)


def needs_gpu(choice: ProviderChoice, *, makes_driving: bool) -> bool:
    """Whether priors or, where it ``makes_driving``, the driving video come from a network that
    runs here: it wants the GPU's memory, which a fit beside it has."""
    names = [(kind, name) for kind, name in vars(choice.priors).items()]
    names = [each for each in names if not is_prior_file(*each)]
    if makes_driving:
        names.append(("driving", choice.driver.driver))
    without = {(e.kind, e.name) for e in ENTRIES if e.memory == 0 and e.name != AUTO}
    return not without.issuperset(names)
