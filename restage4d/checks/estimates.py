"""All that is looked at once the priors are there, before the fit."""

from restage4d.checks.findings import Finding
from restage4d.checks.followable import check_following
from restage4d.checks.frames import find_frame_faults
from restage4d.checks.masks import check_masks, measure_scale
from restage4d.checks.priors import check_tilt, check_video_priors
from restage4d.checks.thresholds import DEFAULT, Thresholds
from restage4d.clips import Priors, Rewound
from restage4d.frame_arrays import take_frames


def check_estimates(
    rewound: Rewound, priors: Priors, thresholds: Thresholds = DEFAULT
) -> list[Finding]:
    """Findings about masks, points, cameras and depth of all videos of a rewound clip; frames are
    those of each video, b_0 is 0."""
    found = check_tilt(rewound, priors, thresholds)
    for source in range(rewound.n_branches + 1):
        rows, video = rewound.video(source), name_video(source, rewound.n_branches)
        masks, frames = take_frames(priors.masks, rows), take_frames(rewound.clip.frames, rows)
        scale = measure_scale(priors.tracks, rows)
        found += check_masks(masks, video=video, scale=scale, thresholds=thresholds)
        clear = ~find_frame_faults(frames, thresholds).disturbed
        seen = take_frames(frames, clear), take_frames(masks, clear)
        found += check_following(*seen, video=video, thresholds=thresholds)
        found += check_video_priors(rewound, priors, rows, video, thresholds)
    return found


def name_video(source: int, n_branches: int) -> str:
    """What findings call video ``source`` of a rewound clip, as its performance is called."""
    if source == 0:
        return "base"
    return "restaged" if n_branches == 1 else f"restaged {source}"
