"""Wide and high-range colours brought to what the whole pipeline works in: sRGB of BT.709."""

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

# Code points of ITU-T H.273, as FFmpeg passes them on.
PQ, HLG = 16, 18
_BT2020, _P3 = 9, 12
# Linear light to BT.709: from BT.2020 (ITU-R BT.2087-0) and from Display P3 (SMPTE EG 432-1).
_TO_BT709 = {
    _BT2020: np.array(
        [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
        np.float32,
    ),
    _P3: np.array(
        [[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]], np.float32
    ),
}
_LUMA_BT2020 = np.array([0.2627, 0.6780, 0.0593], np.float32)
_WHITE = 203.0  # cd/m2 of diffuse white in HDR, which is white in SDR (ITU-R BT.2408-7, table 1)
_PEAK = 1000.0  # cd/m2 of the reference HLG display (ITU-R BT.2100-2, table 5, note 5e)
_KNEE = 0.9  # of white: below it nothing is compressed


def is_wide(frame: VideoFrame) -> bool:
    """Tells whether a frame needs `to_srgb`: HDR, or colours beyond BT.709."""
    return frame.color_trc in (PQ, HLG) or frame.color_primaries in _TO_BT709


def to_srgb(rgb: NDArray[np.uint16], transfer: int, primaries: int) -> U8:
    """HDR or wide-gamut RGB as an sRGB picture.

    Light up to 90 % of diffuse white is kept as it is, what is brighter is compressed up to a peak
    of 1000 cd/m2 with the hue kept (extended Reinhard, Reinhard et al. 2002, equation 4, on the
    largest channel).

    Args:
        rgb: (H, W, 3) full-range R'G'B' code values 0..65535.
        transfer: `PQ`, `HLG`, anything else for an SDR curve, which is read as sRGB.
        primaries: code point of H.273; unknown ones are taken for BT.2020 in HDR, else BT.709.

    Returns:
        (H, W, 3) sRGB.
    """
    coded: F32 = rgb.astype(np.float32) / np.float32(65535)
    hdr = transfer in (PQ, HLG)
    light = (
        _light_of_pq(coded)
        if transfer == PQ
        else _light_of_hlg(coded)
        if transfer == HLG
        else _light_of_srgb(coded)
    )
    matrix = _TO_BT709.get(_BT2020 if hdr and primaries not in _TO_BT709 else primaries)
    if matrix is not None:
        light = light @ matrix.T
    light = np.maximum(light, 0)
    if hdr:
        light = _compress(light)
    return np.round(_srgb_of_light(np.minimum(light, 1)) * 255).astype(np.uint8)


def _light_of_pq(coded: F32) -> F32:
    """SMPTE ST 2084 EOTF, in units of diffuse white."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    root = coded ** np.float32(1 / m2)
    light = (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** np.float32(1 / m1)
    return (light * np.float32(10000 / _WHITE)).astype(np.float32)


def _light_of_hlg(coded: F32) -> F32:
    """ARIB STD-B67 inverse OETF, then the OOTF of BT.2100 with its gamma of 1.2 for 1000 cd/m2, in
    units of diffuse white."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(coded <= 0.5, coded**2 / 3, (np.exp((coded - c) / a) + b) / 12)
    luma = np.maximum(scene @ _LUMA_BT2020, 1e-6)[..., None]
    return (scene * luma ** np.float32(0.2) * (_PEAK / _WHITE)).astype(np.float32)


def _light_of_srgb(coded: F32) -> F32:
    """IEC 61966-2-1."""
    power = ((coded + 0.055) / 1.055) ** np.float32(2.4)
    return np.where(coded <= 0.04045, coded / 12.92, power).astype(np.float32)


def _srgb_of_light(light: F32) -> F32:
    """IEC 61966-2-1."""
    power = 1.055 * light ** np.float32(1 / 2.4) - 0.055
    return np.where(light <= 0.0031308, 12.92 * light, power).astype(np.float32)


def _compress(light: F32) -> F32:
    largest = light.max(-1, keepdims=True)
    over = np.maximum(largest - _KNEE, 0) / (1 - _KNEE)
    peak = (_PEAK / _WHITE - _KNEE) / (1 - _KNEE)
    curve = np.minimum(over * (1 + over / peak**2) / (1 + over), 1)
    return np.where(
        largest > _KNEE, light * (_KNEE + (1 - _KNEE) * curve) / np.maximum(largest, 1e-6), light
    ).astype(np.float32)
