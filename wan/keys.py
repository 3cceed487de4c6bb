"""Names of weights: which network a file holds, and the two-way table between official and diffusers DiT names.

Sources: Wan-Video/Wan2.1 `wan/modules/model.py` (official names) and diffusers `WanTransformer3DModel`.
"""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

COMFY_PREFIX = "model.diffusion_model."
"""What Comfy's repackaged files put before every official DiT name."""

_DIT_MODULES = {
    "patch_embedding": "patch_embedding",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "img_emb.emb_pos": "condition_embedder.image_embedder.pos_embed",
    "img_emb.proj.0": "condition_embedder.image_embedder.norm1",
    "img_emb.proj.1": "condition_embedder.image_embedder.ff.net.0.proj",
    "img_emb.proj.3": "condition_embedder.image_embedder.ff.net.2",
    "img_emb.proj.4": "condition_embedder.image_embedder.norm2",
    "head.head": "proj_out",
    "head.modulation": "scale_shift_table",
}

_DIT_BLOCK_MODULES = {
    "self_attn.q": "attn1.to_q",
    "self_attn.k": "attn1.to_k",
    "self_attn.v": "attn1.to_v",
    "self_attn.o": "attn1.to_out.0",
    "self_attn.norm_q": "attn1.norm_q",
    "self_attn.norm_k": "attn1.norm_k",
    "cross_attn.q": "attn2.to_q",
    "cross_attn.k": "attn2.to_k",
    "cross_attn.v": "attn2.to_v",
    "cross_attn.o": "attn2.to_out.0",
    "cross_attn.norm_q": "attn2.norm_q",
    "cross_attn.norm_k": "attn2.norm_k",
    "cross_attn.k_img": "attn2.add_k_proj",
    "cross_attn.v_img": "attn2.add_v_proj",
    "cross_attn.norm_k_img": "attn2.norm_added_k",
    "norm3": "norm2",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
    "modulation": "scale_shift_table",
}

_BLOCK = re.compile(r"(blocks\.\d+\.)(.+)")

# One telling name each, the most particular first.
_SIGNATURES = (
    (r"(model\.diffusion_model\.)?myadapter\.", "a DiT saved by the OmniCam-Wan fork, with its own camera layers"),
    (r"model\.diffusion_model\.blocks\.0\.self_attn\.q\.weight", "a Wan2.1 DiT in Comfy's names"),
    (r"blocks\.0\.self_attn\.q\.weight", "a Wan2.1 DiT"),
    (r"condition_embedder\.time_proj\.weight", "a Wan2.1 DiT in diffusers' names"),
    (r"lora_unet_|.*\.lora_(A|B|down|up)\.", "a LoRA"),
    (r"ray_embedding\.0\.weight", "a camera adapter"),
    (r"encoder\.downsamples\.", "the Wan2.1 VAE"),
    (r"encoder\.down_blocks\.", "a VAE in diffusers' names"),
    (r"visual\.transformer\.0\.attn\.to_qkv\.weight", "the CLIP image encoder"),
    (r"vision_model\.", "a CLIP image encoder in transformers' names"),
    (r"encoder\.block\.0\.layer\.0\.SelfAttention\.", "a T5 encoder in transformers' names"),
    (r"blocks\.0\.pos_embedding\.embedding\.weight", "the umT5 text encoder"),
    (r"dec_blocks\.0\.", "DUSt3R"),
    (r"c2w$", "a camera cache"),
    (r"latents_\d", "a latent cache"),
    (r"varlen_t5_", "a text cache"),
)


def describe_keys(keys: Iterable[str]) -> str:
    """Say in a few words which network (or cache) the names of a file's tensors belong to."""
    names = list(keys)
    for pattern, meaning in _SIGNATURES:
        if any(re.match(pattern, name) for name in names):
            return meaning
    return f"nothing this project knows ({len(names)} tensors: {', '.join(sorted(names)[:3])}, ...)"


def dit_to_diffusers(key: str) -> str:
    """Diffusers' name of an official DiT weight.

    Raises:
        ValueError: the official DiT has no weight of that name.
    """
    return _rename(key, _DIT_MODULES, _DIT_BLOCK_MODULES)


def dit_from_diffusers(key: str) -> str:
    """Official name of a DiT weight in diffusers' names.

    Raises:
        ValueError: diffusers' WanTransformer3DModel has no weight of that name.
    """
    return _rename(key, _inverted(_DIT_MODULES), _inverted(_DIT_BLOCK_MODULES))


def dit_to_official(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a DiT file under official names, whichever of the known styles they came in.

    Names of no known style are left as they are, for the strict assignment to report.
    """
    if any(key.startswith("condition_embedder.") for key in tensors):
        return {dit_from_diffusers(key): tensor for key, tensor in tensors.items()}
    return {key.removeprefix(COMFY_PREFIX): tensor for key, tensor in tensors.items()}


def _inverted(table: Mapping[str, str]) -> dict[str, str]:
    return {new: old for old, new in table.items()}


def _rename(key: str, modules: Mapping[str, str], block_modules: Mapping[str, str]) -> str:
    in_block = _BLOCK.fullmatch(key)
    prefix, rest, table = (*in_block.groups(), block_modules) if in_block else ("", key, modules)
    if rest in table:
        return prefix + table[rest]
    module, _, leaf = rest.rpartition(".")
    if module not in table:
        raise ValueError(f"{key}: the Wan2.1 DiT has no weight of this name")
    return f"{prefix}{table[module]}.{leaf}"
