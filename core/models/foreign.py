"""Models of other families, known by name so that a person learns what the file is.

Imports no torch. Each is told by tensors that only it has; the names are those of its own
reference code or of diffusers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from core.models.safetensors_header import TensorInfo

PIPELINES = {
    "AmusedPipeline": "an aMUSEd model",
    "AuraFlowPipeline": "an AuraFlow model",
    "ChromaPipeline": "a Chroma model",
    "CogVideoXPipeline": "a CogVideoX model",
    "CogView4Pipeline": "a CogView4 model",
    "FluxFillPipeline": "a FLUX.1 model",
    "FluxKontextPipeline": "a FLUX.1 model",
    "FluxPipeline": "a FLUX.1 model",
    "Flux2Pipeline": "a FLUX.2 model",
    "HiDreamImagePipeline": "a HiDream model",
    "HunyuanDiTPipeline": "a Hunyuan-DiT model",
    "HunyuanVideoPipeline": "a HunyuanVideo model",
    "KandinskyV22Pipeline": "a Kandinsky model",
    "KolorsPipeline": "a Kolors model",
    "LTXPipeline": "an LTX-Video model",
    "Lumina2Pipeline": "a Lumina 2 model",
    "PixArtAlphaPipeline": "a PixArt model",
    "PixArtSigmaPipeline": "a PixArt model",
    "QwenImagePipeline": "a Qwen-Image model",
    "SanaPipeline": "a Sana model",
    "StableCascadeCombinedPipeline": "a Stable Cascade model",
    "StableCascadeDecoderPipeline": "a Stable Cascade model",
    "StableCascadePriorPipeline": "a Stable Cascade model",
    "StableDiffusion3Pipeline": "a Stable Diffusion 3 model",
    "StableDiffusionInstructPix2PixPipeline": "an InstructPix2Pix model",
    "StableDiffusionLatentUpscalePipeline": "a latent upscaler",
    "StableDiffusionUpscalePipeline": "the Stable Diffusion x4 upscaler",
    "StableDiffusionDepth2ImgPipeline": "a Stable Diffusion 2 depth model",
    "StableVideoDiffusionPipeline": "a Stable Video Diffusion model",
    "WanPipeline": "a Wan video model",
    "WuerstchenCombinedPipeline": "a Wuerstchen model",
    "ZImagePipeline": "a Z-Image model",
}
"""Folders, by the class in their ``model_index.json``."""

_TRANSFORMERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("FLUX.2", ("double_stream_modulation_img.", "single_stream_modulation.")),
    ("Chroma", ("distilled_guidance_layer.",)),
    ("HunyuanVideo", ("txt_in.individual_token_refiner.",)),
    ("FLUX.1", ("double_blocks.0.", "single_blocks.0.", "single_transformer_blocks.0.")),
    ("Stable Diffusion 3", ("joint_blocks.0.", "pos_embed_input.", "context_embedder.")),
    ("AuraFlow", ("double_layers.0.", "joint_transformer_blocks.0.")),
    ("Hunyuan-DiT", ("text_embedding_padding", "mlp_t5.")),
    ("Qwen-Image", ("txt_norm.", "transformer_blocks.0.txt_mlp.", "transformer_blocks.0.img_mlp.")),
    ("HiDream", ("caption_projection.0.linear.", "double_stream_blocks.0.")),
    ("Z-Image", ("cap_pad_token", "all_x_embedder.")),
    ("PixArt", ("y_embedder.y_embedding", "adaln_single.", "caption_projection.")),
    ("LTX-Video", ("patchify_proj.",)),
    ("Lumina", ("cap_embedder.", "noise_refiner.0.", "context_refiner.0.")),
    ("Sana", ("blocks.0.cross_attn.kv_linear.",)),
    ("Mochi 1", ("blocks.0.attn.qkv_x.",)),
    ("Stable Cascade", ("clip_txt_mapper.", "clip_mapper.", "down_blocks.1.0.channelwise.")),
    ("Cosmos", ("net.blocks.0.block1.", "blocks.0.adaln_modulation_cross_attn.")),
    (
        "Wan",
        ("head.modulation", "blocks.0.cross_attn.norm_k.", "blocks.0.cross_attn.", "blocks.0.ffn."),
    ),
)
"""Families of transformers, by how a tensor's name begins below its prefix; the first one fits."""

_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "transformer.", "model.", "")

_LORA_UNDERSCORED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("FLUX.1", ("lora_unet_double_blocks_", "lora_unet_single_blocks_", "lora_transformer_single")),
    ("Stable Diffusion 3", ("lora_unet_joint_blocks_",)),
    ("HunyuanVideo", ("lora_unet_txt_in_individual",)),
    ("Wan", ("lora_unet_blocks_0_cross_attn_", "lora_unet_blocks_0_ffn_")),
    ("Stable Cascade", ("lora_prior_unet_",)),
    ("Hunyuan-DiT", ("lora_unet_blocks_0_attn1_Wqkv",)),
)

