# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures in the panel: numpy arrays as icons, and Blender's own thumbnails of movies until there
is something better."""

from pathlib import Path
from typing import Any

import bpy
import bpy.utils.previews
import numpy as np
from numpy.typing import NDArray

LONGER_SIDE = 256  # pixels; a sidebar is not wider
TINT = np.array([1.0, 0.45, 0.1], np.float32)  # of the subject
MARK = np.array([0.2, 1.0, 1.0], np.float32)  # of a place on it

_icons: Any = None
_shown: dict[str, Any] = {}  # the newest icon by name
_count = 0


def register() -> None:
    global _icons
    _icons = bpy.utils.previews.new()


def unregister() -> None:
    global _icons
    bpy.utils.previews.remove(_icons)
    _icons = None
    _shown.clear()


def show(name: str, picture: NDArray[np.uint8]) -> None:  # (H, W, 3) sRGB
    """Shows a picture under a name."""
    step = max(1, -(-max(picture.shape[:2]) // LONGER_SIDE))
    small = picture[::-step, ::step]  # Blender counts rows from the bottom
    pixels = np.ones((*small.shape[:2], 4), np.float32)
    pixels[..., :3] = small / np.float32(255)
    icon = _new(name)
    icon.image_size = (small.shape[1], small.shape[0])
    icon.image_pixels_float.foreach_set(pixels.ravel())


def show_png(name: str, data: bytes) -> None:
    """Shows a PNG file's bytes under a name."""
    path = Path(bpy.app.tempdir) / f"restage4d_{name}.png"
    path.write_bytes(data)
    icon = _icons.load(_next(name), str(path), "IMAGE")
    if icon.image_size[0]:  # asking makes Blender read it now: no gap between two pictures
        _shown[name] = icon


def _new(name: str) -> Any:
    _shown[name] = _icons.new(_next(name))
    return _shown[name]


def _next(name: str) -> str:
    """A key never used before: an icon that changed under the same key would be drawn as it was."""
    global _count
    _count += 1
    return f"{name} {_count}"


def get_icon(name: str) -> int | None:
    """Icon id of what is shown under that name."""
    return _shown[name].icon_id if name in _shown else None


def forget(name: str) -> None:
    _shown.pop(name, None)


def get_movie_icon(path: str) -> int | None:
    """Blender's thumbnail of a movie, made in the background; None where there is no such file."""
    if not Path(path).is_file():  # also where there was one
        return None
    if path not in _icons:
        _icons.load(path, path, "MOVIE")
    return _icons[path].icon_id


def are_same(seen: tuple[Any, ...] | None, now: tuple[Any, ...]) -> bool:
    """Whether these are the objects that were shown. They are kept, since the id of a freed array
    may be another's."""
    return seen is not None and all(a is b for a, b in zip(seen, now, strict=True))


def draw_mask(
    picture: NDArray[np.uint8], mask: NDArray[np.bool_]
) -> NDArray[np.uint8]:  # (H, W, 3), (H, W)
    """The picture with the subject tinted and outlined and the rest darkened."""
    inside = mask.copy()
    inside[1:-1, 1:-1] &= mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    out = picture.astype(np.float32) * np.where(mask, 0.8, 0.6)[..., None].astype(np.float32)
    out[mask] += 0.2 * 255 * TINT
    out[mask & ~inside] = 255 * TINT
    return out.astype(np.uint8)


def draw_cross(
    picture: NDArray[np.uint8], place: tuple[float, float], size: tuple[int, int]
) -> NDArray[np.uint8]:  # (H, W, 3)
    """The picture with a small cross at a place of the video, which is (width, height) pixels."""
    height, width = picture.shape[:2]
    arm = max(3, max(width, height) // 20)
    thick = max(1, max(width, height) // LONGER_SIDE)  # what is left of it when it is made smaller
    x = min(max(int(place[0] * width / size[0]), 0), width - 1)
    y = min(max(int(place[1] * height / size[1]), 0), height - 1)
    out = picture.copy()
    for border, colour in ((1, 0.0), (0, 255 * MARK)):
        reach, half = arm + border, thick + border
        out[max(y - half, 0) : y + half + 1, max(x - reach, 0) : x + reach + 1] = colour
        out[max(y - reach, 0) : y + reach + 1, max(x - half, 0) : x + half + 1] = colour
    return out
