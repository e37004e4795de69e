# SPDX-License-Identifier: GPL-3.0-or-later
"""The work on the scene that is under way step by step, for everybody who must know of it."""

from dataclasses import dataclass


@dataclass
class RunningWork:
    """What it is, how far (0..1), and whether the artist has asked it to end."""

    label: str
    fraction: float = 0.0
    cancelled: bool = False


current: RunningWork | None = None  # one at a time
