"""Small puppets whose look and motion are known, made with numpy."""

from dataclasses import replace

import numpy as np

from restage4d import se3
from restage4d.puppet import (
    Gaussians,
    Performance,
    Puppet,
    rgb_to_sh,
)


def random_gaussians(rng: np.random.Generator, n: int, degree: int = 0) -> Gaussians:
    quats = rng.normal(size=(n, 4))
    return Gaussians(
        means=rng.normal(0, 0.3, (n, 3)).astype(np.float32),
        quats=(quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        scales=rng.uniform(0.01, 0.05, (n, 3)).astype(np.float32),
        opacities=rng.uniform(0.05, 0.95, n).astype(np.float32),
        sh=rng.normal(0, 0.3, (n, (degree + 1) ** 2, 3)).astype(np.float32),
    )


def random_puppet(
    seed: int = 0,
    *,
    n: int = 60,
    bases: int = 5,
    frames: int = 4,
    influences: int = 3,
    degree: int = 0,
) -> Puppet:
    """Everything random, two performances, valid in every field."""
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0, 1, (n, influences))
    performances = []
    for i, name in enumerate(("base", "jump!")):
        R = se3.quat_to_matrix(rng.normal(size=(bases, frames + i, 4)))
        performances.append(
            Performance(
                name=name,
                bases=se3.pack(R, rng.normal(size=(bases, frames + i, 3))).astype(np.float32),
                fps=24.0,
                K=np.tile(
                    np.array([[100, 0, 48], [0, 100, 32], [0, 0, 1]], np.float32),
                    (frames + i, 1, 1),
                ),
                w2c=np.tile(np.eye(4, dtype=np.float32), (frames + i, 1, 1)),
                size=(96, 64),
                prompt="" if name == "base" else "jump über the fence",
            )
        )
    return Puppet(
        subject=random_gaussians(rng, n, degree),
        index=rng.integers(0, bases, (n, influences)).astype(np.uint16),
        weight=(weight / weight.sum(1, keepdims=True)).astype(np.float32),
        performances=performances,
        background=random_gaussians(rng, 20),
        metres_per_unit=0.7,
        provenance={"seed": seed, "providers": {"depth": "relief"}},
        metrics={"psnr_base": 27.5},
    )


FRONT, BACK, LEFT, RIGHT = (0.9, 0.1, 0.1), (0.1, 0.2, 0.9), (0.1, 0.8, 0.2), (0.9, 0.8, 0.1)


def box_puppet(frames: int = 10, size: tuple[int, int] = (160, 100)) -> Puppet:
    """A box with a face of its own colour on each side, filmed from the front (its -y side) by a
    still camera.

    "base" stands, "restaged" walks to the right (+x) by 0.8 and hops. The front is red, the back
    blue, the side towards +x green, the side towards -x yellow. The ground is grey.
    """
    rng = np.random.default_rng(0)
    half = np.array([0.2, 0.35, 0.25])
    p = rng.uniform(-1, 1, (6000, 3))
    face, sign = rng.integers(0, 3, len(p)), rng.choice([-1, 1], len(p))
    p[np.arange(len(p)), face] = sign
    colours = np.full((len(p), 3), 0.5)
    for axis, s, colour in ((1, -1, FRONT), (1, 1, BACK), (0, 1, LEFT), (0, -1, RIGHT)):
        colours[(face == axis) & (sign == s)] = colour
    ground = np.concatenate([rng.uniform(-2, 2, (2000, 2)), np.zeros((2000, 1))], 1)
    w2c = np.array(
        [[1, 0, 0, 0], [0, 0, -1, 0.5], [0, 1, 0, 3.0], [0, 0, 0, 1]], np.float32
    )  # at (0, -3, 0.5), looking along +y
    K = np.array([[size[0], 0, size[0] / 2], [0, size[0], size[1] / 2], [0, 0, 1]], np.float32)

    def performance(name: str, x: np.ndarray, z: np.ndarray) -> Performance:
        bases = np.tile(se3.IDENTITY, (2, frames, 1))
        bases[..., 6], bases[..., 8] = x, z
        return Performance(
            name, bases, 12.0, np.tile(K, (frames, 1, 1)), np.tile(w2c, (frames, 1, 1)), size
        )

    t = np.linspace(0, 1, frames)
    return Puppet(
        subject=_dots(p * half + [0, 0, 0.25], colours, 0.012),
        index=np.zeros((len(p), 1), np.uint16),
        weight=np.ones((len(p), 1), np.float32),
        performances=[
            performance("base", 0 * t, 0 * t),
            performance("restaged", 0.8 * t, 0.2 * np.abs(np.sin(6 * t))),
        ],
        background=_dots(ground, np.full(ground.shape, 0.4), 0.05),
    )


def sheet_puppet(sheets: list[np.ndarray], slide: float = 0.0, frames: int = 6) -> Puppet:
    """Sheets of dots (N, 3). The last is a basis's own, which moves it along x by -``slide`` in
    the first frame of "restaged" to +``slide`` in the last."""
    puppet = box_puppet(frames=frames)
    means = np.concatenate(sheets).astype(np.float32)
    dots = {n: np.resize(v, (len(means), *v.shape[1:])) for n, v in vars(puppet.subject).items()}
    own = np.arange(len(means)) >= len(means) - len(sheets[-1])
    performances = []
    for performance in puppet.performances:
        bases = np.tile(se3.IDENTITY, (2, frames, 1))
        if performance.name == "restaged":
            bases[1, :, 6] = np.linspace(-slide, slide, frames)
        performances.append(replace(performance, bases=bases))
    return replace(
        puppet,
        subject=Gaussians(**(dots | {"means": means})),
        index=np.stack([own, ~own], 1).astype(np.uint16),
        weight=np.tile(np.array([1, 0], np.float32), (len(means), 1)),
        performances=performances,
    )


def spread_dots(count: int, *bounds: tuple[float, float]) -> np.ndarray:  # -> (count, 3)
    """Dots anywhere between ``bounds`` of x, y and z."""
    low, high = np.array(bounds).T
    return np.random.default_rng(count).uniform(low, high, (count, 3))


def _dots(means: np.ndarray, colours: np.ndarray, sigma: float) -> Gaussians:
    n = len(means)
    return Gaussians(
        means=means.astype(np.float32),
        quats=np.tile(np.array([1, 0, 0, 0], np.float32), (n, 1)),
        scales=np.full((n, 3), sigma, np.float32),
        opacities=np.full(n, 0.9, np.float32),
        sh=rgb_to_sh(colours.astype(np.float32))[:, None].astype(np.float32),
    )


FACES = {"front": FRONT, "back": BACK, "left": LEFT, "right": RIGHT}


def counts(picture: np.ndarray) -> dict[str, int]:
    """How many pixels have the colour of each face."""
    return {
        k: int((np.abs(picture / 255.0 - np.array(c)).max(-1) < 0.2).sum())
        for k, c in FACES.items()
    }


def mostly(picture: np.ndarray) -> str:
    return max(counts(picture).items(), key=lambda item: item[1])[0]


def place_oblique_camera(performance: Performance) -> None:
    """Has a performance filmed by a turned camera whose picture is off centre, with another fy."""
    performance.K[:] = [[110, 0, 40], [0, 90, 36], [0, 0, 1]]
    turn = se3.quat_to_matrix(np.array([0.9, 0.1, -0.3, 0.2])).astype(np.float32)
    performance.w2c[:, :3, :3], performance.w2c[:, :3, 3] = turn, [0.1, 0.2, 3.0]
