"""Where feet stand: spans in which a limb's end is near the ground and hardly moves."""

import numpy as np

from restage4d.se3 import Array

SPEED = 0.35  # of the subject's extent a second: slower is standing
HEIGHT = 0.1  # of the extent: what is higher above the lowest place hangs in the air
SECONDS = 0.12  # that a foot stands at least


def find_contacts(
    places: Array,
    extent: float,
    fps: float,
    *,
    ground: float | None = None,
    speed: float = SPEED,
    height: float = HEIGHT,
) -> list[tuple[int, int]]:  # (T, 3)
    """Spans (first, last) of frames in which a limb's end stands.

    Args:
        places: (T, 3) where it is, in the world, +Z up.
        extent: of the subject, world units.
        fps: frames a second.
        ground: its height; the end's own lowest place where None.
        speed, height: see `SPEED`, `HEIGHT`.

    Example:
        >>> still = np.zeros((10, 3)); still[6:, 2] = np.linspace(0.2, 1, 4)
        >>> find_contacts(still, 1.0, 24.0)
        [(0, 5)]
    """
    if len(places) < 3:
        return []
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1) * fps / extent
    before, after = np.r_[steps[0], steps], np.r_[steps, steps[-1]]
    low = places[:, 2] < (places[:, 2].min() if ground is None else ground) + height * extent
    stands = low & (np.minimum(before, after) < speed)
    least = max(3, round(SECONDS * fps))
    edges = np.flatnonzero(np.diff(np.r_[False, stands, False].astype(int)))
    return [
        (int(first), int(end) - 1)
        for first, end in zip(edges[::2], edges[1::2], strict=True)
        if end - first >= least
    ]
