"""What is known of a subject's build: where its head, tail and limbs are. Standard library only.

The draft driver's plan of the body (`restage4d.driving.draft.body_plan`) is found in the first
frame; laid onto the Gaussians it is a list of these, travels in the ``.puppet`` file, and the
skeleton is built on it.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Kind = Literal["head", "tail", "leg", "limb"]
Place = tuple[float, float, float]


@dataclass(frozen=True)
class BodyPart:
    """A part that sticks out of the trunk.

    Attributes:
        kind: what it is; "limb" is all that is not known.
        joint, tip: (x, y, z) where it joins the trunk, and its far end; a head's is its muzzle, or
            the top of who stands upright. Canonical, world units.

    Example:
        >>> BodyPart("tail", (-0.3, 0.0, 0.5), (-0.6, 0.0, 0.6)).to_record()["kind"]
        'tail'
    """

    kind: Kind
    joint: Place
    tip: Place

    def to_record(self) -> dict[str, Any]:
        """As the ``.puppet`` file has it."""
        return asdict(self)

    @staticmethod
    def from_record(record: dict[str, Any]) -> "BodyPart":
        """From `to_record`; further keys are ignored.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or is not what it must be; says
                which.
        """
        kind = record["kind"]
        if kind not in get_args(Kind):
            raise ValueError(f"a body part's kind is {kind!r}")
        return BodyPart(kind, _read_place(record, "joint"), _read_place(record, "tip"))

    def scaled(self, factor: float) -> "BodyPart":
        """The same in other units."""
        joint, tip = (to_place([v * factor for v in at]) for at in (self.joint, self.tip))
        return BodyPart(self.kind, joint, tip)


def to_place(values: Iterable[float]) -> Place:  # (3,)
    """Three numbers as a place."""
    x, y, z = (float(v) for v in values)
    return x, y, z


def _read_place(record: dict[str, Any], name: str) -> Place:
    values = record[name]
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(values) != 3 or len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise ValueError(f"a body part's {name} is {values!r}")
    return to_place(numbers)
