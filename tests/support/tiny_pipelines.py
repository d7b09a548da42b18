"""Pipelines of diffusers with a few thousand random weights: what they draw is noise, how they work is real."""

import json
import sys
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLWan,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    WanPipeline,
    WanTransformer3DModel,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    UMT5Config,
    UMT5EncoderModel,
)

WAN_OPTIONS = {"max_sequence_length": 64}
"""How its calls must be limited: it can read no more words."""


def alphabet() -> list[str]:
    """The 256 bytes, as byte-level tokenizers write them."""
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def save_wan(folder: Path) -> None:
    """Text to video, 64x64."""
    torch.manual_seed(0)
    vocabulary = {token: n for n, token in enumerate(["<pad>", "</s>", "<unk>", *alphabet()])}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    encoder = UMT5Config(
        vocab_size=len(vocabulary), d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, decoder_start_token_id=0
    )
    transformer = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=16,
        out_channels=16,
        text_dim=32,
        freq_dim=64,
        ffn_dim=64,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=64,
    )
    vae = AutoencoderKLWan(
        base_dim=8, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )
    WanPipeline(
        tokenizer=PreTrainedTokenizerFast(tokenizer_object=raw, model_max_length=64, **special),
        text_encoder=UMT5EncoderModel(encoder).eval(),
        transformer=transformer.eval(),
        vae=vae.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
    ).save_pretrained(folder)


def save_stable_diffusion(folder: Path, *, from_image: bool = False) -> None:
    """Text to image, or image to image; 32x32 unless asked for another size."""
    torch.manual_seed(0)
    kind = StableDiffusionImg2ImgPipeline if from_image else StableDiffusionPipeline
    tokenizer = _clip_tokenizer(folder.with_name(f"{folder.name}-words"))
    words = len(tokenizer)
    text = CLIPTextConfig(
        vocab_size=words,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=32,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
        pad_token_id=words - 1,
    )
    kind(
        tokenizer=tokenizer,
        text_encoder=CLIPTextModel(text).eval(),
        unet=_unet().eval(),
        vae=_image_vae().eval(),
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def _clip_tokenizer(folder: Path) -> CLIPTokenizer:
    folder.mkdir(parents=True)
    tokens = [*alphabet(), *(f"{letter}</w>" for letter in alphabet()), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: n for n, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=32)


def _unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=32,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )


def _image_vae() -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(16, 32),
        norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )


if __name__ == "__main__":
    root = Path(sys.argv[1])
    torch.set_num_threads(1)
    save_wan(root / "wan")
    save_stable_diffusion(root / "stable-diffusion")
    save_stable_diffusion(root / "image-to-image", from_image=True)
