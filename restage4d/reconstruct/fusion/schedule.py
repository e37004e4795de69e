"""What each step of photometric fusion visits, and learning rates by parameter."""

import numpy as np
from numpy.typing import NDArray

from restage4d.reconstruct.config import FusionConfig
from restage4d.reconstruct.model.scene_model import SPLAT_FIELDS

FRAME, LOOK, VIEW = range(3)


def plan_visits(
    looks: NDArray[np.float64], steps: int, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:  # (steps,), (steps,)
    """Which frame each step visits, and whether it looks at the subject alone.

    In an epoch, every frame is visited once, in an order drawn per epoch; among these visits are
    looks at the subject, ``looks`` (T,) of them for each frame on average.
    """
    n = len(looks)
    rng = np.random.default_rng([seed, 5])
    # epochs begin to count at different frames, so that each has nearly as many
    start = np.empty(n)
    start[rng.permutation(n)] = (np.arange(n) + 0.5) / n
    plan: list[NDArray[np.intp]] = []
    left, epoch = steps, 0
    while left > 0:
        extra = np.floor((epoch + 1) * looks + start) - np.floor(epoch * looks + start)
        visits = np.concatenate([np.arange(n), n + np.repeat(np.arange(n), extra.astype(int))])
        order = np.random.default_rng([seed, 4, epoch]).permutation(len(visits))
        plan.append(visits[order][:left])
        left, epoch = left - len(plan[-1]), epoch + 1
    visits = np.concatenate([np.zeros(0, np.intp), *plan])
    return visits % n, visits >= n


def insert_views(
    frames: NDArray[np.intp], looks: NDArray[np.bool_], views: int, count: int, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:  # (steps,), (steps,) -> (steps + count,) each
    """A plan of `plan_visits` with ``count`` visits of guessed views spread over it, each view as
    often as the others: which frame or view every step visits, and whether it is the whole `FRAME`,
    its subject alone (`LOOK`) or a `VIEW`."""
    rng = np.random.default_rng([seed, 6])
    turns = [rng.permutation(views) for _ in range(0, count, max(views, 1))]
    visits = np.concatenate([np.zeros(0, np.intp), *turns])[:count]
    at = np.sort(rng.integers(0, len(frames) + 1, len(visits)))
    return np.insert(frames, at, visits), np.insert(looks.astype(np.intp), at, VIEW)


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
