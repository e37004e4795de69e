"""Skinning (Eq. 1): the torch twin, the fast kernels and their gradients."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from restage4d import se3 as numpy_se3
from restage4d.reconstruct.losses import rigidity
from restage4d.reconstruct.model import se3_torch as se3
from restage4d.reconstruct.model import skinning

RNG = np.random.default_rng(0)


def test_torch_twin_agrees_with_numpy():
    columns = RNG.normal(size=(7, 5, 9))
    coefs = RNG.dirichlet(np.ones(7), 11)
    R, t = numpy_se3.blend_dense(columns, coefs)
    blended = se3.blend_columns(torch.tensor(columns), torch.tensor(coefs))
    R2, t2 = se3.gram_schmidt(blended[..., :6]), blended[..., 6:]
    assert np.allclose(R, R2, atol=1e-12)
    assert np.allclose(t, t2, atol=1e-12)
    points = RNG.normal(size=(11, 3))
    assert np.allclose(
        numpy_se3.transform(R, t, points), se3.transform(R2, t2, torch.tensor(points)), atol=1e-12
    )
    moved = se3.skin_points(blended, torch.tensor(points)).numpy()
    assert np.allclose(
        numpy_se3.inverse_transform(R[:, 0], t[:, 0], moved[:, 0]), points, atol=1e-12
    )


def test_few_influences_blend_as_a_puppet_does():
    columns = RNG.normal(size=(9, 4, 9))
    index = np.stack([RNG.permutation(9)[:3] for _ in range(6)])
    weight = RNG.dirichlet(np.ones(3), 6)
    coefs = se3.scatter_coefs(torch.tensor(index), torch.tensor(weight), 9)
    R, t = numpy_se3.blend(columns, index, weight)
    blended = se3.blend_columns(torch.tensor(columns), coefs)
    assert np.allclose(R, se3.gram_schmidt(blended[..., :6]), atol=1e-12)
    assert np.allclose(t, blended[..., 6:], atol=1e-12)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_matrix_to_quat_twin_turns_vectors_the_same_way(seed):
    R = numpy_se3.gram_schmidt(np.random.default_rng(seed).normal(size=(6,)))
    ours = se3.matrix_to_quat(torch.tensor(R)).numpy()
    assert np.allclose(numpy_se3.quat_to_matrix(ours), R, atol=1e-9)


def test_gradients_of_eq_1():
    columns = torch.tensor(RNG.normal(size=(3, 2, 9)), requires_grad=True)
    logits = torch.tensor(RNG.normal(size=(4, 3)), requires_grad=True)
    points = torch.tensor(RNG.normal(size=(4, 3)), requires_grad=True)

    def moved(columns, logits, points):
        return se3.skin_points(se3.blend_columns(columns, torch.softmax(logits, -1)), points)

    assert torch.autograd.gradcheck(moved, (columns, logits, points))


@pytest.mark.parametrize("shape", [(7, 1), (5, 4)])
def test_poses_and_their_gradients_match_the_twins(shape):
    columns = torch.tensor(RNG.normal(size=(*shape, 9)).astype(np.float32))
    means, quats = (
        torch.tensor(RNG.normal(size=(len(columns), n)).astype(np.float32)) for n in (3, 4)
    )

    def outputs_and_grads(module):
        leaves = [x.clone().requires_grad_() for x in (columns, means, quats)]
        points, turned = module.skin_splats(leaves[0][:, 0], *leaves[1:])
        paths = module.skin_points(*leaves[:2])
        weights = [
            torch.tensor(np.random.default_rng(1).normal(size=x.shape), dtype=x.dtype)
            for x in (points, turned, paths)
        ]
        # a rotation and its negative quaternion are the same: sums of products of quaternions are
        # left alone by squaring
        loss = (
            (points * weights[0]).sum()
            + (turned * weights[1]).sum().square()
            + (paths * weights[2]).sum()
        )
        loss.backward()
        return [points, turned, paths, *(x.grad for x in leaves)]

    for fast, twin in zip(outputs_and_grads(skinning), outputs_and_grads(se3), strict=True):
        torch.testing.assert_close(fast, twin, rtol=2e-4, atol=2e-4)


def test_rigidity_and_its_gradients_match_the_twin():
    generator = torch.Generator().manual_seed(0)
    points, canonical = torch.rand(2, 30, 3, generator=generator)
    hidden = torch.rand(30, generator=generator).round()
    edges = torch.from_numpy(rigidity.knn_edges(canonical.numpy(), 4))
    similarity = torch.rand(len(edges), generator=generator)
    results = []
    for function in (rigidity.rigidity_refine, rigidity.rigidity_refine_reference):
        leaves = [x.clone().requires_grad_() for x in (points, canonical)]
        value = function(*leaves, similarity, hidden, edges)
        assert value > 0
        results.append([value, *torch.autograd.grad(3 * value, leaves)])
    for fast, twin in zip(*results, strict=True):
        torch.testing.assert_close(fast, twin)
