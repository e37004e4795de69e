"""Prints time and memory of SAM 2.1 and Depth Anything V2 at full picture size, with random
weights.

    python scripts/benchmarks/learned_models.py [--models large] [--frames 100] [--size 854x480]
    python scripts/benchmarks/learned_models.py --models tiny --frames 4

The first form is for a GPU, the second runs anywhere.

Speed and memory do not depend on what the weights are, so none are fetched. The models are built
from the configurations of the real ones, saved, and go through the same code as a run's: `large` is
SAM 2.1 large and Depth Anything V2 large, `tiny` is SAM 2.1 tiny and Depth Anything V2 small.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import torch
import transformers

from restage4d.clips import Clip, Rewound, rewind
from restage4d.priors.depth.depth_anything import DepthAnythingConfig, DepthAnythingDepth
from restage4d.priors.masks.sam import SamConfig, SamMasks
from restage4d.progress import Progress
from restage4d.providers.devices import best_device


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", choices=("large", "tiny"), default="large")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--size", default="854x480")
    arguments = parser.parse_args()
    cuda = best_device().type == "cuda"
    if arguments.models == "large" and not cuda:
        print(
            "The large models need an NVIDIA GPU and a CUDA build of torch: there is none here. "
            "Take --models tiny."
        )
        return 1
    width, height = map(int, arguments.size.split("x"))
    rewound, first = noise(arguments.frames, width, height)
    where = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"
    print(f"{where}, torch {torch.__version__}, {len(rewound)} frames of {width} x {height}")
    large = arguments.models == "large"
    with tempfile.TemporaryDirectory() as folder:
        sam, depth = Path(folder) / "sam", Path(folder) / "depth"
        transformers.Sam2VideoModel(sam2(large)).save_pretrained(sam)
        provider = SamMasks("sam2", sam, SamConfig("sam2", ""))
        title = f"SAM 2.1 {'large' if large else 'tiny'}"
        timed(title, lambda: provider.propagate(rewound, first, Progress()), len(rewound), cuda)
        transformers.DepthAnythingForDepthEstimation(depth_anything(large)).save_pretrained(depth)
        network = DepthAnythingDepth("depth-anything-v2", depth, DepthAnythingConfig(""))
        title = f"Depth Anything V2 {'large' if large else 'small'}"
        timed(
            title,
            lambda: network.estimate_disparity(rewound.clip.frames, Progress()),
            len(rewound),
            cuda,
        )
    return 0


def noise(count: int, width: int, height: int) -> tuple[Rewound, np.ndarray]:
    """A rewound clip of ``count`` frames, half of them base and half driving video, and a mask of
    b_0."""
    half = count // 2
    frames = np.random.default_rng(0).integers(0, 255, (count + 1, height, width, 3), np.uint8)
    rewound = rewind(Clip(frames[half:], 24.0), [Clip(frames[: half + 1][::-1], 24.0)])
    first = np.zeros((height, width), bool)
    first[height // 4 : 3 * height // 4, width // 3 : 2 * width // 3] = True
    return rewound, first


def timed(name: str, run, frames: int, cuda: bool) -> None:
    """Runs twice on a GPU, where the first pass also warms up."""
    for turn in ("first", "second") if cuda else ("one",):
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        run()
        if cuda:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
        memory = (
            f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB of the GPU at most"
            if cuda
            else ""
        )
        memory = (
            memory
            or f"{psutil.Process().memory_info().rss / 2**30:.1f} GiB of main memory afterwards"
        )
        print(
            f"{name}, {turn} pass: {seconds:.1f} s, {frames / seconds:.2f} frames per second, "
            f"{memory}",
            flush=True,
        )


def sam2(large: bool) -> transformers.Sam2VideoConfig:
    """As config.json of facebook/sam2.1-hiera-large (Hiera-L: 48 blocks, width 144) or -tiny (12
    blocks, width 96) says."""
    if not large:  # the defaults
        return transformers.Sam2VideoConfig()
    backbone = transformers.Sam2HieraDetConfig(
        hidden_size=144,
        num_attention_heads=2,
        blocks_per_stage=[2, 6, 36, 4],
        embed_dim_per_stage=[144, 288, 576, 1152],
        num_attention_heads_per_stage=[2, 4, 8, 16],
        window_size_per_stage=[8, 4, 16, 8],
        global_attention_blocks=[23, 33, 43],
        window_positional_embedding_background_size=[7, 7],
    )
    vision = transformers.Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=[1152, 576, 288, 144]
    )
    return transformers.Sam2VideoConfig(vision_config=vision)


def depth_anything(large: bool) -> transformers.DepthAnythingConfig:
    """As config.json of depth-anything/Depth-Anything-V2-Large-hf (DINOv2 ViT-L) or -Small-hf
    (ViT-S) says."""
    width, layers, heads, taken = (
        (1024, 24, 16, [5, 12, 18, 24]) if large else (384, 12, 6, [3, 6, 9, 12])
    )
    backbone = transformers.Dinov2Config(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=518,
        patch_size=14,
        out_indices=taken,
        reshape_hidden_states=False,
        apply_layernorm=True,
    )
    neck, fusion = ([256, 512, 1024, 1024], 256) if large else ([48, 96, 192, 384], 64)
    return transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=width,
        neck_hidden_sizes=neck,
        fusion_hidden_size=fusion,
    )


if __name__ == "__main__":
    sys.exit(main())
