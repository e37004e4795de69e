"""LPIPS (Zhang et al. 2018), version 0.1 on AlexNet, from local weights."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from restage4d.errors import InputError

U8 = NDArray[np.uint8]
_LAYERS = (
    (0, 4, 2, (64, 3, 11, 11)),
    (3, 1, 2, (192, 64, 5, 5)),
    (6, 1, 1, (384, 192, 3, 3)),
    (8, 1, 1, (256, 384, 3, 3)),
)
_LAYERS += (
    (10, 1, 1, (256, 256, 3, 3)),
)  # number in torchvision's alexnet.features, stride, padding, shape of the weight
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_REMEDY = (
    "It needs alexnet-owt-7be5be79.pth of torchvision and alex.pth of the lpips project "
    "(weights/v0.1)."
)


class Lpips:
    """Perceptual distance of pictures, 0 for equal ones.

    Args:
        folder: with ``alexnet-owt-7be5be79.pth`` (torchvision's weights) and ``alex.pth`` (LPIPS's
            linear layers).

    Raises:
        InputError: a file is missing or does not hold these weights.
    """

    def __init__(self, folder: Path) -> None:
        network, heads = (_load(folder / name) for name in ("alexnet-owt-7be5be79.pth", "alex.pth"))
        try:
            self._convs = [
                (network[f"features.{i}.weight"], network[f"features.{i}.bias"], s, p)
                for i, s, p, _ in _LAYERS
            ]
            self._heads = [heads[f"lin{i}.model.1.weight"] for i in range(len(_LAYERS))]
        except KeyError as error:
            raise InputError(f"{folder} lacks the weight {error}.", _REMEDY) from error
        for (weight, *_), head, (*_, shape) in zip(self._convs, self._heads, _LAYERS, strict=True):
            if tuple(weight.shape) != shape or tuple(head.shape) != (1, shape[0], 1, 1):
                raise InputError(
                    f"{folder}: a weight has shape {tuple(weight.shape)}, expected {shape}.",
                    _REMEDY,
                )

    def distance(
        self, pictures: list[U8], targets: list[U8]
    ) -> float:  # of (H, W, 3), both at least 35 pixels a side
        """Mean over pairs."""
        with torch.no_grad():
            total = torch.zeros(len(pictures))
            for a, b, head in zip(
                self._features(pictures), self._features(targets), self._heads, strict=True
            ):
                total += F.conv2d((a - b) ** 2, head).mean((1, 2, 3))
            return float(total.mean())

    def _features(self, pictures: list[U8]) -> list[torch.Tensor]:
        """Activations of the five layers, of unit length over channels."""
        x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
        x = (x - x.new_tensor(_SHIFT)[:, None, None]) / x.new_tensor(_SCALE)[:, None, None]
        out = []
        for i, (weight, bias, stride, padding) in enumerate(self._convs):
            if i in (1, 2):
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(F.conv2d(x, weight, bias, stride, padding))
            out.append(x / (x.norm(dim=1, keepdim=True) + 1e-10))
        return out


def _load(path: Path) -> dict[str, torch.Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{path} cannot be read as weights: {error}", _REMEDY) from error
    if not isinstance(found, dict):
        raise InputError(f"{path} holds no weights by name.", _REMEDY)
    return found
