"""Prints the CPU renderer's times, beside a pixel-major loop over the same lists of Gaussians, and
gsplat's and Warp's on a GPU; ``--warp`` times Warp's kernels on the CPU.

    python scripts/benchmarks/render.py [--repeat N]

The scenes are random and cover the image. The two renderers take turns, so that a busy machine
slows both; the best times are those of a machine left alone.
"""

import argparse
import math
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault(
    "OMP_WAIT_POLICY", "PASSIVE"
)  # else torch's idle threads spin on the renderer's cores for milliseconds

import numpy as np
import torch
from numba import njit
from torch import Tensor

from restage4d.splatting import (
    cpu,
    gsplat_backend,
    kernels,
    rasterize,
    warp_backend,
)
from restage4d.splatting.constants import MAX_ALPHA, MIN_TRANSMITTANCE
from restage4d.splatting.projection import FAINTEST, RECORD, TILE
from restage4d.splatting.simd import LANES, count

LN_2 = np.float32(math.log(2))
CASES = [  # Gaussians, width, height, channels
    (40_000, 854, 480, 4),
    (20_000, 384, 216, 8),
    (40_000, 384, 216, 8),
    (20_000, 384, 216, 17),
    (40_000, 384, 216, 17),
]


def scene(n: int, width: int, height: int, channels: int) -> list[Tensor]:
    rng = torch.Generator().manual_seed(0)
    focal, spacing = 1.2 * width, math.sqrt(width * height / n)
    z = 2 + 2 * torch.rand(n, generator=rng)
    x, y = (
        (torch.rand(n, generator=rng) - 0.5) * width,
        (torch.rand(n, generator=rng) - 0.5) * height,
    )
    scales = 0.7 * spacing / focal * z[:, None] * torch.exp(0.4 * torch.randn(n, 3, generator=rng))
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return [
        torch.stack([x / focal * z, y / focal * z, z], -1),
        torch.randn(n, 4, generator=rng),
        scales,
        0.1 + 0.9 * torch.rand(n, generator=rng),
        torch.rand(n, channels, generator=rng),
        torch.eye(4),
        K,
    ]


@njit(nogil=True, fastmath=True, error_model="numpy")
def draw(
    counter,
    width,
    height,
    first_entry,
    entry_gaussian,
    entry_rows,
    records,
    colors,
    channels,
    image,
    alpha,
    T,
    last,
):
    """`kernels.draw`, pixel by pixel: each walks its tile's Gaussians with its own
    transmittance."""
    tiles_x, tiles = (width + LANES - 1) // LANES, len(first_entry) - 1
    sums = np.empty(channels, np.float32)
    while True:
        tile = count(counter, 0)
        if tile >= tiles:
            return tiles
        left, top = tile % tiles_x * LANES, tile // tiles_x * TILE
        for y in range(min(TILE, height - top)):
            for x in range(min(LANES, width - left)):
                sums[:] = 0
                t, seen = np.float32(1), -1
                for j in range(first_entry[tile], first_entry[tile + 1]):
                    if y < (entry_rows[j] & 255) or y >= (entry_rows[j] >> 8):
                        continue
                    i = entry_gaussian[j]
                    r = RECORD * i
                    Y = np.float32(top + y) + np.float32(0.5) - records[r + 1]
                    u = np.float32(left + x) + np.float32(0.5) - records[r] + records[r + 3] * Y
                    log_alpha = records[r + 5] + records[r + 2] * u * u + records[r + 4] * Y * Y
                    if log_alpha <= np.float32(-FAINTEST):
                        continue
                    a = min(math.exp(LN_2 * log_alpha), np.float32(MAX_ALPHA))
                    after = t * (np.float32(1) - a)
                    if after <= np.float32(MIN_TRANSMITTANCE):
                        break
                    for c in range(channels):
                        sums[c] += a * t * colors[channels * i + c]
                    t, seen = after, j
                pixel = (top + y) * width + left + x
                alpha[pixel] = np.float32(1) - t
                (
                    T[tile * kernels.PIXELS + y * LANES + x],
                    last[tile * kernels.PIXELS + y * LANES + x],
                ) = t, seen
                for c in range(channels):
                    image[c * height * width + pixel] = sums[c]
        count(counter, 1)


