"""Which pixels are the subject's: all clues weighed pixel by pixel, frame after frame from the seam
outward.

The clues are what the frame before shows there, what the given mask's frame shows there, the
subject's colours in that frame, motion against the background, trails, and the background itself as
other frames show it. What motion and background are worth is learned from the clip
(`likelihood_ratio`).
"""

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Rewound
from restage4d.frame_arrays import make_frames, stack_on_cores
from restage4d.priors.masks.following.kernels import (
    infer_mean_field,
    list_offsets,
    measure_background_distance,
    measure_distances,
)
from restage4d.priors.masks.likelihood_ratio import (
    ColourLogLikelihoodRatio,
    LogLikelihoodRatio,
)
from restage4d.priors.masks.regions import dilate, find_thin_parts, label
from restage4d.priors.motion.background_motion import BackgroundMotion
from restage4d.priors.motion.optical_flow import Flow, warp
from restage4d.progress import Task
from restage4d.threads import map_on_cores

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]
Ints = NDArray[np.intp]


@dataclass(frozen=True)
class ClueWeights:
    """What each clue weighs in the sum of log-likelihood ratios.

    Fitted by logistic regression on four clips of DAVIS, both ways in time, then rounded.
    Those of limbs began with a fit on five clips and were then chosen by what six clips gave.

    Attributes:
        carried: the label that the flow brings from the frame before.
        like_before: likeness to subject and background of the frame before.
        like_first: the same of the given mask's frame.
        motion: speed against the background.
        trails: the trails' label.
        background: unlikeness to the background that other frames show there.
        colour: that the subject of the given mask's frame, anywhere, has it rather than what
            surrounds the subject in any frame. Nothing wears it off.
        bias: of the sum.
    """

    carried: float = 0.25
    like_before: float = 0.7
    like_first: float = 0.7
    motion: float = 0.5
    trails: float = 1.3
    background: float = 0.8
    colour: float = 0.6
    bias: float = -0.3

    def to_row(self) -> NDArray[np.float64]:  # -> (8,)
        return np.array(
            [
                self.carried,
                self.like_before,
                self.like_first,
                self.motion,
                self.trails,
                self.background,
                self.colour,
                self.bias,
            ]
        )


# A foot on the ground stands as still as the ground, few trails are on a thin leg, and chained flow
# misses its place in the given mask's frame: there the frame before and the background tell.
_LIMBS = ClueWeights(
    carried=0.55,
    like_before=1.45,
    like_first=0.25,
    motion=0.15,
    trails=0.3,
    background=0.9,
    colour=1.0,
    bias=-0.15,
)


@dataclass(frozen=True)
class Decision:
    """How pixels are decided; pixels are at a longer side of 384.

    Attributes:
        weights: see `ClueWeights`.
        limb_weights: the same where the frame before shows a limb (`find_thin_parts`).
        limb_reach: pixels around a limb that count as its own there, over the root of the area.
        candidate: label of trails from which a pixel may be subject whatever its mask says.
        band: pixels around what may be subject that are decided one by one.
        margin: pixels around the subject that are no background either.
        limb_margin: the same around limbs: masks lose feet first, and a foot that stands for many
            frames would be the background that these show.
        offsets: frames before and after in which the background is looked up.
        share: of those frames must show it as it is here.
        radius_before, radius_first: steps each way in which a pixel's like is searched, one pixel
            each in the frame before and two in the given mask's.
        away: squared feature distance that is added for every squared step.
        unlike: squared feature distance that counts as a log-likelihood ratio of 1.
        surroundings: pixels around the subject whose colours are those of its surroundings.
        clip: log-likelihood ratio that likeness, motion and colour can give at most.
        unseen: that colour can take away at most: the subject shows sides that the given mask's
            frame does not, and blur mixes it with what is behind it.
        clip_background: log-likelihood ratio that the background can give at most.
        floor_carried, floor_trails: shares below which a label says no more.
        sure: logit of pixels that are not in question.
        agreement: strength of agreement between neighbouring pixels.
        contrast: how much less across colours, over their mean squared step.
        rounds: of the mean field.
        speed_range: pixels per frame between which speed's table tells.
        background_range: feature distances between which the background's tells.
    """

    weights: ClueWeights = field(default_factory=ClueWeights)
    limb_weights: ClueWeights = _LIMBS
    limb_reach: float = 0.05
    candidate: float = 0.7
    band: float = 14
    margin: float = 2
    limb_margin: float = 12
    offsets: tuple[int, ...] = (5, 9, 14, 21, 30)
    share: float = 0.3
    radius_before: int = 4
    radius_first: int = 5
    away: float = 0.6
    unlike: float = 60.0
    surroundings: float = 40
    clip: float = 3.0
    unseen: float = 1.0
    clip_background: float = 4.0
    floor_carried: float = 0.02
    floor_trails: float = 0.05
    sure: float = 6.0
    agreement: float = 0.5
    contrast: float = 0.5
    rounds: int = 8
    speed_range: tuple[float, float] = (0.03, 12.0)
    background_range: tuple[float, float] = (1.0, 60.0)


