"""What a provider of driving videos must offer. Those without models live beside this file; others
plug in the same way."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip
from restage4d.progress import Progress


class DrivingProvider(Protocol):
    """Makes the video that shows what the subject shall do."""

    name: str

    def make(self, base: Clip, mask: NDArray[np.bool_], prompt: str, progress: Progress) -> Clip:
        """A clip whose first frame d_0 is (close to) the base's first frame b_0.

        Args:
            base: the filmed clip, b_0 first.
            mask: (H, W) the subject in b_0.
            prompt: what the subject shall do.
            progress: told the stages; ends cancelled work.

        Returns:
            The driving clip d_0..d_n at the base's size and fps. A provider whose videos come out
            otherwise passes them through `restage4d.driving.seam.prepare`, which also checks d_0
            against b_0.

        Raises:
            InputError: the prompt or the video cannot be used; says why and what to do.
        """
        ...
