"""Learned models with tiny random weights, written to a folder as the real ones are, so that the
real loading code reads them."""

from itertools import pairwise
from pathlib import Path

import tokenizers
import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

transformers.utils.logging.disable_progress_bar()


def sam2(folder: Path, seed: int = 0) -> Path:
    """A SAM 2 that sees 128 x 128 pixels."""
    torch.manual_seed(seed)
    side, width = 128, 32
    sizes = [[side // 4, side // 4], [side // 8, side // 8], [side // 16, side // 16]]
    backbone = transformers.Sam2HieraDetConfig(
        hidden_size=16, num_attention_heads=1, blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[16, 32, 64, 128],
        num_attention_heads_per_stage=[1, 1, 2, 2], window_size_per_stage=[4, 4, 4, 4],
        global_attention_blocks=[3],
        image_size=[side, side],
    )  # fmt: skip
    vision = transformers.Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[128, 64, 32, 16],
        backbone_feature_sizes=sizes,
        fpn_hidden_size=128,
    )
    config = transformers.Sam2VideoConfig(vision_config=vision, **_heads(side, width, sizes))
    return _saved(_lively(transformers.Sam2VideoModel(config)), folder)


def edgetam(folder: Path) -> Path:
    """An EdgeTAM whose RepViT (timm, which needs torchvision) is replaced by four convolutions."""
    torch.manual_seed(1)
    side = 128
    sizes = [[side // 4, side // 4], [side // 8, side // 8], [side // 16, side // 16]]
    vision = transformers.EdgeTamVisionConfig(
        backbone_config=PyramidConfig(),
        backbone_channel_list=[32, 24, 16, 8],
        backbone_feature_sizes=sizes,
        fpn_hidden_size=128,
    )
    rest = _heads(side, 32, sizes)
    rest.pop("memory_attention_feed_forward_hidden_size")
    config = transformers.EdgeTamVideoConfig(
        vision_config=vision, memory_attention_rope_k_sizes=[4, 4],
        memory_attention_mlp_hidden_size=32,
        perceiver_resampler_num_latents=16, perceiver_resampler_num_latents_2d=16, **rest,
    )  # fmt: skip
    return _saved(_lively(transformers.EdgeTamVideoModel(config)), folder)


def sam3(folder: Path) -> Path:
    """A SAM 3 that sees 112 x 112 pixels and knows the words a, the, dog, camel."""
    torch.manual_seed(3)
    side = 112
    vit = {
        "model_type": "sam3_vit_model",
        "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": side,
        "patch_size": 14, "window_size": 4, "global_attn_indexes": [1], "pretrain_image_size": 56,
    }  # fmt: skip
    sizes = [[side // 14 * k, side // 14 * k] for k in (4, 2, 1)]
    vision = {
        "backbone_config": vit,
        "fpn_hidden_size": 128,
        "backbone_feature_sizes": sizes,
        "image_size": side,
    }
    text = {
        "vocab_size": 8, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "projection_dim": 32, "max_position_embeddings": 32, "eos_token_id": 1, "pad_token_id": 0,
    }  # fmt: skip
    part = {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 32}
    detector = transformers.Sam3Config(
        vision_config=vision, text_config=text, geometry_encoder_config=part | {"num_layers": 1},
        detr_encoder_config=part | {"num_layers": 1}, detr_decoder_config=part | {"num_layers": 2,
        "num_queries": 6},
        mask_decoder_config={"hidden_size": 128, "num_attention_heads": 4},
    )  # fmt: skip
    tracker = transformers.Sam3TrackerVideoConfig(vision_config=vision, **(_heads(side, 32, sizes)))
    _saved(
        _lively(
            transformers.Sam3VideoModel(
                transformers.Sam3VideoConfig(detector_config=detector, tracker_config=tracker)
            )
        ),
        folder,
    )
    words = {w: i for i, w in enumerate(("<pad>", "</s>", "<unk>", "a", "the", "dog", "camel"))}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        "$A </s>", special_tokens=[("</s>", 1)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>"
    ).save_pretrained(folder)
    return folder


def _heads(side: int, width: int, sizes: list[list[int]]) -> dict:
    """Prompt encoder, mask decoder and memory of a small model of the SAM 2 family."""
    return {
        "prompt_encoder_config": {"hidden_size": 128, "image_size": side, "mask_input_channels": 8},
        "mask_decoder_config": {
            "hidden_size": 128,
            "mlp_dim": width,
            "iou_head_hidden_dim": width,
            "num_attention_heads": 4,
        },
        "image_size": side,
        "num_maskmem": 3,
        "memory_attention_hidden_size": 128,
        "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": width,
        "memory_attention_rope_feat_sizes": sizes[-1],
        "memory_encoder_hidden_size": 128,
        "memory_encoder_output_channels": 64,
        "mask_downsampler_embed_dim": 128,
        "memory_fuser_num_layers": 1,
        "memory_fuser_embed_dim": 128,
        "memory_fuser_intermediate_dim": width,
    }


def depth_anything(folder: Path, kind: str = "relative") -> Path:
    """A Depth Anything V2 that was trained on 56 pixels."""
    torch.manual_seed(2)
    backbone = transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32,
        image_size=56, patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False,
        apply_layernorm=True,
    )  # fmt: skip
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=32, neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=8, patch_size=14, depth_estimation_type=kind,
        max_depth=20 if kind == "metric" else 1,
    )  # fmt: skip
    return _saved(_lively(transformers.DepthAnythingForDepthEstimation(config)), folder)


def _lively(model: nn.Module) -> nn.Module:
    """Weights large enough that a random model's masks have both an inside and an outside."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter.view(parameter.shape[0], -1))
    return model


def _saved(model: nn.Module, folder: Path) -> Path:
    model.save_pretrained(folder)  # type: ignore[operator]
    return folder


class PyramidConfig(PretrainedConfig):
    model_type = "restage4d_test_pyramid"


class Pyramid(PreTrainedModel):
    """Features at 1/4, 1/8, 1/16 and 1/32, as RepViT gives them."""

    config_class = PyramidConfig
    main_input_name = "pixel_values"

    def __init__(self, config: PyramidConfig) -> None:
        super().__init__(config)
        widths = (3, 8, 16, 24, 32)
        self.steps = nn.ModuleList(
            nn.Conv2d(a, b, 4 if a == 3 else 2, 4 if a == 3 else 2) for a, b in pairwise(widths)
        )
        self.post_init()

    def forward(self, pixel_values: torch.Tensor, **_: object) -> BaseModelOutput:
        out = []
        for step in self.steps:
            pixel_values = torch.relu(step(pixel_values))
            out.append(pixel_values)
        return BaseModelOutput(last_hidden_state=out)  # type: ignore[arg-type]


AutoConfig.register("restage4d_test_pyramid", PyramidConfig)
AutoModel.register(PyramidConfig, Pyramid)
