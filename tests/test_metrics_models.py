"""CLIP similarity and LPIPS with small random weights: what must hold whatever the weights are."""

import numpy as np
import pytest
import torch

from restage4d.errors import InputError
from restage4d.evaluate.metrics.clip import ClipSimilarity, crop_square
from restage4d.evaluate.metrics.image import BACKDROP
from restage4d.evaluate.metrics.lpips import _LAYERS, Lpips

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    size = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    config = transformers.CLIPConfig(
        text_config={**size, "vocab_size": 64, "max_position_embeddings": 8},
        vision_config={**size, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    return folder


def thing(colour: tuple[int, int, int], at: int = 10, size: int = 20) -> np.ndarray:
    picture = np.full((60, 80, 3), BACKDROP, np.uint8)
    picture[at : at + size, at : at + 2 * size] = colour
    picture[at : at + size // 2, at : at + size] = 255 - np.array(colour, np.uint8)
    return picture


def test_clip_similarity(clip_folder):
    clip = ClipSimilarity(clip_folder)
    red, blue = thing((220, 30, 20)), thing((20, 40, 230))
    assert clip.mean_similarity([red], [red]) == pytest.approx(100, abs=1e-3)
    assert clip.mean_similarity([red], [blue]) < 99.9
    assert clip.mean_similarity([red], [blue]) == pytest.approx(
        clip.mean_similarity([blue], [red]), abs=1e-4
    )
    assert clip.mean_similarity([red, red], [red, blue]) == pytest.approx(
        50 + clip.mean_similarity([red], [blue]) / 2, abs=1e-3
    )
    # the subject is cropped: where it stands in the picture does not matter
    assert clip.mean_similarity([thing((220, 30, 20), at=5)], [red]) == pytest.approx(100, abs=1e-3)
    # the same embedding as transformers gives for the same pixels
    pixels = torch.from_numpy(crop_square(red, 32).astype(np.float32) / 255).permute(2, 0, 1)[None]
    mean, std = (
        torch.tensor([0.48145466, 0.4578275, 0.40821073]),
        torch.tensor([0.26862954, 0.26130258, 0.27577711]),
    )
    model = transformers.CLIPModel.from_pretrained(clip_folder).eval()
    with torch.no_grad():
        found = model.get_image_features(
            pixel_values=(pixels - mean[:, None, None]) / std[:, None, None]
        )
    theirs = found if isinstance(found, torch.Tensor) else found.pooler_output
    assert np.allclose(
        clip.embed([red])[0], torch.nn.functional.normalize(theirs, dim=-1)[0].numpy(), atol=1e-5
    )


def test_square_keeps_the_shape_and_an_empty_picture_is_grey():
    made = crop_square(thing((220, 30, 20)), 48)
    assert made.shape == (48, 48, 3)
    rows, columns = np.nonzero((made != BACKDROP).any(-1))
    assert np.ptp(columns) / np.ptp(rows) == pytest.approx(2, abs=0.15)
    assert (crop_square(np.full((30, 40, 3), BACKDROP, np.uint8), 16) == BACKDROP).all()


def test_folder_without_a_model(tmp_path):
    with pytest.raises(InputError, match="holds no CLIP model"):
        ClipSimilarity(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be read as a CLIP model"):
        ClipSimilarity(tmp_path)


def write_lpips(folder, scale: float = 1.0) -> None:
    generator = torch.Generator().manual_seed(0)
    network, heads = {}, {}
    for i, (number, _, _, shape) in enumerate(_LAYERS):
        network[f"features.{number}.weight"] = (
            torch.randn(shape, generator=generator) / (shape[1] * shape[2] * shape[3]) ** 0.5
        )
        network[f"features.{number}.bias"] = torch.zeros(shape[0])
        heads[f"lin{i}.model.1.weight"] = scale * torch.rand(
            (1, shape[0], 1, 1), generator=generator
        )
    folder.mkdir()
    torch.save(network, folder / "alexnet-owt-7be5be79.pth")
    torch.save(heads, folder / "alex.pth")


def test_lpips(tmp_path):
    write_lpips(tmp_path / "one")
    write_lpips(tmp_path / "two", scale=2.0)
    rng = np.random.default_rng(0)
    a = rng.integers(0, 255, (64, 72, 3)).astype(np.uint8)
    near, far = (
        np.clip(a.astype(int) + rng.integers(-8, 9, a.shape), 0, 255).astype(np.uint8),
        255 - a,
    )
    one, two = Lpips(tmp_path / "one"), Lpips(tmp_path / "two")
    assert one.distance([a], [a]) == 0
    assert 0 < one.distance([a], [near]) < one.distance([a], [far])
    assert one.distance([a], [near]) == pytest.approx(one.distance([near], [a]), rel=1e-5)
    assert two.distance([a], [near]) == pytest.approx(2 * one.distance([a], [near]), rel=1e-5)
    assert one.distance([a, a], [a, near]) == pytest.approx(one.distance([a], [near]) / 2, rel=1e-4)


def test_lpips_says_what_is_missing(tmp_path):
    with pytest.raises(InputError, match="alexnet-owt"):
        Lpips(tmp_path)
    write_lpips(tmp_path / "w")
    torch.save({}, tmp_path / "w" / "alex.pth")
    with pytest.raises(InputError, match="lin0"):
        Lpips(tmp_path / "w")
