"""What is used where nobody chose. Standard library only: the service's messages and Blender's
panel say the same."""

from dataclasses import dataclass
from typing import Final

LONGER_SIDE = 384  # pixels of the working size
QUALITIES = ("draft", "default", "high")  # see `restage4d.reconstruct.config.preset`
QUALITY: Final = "default"
DRAFT_DRIVER = "kinematic"  # makes driving videos without weights, from simple directions
HOSTED_SECONDS = 5  # of a driving video by a hosted service


@dataclass(frozen=True)
class PriorNames:
    """Who estimates which prior, by name in `restage4d.providers.registry`; as it stands, those
    that need no weights. ``cameras`` and ``depth`` may also be a path to a file with them."""

    masks: str = "grabcut"
    cameras: str = "sfm"
    depth: str = "relief"
    tracks: str = "flow"
