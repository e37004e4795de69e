"""CLIP similarity of pictures (the paper's OCV CLIP), from a local folder with weights in Hugging
Face's layout."""

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from restage4d.errors import InputError
from restage4d.evaluate.metrics.image import BACKDROP

U8 = NDArray[np.uint8]
_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)  # of OpenAI's CLIP
_STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
_AROUND = 0.1  # of the subject's box, kept free on every side


class ClipSimilarity:
    """Cosine similarity of image embeddings, times 100.

    Args:
        folder: with ``config.json`` and ``model.safetensors`` of a CLIP model, for example
            openai/clip-vit-base-patch32.

    Raises:
        InputError: the folder or transformers is missing, or the folder holds no CLIP model.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "config.json").is_file():
            raise InputError(
                f"{folder} holds no CLIP model: config.json is missing.",
                "Download openai/clip-vit-base-patch32 from huggingface.co into a folder and give "
                "that.",
            )
        try:
            from transformers import CLIPModel
        except ImportError as error:
            raise InputError(
                "CLIP similarity needs transformers.", "Install restage4d[models]."
            ) from error
        try:
            self._model = CLIPModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True
            ).eval()
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{folder} cannot be read as a CLIP model: {error}", "Download it again."
            ) from error
        self._side = int(
            json.loads((folder / "config.json").read_text(encoding="utf-8"))["vision_config"].get(
                "image_size", 224
            )
        )

    def mean_similarity(self, pictures: list[U8], references: list[U8]) -> float:
        """Mean over pairs. Pictures are subjects alone before plain grey, (H, W, 3); each is
        cropped to its subject."""
        return float((self.embed(pictures) * self.embed(references)).sum(1).mean() * 100)

    def embed(self, pictures: list[U8]) -> NDArray[np.float32]:  # -> (N, D), unit length
        import torch

        batch = np.stack(
            [(crop_square(p, self._side).astype(np.float32) / 255 - _MEAN) / _STD for p in pictures]
        )
        with torch.no_grad():
            pooled = self._model.vision_model(
                torch.from_numpy(batch.transpose(0, 3, 1, 2).copy())
            ).pooler_output
            return torch.nn.functional.normalize(
                self._model.visual_projection(pooled), dim=-1
            ).numpy()


def crop_square(picture: U8, side: int) -> U8:  # (H, W, 3) -> (side, side, 3)
    """The subject's box with some room, made square with the grey of the backdrop, scaled
    bicubically."""
    rows, columns = np.nonzero(np.abs(picture.astype(int) - BACKDROP).max(-1) > 8)
    if len(rows) == 0:
        return np.full((side, side, 3), BACKDROP, np.uint8)
    box = picture[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    height, width = box.shape[:2]
    full = round(max(height, width) * (1 + 2 * _AROUND))
    out = np.full((full, full, 3), BACKDROP, np.uint8)
    top, left = (full - height) // 2, (full - width) // 2
    out[top : top + height, left : left + width] = box
    scaled = cv2.resize(
        out, (side, side), interpolation=cv2.INTER_CUBIC if side > full else cv2.INTER_AREA
    )
    return np.asarray(scaled, np.uint8)
