"""Pictures of a shot from its own camera or any other: PNG and EXR with alpha and depth, mp4 and
ProRes 4444."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image

from restage4d.exporting.exr import write_exr
from restage4d.exporting.shot import Shot
from restage4d.io import video
from restage4d.io.atomic import replacing
from restage4d.puppet import F32, Camera
from restage4d.srgb import premultiplied_to_linear

U8 = NDArray[np.uint8]

FAR = 1e10  # depth where nothing is seen, as Blender's
_PRORES = {"profile": "4444", "vendor": "apl0"}
_MP4_BACKDROP = 0.0  # what stands behind the subject where a film has no alpha: black


def draw_frames(
    shot: Shot, cameras: Iterable[Camera] | None = None
) -> Iterator[tuple[F32, F32]]:  # of (H, W, 4), (H, W)
    """Draws the shot's frames: colour as the video encodes it, premultiplied, with alpha; and depth
    in file units, 0 where nothing is seen. ``cameras`` are in the puppet's world; None: the
    shot's."""
    from restage4d.splatting.gaussians import render_gaussians  # torch: seconds

    puppet, performance = shot.puppet, shot.performance
    if cameras is None:
        cameras = map(performance.camera, shot.frames)
    for frame, camera in zip(shot.frames, cameras, strict=True):
        sets = [puppet.pose(performance, frame)]
        sets += [puppet.background] if shot.background else []
        rgba, depth = render_gaussians(sets, camera)
        yield rgba, depth * np.float32(shot.factor)


def write_png(path: Path, rgba: F32, depth: F32) -> None:
    """8 bits, straight alpha, sRGB. Depth has no place in it."""
    del depth
    with replacing(path) as temporary:
        Image.fromarray(_to_bytes(rgba)).save(temporary, compress_level=4)


def write_exr_with_depth(path: Path, rgba: F32, depth: F32) -> None:
    """RGBA, linear and premultiplied, and Z: distance along the camera's axis in file units."""
    seen = premultiplied_to_linear(rgba)
    channels = {name: seen[..., c] for c, name in enumerate("RGBA")}
    write_exr(path, {**channels, "Z": np.where(depth > 0, depth, np.float32(FAR))})


def write_mp4(path: Path, shot: Shot, cameras: Iterable[Camera] | None = None) -> Iterator[int]:
    """H.264 before black, in place; yields each frame when it is drawn."""
    done: list[int] = []

    def pictures() -> Iterator[U8]:
        for rgba, _ in draw_frames(shot, cameras):
            flat = rgba[..., :3] + (1 - rgba[..., 3:]) * np.float32(_MP4_BACKDROP)
            done.append(len(done))
            yield (flat.clip(0, 1) * 255).round().astype(np.uint8)

    video.encode(path, pictures(), shot.performance.fps)
    yield from done


def write_prores(path: Path, shot: Shot, cameras: Iterable[Camera] | None = None) -> Iterator[int]:
    """ProRes 4444 with straight alpha, in place; yields each frame when it is in."""
    rate = Fraction(shot.performance.fps).limit_denominator(1001)
    with av.open(str(path), "w", format="mov") as out:
        stream = out.add_stream("prores_ks", rate=rate, options=_PRORES)
        stream.width, stream.height = shot.performance.size
        stream.pix_fmt = "yuva444p10le"
        for frame, (rgba, _) in zip(shot.frames, draw_frames(shot, cameras), strict=True):
            picture = VideoFrame.from_ndarray(_to_bytes(rgba), "rgba")
            out.mux(stream.encode(picture.reformat(format="yuva444p10le")))
            yield frame
        out.mux(stream.encode())


def _to_bytes(rgba: F32) -> U8:
    """Premultiplied 0..1 to straight 8 bits."""
    alpha = rgba[..., 3:]
    straight = np.where(alpha > 1e-6, rgba[..., :3] / np.maximum(alpha, 1e-6), 0)
    packed = np.concatenate([straight, alpha], -1)
    return (packed.clip(0, 1) * 255).round().astype(np.uint8)
