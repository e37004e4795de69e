"""The ablations of the paper's tables: each is a list of switches, exactly what ``restage4d run
--set`` takes."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from restage4d.errors import InputError
from restage4d.reconstruct.config import FitConfig, preset, with_settings

_PAPER = (
    "fusion.far_side=false",
    "fusion.hull=0",
    "fusion.base_looks=0",
    "fusion.driving_looks=0",
    "motion.hull=0",
    "shape_from_motion=false",
)  # what goes beyond the paper is off
# Fewer leave the joint fits, which see each frame half as often, unfinished.
ENOUGH = ("motion.steps=800", "fusion.steps_per_frame=24")
_NO_RIGIDITY = ("rigidity.init_weight=0", "rigidity.refine_weight=0")
_ALONE = ("clips=driving",)
_NO_BACKTRACING = ("backtracing=false",)


@dataclass(frozen=True)
class Ablation:
    """A row of a table: its title and the settings that differ from the method in full."""

    title: str
    settings: tuple[str, ...]


ABLATIONS = {
    "baseline": Ablation("Baseline (driving clip alone)", (*_ALONE, *_NO_RIGIDITY)),
    "arap": Ablation("+ARAP", _ALONE),
    "joint": Ablation("+Joint", (*_NO_RIGIDITY, *_NO_BACKTRACING)),
    "joint_arap": Ablation("+Joint +ARAP", _NO_BACKTRACING),
    "full": Ablation("+Joint +ARAP +backtracing", ()),
    "no_rigidity": Ablation("all without rigidity", _NO_RIGIDITY),
}
TABLE_1 = ("baseline", "arap", "joint", "joint_arap", "full")
TABLE_2 = ("full", "joint_arap", "no_rigidity")  # all, without backtracing, without rigidity
FAULTS = ("baseline", "full")


def select_ablations(names: Iterable[str]) -> list[str]:
    """The names, checked and in the tables' order. Raises `InputError` for an unknown one."""
    asked = list(names) or list(ABLATIONS)
    for name in asked:
        if name not in ABLATIONS:
            raise InputError(
                f"There is no ablation {name!r}.", f"Take any of: {', '.join(ABLATIONS)}."
            )
    return [name for name in ABLATIONS if name in asked]


def configure(name: str, settings: Iterable[str], seed: int, frames: int) -> FitConfig:
    """The draft preset of the paper's method with more steps, the ablation's switches and then
    ``settings``.

    ``frames`` is the length of base and driving rewound: every ablation takes the steps that this
    length asks for.
    """
    config = replace(preset("draft"), seed=seed)
    config = with_settings(config, (*_PAPER, *ENOUGH, *ABLATIONS[name].settings, *settings))
    return with_settings(config, [f"fusion.steps={config.fusion.total_steps(np.zeros(frames))}"])