class Appearance:
    """What frames look like.

    ``features`` (T, H, W, 7) are Lab finely smoothed (``lab``), widely
    smoothed, and roughness."""

    def __init__(self, rewound: Rewound, scale: float) -> None:
        width, height = rewound.clip.size
        self.features = make_frames((len(rewound), height, width, 7))

        def describe(t: int) -> None:
            frame, out = rewound.clip.frames[t], self.features[t]
            lab = cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
            wide = cv2.GaussianBlur(lab, (0, 0), 2.0 * scale)
            square = cv2.GaussianBlur(lab[..., 0] ** 2, (0, 0), 2.0 * scale)
            out[..., :3] = cv2.GaussianBlur(lab, (0, 0), 0.7 * scale)
            out[..., 3:6] = 0.7 * wide
            out[..., 6] = np.sqrt(np.maximum(square - wide[..., 0] ** 2, 0))

        map_on_cores(describe, range(len(rewound)))

    @property
    def lab(self) -> F32:
        return self.features[..., :3]


def decide_pixels(
    rewound: Rewound,
    flow: Flow,
    motion: BackgroundMotion,
    speed: F32,
    look: Appearance,
    belongs: F32,
    masks: Bool,
    task: Task,
    decision: Decision,
) -> Bool:
    """Masks (T, H, W) anew, pixel by pixel from all clues.

    Args:
        speed: (T, H, W) against the background, as from `BackgroundMotion.measure_own_motion`.
        belongs: (T, H, W) the trails' labels, spread to all pixels.
        masks: (T, H, W) what is known so far: where the background is and what clues are worth.
        task: advanced by one for every frame but the seam.
        decision: weights and thresholds.
    """
    d, seam = decision, rewound.seam
    scale = max(rewound.clip.size) / 384
    step, nearby, wide = (
        max(1, round(scale)),
        list_offsets(d.radius_before),
        list_offsets(d.radius_first),
    )

    def widen(mask: Bool) -> Bool:
        limbs = _dilate(find_thin_parts(mask), d.limb_margin * scale)
        return _dilate(mask, d.margin * scale) | limbs

    solid = stack_on_cores(widen, masks)
    colour_ratio = _learn_colours(look, masks, solid, seam, d.surroundings * scale)

    def compare_background(t: int) -> tuple[NDArray[np.int32], F32]:
        candidate = masks[t] | (belongs[t] > d.candidate)
        rows, cols = np.nonzero(_dilate(candidate, d.band * scale))
        frames, places = motion.locate_background(t, d.offsets)
        behind = measure_background_distance(
            rows, cols, t, look.features, solid, frames, places, d.share
        )
        return (rows * masks.shape[2] + cols).astype(np.int32), behind

    bands, behind = zip(*map_on_cores(compare_background, range(len(rewound))), strict=True)
    speed_ratio = LogLikelihoodRatio(*d.speed_range)
    background_ratio = LogLikelihoodRatio(*d.background_range)

    def get_band(t: int) -> tuple[Ints, Ints]:
        """Rows and columns of the pixels in question."""
        return np.divmod(bands[t].astype(np.intp), masks.shape[2])

    for t in range(len(rewound)):
        band = get_band(t)
        speed_ratio.learn(speed[t][band], masks[t][band])
        background_ratio.learn(behind[t], masks[t][band])
    labels = make_frames(masks.shape)
    labels[seam] = masks[seam]
    from_seam = {seam: np.zeros((*labels.shape[1:], 2), np.float32)}

    def decide(edge: tuple[int, int]) -> None:
        a, b = edge
        back = flow.get_flow(b, a)
        from_seam[b] = back + warp(from_seam[a], back)
        band = get_band(b)
        rows, cols = band
        if not len(rows):
            return
        here, there = look.features[b], look.features[a]
        moved = measure_distances(rows, cols, here, there, labels[a], back, nearby, step, d.away)
        behind_it = motion.compute_flow(b, a)
        still = measure_distances(
            rows, cols, here, there, labels[a], behind_it, nearby, step, d.away, True
        )
        first = measure_distances(
            rows,
            cols,
            here,
            look.features[seam],
            labels[seam],
            from_seam[b],
            wide,
            2 * step,
            d.away,
        )
        clues = np.stack(
            [
                np.exp(-(flow.compute_error(b, a)[band] ** 2))
                * _logit(warp(labels[a], back)[band], d.floor_carried),
                np.clip(
                    (np.minimum(moved[:, 1], still[:, 1]) - moved[:, 0]) / d.unlike, -d.clip, d.clip
                ),
                np.clip((first[:, 1] - first[:, 0]) / d.unlike, -d.clip, d.clip),
                np.clip(speed_ratio(speed[b][band]), -d.clip, d.clip),
                _logit(belongs[b][band], d.floor_trails),
                np.clip(background_ratio(behind[b]), -d.clip_background, d.clip_background),
                np.clip(colour_ratio(look.lab[b][band]), -d.unseen, d.clip),
                np.ones(len(rows)),
            ]
        )
        logit = np.full(labels.shape[1:], -d.sure, np.float32)
        limbs = _find_limbs(labels[a] > 0.5, back, d.limb_reach)[band]
        logit[band] = np.where(limbs, d.limb_weights.to_row() @ clues, d.weights.to_row() @ clues)
        lab = np.ascontiguousarray(look.lab[b])
        contrast = d.contrast / max(float((np.diff(lab, axis=1) ** 2).sum(-1).mean()), 1e-3)
        labels[b] = infer_mean_field(rows, cols, logit, lab, d.agreement, contrast, d.rounds)
        labels[b][
            _find_unconnected(labels[b] > 0.5, warp(labels[a], back) > 0.5, round(d.band * scale))
        ] = 0

    for edges in _list_rounds(rewound):
        map_on_cores(decide, edges, task.advance)
        for a in from_seam.keys() - {b for _, b in edges}:
            del from_seam[a]
    return stack_on_cores(lambda label: label > 0.5, labels)