_LORA_MARKS = (
    ("motion (AnimateDiff)", re.compile(r"[._]motion_modules[._]")),
    (
        "Qwen-Image",
        re.compile(
            r"^lora_unet_transformer_blocks_|transformer_blocks[._]\d+[._](?:img|txt)_m(?:od|lp)[._]"
            # FLUX.1 has 19 such blocks, Stable Diffusion 3 at most 38, and Qwen-Image 60.
            r"|transformer_blocks\.(?:39|[45]\d)\."
        ),
    ),
)
_Z_IMAGE = re.compile(r"(?:^|[._])layers[._]\d+[._](?:attention|feed_forward|adaLN_modulation)[._]")
"""Z-Image's blocks are called as Lumina's are."""

_Z_IMAGE_WIDTH = 3840
_FLUX_WIDTH = 3072

_OTHERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("an IP-Adapter", ("ip_adapter.", "image_proj.")),
    ("a T2I-Adapter", ("adapter.body.", "adapter.conv_in.", "body.0.block1.")),
    ("a motion module of AnimateDiff", ("down_blocks.0.motion_modules.",)),
    ("an InstantID or PhotoMaker file", ("id_encoder.", "lora_weights.")),
    ("a GLIGEN model", ("position_net.",)),
    ("a hypernetwork or a file of optimizer states", ("optimizer_states.", "optimizer.")),
    ("a Segment Anything model", ("image_encoder.neck.", "mask_decoder.")),
    ("a CLIP vision encoder", ("vision_model.encoder.", "visual.transformer.")),
    ("a SigLIP encoder", ("vision_model.head.",)),
    ("a BLIP captioner", ("visual_encoder.",)),
    ("a safety checker", ("concept_embeds", "special_care_embeds")),
    ("a T5 text encoder", ("encoder.block.0.layer.0.SelfAttention.", "enc.blk.0.")),
    ("a CLIP text encoder", ("text_model.encoder.", "transformer.resblocks.")),
    ("a language model", ("model.layers.0.self_attn.", "layers.0.self_attn.")),
    ("a Stable Cascade VQGAN", ("vquantizer.", "up_blocks.0.0.depthwise.")),
    ("a tiny autoencoder (TAESD)", ("decoder.layers.", "taesd_decoder.")),
)
"""What else lies in people's model folders, by how its tensors' names begin."""


def name_of_model(tensors: Mapping[str, TensorInfo]) -> str | None:
    """Name the family of a transformer's weights, or give None."""
    for name, marks in _TRANSFORMERS:
        if _has_any(tensors, [prefix + mark for prefix in _PREFIXES for mark in marks]):
            return name
    return None


def name_of_unet(tensors: Mapping[str, TensorInfo]) -> str | None:
    """Name a relative of Stable Diffusion that a whole model's file of original names may be."""
    unet = "model.diffusion_model."
    if "edm_mean" in tensors:
        return "a Playground 2.5 model"
    if any(name.startswith(unet) and ".time_stack." in name for name in tensors):
        return "a Stable Video Diffusion model"
    conv_in = tensors.get(f"{unet}input_blocks.0.0.weight")
    channels = conv_in.shape[1] if conv_in is not None and len(conv_in.shape) == 4 else 0
    return _BY_CHANNELS.get(channels)


_BY_CHANNELS = {
    5: "a Stable Diffusion 2 depth model",
    7: "the Stable Diffusion x4 upscaler",
    8: "an InstructPix2Pix model",
}
"""What a UNet of so many input channels belongs to."""


def name_of_lora(tensors: Mapping[str, TensorInfo]) -> str | None:
    """Name the family that a LoRA was made for, or give None."""
    for name, marks in _LORA_UNDERSCORED:
        if _has_any(tensors, marks):
            return name
    for name, mark in _LORA_MARKS:
        if any(mark.search(tensor) for tensor in tensors):
            return name
    if any(_Z_IMAGE.search(tensor) for tensor in tensors):
        return "Z-Image" if _width(tensors) == _Z_IMAGE_WIDTH else "Lumina"
    named = name_of_model(tensors)
    if named is not None or not _has_any(tensors, ("transformer.",)):
        return named
    if _has_any(tensors, ("transformer.single_transformer_blocks.",)):
        return "FLUX.1"
    if any(".attn1." in name for name in tensors):
        return "PixArt"
    return "FLUX.1" if _width(tensors) == _FLUX_WIDTH else "Stable Diffusion 3"


def _width(tensors: Mapping[str, TensorInfo]) -> int | None:
    """Read how wide a transformer is from what a LoRA's queries read."""
    ends = (
        "to_q.lora_A.weight",
        "to_q.lora_down.weight",
        "qkv.lora_A.weight",
        "qkv.lora_down.weight",
    )
    sizes = (info.shape for name, info in tensors.items() if name.endswith(ends))
    return next((sides[1] for sides in sizes if len(sides) == 2), None)


def name_of_other(tensors: Mapping[str, TensorInfo]) -> str | None:
    """Name what else a file of weights may be, or give None."""
    return next((name for name, marks in _OTHERS if _has_any(tensors, marks)), None)


def _has_any(tensors: Iterable[str], starts: Iterable[str]) -> bool:
    marks = tuple(starts)
    return any(name.startswith(marks) for name in tensors)
