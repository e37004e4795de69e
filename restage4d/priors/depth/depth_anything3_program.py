"""The program that `restage4d.priors.depth.one_pass` runs in the Python that has
depth_anything_3; imports nothing of ours.

python depth_anything3_program.py FRAMES.npz WEIGHTS_FOLDER OUT.npz LONGER_SIDE
"""

import inspect
import sys

import numpy as np


def main(frames_file: str, folder: str, out_file: str, side: str) -> None:
    """Writes depth (T, h, w), w2c (T, 4, 4), K (T, 3, 3) in pixels of depth's size, confidence (T,
    h, w)."""
    import torch
    from depth_anything_3.api import DepthAnything3  # type: ignore

    with np.load(frames_file, allow_pickle=False) as file:
        frames = list(file["frames"])
    model = DepthAnything3.from_pretrained(folder, local_files_only=True)
    model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    options = (
        {"ref_view_strategy": "middle"}
        if "ref_view_strategy" in inspect.signature(model.inference).parameters
        else {}
    )
    estimated = model.inference(
        frames, process_res=int(side), **options
    )  # older versions choose the reference view themselves
    w2c = np.tile(np.eye(4, dtype=np.float32), (len(frames), 1, 1))
    w2c[:, :3] = np.asarray(estimated.extrinsics, np.float32)[:, :3]
    confidence = np.ones_like(estimated.depth) if estimated.conf is None else estimated.conf
    np.savez(
        out_file,
        depth=np.asarray(estimated.depth, np.float32),
        w2c=w2c,
        K=np.asarray(estimated.intrinsics, np.float32),
        confidence=confidence,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
