"""Prints time and memory of SAM 2 large and Depth Anything V2 large at full size, with random weights, on a GPU.

    python scripts/bench_models.py [--frames 100] [--size 854x480]

Speed and memory do not depend on what the weights are, so none are fetched. The models go through the same code as a run's.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--size", default="854x480")
    arguments = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print("This needs an NVIDIA GPU and a CUDA build of torch: there is none here, so nothing is measured.")
        return 1
    import transformers

    from restage4d.priors.depth_anything import DepthAnythingConfig, DepthAnythingDepth
    from restage4d.priors.sam import SamConfig, SamMasks
    from restage4d.progress import Progress
    from restage4d.scene import Clip, rewind

    width, height = map(int, arguments.size.split("x"))
    half = arguments.frames // 2
    frames = np.random.default_rng(0).integers(0, 255, (arguments.frames + 1, height, width, 3), np.uint8)
    rewound = rewind(Clip(frames[half:], 24.0), [Clip(frames[: half + 1][::-1], 24.0)])
    first = np.zeros((height, width), bool)
    first[height // 4 : 3 * height // 4, width // 3 : 2 * width // 3] = True
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {len(rewound)} frames of {width} x {height}")
    with tempfile.TemporaryDirectory() as folder:
        sam = Path(folder) / "sam"
        transformers.Sam2VideoModel(sam2_large()).save_pretrained(sam)
        provider = SamMasks("sam2", sam, SamConfig("sam2", ""))
        timed("SAM 2.1 large", lambda: provider.propagate(rewound, first, Progress()), len(rewound))
        depth = Path(folder) / "depth"
        transformers.DepthAnythingForDepthEstimation(depth_anything_large()).save_pretrained(depth)
        network = DepthAnythingDepth("depth-anything-v2-large", depth, DepthAnythingConfig(""))
        timed("Depth Anything V2 large", lambda: network.disparity(rewound.clip.frames, Progress()), len(rewound))
    return 0


def timed(name: str, run, frames: int) -> None:
    """Runs twice: the first pass also warms the GPU up."""
    import torch

    for turn in ("first", "second"):
        torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        run()
        torch.cuda.synchronize()
        seconds = time.perf_counter() - began
        peak = torch.cuda.max_memory_allocated() / 2**30
        print(f"{name}, {turn} pass: {seconds:.1f} s, {frames / seconds:.1f} frames per second, {peak:.1f} GiB at most")


def sam2_large():
    """As config.json of facebook/sam2.1-hiera-large says (Hiera-L: 48 blocks, width 144)."""
    import transformers

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
    vision = transformers.Sam2VisionConfig(backbone_config=backbone, backbone_channel_list=[1152, 576, 288, 144])
    return transformers.Sam2VideoConfig(vision_config=vision)


def depth_anything_large():
    """As config.json of depth-anything/Depth-Anything-V2-Large-hf says (DINOv2 ViT-L)."""
    import transformers

    backbone = transformers.Dinov2Config(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=518,
        patch_size=14,
        out_indices=[5, 12, 18, 24],
        reshape_hidden_states=False,
        apply_layernorm=True,
    )
    return transformers.DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=1024, neck_hidden_sizes=[256, 512, 1024, 1024], fusion_hidden_size=256
    )


if __name__ == "__main__":
    sys.exit(main())
