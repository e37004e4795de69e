"""Spherical harmonics of 3DGS: basis, colours, and turning them with a rotation. numpy only.

The real basis with the signs of 3D Gaussian Splatting (Kerbl et al. 2023), bands 0 to 3, in its
order: coefficient ``l*l + l + m`` for m = -l..l. A colour is ``0.5 + sum_i sh_i Y_i(direction)``,
direction from the camera to the Gaussian.
"""

import numpy as np

from restage4d.se3 import Array


def degree_of(count: int) -> int:  # 1, 4, 9, 16 -> 0, 1, 2, 3
    """Degree of that many coefficients. Raises ValueError for any other count."""
    if count not in (1, 4, 9, 16):
        raise ValueError(f"{count} coefficients, expected 1, 4, 9 or 16")
    return (1, 4, 9, 16).index(count)


def basis(directions: Array, degree: int) -> Array:  # (..., 3) unit -> (..., (degree + 1)²)
    """Y_i of unit directions."""
    x, y, z = np.moveaxis(directions, -1, 0)
    return np.stack(basis_rows(x, y, z, degree), -1)


def basis_rows(x: Array, y: Array, z: Array, degree: int) -> list[Array]:
    """`basis` of directions by their components, each Y_i of their shape; of whatever multiplies,
    adds and subtracts."""
    xx, yy, zz = x * x, y * y, z * z
    rows = [x * 0 + 0.28209479177387814]
    if degree >= 1:
        c = 0.4886025119029199
        rows += [-c * y, c * z, -c * x]
    if degree >= 2:
        c, c0, c2 = 1.0925484305920792, 0.31539156525252005, 0.5462742152960396
        rows += [c * x * y, -c * y * z, c0 * (2 * zz - xx - yy), -c * x * z, c2 * (xx - yy)]
    if degree >= 3:
        rows += [
            -0.5900435899266435 * y * (3 * xx - yy),
            2.890611442640554 * x * y * z,
            -0.4570457994644658 * y * (4 * zz - xx - yy),
            0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
            -0.4570457994644658 * x * (4 * zz - xx - yy),
            1.445305721320277 * z * (xx - yy),
            -0.5900435899266435 * x * (xx - 3 * yy),
        ]
    return rows


def colors(sh: Array, directions: Array) -> Array:  # (N, C, 3), (N, 3) unit -> (N, 3), at least 0
    """View-dependent colours; ``directions`` point from the camera to the Gaussians."""
    return np.maximum(
        np.einsum("nc,ncd->nd", basis(directions, degree_of(sh.shape[1])), sh) + 0.5, 0
    )


def rotate(sh: Array, R: Array) -> Array:  # (N, C, 3), (N, 3, 3) -> (N, C, 3)
    """Turns radiance with its Gaussian: ``rotate(sh, R)`` seen from ``R @ d`` has the colour of
    ``sh`` seen from ``d``.

    A band's functions turned are sums of the same band's functions, so their values at enough fixed
    directions determine the new coefficients exactly: solve ``Y(D) new = Y(D R) old`` band by band.
    """
    degree = degree_of(sh.shape[1])
    out = sh.copy()
    if degree == 0:
        return out
    directions = _DIRECTIONS.astype(sh.dtype)
    fixed = basis(_DIRECTIONS, degree)
    turned = basis(directions @ R.astype(sh.dtype), degree)  # row j: R^T d_j
    for band in range(1, degree + 1):
        part = slice(band * band, (band + 1) ** 2)
        values = turned[..., part] @ sh[:, part]
        out[:, part] = np.linalg.pinv(fixed[:, part]).astype(sh.dtype) @ values
    return out


def _spiral(n: int) -> Array:
    """n directions spread evenly over the sphere (golden spiral)."""
    z = 1 - (2 * np.arange(n) + 1) / n
    angle = np.pi * (3 - np.sqrt(5)) * np.arange(n)
    ring = np.sqrt(1 - z * z)
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), z], -1)


_DIRECTIONS = _spiral(12)


# Directions that tell the functions of a band apart: the first 3 of band 1, the first 5 of band 2,
# all of band 3. They are so spread that no inverse has a condition number above 4.2.
DIRECTIONS = np.array(
    [
        [0.6423, -0.4722, -0.6037],
        [-0.7021, 0.5523, -0.4495],
        [0.6814, 0.6032, -0.4145],
        [-0.1168, -0.5072, 0.8539],
        [-0.818, 0.0784, -0.5698],
        [0.8957, -0.4426, -0.0436],
        [0.8135, -0.146, -0.563],
    ]
)
DIRECTIONS /= np.linalg.norm(DIRECTIONS, axis=1, keepdims=True)
INVERSES = [
    np.linalg.inv(basis(DIRECTIONS[: 2 * band + 1], 3)[:, band**2 : (band + 1) ** 2])
    for band in (1, 2, 3)
]  # of band 1, 2, 3: values at the directions -> coefficients
