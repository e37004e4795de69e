"""Subject and background as one list of Gaussians with all that is drawn of them, in one pass each
way on a CPU."""

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.autograd.function import once_differentiable

from restage4d.puppet import SH_C0
from restage4d.reconstruct.losses.hull import BEHIND, OUTSIDE
from restage4d.reconstruct.model.skinning import to_array

_CHANNELS = 5  # rgb, subject, z; then the carried positions


@dataclass
class Parameters:
    """Of one part as the model holds them: log_scales (N, 3), logit_opacities (N,), sh0 (N, 3)."""

    log_scales: Tensor
    logit_opacities: Tensor
    sh0: Tensor


@dataclass
class Assembly:
    """What is drawn: means (N, 3), quats (N, 4) of any length, scales (N, 3), opacities (N,),
    channels (N, 5 or 8): rgb, 1 for the subject, z-depth, carried position."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    channels: Tensor


def assemble(
    places: tuple[Tensor, Tensor],
    carry: Tensor | None,
    held: Tensor,
    background_places: tuple[Tensor, Tensor],
    subject: Parameters,
    background: Parameters,
    w2c: Tensor,
) -> Assembly:
    """The subject's Gaussians first, then the background's.

    Adam takes steps of full size however little of a Gaussian shows through. So a guess of the far
    side that lies `BEHIND` the surface gets no gradient: it would wander. One `OUTSIDE` the outline
    may move and fade, but not take on the background's colour.

    Args:
        places: the subject's means (N, 3) and quaternions (N, 4) in the world.
        carry: (N, 3) its positions at another time, drawn as channels; None: nothing.
        held: (N,) uint8, as `Hull.flag_guesses` gives it.
        background_places: means (B, 3), quaternions (B, 4).
        subject, background: what else there is of them.
        w2c: (4, 4).
    """
    parts = [*places, *vars(subject).values(), *background_places, *vars(background).values()]
    if w2c.device.type != "cpu" or w2c.dtype != torch.float32:
        return _assemble_reference(parts, carry, held, w2c)
    return Assembly(*_Assemble.apply(held, carry, w2c, *parts))  # pyright: ignore[reportGeneralTypeIssues]


def assemble_reference(places, carry, held, background_places, subject, background, w2c):
    """`assemble` on any device and type, by autograd."""
    parts = [*places, *vars(subject).values(), *background_places, *vars(background).values()]
    return _assemble_reference(parts, carry, held, w2c)


def _assemble_reference(
    parts: list[Tensor], carry: Tensor | None, held: Tensor, w2c: Tensor
) -> Assembly:
    means, quats, log_scales, logits, sh0 = range(5)
    n, b = len(parts[means]), len(parts[5 + means])
    behind, outside = (held & BEHIND) > 0, (held & OUTSIDE) > 0

    def hold(value: Tensor, rows: Tensor) -> Tensor:
        return torch.where(rows.view(-1, *[1] * (value.ndim - 1)), value.detach(), value)

    def join(i: int, rows: Tensor = behind) -> Tensor:
        return torch.cat([hold(parts[i], rows), parts[5 + i]])

    xyz = join(means)
    rgb = (0.5 + SH_C0 * join(sh0, behind | outside)).clamp(0.0, 1.0)
    is_subject = torch.cat([xyz.new_ones(n), xyz.new_zeros(b)])
    channels = [rgb, is_subject[:, None], (xyz @ w2c[2, :3] + w2c[2, 3])[:, None]]
    if carry is not None:
        channels.append(torch.cat([hold(carry, behind), xyz.new_zeros(b, 3)]))
    return Assembly(
        xyz, join(quats), join(log_scales).exp(), join(logits).sigmoid(), torch.cat(channels, 1)
    )


class _Assemble(torch.autograd.Function):
    @staticmethod
    def forward(ctx, held, carry, w2c, *parts):
        arrays = [to_array(part) for part in parts]
        n, b = len(arrays[0]), len(arrays[5])
        carried = None if carry is None else to_array(carry)
        width = _CHANNELS if carry is None else _CHANNELS + 3
        shapes = [(n + b, *a.shape[1:]) for a in arrays[:4]]
        out = [np.empty(shape, np.float32) for shape in [*shapes, (n + b, width)]]
        row = to_array(w2c)[2]
        for start, part, is_subject in ((0, arrays[:5], 1.0), (n, arrays[5:], 0.0)):
            stop = start + len(part[0])
            moved = carried if is_subject and carried is not None else np.empty((0, 3), np.float32)
            rows = [o[start:stop] for o in out]
            _fill(*[*part, moved, row, np.float32(is_subject), *rows])
        ctx.kept = to_array(held), row, n, carry is not None, [a.shape for a in arrays], out
        return tuple(torch.from_numpy(o) for o in out)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        held, row, n, has_carry, shapes, (means, _, scales, opacities, channels) = ctx.kept
        given = [to_array(g) for g in grads]
        out = [np.empty(shape, np.float32) for shape in shapes]
        v_carry = np.empty((n if has_carry else 0, 3), np.float32)
        v_w2c = np.zeros((4, 4), np.float32)
        none, nothing = np.zeros(0, np.uint8), np.empty((0, 3), np.float32)
        total = len(means)
        for rows, part, flags, carried in (
            (slice(0, n), out[:5], held, v_carry),
            (slice(n, total), out[5:], none, nothing),
        ):
            drawn = means[rows], scales[rows], opacities[rows], channels[rows]
            by = [g[rows] for g in given]
            _fill_backward(*[*drawn, row, flags, *by, *part, carried, v_w2c[2]])
        carried = torch.from_numpy(v_carry) if has_carry else None
        return None, carried, torch.from_numpy(v_w2c), *map(torch.from_numpy, out)


@njit(nogil=True, cache=True, error_model="numpy")
def _fill(
    means, quats, log_scales, logits, sh0, carry, row, is_subject,
    out_means, out_quats, out_scales, out_opacities, channels,
):  # fmt: skip
    for i in range(len(means)):
        z = row[3]
        for j in range(3):
            out_means[i, j] = means[i, j]
            out_scales[i, j] = np.exp(log_scales[i, j])
            colour = np.float32(0.5) + np.float32(SH_C0) * sh0[i, j]
            channels[i, j] = min(max(colour, np.float32(0)), np.float32(1))
            z += row[j] * means[i, j]
        for j in range(4):
            out_quats[i, j] = quats[i, j]
        out_opacities[i] = np.float32(1) / (np.float32(1) + np.exp(-logits[i]))
        channels[i, 3], channels[i, 4] = is_subject, z
        for j in range(5, channels.shape[1]):
            channels[i, j] = carry[i, j - 5] if len(carry) else np.float32(0)


@njit(nogil=True, cache=True)
def _fill_backward(
    means, scales, opacities, channels, row, held,
    v_means, v_quats, v_scales, v_opacities, v_channels,
    out_means, out_quats, out_log_scales, out_logits, out_sh0, out_carry, v_row,
):  # fmt: skip
    sums = np.zeros(4)
    for i in range(len(means)):
        flags = held[i] if len(held) else np.uint8(0)
        free = np.float32(0 if flags & BEHIND else 1)
        colour = np.float32(0 if flags & (BEHIND | OUTSIDE) else 1)
        v_z = v_channels[i, 4]
        sums[3] += v_z
        for j in range(3):
            sums[j] += v_z * means[i, j]
            out_means[i, j] = free * (v_means[i, j] + v_z * row[j])
            out_log_scales[i, j] = free * v_scales[i, j] * scales[i, j]
            within = channels[i, j] > 0 and channels[i, j] < 1
            out_sh0[i, j] = colour * np.float32(SH_C0) * v_channels[i, j] if within else 0.0
            if len(out_carry):
                out_carry[i, j] = free * v_channels[i, 5 + j]
        for j in range(4):
            out_quats[i, j] = free * v_quats[i, j]
        out_logits[i] = free * v_opacities[i] * opacities[i] * (1 - opacities[i])
    for j in range(4):
        v_row[j] += sums[j]
