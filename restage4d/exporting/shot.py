"""What leaves: a performance's frames, turned and scaled into the axes and units of the file."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from restage4d.errors import InputError
from restage4d.exporting.formats import Axes, convert_gaussians, make_file_stem
from restage4d.exporting.posing import Poser, pose_ahead
from restage4d.io.ply import join_gaussians
from restage4d.puppet import F32, Camera, Gaussians, Performance, Puppet


@dataclass(frozen=True)
class Shot:
    """A performance as it leaves.

    Attributes:
        puppet, performance: what plays.
        frames: which frames of the performance, from 0 in playing order.
        background: whether the static background comes along.
        axes: of the file.
        scale: file units per metre; 1 writes metres, 100 centimetres.

    Example:
        >>> shot = Shot(puppet, puppet.performance("restaged"), range(24), axes=Axes.Y_DOWN)
        >>> next(shot.pose_frames()).means  # (N, 3) of the first frame, y down, metres
    """

    puppet: Puppet
    performance: Performance
    frames: range
    background: bool = False
    axes: Axes = Axes.Z_UP
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not len(self.frames):
            raise InputError("The frame range is empty.", "Give a last frame after the first.")
        for frame in (self.frames[0], self.frames[-1]):
            self.performance.check_frame(frame)
        if not (np.isfinite(self.scale) and 1e-6 <= self.scale <= 1e6):
            raise InputError(f"A scale of {self.scale} is of no use.", "Give 1e-6 to 1e6.")
        if self.background and not len(self.puppet.background):
            raise InputError("This puppet has no background.", "Export the subject alone.")

    @property
    def file_stem(self) -> str:
        """What names of files begin with, see `make_file_stem`."""
        return make_file_stem(self.performance.name)

    @property
    def factor(self) -> float:
        """File units per unit of the puppet's world."""
        return self.scale * self.puppet.metres_per_unit

    def pose_subject(self, frame: int) -> Gaussians:
        """The subject at a frame (Eq. 1), in the file's axes and units."""
        self.performance.check_frame(frame)
        bases, turn = self.performance.bases[:, frame], self.axes.turn
        columns = (bases[:, :3], bases[:, 3:6], bases[:, 6:] * np.float32(self.factor))
        return self._poser.pose(np.concatenate([c @ turn.T for c in columns], axis=1))

    def pose_subjects(self) -> Iterator[Gaussians]:
        """`pose_subject` of every frame, a few of them ahead in threads."""
        return pose_ahead(partial(self.pose_subject, frame) for frame in self.frames)

    def pose_moving_subjects(self) -> Iterator[tuple[Gaussians, F32]]:
        """`pose_subjects` and their velocities (N, 3): differences to the next frame (of the last
        one, to the frame before it), in units a second."""
        poses = self.pose_subjects()
        posed = next(poses)
        velocity = np.zeros_like(posed.means)
        for _ in self.frames:
            following = next(poses, None)
            if following is not None:
                velocity = (following.means - posed.means) * np.float32(self.performance.fps)
            yield posed, velocity
            posed = following or posed

    @cached_property
    def _poser(self) -> Poser:
        """Of the subject in file units; what turns it into the file's axes are the bases."""
        scaled = convert_gaussians(self.puppet.subject, np.eye(3, dtype=np.float32), self.factor)
        return Poser(scaled, self.puppet.index, self.puppet.weight, self.puppet.n_bases)

    def get_rest(self) -> Gaussians:
        """The subject in its canonical frame, in the file's axes and units."""
        return self._convert(self.puppet.subject)

    def get_background(self) -> Gaussians:
        """The background in the file's axes and units."""
        return self._convert(self.puppet.background)

    def camera(self, frame: int) -> Camera:
        """The camera that filmed a frame, in the file's axes and units."""
        camera = self.performance.camera(frame)
        w2c = camera.w2c.copy()
        w2c[:3, :3] = camera.w2c[:3, :3] @ self.axes.turn.T
        w2c[:3, 3] *= np.float32(self.factor)
        return Camera(camera.K, w2c, camera.size)

    def pose_frames(self) -> Iterator[Gaussians]:
        """Everything that leaves, frame by frame: the subject, and the background behind it."""
        if not self.background:
            yield from self.pose_subjects()
            return
        rest = self.get_background()
        still = join_gaussians(self.get_rest(), rest)  # what does not move is joined once
        for posed in self.pose_subjects():
            if posed.sh.shape[1] > 1:  # SH move, too
                yield join_gaussians(posed, rest)
                continue
            means, quats = (
                np.concatenate([getattr(posed, k), getattr(rest, k)]) for k in ("means", "quats")
            )
            yield replace(still, means=means, quats=quats)

    def _convert(self, gaussians: Gaussians) -> Gaussians:
        return convert_gaussians(gaussians, self.axes.turn, self.factor)
