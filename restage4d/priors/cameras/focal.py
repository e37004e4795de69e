"""What is known about a focal length before looking: every search for one starts, ends and is
judged by this."""

import math

RATIOS = (
    0.55,
    3.0,
)  # of the longer side: from a wide phone lens to a long one; nothing outside is ever taken
LONGER_SIDE = 384.0  # pixels at which tolerances of tracks are stated
_PULL = (
    0.05  # what a focal length a factor e away from the guess must lower ln(cost) by to be taken
)


def guess_focal(size: tuple[int, int]) -> float:
    """The focal length in pixels where nothing tells, for ``size`` (width, height).

    1.2 times the longer side, as COLMAP has it; 0.8 for portrait clips, which are mostly phones'.
    """
    width, height = size
    return 1.2 * width if width >= height else 0.8 * height


def compute_pull(focal: float, guess: float) -> float:
    """What is added to ln(cost) so that a focal length that nothing tells stays at the guess."""
    return _PULL * math.log(focal / guess) ** 2
