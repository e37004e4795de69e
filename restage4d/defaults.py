"""What is used where nobody chose. Standard library only: the service's messages and Blender's
panel say the same."""

from dataclasses import dataclass
from typing import Final

LONGER_SIDE = 384  # pixels of the working size
QUALITIES = ("draft", "default", "high")  # see `restage4d.reconstruct.config.preset`
QUALITY: Final = "default"
DRAFT_DRIVER = "kinematic"  # makes driving videos without weights, from simple directions
AUTO = (
    "auto"  # the estimator of the best weights that lie on the computer, else one without weights
)
HOSTED_SECONDS = 5  # of a driving video by a hosted service


@dataclass(frozen=True)
class PriorNames:
    """Who estimates which prior, by name in `restage4d.providers.registry`. ``cameras`` and
    ``depth`` may also be a path to a file with them."""

    masks: str = AUTO
    cameras: str = AUTO
    depth: str = AUTO
    tracks: str = AUTO


WEIGHT_FREE = PriorNames("grabcut", "sfm", "relief", "flow")  # those that need no weights
