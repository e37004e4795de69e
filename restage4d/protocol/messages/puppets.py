"""Looking at a puppet without fetching it (work channel)."""

from restage4d.protocol.messages.base import (
    Content,
    Count,
    Message,
    Name,
    Pixels,
)


class FetchGaussians(Message):
    """The posed subject at one frame. Answered by `GaussiansFrame`; a range is fetched frame by
    frame, from any frame on."""

    content: Content  # of a puppet
    performance: Name
    frame: Count


class GaussiansFrame(Message):
    """Arrays: means (N, 3), quats (N, 4) wxyz, scales (N, 3), opacities (N,), sh (N, C, 3),
    float32, in the world."""

    frame: int
    frames: int  # of the performance


class Render(Message):
    """A puppet under any bases from any camera. Answered by `Rendered`.

    Arrays: bases (K, 9) float32, world-to-camera (4, 4) float32, K (3, 3) float32 in pixels.
    """

    content: Content  # of a puppet
    width: Pixels
    height: Pixels
    # draw the puppet's background too; else what is not subject is transparent
    background: bool = True


class Rendered(Message):
    """Arrays: rgba (H, W, 4) float32, sRGB-encoded colour times coverage and coverage; depth (H, W)
    float32, z, 0 = nothing."""