@njit(nogil=True, fastmath=True, error_model="numpy")
def draw_backward(
    counter, width, height, first_entry, entry_gaussian, entry_rows, records, colors, channels, T,
    last, v_image, v_alpha,
    v_entries,
):  # fmt: skip
    """`kernels.draw_backward`, pixel by pixel; a tile's gradient rows are its own, so this needs no
    atomics either."""
    tiles_x, tiles = (width + LANES - 1) // LANES, len(first_entry) - 1
    columns = kernels.gradient_columns(channels)
    while True:
        tile = count(counter, 0)
        if tile >= tiles:
            return tiles
        left, top = tile % tiles_x * LANES, tile // tiles_x * TILE
        v_entries[first_entry[tile] * columns : first_entry[tile + 1] * columns] = 0
        for y in range(min(TILE, height - top)):
            for x in range(min(LANES, width - left)):
                pixel, place = (top + y) * width + left + x, tile * kernels.PIXELS + y * LANES + x
                t, behind = T[place], np.float32(0)
                for j in range(last[place], first_entry[tile] - 1, -1):
                    if y < (entry_rows[j] & 255) or y >= (entry_rows[j] >> 8):
                        continue
                    i = entry_gaussian[j]
                    r, row = RECORD * i, j * columns
                    Y = np.float32(top + y) + np.float32(0.5) - records[r + 1]
                    u = np.float32(left + x) + np.float32(0.5) - records[r] + records[r + 3] * Y
                    log_alpha = records[r + 5] + records[r + 2] * u * u + records[r + 4] * Y * Y
                    if log_alpha <= np.float32(-FAINTEST):
                        continue
                    unclamped = math.exp(LN_2 * log_alpha)
                    a = min(unclamped, np.float32(MAX_ALPHA))
                    inverse = np.float32(1) / (np.float32(1) - a)
                    t *= inverse
                    dot = v_alpha[pixel]
                    for c in range(channels):
                        v = v_image[c * height * width + pixel]
                        dot += v * colors[channels * i + c]
                        v_entries[row + kernels.GEOMETRY + c] += a * t * v
                    v_sigma = (
                        -a * (t * dot - behind * inverse)
                        if unclamped <= np.float32(MAX_ALPHA)
                        else np.float32(0)
                    )
                    behind += a * t * dot
                    v_entries[row] += v_sigma
                    v_entries[row + 1] += v_sigma * u
                    v_entries[row + 2] += v_sigma * Y
                    v_entries[row + 3] += v_sigma * u * u
                    v_entries[row + 4] += v_sigma * u * Y
                    v_entries[row + 5] += v_sigma * Y * Y
        count(counter, 1)


class Timed:
    """Stands in for a kernel and notes how long each call of it took."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self.share = cpu._share

    def __call__(self, kernel: Callable[..., int], *args) -> None:
        start = time.perf_counter()
        self.share(kernel, *args)
        self.seconds.setdefault(f"{kernel.__module__}.{kernel.__name__}", []).append(
            time.perf_counter() - start
        )


def picture(
    args: list[Tensor], width: int, height: int, backend: str = "auto"
) -> tuple[Tensor, Tensor]:
    means, quats, scales, opacities, colors, w2c, K = args
    return rasterize(
        means, quats, scales, opacities, colors, w2c, K, width, height, backend=backend
    )[:2]


def once(args: list[Tensor], width: int, height: int) -> tuple[float, float, list[Tensor]]:
    """Seconds of forward and of forward and backward, and what came out."""
    leaves = [x.clone().requires_grad_(i < 5) for i, x in enumerate(args)]
    start = time.perf_counter()
    image, alpha = picture(leaves, width, height)
    forward = time.perf_counter() - start
    weights = [torch.ones_like(image), torch.ones_like(alpha)]
    start = time.perf_counter()
    torch.autograd.backward([image, alpha], weights)
    return (
        forward,
        forward + time.perf_counter() - start,
        [image, alpha, *(x.grad for x in leaves[:5] if x.grad is not None)],
    )


def beside(
    args: list[Tensor], width: int, height: int, repeat: int, backend: str, device: str
) -> str:
    """Milliseconds of another backend's forward and of forward and backward, best / median;
    differences from numba's pictures."""
    moved = [x.to(device) for x in args]
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    forward, both = [], []
    for _ in range(repeat + 3):
        leaves = [x.clone().requires_grad_(i < 5) for i, x in enumerate(moved)]
        wait()
        start = time.perf_counter()
        image, alpha = picture(leaves, width, height, backend)
        wait()
        forward.append(1e3 * (time.perf_counter() - start))
        torch.autograd.backward([image, alpha], [torch.ones_like(image), torch.ones_like(alpha)])
        wait()
        both.append(1e3 * (time.perf_counter() - start))
    with torch.no_grad():
        gap = float((picture(args, width, height)[0] - image.detach().cpu()).abs().mean())
    cells = [
        f"{min(times[3:]):6.2f} /{statistics.median(times[3:]):6.2f}" for times in (forward, both)
    ]
    return (
        f"{backend} on {device}: forward {cells[0]}, forward and backward {cells[1]}, off {gap:.0e}"
    )


