"""The seam: bringing a driving video to its base's size, framing and rate, and checking that they
begin alike.

Generators return other sizes, aspects and rates than they were given, and drift by a few pixels; a
video of another scene must not pass. Everything that d_0 needs to lie on b_0 is applied to the
whole driving video.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.clips import Clip
from restage4d.driving.subject_seam import compare_subject
from restage4d.errors import InputError

U8 = NDArray[np.uint8]
F64 = NDArray[np.float64]

_CROPS = (
    0.0,
    0.25,
    0.5,
    0.75,
    1.0,
)  # where the crop window may sit along the longer excess; 0.5 is the centre
_CENTRE_BONUS = 0.3  # dB by which another crop must beat the centre


@dataclass(frozen=True)
class SeamLimits:
    """How far the first frames may differ.

    Attributes:
        min_psnr: dB that d_0 must reach against b_0 after alignment.
        max_shift: largest shift that is aligned away, as a fraction of the longer side.
        max_scale: largest change of size that is aligned away, as a fraction.
        max_rotation: largest rotation that is aligned away, in degrees.
        max_subject_shift: how far the subject may stand elsewhere then, as a fraction of the longer
            side.
        min_subject_psnr: dB that the subject must reach then, moved by so much.
    """

    min_psnr: float = 20.0
    max_shift: float = 0.05
    max_scale: float = 0.08
    max_rotation: float = 3.0
    max_subject_shift: float = 0.03
    min_subject_psnr: float = 14.0


@dataclass(frozen=True)
class Seam:
    """How d_0 lies to b_0.

    Attributes:
        psnr: dB over the pixels both show.
        homography: (3, 3) from b_0's pixels to d_0's (centres at +0.5), None where no trustworthy
            one was found.
        shift: (right, down) of the picture's centre in pixels, scale: d_0's size over b_0's,
            rotation: degrees clockwise.
        brightness: mean of d_0 over mean of b_0.
    """

    psnr: float
    homography: F64 | None
    shift: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0
    rotation: float = 0.0
    brightness: float = 1.0

    def describe(self) -> str:
        """The differences worth telling, e.g. "shifted 12 px right, 8 % larger"; empty if there is
        none."""
        right, down = self.shift
        parts = []
        if abs(right) >= 0.5:
            parts.append(f"shifted {abs(right):.0f} px {'right' if right > 0 else 'left'}")
        if abs(down) >= 0.5:
            parts.append(f"shifted {abs(down):.0f} px {'down' if down > 0 else 'up'}")
        if abs(self.scale - 1) >= 0.005:
            parts.append(
                f"{abs(self.scale - 1) * 100:.0f} % {'larger' if self.scale > 1 else 'smaller'}"
            )
        if abs(self.rotation) >= 0.3:
            parts.append(
                f"turned {abs(self.rotation):.1f}° "
                f"{'clockwise' if self.rotation > 0 else 'counter-clockwise'}"
            )
        if abs(self.brightness - 1) >= 0.05:
            parts.append(
                f"{abs(self.brightness - 1) * 100:.0f} % "
                f"{'brighter' if self.brightness > 1 else 'darker'}"
            )
        if self.homography is None:
            parts.append("no common picture detail found")
        return ", ".join(parts)


def psnr(a: U8, b: U8, where: NDArray[np.bool_] | None = None) -> float:
    """Peak signal-to-noise ratio of two (H, W, 3) frames in dB, over ``where`` if given; at most
    100."""
    difference = a.astype(np.float32) - b
    squared = difference**2 if where is None else difference[where] ** 2
    return (
        float(min(100.0, 10 * np.log10(255**2 / max(float(squared.mean()), 1e-9))))
        if squared.size
        else 0.0
    )


def compare(base_first: U8, driving_first: U8) -> Seam:
    """Measures how d_0 differs from b_0; both (H, W, 3) of one size."""
    H = _homography(base_first, driving_first)
    level = float(driving_first.mean()) / max(float(base_first.mean()), 1.0)
    if H is None:
        return Seam(psnr(base_first, driving_first), None, brightness=level)
    height, width = base_first.shape[:2]
    centre = np.array([width / 2, height / 2])
    step = min(width, height) / 4
    at = _apply(H, centre + np.array([[0, 0], [step, 0], [-step, 0], [0, step], [0, -step]]))
    across, along = (at[1] - at[2]) / (2 * step), (at[3] - at[4]) / (2 * step)
    scale = float(np.sqrt(abs(across[0] * along[1] - across[1] * along[0])))
    rotation = float(np.degrees(np.arctan2(across[1] - along[0], across[0] + along[1])))
    shift = at[0] - centre
    return Seam(
        psnr(base_first, driving_first),
        H,
        (float(shift[0]), float(shift[1])),
        scale,
        rotation,
        level,
    )


def prepare(
    base: Clip,
    driving: Clip,
    name: str = "the driving video",
    limits: SeamLimits = SeamLimits(),
    *,
    subject: NDArray[np.bool_] | None = None,
) -> Clip:
    """Brings a driving clip to the base's size, framing and rate, and checks that it begins like
    the base.

    Aspect: bars are cut off, then the window of the base's aspect whose d_0 agrees best with b_0 is
    cut out (the centre one unless another is better), then scaled. Rate: the nearest frame in time.
    A small shift, scale or rotation of d_0 against b_0 is undone in all frames. Last, the
    ``subject``, its mask (H, W) in b_0, must stand there in d_0 too.

    Raises:
        InputError: fewer than two frames, or d_0 or the subject in it differs from b_0 by more than
            ``limits``; says by how much.
    """
    if len(driving) < 2:
        raise InputError(
            f"{name} has a single frame.", "Give a driving video of at least two frames."
        )
    frames = _to_size(base.frames[0], driving.frames[find_frames_at(driving, base.fps)])
    seam = compare(base.frames[0], frames[0])
    if seam.homography is not None and _is_small(seam, base.size, limits):
        frames, seam = _align(base.frames[0], frames, seam)
    if seam.psnr < limits.min_psnr:
        differences = seam.describe()
        raise InputError(
            f"The first frame of {name} differs from the base's first frame: {seam.psnr:.1f} dB "
            f"(needs {limits.min_psnr:g})" + (f", {differences}." if differences else "."),
            "Make the driving video from the base's first frame, with the same framing and aspect "
            f"({base.size[0]}:{base.size[1]}), or trim it so that it begins there.",
        )
    if subject is not None and subject.any() and not subject.all():
        _check_subject(base.frames[0], frames[0], subject, name, limits)
    return Clip(frames, base.fps)


def _check_subject(
    base_first: U8, driving_first: U8, mask: NDArray[np.bool_], name: str, limits: SeamLimits
) -> None:
    seam = compare_subject(base_first, driving_first, mask, limits.max_subject_shift)
    height, width = mask.shape
    away = float(np.hypot(seam.shift[0] * width, seam.shift[1] * height)) / max(width, height)
    if seam.found and away > limits.max_subject_shift:
        what = f"The subject stands {seam.describe_shift()} in the first frame of {name}"
    elif seam.psnr < limits.min_subject_psnr:
        what = (
            f"The subject in the first frame of {name} differs from the base's: {seam.psnr:.1f} dB "
            f"(needs {limits.min_subject_psnr:g})"
        )
    else:
        return
    raise InputError(
        f"{what}, while the rest of the picture agrees.",
        "Make the driving video from the base's first frame, or trim it so that it begins where "
        "the subject stands as there; check with a mask that the right subject is selected.",
    )


def _apply(H: F64, points: F64) -> F64:  # (3, 3), (N, 2) -> (N, 2)
    mapped = points @ H[:, :2].T + H[:, 2]
    return mapped[:, :2] / mapped[:, 2:]


def _is_small(seam: Seam, size: tuple[int, int], limits: SeamLimits) -> bool:
    return (
        max(map(abs, seam.shift)) <= limits.max_shift * max(size)
        and abs(seam.scale - 1) <= limits.max_scale
        and abs(seam.rotation) <= limits.max_rotation
    )


def _align(base_first: U8, frames: U8, seam: Seam) -> tuple[U8, Seam]:
    """Undoes the seam's homography in all frames, where that makes d_0 more like b_0."""
    assert seam.homography is not None
    height, width = base_first.shape[:2]
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], float)
    if np.abs(_apply(seam.homography, corners) - corners).max() < 0.25:
        return frames, seam
    move = _to_pixel_index(seam.homography)
    flags, edge = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, cv2.BORDER_REPLICATE

    def warp(image: U8) -> U8:
        return np.asarray(
            cv2.warpPerspective(image, move, (width, height), flags=flags, borderMode=edge),
            np.uint8,
        )

    where = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    inside = cv2.warpPerspective(
        np.ones((height, width), np.uint8), move, (width, height), flags=where
    ).astype(bool)
    first = warp(frames[0])
    after = psnr(base_first, first, inside)
    if after < psnr(base_first, frames[0], inside) + 0.1:
        return frames, seam
    left = compare(base_first, first)
    aligned = Seam(after, left.homography, left.shift, left.scale, left.rotation, left.brightness)
    return np.stack([first, *(warp(f) for f in frames[1:])]), aligned


