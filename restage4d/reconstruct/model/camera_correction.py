"""Cameras that the photometric fusion corrects: a small turn and shift per frame on top of the
given ones.

Structure from motion is right to about a pixel; what is left blurs every fine edge of the
background. The first frame of the base keeps its camera, so that the world stays where the priors
put it. A camera that stands still stays as given, one that turns on the spot only turns.
"""

import torch
from torch import Tensor

from restage4d.clips import Cameras


def make_camera_params(cameras: Cameras) -> dict[str, Tensor]:
    """Corrections to optimise, all zero: "cameras.turns" (T, 3) radians, "cameras.shifts" (T, 3)
    world units."""
    n = len(cameras.w2c)
    if cameras.kind == "static":
        return {}
    return {"cameras.turns": torch.zeros(n, 3)} | (
        {"cameras.shifts": torch.zeros(n, 3)} if cameras.kind == "moving" else {}
    )


def correct_camera(
    w2c: Tensor, turn: Tensor, shift: Tensor | None
) -> Tensor:  # (..., 4, 4), (..., 3), (..., 3) -> (..., 4, 4)
    """``exp(turn) · w2c``, then moved by ``shift``, both in camera axes."""
    x, y, z = turn.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    upper = torch.linalg.matrix_exp(cross) @ w2c[..., :3, :]
    if shift is not None:
        upper = torch.cat([upper[..., :3], upper[..., 3:] + shift[..., None]], -1)
    return torch.cat([upper, w2c[..., 3:, :]], -2)
