"""What each step of photometric fusion visits, and learning rates by parameter."""

import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Rewound
from restage4d.reconstruct.config import FusionConfig
from restage4d.reconstruct.model.scene_model import SPLAT_FIELDS


def plan_visits(
    rewound: Rewound, steps: int, looks: float, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:  # (steps,), (steps,)
    """Which frame each step visits, and whether it looks at the subject alone.

    In an epoch, every frame is visited once, in an order drawn per epoch; among these visits are
    looks at the subject of base frames, ``looks`` of them for each base frame on average.
    """
    n, base = len(rewound), rewound.video(0)
    rng = np.random.default_rng([seed, 5])
    start = (rng.permutation(len(base)) + 0.5) / len(base)  # so that every epoch has as many
    plan: list[NDArray[np.intp]] = []
    left, epoch = steps, 0
    while left > 0:
        extra = np.floor((epoch + 1) * looks + start) - np.floor(epoch * looks + start)
        visits = np.concatenate([np.arange(n), n + np.repeat(base, extra.astype(int))])
        order = np.random.default_rng([seed, 4, epoch]).permutation(len(visits))
        plan.append(visits[order][:left])
        left, epoch = left - len(plan[-1]), epoch + 1
    visits = np.concatenate([np.zeros(0, np.intp), *plan])
    return visits % n, visits >= n


def choose_rates(
    c: FusionConfig, distance: float, focal: float
) -> tuple[dict[str, float], dict[str, float]]:
    """The rates, and by which factor each falls over all steps.

    Args:
        c: the settings.
        distance: of what is filmed, world units.
        focal: pixels.
    """
    rates = {"bases.rots": c.lr_rots, "bases.trans": c.lr_trans, "subject.coefs": c.lr_coefs}
    for part in ("subject", "background"):
        for field in SPLAT_FIELDS:
            rates[f"{part}.{field}"] = getattr(c, f"lr_{field}")
    rates["background.means"] *= max(distance, 1.0)
    rates |= {
        "cameras.turns": c.lr_cameras / focal,
        "cameras.shifts": c.lr_cameras * distance / focal,
    }
    decay = {
        name: c.lr_decay
        for name in rates
        if name.startswith(("bases.", "cameras.")) or name.endswith(".means")
    }
    return rates, decay
