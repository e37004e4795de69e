"""What is too much: every threshold of the checks."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Thresholds:
    """Chosen on synthetic clips and on four ordinary real ones (docs/checks.md has the figures).

    Frames, looked at in grey at a longer side of 96 pixels:

    Attributes:
        cut_similarity: two pictures of one shot are more alike than this: the median over blocks of
            the best normalised cross-correlation.
        cut_drop: and a cut is less alike than this share of what neighbouring frames are.
        return_similarity: how alike the picture after a flash is to that before it, at least.
        flash_frames: a disturbance that lasts no longer is a flash or a drop-out, not a cut.
        exposure_gain: brightness changes from one frame to the next by no more than this factor.
        blank_contrast: standard deviation in grey levels below which a picture is blank.
        fade_contrast: contrast over the clip's usual one below which a picture is faded.
        fade_frames: a fade takes at least so many frames.
        frozen_change: change over the clip's usual one below which a frame repeats the last one.
        frozen_frames: so many repeats in a row are a standstill of the video.
        usable_frames: what is left of a clip is offered where it is at least so long.

    The subject's masks:

    Attributes:
        small, tiny: share of the picture below which a subject is small, and cannot work.
        large, whole: share above which it fills the picture, and is taken for the whole of it.
        border: share of its outline that lies on the picture's border.
        shrunk, grown: area over the first frame's, less what its points explain by coming nearer.
        lost: area over the first frame's below which it counts as lost.
        lost_share: share of frames in which a lost subject cannot work.
        largest_piece: share of its area in its largest piece, where b_0's is in one.
        unknown: share of the subject that is unknown, beyond the outline's border band.
        jump: step of its middle over the root of its area, and `jump_rate` times its usual step.

    Points on the subject, followed by sparse optical flow:

    Attributes:
        follow_frames: over so many frames and back.
        follow_error: pixels at a longer side of 384 by which a point misses where it began.
        followed, unfollowable: share of points that return below which tracks are doubtful, and
            cannot work.

    Priors:

    Attributes:
        steep: degrees below the horizon from which a camera's tilt needs support.
        ground_support: share of the background's points on the ground plane that is enough.
        reprojection: pixels at a longer side of 384 by which the background misses the place that
            depth and cameras give, the median over a pair of frames.
        reprojection_share: share of pairs that may miss.
        behind: how much farther than its surroundings a subject may be.
        behind_share: share of its outline where it may be.
        feet: depth of the ground's points at its feet over its own, or the other way round.
        flicker: relative change of the subject's depth against the mean of both neighbours.

    The puppet:

    Attributes:
        iou_mean, iou_worst: of its silhouette alone with the masks.
        torn: share of its Gaussians in its largest piece.
    """

    cut_similarity: float = 0.75
    cut_drop: float = 0.82
    return_similarity: float = 0.72
    flash_frames: int = 3
    exposure_gain: float = 1.25
    blank_contrast: float = 3.0
    fade_contrast: float = 0.5
    fade_frames: int = 3
    frozen_change: float = 0.1
    frozen_frames: int = 4
    usable_frames: int = 8

    small: float = 0.015
    tiny: float = 0.001
    large: float = 0.8
    whole: float = 0.95
    border: float = 0.08
    shrunk: float = 0.25
    grown: float = 3.0
    lost: float = 0.02
    lost_share: float = 0.5
    largest_piece: float = 0.7
    unknown: float = 0.01
    jump: float = 0.5
    jump_rate: float = 4.0

    follow_frames: int = 6
    follow_error: float = 1.5
    followed: float = 0.5
    unfollowable: float = 0.15

    steep: float = 45.0
    ground_support: float = 0.3
    reprojection: float = 3.0
    reprojection_share: float = 0.25
    behind: float = 0.1
    behind_share: float = 0.5
    feet: float = 1.35
    flicker: float = 0.03

    iou_mean: float = 0.8
    iou_worst: float = 0.6
    torn: float = 0.97


DEFAULT = Thresholds()
