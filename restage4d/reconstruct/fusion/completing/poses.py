"""The fitted body in the poses of the frames."""

import numpy as np
import torch
from numpy.typing import NDArray

from restage4d import se3
from restage4d.clips import Cameras
from restage4d.reconstruct.model.scene_model import SceneModel
from restage4d.reconstruct.motion.body_motion import procrustes

F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]


class Body:
    """The model's subject, posed in numpy."""

    def __init__(self, model: SceneModel) -> None:
        with torch.no_grad():
            self.bases = model.compute_bases().cpu().numpy()
            index, weight = model.find_top_influences(self.bases.shape[0])
            self.index, self.weight = (a.cpu().numpy() for a in (index, weight))
            self.means = model.params["subject.means"].cpu().numpy()
            quats = torch.nn.functional.normalize(model.params["subject.quats"], dim=-1)
            self.quats = quats.cpu().numpy()

    def blend(self, t: int, rows: NDArray[np.intp] | slice = slice(None)) -> tuple[F32, F32]:
        """Rotation (N, 3, 3) and shift (N, 3) of Eq. 1 at frame t."""
        R, shift = se3.blend(self.bases[:, t], self.index[rows], self.weight[rows])
        return R.astype(np.float32), shift.astype(np.float32)

    def pose(self, t: int) -> tuple[F32, F32, F32, F32]:
        """Means and orientations in the world at frame t, and what brought them there."""
        R, shift = self.blend(t)
        turn = se3.matrix_to_quat(R).astype(np.float32)
        return se3.transform(R, shift, self.means), se3.quat_multiply(turn, self.quats), R, shift


def find_usual_pose(body: Body, near: Bool, frames: NDArray[np.intp]) -> int:
    """The one of ``frames`` in whose pose the ``near`` (N,) Gaussians are nearest to where they are
    in all others, up to turns and shifts of the whole. A head that looks aside in a few frames is
    straight in it."""
    poses = [body.pose(int(f))[0][near] for f in frames]
    even = np.ones(int(near.sum()), np.float32)

    def measure_bend(one: F32, other: F32) -> float:
        R, shift = procrustes(one, other, even)
        return float(np.linalg.norm(one @ R.T + shift - other, axis=-1).mean())

    apart = [sum(measure_bend(one, other) for other in poses) for one in poses]
    return int(frames[int(np.argmin(apart))])


def measure_turn(body: Body, near: Bool, frames: NDArray[np.intp], cameras: Cameras) -> float:
    """Degrees: the largest turn of the body before the camera between two of the frames."""
    seen = []
    for f in frames:
        w2c = cameras.w2c[f]
        seen.append(body.pose(int(f))[0][near] @ w2c[:3, :3].T + w2c[:3, 3])
    first = seen[0]
    R = np.stack([procrustes(first, now, np.ones(len(first), np.float32))[0] for now in seen])
    cosine = (np.einsum("aij,bij->ab", R, R) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).max())