def find_others(*, warp: bool) -> list[tuple[str, str]]:
    """The backends beside numba that draw here, and where."""
    backends = (("gsplat", gsplat_backend), ("warp", warp_backend))
    found = [(name, "cuda") for name, backend in backends if not backend.obstacle()]
    return found + [("warp", "cpu")] * warp


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--warp", action="store_true", help="Warp's kernels on the CPU too")
    arguments = parser.parse_args()
    repeat, others = arguments.repeat, find_others(warp=arguments.warp)
    print(
        f"{torch.get_num_threads()} threads, {LANES} lanes; milliseconds, best / median of "
        f"{repeat} turns. 'times' compares the"
    )
    print(
        "best of the drawing loops alone, forward and backward; 'off' is the mean difference of "
        "images and gradients."
    )
    print(
        "Gaussians size    C |     forward  forward+backward  no gradients | pixel-major forward  "
        "forward+backward | times  off"
    )
    ours = kernels.draw, kernels.draw_backward
    for n, width, height, channels in CASES:
        args = scene(n, width, height, channels)
        timed = Timed()
        cpu._share = timed
        times: dict[str, list[float]] = {}
        results = {}
        for turn in range(repeat + 2):
            if turn == 2:  # the first turns compile and warm up
                times.clear()
                timed.seconds.clear()
            for name, pair in (("ours", ours), ("pixel", (draw, draw_backward))):
                kernels.draw, kernels.draw_backward = pair
                forward, both, results[name] = once(args, width, height)
                times.setdefault(f"{name} forward", []).append(forward)
                times.setdefault(f"{name} fit", []).append(both)
            kernels.draw, kernels.draw_backward = ours
            with torch.no_grad():
                start = time.perf_counter()
                picture(args, width, height)
                times.setdefault("no grad", []).append(time.perf_counter() - start)
        cpu._share = timed.share
        best = {name: 1e3 * min(seconds) for name, seconds in (times | timed.seconds).items()}
        cells = {
            name: f"{best[name]:6.1f} /{1e3 * statistics.median(seconds):6.1f}"
            for name, seconds in times.items()
        }
        ratios = [
            best[f"{draw.__module__}.{k}"] / best[f"{kernels.__name__}.{k}"]
            for k in ("draw", "draw_backward")
        ]
        pairs = zip(results["ours"], results["pixel"], strict=True)
        gap = max(float((a - b).detach().abs().mean() / b.detach().abs().mean()) for a, b in pairs)
        print(
            f"{n:9d} {width}x{height} {channels:2d} |{cells['ours forward']}    "
            f"{cells['ours fit']}{cells['no grad']} |"
            f"      {cells['pixel forward']}    {cells['pixel fit']} | {ratios[0]:2.0f} "
            f"{ratios[1]:2.0f}  {gap:.0e}",
            flush=True,
        )
        for backend, device in others:
            print(f"{'':9} {beside(args, width, height, repeat, backend, device)}", flush=True)


if __name__ == "__main__":
    main()
