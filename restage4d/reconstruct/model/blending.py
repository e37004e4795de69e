"""Bases and blends of Eq. 1 in one pass each on a CPU: the bases as members of SE(3), and the sum
over the few bases that move a point.

Twins of the same signatures for other devices and types, by autograd, stand beside them. A sparse
blend costs M of K products a point; dense coefficients are one matrix product
(`se3_torch.blend_columns`).
"""

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.autograd.function import once_differentiable

from restage4d.reconstruct.model import se3_torch
from restage4d.reconstruct.model.skinning import orthonormalise, orthonormalise_backward, to_array


def pack_bases(rots: Tensor, trans: Tensor) -> Tensor:  # (K, T, 6), (K, T, 3) -> (K, T, 9)
    """M_k(t) with orthonormal rotation columns (γ of Eq. 1)."""
    if rots.device.type != "cpu" or rots.dtype != torch.float32:
        return pack_bases_reference(rots, trans)
    return _Pack.apply(rots, trans)  # pyright: ignore[reportReturnType]


def pack_bases_reference(rots: Tensor, trans: Tensor) -> Tensor:
    """`pack_bases` on any device and type, by autograd."""
    R = se3_torch.gram_schmidt(rots)
    return torch.cat([R[..., 0], R[..., 1], trans], -1)


def blend_few(
    bases: Tensor, index: Tensor, weight: Tensor
) -> Tensor:  # (K, ..., 9), (N, M) int64, (N, M) -> (N, ..., 9)
    """The weighted sum of Eq. 1, before γ, over M bases a point."""
    if bases.device.type != "cpu" or bases.dtype != torch.float32:
        return blend_few_reference(bases, index, weight)
    return _Blend.apply(bases, index, weight)  # pyright: ignore[reportReturnType]


def blend_few_reference(bases: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """`blend_few` on any device and type, by autograd."""
    return se3_torch.blend_columns(bases, se3_torch.scatter_coefs(index, weight, len(bases)))


class _Pack(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rots, trans):
        arrays = to_array(rots), to_array(trans)
        out = np.empty((*rots.shape[:-1], 9), np.float32)
        _pack(arrays[0].reshape(-1, 6), arrays[1].reshape(-1, 3), out.reshape(-1, 9))
        ctx.rots = arrays[0]
        return torch.from_numpy(out)

    @staticmethod
    @once_differentiable
    def backward(ctx, v_out):
        v_rots = np.empty_like(ctx.rots)
        v_trans = np.empty((*v_rots.shape[:-1], 3), np.float32)
        _pack_backward(
            ctx.rots.reshape(-1, 6),
            to_array(v_out).reshape(-1, 9),
            v_rots.reshape(-1, 6),
            v_trans.reshape(-1, 3),
        )
        return torch.from_numpy(v_rots), torch.from_numpy(v_trans)


class _Blend(torch.autograd.Function):
    @staticmethod
    def forward(ctx, bases, index, weight):
        n_bases = len(bases)
        arrays = to_array(bases).reshape(n_bases, -1), to_array(index), to_array(weight)
        out = np.empty((len(index), *bases.shape[1:]), np.float32)
        _blend(*arrays, out.reshape(len(index), -1))
        ctx.arrays, ctx.shape = arrays, bases.shape
        return torch.from_numpy(out)

    @staticmethod
    @once_differentiable
    def backward(ctx, v_out):
        bases, index, weight = ctx.arrays
        v_bases, v_weight = np.zeros_like(bases), np.empty_like(weight)
        _blend_backward(
            bases, index, weight, to_array(v_out).reshape(len(index), -1), v_bases, v_weight
        )
        return torch.from_numpy(v_bases.reshape(ctx.shape)), None, torch.from_numpy(v_weight)


@njit(nogil=True, cache=True)
def _pack(rots, trans, out):
    R = np.empty((3, 3), np.float32)
    for n in range(len(rots)):
        orthonormalise(rots[n], R)
        for i in range(3):
            out[n, i], out[n, 3 + i], out[n, 6 + i] = R[i, 0], R[i, 1], trans[n, i]


@njit(nogil=True, cache=True)
def _pack_backward(rots, v_out, v_rots, v_trans):
    R, G = np.empty((3, 3), np.float32), np.empty((3, 3), np.float32)
    for n in range(len(rots)):
        a, d, u = orthonormalise(rots[n], R)
        for i in range(3):
            G[i, 0], G[i, 1], G[i, 2] = v_out[n, i], v_out[n, 3 + i], 0.0
            v_trans[n, i] = v_out[n, 6 + i]
        orthonormalise_backward(rots[n], R, G, a, d, u, v_rots[n])


@njit(nogil=True, cache=True)
def _blend(bases, index, weight, out):
    columns = bases.shape[1]
    for n in range(len(index)):
        out[n] = 0
        for m in range(index.shape[1]):
            k, w = index[n, m], weight[n, m]
            for c in range(columns):
                out[n, c] += w * bases[k, c]


@njit(nogil=True, cache=True, fastmath=True)
def _blend_backward(bases, index, weight, v_out, v_bases, v_weight):
    columns = bases.shape[1]
    for n in range(len(index)):
        for m in range(index.shape[1]):
            k, w, along = index[n, m], weight[n, m], np.float32(0)
            for c in range(columns):
                along += v_out[n, c] * bases[k, c]
                v_bases[k, c] += w * v_out[n, c]
            v_weight[n, m] = along
