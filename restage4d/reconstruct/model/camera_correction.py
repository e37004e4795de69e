"""Cameras that the photometric fusion corrects: a small turn and shift per frame on top of the
given ones.

Structure from motion is right to about a pixel; what is left blurs every fine edge of the
background. The first frame of the base keeps its camera, so that the world stays where the priors
put it. A camera that stands still stays as given, one that turns on the spot only turns.
"""

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from restage4d.clips import Cameras
from restage4d.reconstruct.model.skinning import to_array

_SMALL = 1e-3  # radians, below which series are exact


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
) -> Tensor:  # (4, 4), (3,), (3,) -> (4, 4)
    """``exp(turn) · w2c``, then moved by ``shift``, both in camera axes."""
    shift = torch.zeros_like(turn) if shift is None else shift
    if w2c.device.type != "cpu" or w2c.dtype != torch.float32:
        return correct_camera_reference(w2c, turn, shift)
    return _Correct.apply(w2c, turn, shift)  # pyright: ignore[reportReturnType]


def correct_camera_reference(w2c: Tensor, turn: Tensor, shift: Tensor) -> Tensor:
    """`correct_camera` on any device and type, by autograd: Rodrigues' formula."""
    x, y, z = turn.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    square = turn.square().sum(-1)
    small = square < _SMALL**2
    angle = torch.where(small, 1.0, square).sqrt()
    first = torch.where(small, 1 - square / 6, angle.sin() / angle)
    second = torch.where(small, 0.5 - square / 24, (1 - angle.cos()) / angle.square())
    R = torch.eye(3).to(turn) + first * cross + second * (cross @ cross)
    upper = R @ w2c[:3]
    return torch.cat([torch.cat([upper[:, :3], upper[:, 3:] + shift[:, None]], 1), w2c[3:]])


class _Correct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, w2c, turn, shift):
        given = to_array(w2c)
        cross, terms = _expand(to_array(turn).astype(np.float64))
        out = given.copy()
        out[:3] = (np.eye(3) + terms[0] * cross + terms[1] * (cross @ cross)) @ given[:3]
        out[:3, 3] += to_array(shift)
        ctx.kept = given, cross, terms
        return torch.from_numpy(out)

    @staticmethod
    @once_differentiable
    def backward(ctx, v_out):
        given, cross, (first, second, first_by, second_by) = ctx.kept
        v_upper = to_array(v_out)[:3].astype(np.float64)
        G = v_upper @ given[:3].T
        turn = np.array([cross[2, 1], cross[0, 2], cross[1, 0]])
        v_cross = first * G + second * (G @ cross.T + cross.T @ G)
        v_turn = np.array([v_cross[2, 1] - v_cross[1, 2], v_cross[0, 2] - v_cross[2, 0],
                           v_cross[1, 0] - v_cross[0, 1]])  # fmt: skip
        v_turn += ((G * cross).sum() * first_by + (G * (cross @ cross)).sum() * second_by) * turn
        shares = (v.astype(np.float32) for v in (v_turn, v_upper[:, 3]))
        return None, *map(torch.from_numpy, shares)


def _expand(turn: np.ndarray) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """The cross product's matrix, sin θ / θ and (1 - cos θ) / θ², and both derivatives by θ over
    θ."""
    x, y, z = turn
    square = float(turn @ turn)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    if square < _SMALL**2:
        return cross, (1 - square / 6, 0.5 - square / 24, -1 / 3, -1 / 12)
    a = float(np.sqrt(square))
    sine, cosine = float(np.sin(a)), float(np.cos(a))
    first, second = sine / a, (1 - cosine) / square
    return cross, (first, second, (cosine - first) / square, (first - 2 * second) / square)
