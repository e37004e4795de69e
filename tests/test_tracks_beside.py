"""Tracks are followed while cameras are found."""

from threading import Event, current_thread

import numpy as np
import pytest
from test_prior_files import Counting, clip, make_priors

from restage4d.clips import Priors, Rewound, rewind
from restage4d.errors import Cancelled
from restage4d.priors.estimate import Providers, estimate_priors
from restage4d.priors.tracks.flow_tracks import FlowTracks
from restage4d.progress import Progress


@pytest.fixture
def rewound() -> Rewound:
    return rewind(clip(4, 0), [clip(3, 1)])


class Beside(FlowTracks):
    """Following by flow that says when it has begun, and answers what is known."""

    def __init__(self, priors: Priors) -> None:
        super().__init__()
        self.priors, self.begun, self.ended = priors, Event(), Event()
        self.thread = current_thread()

    def tracks(self, rewound, masks, progress):
        self.thread = current_thread()
        self.begun.set()
        try:
            while not self.priors:  # until it is stopped
                progress.check()
        finally:
            self.ended.set()
        return self.priors.tracks


class WaitingCameras(Counting):
    def __init__(self, priors: Priors, tracks: Beside) -> None:
        super().__init__(priors)
        self.tracks_provider, self.stop = tracks, lambda: None

    def cameras(self, rewound, masks, progress):
        assert self.tracks_provider.begun.wait(20), "the tracks wait for the cameras"
        self.stop()
        progress.check()
        return super().cameras(rewound, masks, progress)


def test_tracks_are_followed_while_cameras_are_found(rewound: Rewound):
    priors = make_priors(rewound)
    tracks = Beside(priors)
    cameras = WaitingCameras(priors, tracks)
    progress = Progress()
    found = estimate_priors(
        rewound,
        priors.masks[rewound.seam] > 0.5,
        Providers(cameras, cameras, cameras, tracks),
        priors_dir=None,
        cache=None,
        progress=progress,
    )
    np.testing.assert_array_equal(found.tracks.xy, priors.tracks.xy)
    assert tracks.thread is not current_thread()
    assert "tracks" in progress.seconds


def test_who_stops_a_job_stops_the_tracks_beside_it(rewound: Rewound):
    priors = make_priors(rewound)
    tracks = Beside(None)  # type: ignore[arg-type]
    cameras = WaitingCameras(priors, tracks)
    stopped = Event()
    cameras.stop = stopped.set
    with pytest.raises(Cancelled):
        estimate_priors(
            rewound,
            priors.masks[rewound.seam] > 0.5,
            Providers(cameras, cameras, cameras, tracks),
            priors_dir=None,
            cache=None,
            progress=Progress(cancelled=stopped.is_set),
        )
    assert tracks.ended.wait(20)
