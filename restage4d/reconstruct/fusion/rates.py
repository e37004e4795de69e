"""Learning rates of photometric fusion, by parameter."""

from restage4d.reconstruct.config import FusionConfig
from restage4d.reconstruct.model.scene_model import SPLAT_FIELDS


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
