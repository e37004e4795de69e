"""The program that `restage4d.priors.depth.one_pass` runs in the Python that has mapanything;
imports nothing of ours.

python map_anything_program.py FRAMES.npz WEIGHTS_FOLDER OUT.npz LONGER_SIDE
"""

import sys

import numpy as np

PATCH = 14  # pixels: the picture's sides are multiples of it
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # "dinov2"


def main(frames_file: str, folder: str, out_file: str, side: str) -> None:
    """Writes depth (T, h, w), w2c (T, 4, 4), K (T, 3, 3) in pixels of depth's size, confidence (T,
    h, w).

    The frames are squeezed to multiples of the patch by ourselves: the package's own loader cuts
    their borders off.
    """
    import torch
    import torch.nn.functional as F
    from mapanything.models import MapAnything  # type: ignore

    with np.load(frames_file, allow_pickle=False) as file:
        frames = file["frames"]
    height, width = frames.shape[1:3]
    size = [
        max(PATCH, round(n * int(side) / max(height, width) / PATCH) * PATCH)
        for n in (height, width)
    ]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = MapAnything.from_pretrained(folder, local_files_only=True).to(device).eval()
    mean, deviation = (torch.tensor(x)[None, :, None, None] for x in (MEAN, DEVIATION))
    views = []
    for frame in frames:
        picture = torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255
        picture = F.interpolate(picture, size, mode="bilinear", align_corners=False, antialias=True)
        picture = ((picture.clamp(0, 1) - mean) / deviation).to(device)
        views.append({"img": picture, "data_norm_type": ["dinov2"]})
    with torch.no_grad():
        views = model.infer(
            views,
            memory_efficient_inference=True,
            use_amp=device.type == "cuda",
            amp_dtype="bf16",
            apply_mask=False,  # nothing is cut out: a depth of 0 would be no depth
            mask_edges=False,
        )

    def collect(name: str) -> np.ndarray:
        return np.stack([view[name][0].float().cpu().numpy() for view in views])

    np.savez(
        out_file,
        depth=collect("depth_z")[..., 0],
        w2c=np.linalg.inv(collect("camera_poses")).astype(np.float32),
        K=collect("intrinsics"),
        confidence=collect("conf"),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
