"""How much a measured value speaks for the subject: learned from the clip itself."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

F32 = NDArray[np.float32]

_SMOOTH = np.array([0.1, 0.2, 0.4, 0.2, 0.1])
_FLOOR = (
    0.005  # share of every bin that nothing was learned about: bounds what a single value can say
)
_BINS = (26, 64, 64)  # of colours in Lab, four steps each
_SPREAD = 4  # bins over which a colour that was seen tells of others, with a deviation of one
_NEVER = 2e-5  # share of pixels that a colour nobody has seen may have


class LogLikelihoodRatio:
    """log P(value | subject) / P(value | background) as a table over the logarithm of a value, from
    samples of both.

    Where a clue does not tell the two apart in this clip, the table is flat: the clue falls silent
    by itself.

    Args:
        low, high: values between which the table tells; beyond them its end bins hold.
        bins: number of bins.
    """

    def __init__(self, low: float, high: float, bins: int = 26) -> None:
        self._edges = np.linspace(np.log(low), np.log(high), bins - 1)
        self._count = np.zeros((2, bins))

    def learn(self, value: F32, subject: NDArray[np.bool_]) -> None:
        """Adds samples ``value`` (N,), NaN where unknown, of which ``subject`` (N,) belong to the
        subject."""
        known = np.isfinite(value)
        for row, chosen in ((0, known & subject), (1, known & ~subject)):
            self._count[row] += np.bincount(
                self._bin(value[chosen]), minlength=self._count.shape[1]
            )

    def __call__(self, value: F32) -> F32:
        """The ratio (N,) for ``value`` (N,), 0 where that is NaN or one of the two was never
        seen."""
        if not self._count.sum(1).all():
            return np.zeros(value.shape, np.float32)
        share = np.stack(
            [np.convolve(np.pad(count, 2, mode="edge"), _SMOOTH, "valid") for count in self._count]
        )
        share = share / share.sum(1, keepdims=True) + _FLOOR
        table = np.log(share[0] / share[1]).astype(np.float32)
        known = np.isfinite(value)
        result = np.zeros(value.shape, np.float32)
        result[known] = table[self._bin(value[known])]
        return result

    def _bin(self, value: F32) -> NDArray[np.intp]:
        return np.digitize(np.log(np.maximum(value, 1e-6)), self._edges)


class ColourLogLikelihoodRatio:
    """log P(colour | subject) / P(colour | background) as a table over Lab, from pixels of both."""

    def __init__(self) -> None:
        self._count = np.zeros((2, int(np.prod(_BINS))))
        self._table: F32 | None = None  # of what was learned until now

    def learn(
        self, lab: F32, subject: NDArray[np.float64], background: NDArray[np.float64]
    ) -> None:
        """Adds pixels ``lab`` (..., 3) that count as much as the weights (...) say."""
        index = self._bin(lab).ravel()
        for row, weight in enumerate((subject, background)):
            self._count[row] += np.bincount(index, weight.ravel(), self._count.shape[1])
        self._table = None

    def __call__(self, lab: F32) -> F32:
        """The ratio (...) for pixels ``lab`` (..., 3)."""
        if self._table is None:
            self._table = self._compute_table()
        return self._table[self._bin(lab)]

    def _compute_table(self) -> F32:
        counts = self._count.reshape(2, *_BINS)
        table = np.zeros(_BINS, np.float32)  # of colours that nobody has seen
        if counts.any():
            seen = [counts.any(tuple(a for a in range(4) if a != axis)) for axis in (1, 2, 3)]
            spans = [(int(i[0]), int(i[-1])) for i in map(np.flatnonzero, seen)]
            box = tuple(slice(max(a - _SPREAD, 0), b + _SPREAD + 1) for a, b in spans)
            smooth = [
                ndimage.gaussian_filter(count[box], 1.0, mode="constant", radius=_SPREAD)
                / max(count.sum(), 1e-6)
                + _NEVER
                for count in counts
            ]
            table[box] = np.log(smooth[0] / smooth[1])
        return table.ravel()

    def _bin(self, lab: F32) -> NDArray[np.intp]:
        low = np.array([0, 128, 128], np.float32)
        bins = np.clip((lab + low) / 4, 0, np.array(_BINS) - 1).astype(np.intp)
        return (bins[..., 0] * _BINS[1] + bins[..., 1]) * _BINS[2] + bins[..., 2]
