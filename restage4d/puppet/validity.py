"""What makes a puppet valid (docs/puppet_format.md): shapes, types, ranges, names."""

import re

import numpy as np
from numpy.typing import NDArray

from restage4d.errors import InputError
from restage4d.puppet.values import PuppetValues

_FARTHEST = 1e6  # world units; the subject is about 1 large
_WIDEST = 1 << 16  # pixels of a picture's side
_FASTEST = 1e4  # frames per second
_ORTHONORMAL = 1e-2  # how far a basis' columns may be from it
_LONGEST = 200  # letters of a performance's name


def find_name_fault(name: str) -> str:
    """What a performance's name must not be, as it names files too; "" where it is one."""
    if len(name) > _LONGEST:
        return f"has more than {_LONGEST} letters"
    if re.search(r"[/\\\x00-\x1f\x7f]", name) or name in (".", ".."):
        return "has a slash or a control character, or is a folder's name"
    return ""


def _are_rotations(bases: NDArray[np.float32]) -> bool:  # (K, T, 9)
    """Whether the first six numbers are orthonormal columns, as Eq. 1 blends them."""
    if np.abs(bases[..., :6]).max(initial=0) > 2:
        return False
    a, b = bases[..., :3], bases[..., 3:6]
    lengths = np.stack([np.linalg.norm(a, axis=-1), np.linalg.norm(b, axis=-1)])
    straight = np.abs((a * b).sum(-1)).max(initial=0) <= _ORTHONORMAL
    return bool(straight and np.abs(lengths - 1).max(initial=0) <= _ORTHONORMAL)


def check(puppet: PuppetValues, name: str) -> None:
    """Checks a puppet's shapes, dtypes, finiteness and ranges. Raises `InputError` naming the first
    fault."""

    def need(truth: object, what: str) -> None:
        if not truth:
            raise InputError(f"{name} is not a valid puppet: {what}.", "Make it again.")

    def array(a: object, shape: tuple[int | None, ...], dtype: type, what: str) -> None:
        need(
            isinstance(a, np.ndarray) and a.dtype == dtype, f"{what} is not {np.dtype(dtype).name}"
        )
        assert isinstance(a, np.ndarray)
        fits = a.ndim == len(shape) and all(
            s is None or s == n for s, n in zip(shape, a.shape, strict=True)
        )
        need(fits, f"{what} has shape {a.shape}, expected {shape}")
        if np.issubdtype(dtype, np.floating):
            need(np.isfinite(a).all(), f"{what} has values that are not finite")

    for label, g in (("subject", puppet.subject), ("background", puppet.background)):
        n = len(g.means) if isinstance(g.means, np.ndarray) and g.means.ndim else 0
        array(g.means, (n, 3), np.float32, f"{label}.means")
        array(g.quats, (n, 4), np.float32, f"{label}.quats")
        array(g.scales, (n, 3), np.float32, f"{label}.scales")
        array(g.opacities, (n,), np.float32, f"{label}.opacities")
        array(g.sh, (n, None, 3), np.float32, f"{label}.sh")
        need(
            g.sh.shape[1] in (1, 4, 9, 16),
            f"{label}.sh has {g.sh.shape[1]} coefficients, expected 1, 4, 9 or 16",
        )
        need(np.abs(g.means).max(initial=0) <= _FARTHEST, f"{label}.means leave ±{_FARTHEST:g}")
        need(g.scales.max(initial=0) <= _FARTHEST, f"{label}.scales are above {_FARTHEST:g}")
        need((g.scales > 0).all(), f"{label}.scales are not all positive")
        need(((g.opacities >= 0) & (g.opacities <= 1)).all(), f"{label}.opacities leave 0..1")
        need(
            (np.abs(np.linalg.norm(g.quats, axis=-1) - 1) < 1e-3).all(),
            f"{label}.quats are not of unit length",
        )
    n = len(puppet.subject)
    need(n > 0, "the subject has no Gaussians")
    array(puppet.weight, (n, None), np.float32, "influences.weight")
    m = puppet.weight.shape[1]
    need(1 <= m <= 8, f"there are {m} influences per Gaussian, expected 1 to 8")
    array(puppet.index, (n, m), np.uint16, "influences.index")
    need((puppet.weight >= 0).all(), "influences.weight has negative values")
    need((np.abs(puppet.weight.sum(1) - 1) < 1e-4).all(), "influences.weight does not sum to 1")
    need(puppet.performances, "there is no performance")
    k = puppet.performances[0].bases.shape[0] if puppet.performances[0].bases.ndim == 3 else 0
    need(puppet.index.max(initial=0) < k, f"influences.index points past the {k} bases")
    names = [p.name for p in puppet.performances]
    need(all(isinstance(n, str) and n for n in names), f"a performance has no name: {names}")
    need(len(set(names)) == len(names), f"performance names repeat: {names}")
    need("base" not in names[1:], "the performance 'base' is not the first one")
    for p in puppet.performances:
        fault = find_name_fault(p.name)
        need(not fault, f"the performance's name {p.name!r} {fault}")
        array(p.bases, (k, None, 9), np.float32, f"bases of {p.name!r}")
        t = p.n_frames
        need(t > 0, f"performance {p.name!r} has no frames")
        need(_are_rotations(p.bases), f"bases of {p.name!r} are not the columns of rotations")
        reach = np.abs(p.bases[..., 6:]).max()
        need(reach <= _FARTHEST, f"bases of {p.name!r} leave ±{_FARTHEST:g}")
        array(p.K, (t, 3, 3), np.float32, f"K of {p.name!r}")
        array(p.w2c, (t, 4, 4), np.float32, f"w2c of {p.name!r}")
        need((p.K[:, [0, 1], [0, 1]] > 0).all(), f"focal length of {p.name!r} is not positive")
        need((p.K[:, 2] == [0, 0, 1]).all(), f"the last row of K of {p.name!r} is not 0 0 1")
        R, bottom = p.w2c[:, :3, :3], p.w2c[:, 3]
        rigid = np.allclose(R @ R.transpose(0, 2, 1), np.eye(3), atol=1e-3) and np.allclose(
            bottom, [0, 0, 0, 1], atol=1e-6
        )
        need(rigid and (np.linalg.det(R) > 0).all(), f"w2c of {p.name!r} is not a rigid motion")
        need(0 < p.fps <= _FASTEST, f"fps of {p.name!r} is {p.fps}")
        fits = len(p.size) == 2 and all(0 < side <= _WIDEST for side in p.size)
        need(fits, f"size of {p.name!r} is {p.size}")
        need(isinstance(p.prompt, str), f"prompt of {p.name!r} is not a text")
    need(
        np.isfinite(puppet.metres_per_unit) and puppet.metres_per_unit > 0,
        "metres_per_unit is not positive",
    )
    need(isinstance(puppet.provenance, dict), "provenance is not a table")
    need(isinstance(puppet.metrics, dict), "metrics are not a table")
    for key, value in puppet.metrics.items():
        number = isinstance(value, (int, float)) and abs(value) < float("inf")
        need(number, f"metric {key!r} is not a finite number")