def _to_pixel_index(H: F64) -> F64:
    """From pixel centres at +0.5 to OpenCV's warps, whose centres are whole numbers."""
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return np.linalg.inv(half) @ H @ half


def find_frames_at(clip: Clip, fps: float) -> NDArray[np.intp]:
    """Numbers of the frames nearest in time to a grid of ``fps`` that starts with frame 0."""
    last = (len(clip) - 1) / clip.fps
    moments = np.arange(max(2, int(np.floor(last * fps + 1e-6)) + 1)) / fps
    return np.minimum(np.floor(moments * clip.fps + 0.5).astype(np.intp), len(clip) - 1)


def _to_size(base_first: U8, frames: U8) -> U8:
    height, width = base_first.shape[:2]
    top, bottom, left, right = _picture_box(frames)
    frames = frames[:, top:bottom, left:right]
    h, w = frames.shape[1:3]
    if (h, w) == (height, width):
        return frames
    crop_w, crop_h = min(w, round(h * width / height)), min(h, round(w * height / width))
    crop_w, crop_h = (
        (w, h) if w - crop_w <= 0.01 * w and h - crop_h <= 0.01 * h else (crop_w, crop_h)
    )
    if (crop_w, crop_h) == (w, h):
        x = y = 0
    else:
        small = _resize(base_first, (max(8, width // 4), max(8, height // 4)))
        spots = [(round((w - crop_w) * k), round((h - crop_h) * k)) for k in _CROPS]
        scores = [
            psnr(
                small,
                _resize(
                    frames[0, v : v + crop_h, u : u + crop_w], (small.shape[1], small.shape[0])
                ),
            )
            + _CENTRE_BONUS * (k == 0.5)
            for (u, v), k in zip(spots, _CROPS, strict=True)
        ]
        x, y = spots[int(np.argmax(scores))]
    return np.stack([_resize(f[y : y + crop_h, x : x + crop_w], (width, height)) for f in frames])


def _resize(frame: U8, size: tuple[int, int]) -> U8:
    smaller = size[0] <= frame.shape[1]
    return np.asarray(
        cv2.resize(frame, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC),
        np.uint8,
    )


def _picture_box(frames: U8) -> tuple[int, int, int, int]:
    """top, bottom, left, right of the picture without black bars; bars lie on both sides and stay
    black in all frames."""
    bright = frames[:: max(1, len(frames) // 5)].max(axis=(0, 3))
    height, width = bright.shape
    rows, cols = (
        np.flatnonzero(np.percentile(bright, 95, axis=1) > 24),
        np.flatnonzero(np.percentile(bright, 95, axis=0) > 24),
    )
    if len(rows) < height // 3 or len(cols) < width // 3:
        return 0, height, 0, width
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(cols[0]), int(cols[-1]) + 1
    if min(top, height - bottom) < 2:
        top, bottom = 0, height
    if min(left, width - right) < 2:
        left, right = 0, width
    return top, bottom, left, right


def _homography(a: U8, b: U8) -> F64 | None:
    """From a's pixels to b's: SIFT and RANSAC, sharpened by optical flow of the inliers; None
    unless many points agree."""
    gray_a, gray_b = (cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in (a, b))
    sift = cv2.SIFT.create(1500, contrastThreshold=0.02)
    keys_a, words_a = sift.detectAndCompute(gray_a, None)
    keys_b, words_b = sift.detectAndCompute(gray_b, None)
    if words_a is None or words_b is None or len(keys_a) < 12 or len(keys_b) < 12:
        return None
    pairs = cv2.BFMatcher().knnMatch(words_a, words_b, k=2)
    good = [p[0] for p in pairs if len(p) == 2 and p[0].distance < 0.75 * p[1].distance]
    if len(good) < 12:
        return None
    from_a = np.array([keys_a[m.queryIdx].pt for m in good], np.float32)
    to_b = np.array([keys_b[m.trainIdx].pt for m in good], np.float32)
    H, inliers = cv2.findHomography(from_a, to_b, cv2.USAC_MAGSAC, 2.0)
    if H is None or inliers.sum() < max(12, 0.3 * len(good)):
        return None
    H = _sharpen(gray_a, gray_b, np.asarray(H, np.float64))
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return half @ H @ np.linalg.inv(half)


def _sharpen(gray_a: NDArray, gray_b: NDArray, H: F64) -> F64:
    """A homography (of whole-number pixel centres) to sub-pixel accuracy, from the flow left after
    warping b by it."""
    warped = cv2.warpPerspective(
        gray_b, H, gray_a.shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    corners = cv2.goodFeaturesToTrack(gray_a, 400, 0.01, 6)
    if corners is None or len(corners) < 20:
        return H
    moved, found, _ = cv2.calcOpticalFlowPyrLK(gray_a, warped, corners, np.empty_like(corners))
    near = (found[:, 0] > 0) & (np.abs(moved - corners).max(axis=(1, 2)) < 3)
    if near.sum() < 20:
        return H
    rest, inliers = cv2.findHomography(corners[near], moved[near], cv2.USAC_MAGSAC, 0.7)
    return H if rest is None or inliers.sum() < 20 else H @ np.asarray(rest, np.float64)
