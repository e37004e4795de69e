"""Image-to-video pipelines with tiny random weights, saved to a folder as the real ones are."""

from pathlib import Path

import diffusers
import tokenizers
import torch
import transformers

transformers.utils.logging.disable_progress_bar()


def write(name: str, folder: Path) -> Path:
    """``name``: "wan", "wan-a14b", "wan-5b", "ltx", "cogvideox" or "svd"."""
    torch.manual_seed(0)
    {
        "wan": _wan,
        "wan-a14b": _wan_a14b,
        "wan-5b": _wan_5b,
        "ltx": _ltx,
        "cogvideox": _cogvideox,
        "svd": _svd,
    }[name]().save_pretrained(folder)
    return folder


def _words() -> transformers.PreTrainedTokenizerFast:
    words = {w: i for i, w in enumerate(("<pad>", "</s>", "<unk>", "it", "jumps", "."))}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        "$A </s>", special_tokens=[("</s>", 1)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def _reader(width: int, kind: str = "T5") -> torch.nn.Module:
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=8, d_model=width, d_kv=8, d_ff=16, num_layers=1, num_heads=2
    )
    return getattr(transformers, f"{kind}EncoderModel")(config)


def _eye(
    width: int, model: type, side: int = 32
) -> tuple[dict, transformers.CLIPImageProcessorPil]:
    config = transformers.CLIPVisionConfig(
        hidden_size=width, projection_dim=width, intermediate_size=8, num_hidden_layers=2,
        num_attention_heads=2, image_size=side,
        patch_size=side // 2,
    )  # fmt: skip
    return {"image_encoder": model(config)}, transformers.CLIPImageProcessorPil(
        crop_size=side, size=side
    )


def _wan_transformer(channels: int, image: bool):
    return diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=channels,
        out_channels=16, text_dim=16,
        freq_dim=32, ffn_dim=16, num_layers=1, cross_attn_norm=True,
        qk_norm="rms_norm_across_heads", rope_max_seq_len=32,
        image_dim=4 if image else None,
    )  # fmt: skip


def _wan(channels: int = 36, image: bool = True, pipeline: str = "WanImageToVideoPipeline", **more):
    transformer = _wan_transformer(channels, image)
    vae = diffusers.AutoencoderKLWan(
        base_dim=3,
        z_dim=16,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
    )
    scheduler = diffusers.UniPCMultistepScheduler(
        flow_shift=3.0, prediction_type="flow_prediction", use_flow_sigmas=True
    )
    if image:
        eye, pixels = _eye(4, transformers.CLIPVisionModel)
        more |= eye | {"image_processor": pixels}
    return getattr(diffusers, pipeline)(
        tokenizer=_words(),
        text_encoder=_reader(16, "UMT5"),
        vae=vae,
        scheduler=scheduler,
        transformer=transformer,
        **more,
    )


def _wan_a14b():
    """As Wan 2.2 A14B is saved: one transformer for the noisy steps and one for the others, none of
    which sees CLIP's picture."""
    return _wan(
        36,
        False,
        transformer_2=_wan_transformer(36, False),
        boundary_ratio=0.9,
        image_encoder=None,
        image_processor=None,
    )


def _wan_5b():
    """As the 5B model is saved: a pipeline for words, that is one for pictures too."""
    return _wan(16, False, "WanPipeline", expand_timesteps=True)


def _ltx():
    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=8, out_channels=8, patch_size=1, patch_size_t=1, num_attention_heads=4,
        attention_head_dim=8,
        cross_attention_dim=32, num_layers=1, caption_channels=32,
    )  # fmt: skip
    vae = diffusers.AutoencoderKLLTXVideo(
        in_channels=3, out_channels=3, latent_channels=8, block_out_channels=(8,) * 4,
        decoder_block_out_channels=(8,) * 4,
        layers_per_block=(1,) * 5, decoder_layers_per_block=(1,) * 5,
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        decoder_inject_noise=(False,) * 5,
        upsample_residual=(False,) * 4, upsample_factor=(1,) * 4, timestep_conditioning=False,
        patch_size=1, patch_size_t=1,
        encoder_causal=True, decoder_causal=False,
    )  # fmt: skip
    return diffusers.LTXPipeline(
        tokenizer=_words(), text_encoder=_reader(32), vae=vae,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        transformer=transformer,
    )  # fmt: skip


def _cogvideox():
    transformer = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=8, out_channels=4,
        time_embed_dim=2, text_embed_dim=32,
        num_layers=1, sample_width=8, sample_height=8, sample_frames=9, patch_size=2,
        temporal_compression_ratio=4,
        max_text_seq_length=226, use_rotary_positional_embeddings=True,
    )  # fmt: skip
    vae = diffusers.AutoencoderKLCogVideoX(
        in_channels=3, out_channels=3, down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8,) * 4, latent_channels=4, layers_per_block=1, norm_num_groups=2,
        temporal_compression_ratio=4,
    )  # fmt: skip
    return diffusers.CogVideoXImageToVideoPipeline(
        tokenizer=_words(),
        text_encoder=_reader(32),
        vae=vae,
        scheduler=diffusers.CogVideoXDDIMScheduler(),
        transformer=transformer,
    )


def _svd():
    unet = diffusers.UNetSpatioTemporalConditionModel(
        block_out_channels=(32, 64), layers_per_block=1, sample_size=32, in_channels=8,
        out_channels=4,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        cross_attention_dim=32, num_attention_heads=8,
        projection_class_embeddings_input_dim=96, addition_time_embed_dim=32, num_frames=5,
    )  # fmt: skip
    vae = diffusers.AutoencoderKLTemporalDecoder(
        block_out_channels=[32, 64], down_block_types=["DownEncoderBlock2D"] * 2, latent_channels=4
    )
    scheduler = diffusers.EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
        prediction_type="v_prediction", sigma_max=700.0,
        sigma_min=0.002, timestep_spacing="leading", timestep_type="continuous",
        use_karras_sigmas=True,
    )  # fmt: skip
    eye, pixels = _eye(32, transformers.CLIPVisionModelWithProjection, 224)
    return diffusers.StableVideoDiffusionPipeline(
        vae=vae, unet=unet, scheduler=scheduler, feature_extractor=pixels, **eye
    )