def _list_rounds(rewound: Rewound) -> list[list[tuple[int, int]]]:
    """Edges (from, to) of the tree of frames by their distance from the seam: those of one round
    are of different branches."""
    round_of, rounds = {rewound.seam: -1}, []
    for a, b in rewound.outward(rewound.seam):
        round_of[b] = round_of[a] + 1
        if round_of[b] == len(rounds):
            rounds.append([])
        rounds[round_of[b]].append((a, b))
    return rounds


def _learn_colours(
    look: Appearance, masks: Bool, solid: Bool, seam: int, reach: float
) -> ColourLogLikelihoodRatio:
    """The subject's colours in frame ``seam`` against those of what lies within ``reach`` pixels of
    it in any frame and is not ``solid``."""
    ratio = ColourLogLikelihoodRatio()
    wide = stack_on_cores(lambda mask: _dilate(mask, reach), masks)
    for t, mask in enumerate(masks):
        around = wide[t] & ~solid[t]
        subject = mask if t == seam else np.zeros_like(mask)
        ratio.learn(look.lab[t], subject.astype(np.float64), around.astype(np.float64))
    return ratio


def _find_limbs(before: Bool, back: F32, reach: float) -> Bool:
    """Where (H, W) the limbs of the mask ``before`` lie in a frame whose flow to that one is
    ``back``, and around them."""
    around = _dilate(find_thin_parts(before), max(2.0, reach * float(np.sqrt(before.sum()))))
    return warp(around.astype(np.float32), back) > 0.5


def _find_unconnected(mask: Bool, before: Bool, reach: int) -> Bool:
    """The parts of ``mask`` farther than ``reach`` pixels from where the subject was in the frame
    before, if it was seen."""
    if not before.any():
        return np.zeros_like(mask)
    near = _dilate(before, reach)
    parts = label(mask, corners=True)
    return mask & ~np.isin(parts, np.unique(parts[near & mask]))


def _dilate(mask: Bool, radius: float) -> Bool:
    return dilate(mask, round(radius))


def _logit(share: F32, floor: float) -> F32:
    share = np.clip(share, floor, 1 - floor)
    return np.log(share / (1 - share))
