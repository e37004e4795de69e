"""Rigid motions as mathematical axioms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from restage4d import se3

numbers = st.floats(-1e3, 1e3, allow_subnormal=False)
six = arrays(np.float64, (6,), elements=numbers)
quaternions = arrays(np.float64, (4,), elements=st.floats(-1, 1)).filter(
    lambda q: np.linalg.norm(q) > 1e-3
)


def spread(columns: np.ndarray) -> float:
    """Sine of the angle between the two vectors, 0 where one is zero."""
    a, b = columns[:3], columns[3:]
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return (
        float(np.linalg.norm(np.cross(a, b)) / lengths)
        if min(np.linalg.norm(a), np.linalg.norm(b)) > 1e-6
        else 0.0
    )


def random_rotations(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return se3.quat_to_matrix(rng.normal(size=(*shape, 4)))


# --- γ --------------------------------------------------------------------------------------------


@given(six.filter(lambda c: spread(c) > 1e-3))
def test_gram_schmidt_gives_rotations(columns: np.ndarray) -> None:
    R = se3.gram_schmidt(columns)
    assert np.allclose(R.T @ R, np.eye(3), atol=1e-9)
    assert np.linalg.det(R) == pytest.approx(1, abs=1e-9)
    assert np.allclose(
        R[:, 0] * np.linalg.norm(columns[:3]), columns[:3]
    )  # keeps the first direction ...
    assert R[:, 1] @ columns[3:] > 0  # ... and the side of the second


@given(six)
def test_gram_schmidt_is_finite_for_anything(columns: np.ndarray) -> None:
    assert np.isfinite(se3.gram_schmidt(columns)).all()


@given(six.filter(lambda c: spread(c) > 1e-3), st.floats(0.1, 10))
def test_gram_schmidt_forgets_lengths(columns: np.ndarray, factor: float) -> None:
    assert np.allclose(se3.gram_schmidt(columns * factor), se3.gram_schmidt(columns), atol=1e-9)


def test_gram_schmidt_leaves_rotations_as_they_are() -> None:
    R = random_rotations(np.random.default_rng(0), 50)
    assert np.allclose(se3.gram_schmidt(se3.pack(R, np.zeros((50, 3)))), R)


# --- quaternions ----------------------------------------------------------------------------------


@given(quaternions)
def test_quaternions_round_trip_with_w_not_negative(q: np.ndarray) -> None:
    R = se3.quat_to_matrix(q)
    assert np.allclose(R @ R.T, np.eye(3))
    assert np.linalg.det(R) == pytest.approx(1)
    back = se3.matrix_to_quat(R)
    assert back[0] >= 0
    assert np.linalg.norm(back) == pytest.approx(1)
    assert np.allclose(se3.quat_to_matrix(back), R)
    unit = q / np.linalg.norm(q)
    assert min(np.abs(back - unit).max(), np.abs(back + unit).max()) < 1e-6


@pytest.mark.parametrize(
    "axis",
    [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1), (1, 1, 1), (1e-4, 1, 0)],
)
@pytest.mark.parametrize("angle", [np.pi, np.pi - 1e-7, 1e-7, 0.0])
def test_half_turns_and_tiny_turns(axis: tuple[float, ...], angle: float) -> None:
    u = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -u[2], u[1]], [u[2], 0, -u[0]], [-u[1], u[0], 0]])
    R = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross  # Rodrigues
    for dtype, tolerance in ((np.float64, 1e-9), (np.float32, 1e-6)):
        back = se3.quat_to_matrix(se3.matrix_to_quat(R.astype(dtype)))
        assert np.abs(back - R).max() < tolerance


@given(quaternions, quaternions)
def test_products_of_quaternions_are_products_of_matrices(a: np.ndarray, b: np.ndarray) -> None:
    both = se3.quat_to_matrix(se3.quat_multiply(a, b))
    assert np.allclose(both, se3.quat_to_matrix(a) @ se3.quat_to_matrix(b), atol=1e-9)


def test_wxyz_is_the_order() -> None:
    half = np.sqrt(0.5)
    assert np.allclose(
        se3.quat_to_matrix(np.array([half, 0, 0, half])) @ [1, 0, 0], [0, 1, 0]
    )  # a quarter turn about +z


# --- blending -------------------------------------------------------------------------------------


def case(seed: int, n: int = 30, k: int = 7, m: int = 3, times: tuple[int, ...] = (5,)):
    """Bases, sparse influences without repeats, and the same as dense coefficients."""
    rng = np.random.default_rng(seed)
    bases = se3.pack(random_rotations(rng, k, *times), rng.normal(size=(k, *times, 3)))
    index = np.stack([rng.permutation(k)[:m] for _ in range(n)])
    weight = rng.dirichlet(np.ones(m), n)
    coefs = np.zeros((n, k))
    np.put_along_axis(coefs, index, weight, 1)
    return bases, index, weight, coefs, rng.normal(size=(n, 3))


@pytest.mark.parametrize("times", [(), (5,)])
def test_sparse_and_dense_blends_agree(times: tuple[int, ...]) -> None:
    bases, index, weight, coefs, _ = case(0, times=times)
    for sparse, dense in zip(
        se3.blend(bases, index, weight), se3.blend_dense(bases, coefs), strict=True
    ):
        assert sparse.shape == dense.shape
        assert np.allclose(sparse, dense)


def test_an_index_that_repeats_adds_its_weights() -> None:
    bases, *_ = case(1)
    once = se3.blend(bases, np.array([[2, 3]]), np.array([[0.75, 0.25]]))
    twice = se3.blend(bases, np.array([[2, 3, 2]]), np.array([[0.5, 0.25, 0.25]]))
    assert all(np.allclose(a, b) for a, b in zip(once, twice, strict=True))


@pytest.mark.parametrize("times", [(), (5,)])
def test_the_inverse_undoes_the_blend(times: tuple[int, ...]) -> None:
    bases, index, weight, _, means = case(2, times=times)
    R, t = se3.blend(bases, index, weight)
    back = se3.inverse_transform(R, t, se3.transform(R, t, means))
    assert np.allclose(back, means[:, None] if times else means)


def test_a_point_of_one_basis_moves_as_that_basis_does() -> None:
    bases, _, _, _, means = case(3, n=7)
    R, t = se3.blend(bases, np.arange(7)[:, None], np.ones((7, 1)))
    assert np.allclose(se3.pack(R, t), bases)
    x = se3.transform(R, t, means)
    a, b, shift = np.split(bases[4, 2], 3)
    assert np.allclose(x[4, 2], np.stack([a, b, np.cross(a, b)], 1) @ means[4] + shift)


def test_bases_that_agree_blend_to_themselves_whatever_the_weights() -> None:
    _, index, weight, _, means = case(4)
    one = se3.pack(random_rotations(np.random.default_rng(9)), np.array([1.0, 2, 3]))
    R, t = se3.blend(np.tile(one, (7, 1)), index, weight)
    assert np.allclose(se3.pack(R, t), one)
    distances = np.linalg.norm(means[:, None] - means, axis=-1)
    moved = se3.transform(R, t, means)
    assert np.allclose(np.linalg.norm(moved[:, None] - moved, axis=-1), distances)  # rigid


def test_moving_the_world_moves_the_blend() -> None:
    """Eq. 1 does not depend on the world's axes: turning every basis turns every blended motion."""
    bases, index, weight, _, _ = case(5)
    rng = np.random.default_rng(6)
    W, shift = random_rotations(rng), rng.normal(size=3)
    R, t = se3.blend(bases, index, weight)
    turned = se3.pack(W @ se3.gram_schmidt(bases[..., :6]), bases[..., 6:] @ W.T + shift)
    R2, t2 = se3.blend(turned, index, weight)
    assert np.allclose(R2, W @ R)
    assert np.allclose(t2, t @ W.T + shift)


def test_dtypes_are_kept() -> None:
    for dtype in (np.float32, np.float64):
        bases, index, weight, coefs, means = case(7)
        R, t = se3.blend(bases.astype(dtype), index.astype(np.uint16), weight.astype(dtype))
        assert R.dtype == t.dtype == se3.transform(R, t, means.astype(dtype)).dtype == dtype
        assert se3.matrix_to_quat(R).dtype == dtype
        assert se3.blend_dense(bases.astype(dtype), coefs.astype(dtype))[0].dtype == dtype


def test_identity() -> None:
    R, t = se3.blend(se3.IDENTITY[None], np.zeros((4, 1), int), np.ones((4, 1), np.float32))
    assert np.array_equal(R, np.tile(np.eye(3), (4, 1, 1)))
    assert not t.any()
