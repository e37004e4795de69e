"""One frame's subject from a guess: colours and motion of subject and surroundings, learned by
turns."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.priors.masks.likelihood_ratio import (
    ColourLogLikelihoodRatio,
    LogLikelihoodRatio,
)
from restage4d.priors.masks.random_walk import walk_randomly
from restage4d.priors.masks.regions import disk, label, tidy
from restage4d.priors.motion.first_motion import OwnMotion
from restage4d.priors.motion.smooth_colours import smooth_lab

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

_ROUNDS = 6  # of learning and deciding
_REACH = 0.3  # of the root of the guess's area: how far a round may grow
_COLOUR, _PLACE = 0.8, 0.2  # what the colour ratio and the distance to the guess's outline weigh
_FREE, _STRICT = (0.8, 0.5), (0.4, 0.2)  # what speed and likeness of motion weigh
_CLIP = 3.0  # log-likelihood ratio that one clue can have at most
_TIE = 3.0  # strength of the tie between neighbouring pixels of one colour
_SHARP = 25.0  # step in Lab that counts as a full edge
_WEAK = 6.0  # step in Lab under which no edge supports an outline
_UNSUPPORTED = 20.0  # what an outline without any edge loses, in Lab
_SPEED_STEP = 10.0  # what a step of 1 in log speed is worth, in Lab


@dataclass
class Still:
    """One frame and what is known of its motion.

    Attributes:
        frame: (H, W, 3) uint8 sRGB.
        motion: of its pixels against the background.
    """

    frame: NDArray[np.uint8]
    motion: OwnMotion

    def __post_init__(self) -> None:
        self.moving, self.velocity = self.motion.moving, self.motion.velocity
        self.lab = smooth_lab(self.frame, 0.7)


def segment(
    still: Still,
    guess: Bool,
    core: Bool,
    sure: Bool,
    strict: bool = False,
    mover: Bool | None = None,
) -> Bool:
    """The subject (H, W) around ``guess``: colour, speed and likeness of motion by turns learned
    and applied.

    Args:
        core: the part of ``guess`` whose colours are the subject's beyond doubt.
        sure: belongs to the subject whatever the clues say.
        mover: what moves as the subject does beyond doubt; motion is learned from it, and from the
            mask as it grows where it is not known.
        strict: the rest of the guess counts as surroundings at first, and motion counts less:
            shadows and reflections move with their subject, but look otherwise.
    """
    contrast = 0.5 / max(float((np.diff(still.lab, axis=1) ** 2).sum(-1).mean()), 1e-3)
    speed_weight, motion_weight = _STRICT if strict else _FREE
    mask = guess | sure
    subject, other = core | sure, ~(core | sure) if strict else ~mask
    for _ in range(_ROUNDS):
        size = max(float(np.sqrt(mask.sum())), 8.0)
        outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3)
        inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
        near = outside < max(12.0, size)
        against = np.where(other, np.where(near, 1.0, 0.15), 0.0)
        colour = ColourLogLikelihoodRatio()
        colour.learn(still.lab, subject.astype(np.float64), against)
        logit = _COLOUR * _clip_ratio(colour(still.lab))
        own = np.median(still.velocity[mask if mover is None else mover], axis=0)
        unlike = np.linalg.norm(still.velocity - own, axis=-1)
        for value, weight, ratio in (
            (still.moving, speed_weight, LogLikelihoodRatio(0.05, 100.0)),
            (unlike, motion_weight, LogLikelihoodRatio(0.02, 12.0)),
        ):
            value = np.where(still.motion.known, value, np.nan)
            told = mask if mover is None else mover
            ratio.learn(value[near], told[near])
            logit += weight * _clip_ratio(ratio(value))
        logit += _PLACE * _clip_ratio(20 * (inside - outside) / size)
        band = outside < max(6.0, _REACH * size)
        logit[~band] = -2 * _CLIP
        logit[sure] = 2 * _CLIP
        rows, cols = np.nonzero(band)
        labels = walk_randomly(rows, cols, logit.astype(np.float32), still.lab, _TIE, contrast)
        found = tidy(labels > 0.5, sure if sure.any() else mask)
        if found.sum() < 10:
            break
        changed = (found ^ mask).sum()
        mask, subject, other = found, found, ~found
        if changed < 0.01 * mask.sum():
            break
    return mask


def run_grabcut(
    frame: NDArray[np.uint8], labels: NDArray[np.uint8], rounds: int = 4
) -> Bool:  # (H, W, 3), (H, W) -> (H, W)
    """GrabCut in Lab from ``labels`` (cv2.GC_*), looking at the surroundings of what may be
    foreground only."""
    rows, cols = np.nonzero(labels != cv2.GC_BGD)
    pad = max(frame.shape[:2]) // 12
    box = np.s_[
        max(rows.min() - pad, 0) : rows.max() + pad + 1,
        max(cols.min() - pad, 0) : cols.max() + pad + 1,
    ]
    inside = labels[box].copy()
    lab = cv2.cvtColor(np.ascontiguousarray(frame[box]), cv2.COLOR_RGB2LAB)
    result = np.zeros(labels.shape, bool)
    fore, back = (
        (inside == cv2.GC_FGD) | (inside == cv2.GC_PR_FGD),
        (inside == cv2.GC_BGD) | (inside == cv2.GC_PR_BGD),
    )
    if fore.any() and back.any():
        cv2.setRNGSeed(0)  # GrabCut starts with k-means
        cv2.grabCut(
            lab,
            inside,
            (0, 0, 1, 1),
            np.zeros((1, 65)),
            np.zeros((1, 65)),
            rounds,
            cv2.GC_INIT_WITH_MASK,
        )
        fore = (inside == cv2.GC_FGD) | (inside == cv2.GC_PR_FGD)
    result[box] = fore
    return result


@dataclass(frozen=True)
class Outline:
    """How clear the outline of a mask is.

    Attributes:
        colour: its mean step in Lab, each of which counts up to 25.
        weak: share of it with hardly a step in colour.
        speed: its mean step in log speed, each from -1 to 2.
    """

    colour: float = 0.0
    weak: float = 1.0
    speed: float = 0.0

    @property
    def clearness(self) -> float:
        return self.colour + _SPEED_STEP * self.speed

    @property
    def score(self) -> float:
        """Clearness, less what no edge supports: a piece too much is cut off somewhere."""
        return self.clearness - _UNSUPPORTED * self.weak


def measure_outline(still: Still, mask: Bool) -> Outline:
    """The outline of ``mask`` (H, W), small holes filled."""
    lab = cv2.GaussianBlur(still.lab, (0, 0), 1.0)
    mask = fill_holes(mask, 0.01 * mask.size)
    height, width = mask.shape
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
    rows, cols = np.nonzero((inside > 0) & (inside < 1.5))
    within = (rows > 4) & (rows < height - 5) & (cols > 4) & (cols < width - 5)
    rows, cols = rows[within], cols[within]
    if not len(rows):
        return Outline()
    down, across = np.gradient(cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 2.0))
    normal = np.stack([down[rows, cols], across[rows, cols]])
    normal = 3 * normal / np.maximum(np.linalg.norm(normal, axis=0), 1e-6)
    sides = [np.rint(np.stack([rows, cols]) + way * normal).astype(np.intp) for way in (1, -1)]
    here, there = (lab[np.clip(r, 0, height - 1), np.clip(c, 0, width - 1)] for r, c in sides)
    speed = np.log(still.moving + 0.5)
    known = still.motion.known
    ahead, behind = (_average_within(speed, part & known)[rows, cols] for part in (mask, ~mask))
    step = np.linalg.norm(here - there, axis=-1)
    return Outline(
        float(np.minimum(step, _SHARP).mean()),
        float((step < _WEAK).mean()),
        float(np.clip(ahead - behind, -1, 2).mean()),
    )


def _average_within(image: F32, part: Bool) -> F32:
    """Mean of ``image`` within 4 pixels, over ``part`` only."""
    kernel = disk(4).astype(np.float32)
    weight = part.astype(np.float32)
    return np.asarray(
        cv2.filter2D(image * weight, -1, kernel) / (cv2.filter2D(weight, -1, kernel) + 1e-6),
        np.float32,
    )


def erode(mask: Bool) -> Bool:
    """``mask`` without a rim of a twentieth of the root of its area."""
    return (
        cv2.erode(mask.astype(np.uint8), disk(max(1, round(0.05 * float(np.sqrt(mask.sum())))))) > 0
    )


def fill_holes(mask: Bool, most: float) -> Bool:
    """``mask`` with its holes of at most ``most`` pixels filled; what touches the frame's border is
    no hole."""
    holes = label(~mask, corners=False)
    size = np.bincount(holes.ravel()).astype(np.float64)
    size[0] = np.inf
    size[np.unique(np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]]))] = np.inf
    return mask | (size <= most)[holes]


def measure_border_share(mask: Bool) -> float:
    """Share of the frame's border that ``mask`` covers."""
    return float(np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]]).mean())


def open_mask(mask: Bool, radius: int) -> Bool:
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, disk(radius))) > 0


def close_mask(mask: Bool, radius: int) -> Bool:
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, disk(radius))) > 0


def _clip_ratio(ratio: NDArray) -> F32:
    return np.clip(ratio, -_CLIP, _CLIP).astype(np.float32)
