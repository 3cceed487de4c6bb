"""Names of the DiT's weights: official and diffusers' in a two-way table, Comfy's prefix, the fork's own layers.

Sources: Wan-Video/Wan2.1 `wan/modules/model.py` (official names), diffusers `WanTransformer3DModel`, and for the fork
Yangxiaoda1/OmniCam-Wan `wan/modules/model.py` at b8f8f88.
"""

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")

COMFY_PREFIX = "model.diffusion_model."
"""What Comfy's repackaged files put before every official DiT name."""

ADAPTER_PREFIX = "omnicam_adapter."
"""What stands before the names of a camera adapter that travels in the file of a DiT or a LoRA."""
ADAPTER_METADATA = "omnicam_adapter"
"""The metadata entry that holds the metadata of such an adapter, in JSON."""

_DIFFUSERS_PREFIX = "condition_embedder."

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
_IN_ANY_BLOCK = re.compile(r"^blocks\.\d+\.")


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


def dit_to_official(tensors: Mapping[str, T]) -> dict[str, T]:
    """Tensors of a DiT file under official names, whichever of the known styles they came in.

    Names of no known style are left as they are, for the strict comparison to report.
    """
    if any(key.startswith(_DIFFUSERS_PREFIX) for key in tensors):
        blocks, rest = _inverted(_DIT_BLOCK_MODULES), _inverted(_DIT_MODULES)
        return rename_all(tensors, lambda key: _renamed(key, rest, blocks) or key)
    return rename_all(tensors, lambda key: key.removeprefix(COMFY_PREFIX))


def rename_all(tensors: Mapping[str, T], rename: Callable[[str], str]) -> dict[str, T]:
    """Tensors under new names; one whose new name is taken keeps its own, for the strict comparison to report."""
    result: dict[str, T] = {}
    for key, tensor in tensors.items():
        new = rename(key)
        result[key if new in tensors or new in result else new] = tensor
    return result


def set_fork_camera_aside(tensors: Mapping[str, T]) -> tuple[dict[str, T], dict[str, T]]:
    """Part the tensors of the fork's `total-N.safetensors` into the base DiT's and those of its camera layers.

    The fork saves the whole network, its camera layers among it: `conv.*`, `myadapter.*`, and in each block
    `cross_attn.{k_camera1,v_camera1}.*` and `cross_attn.norm_k_cam1.weight`. Files without them part into all and
    none. Other names below these stay with the base DiT, for the strict comparison to report.

    Args:
        tensors: under official names.

    Returns:
        base DiT, camera layers; both keep their names.
    """
    known = set(fork_camera_names(1))
    camera = {key: tensor for key, tensor in tensors.items() if _IN_ANY_BLOCK.sub("blocks.0.", key) in known}
    return {key: tensor for key, tensor in tensors.items() if key not in camera}, camera


def set_adapter_aside(tensors: Mapping[str, T]) -> tuple[dict[str, T], dict[str, T]]:
    """Part the tensors of a file into those of its network and those of a camera adapter that travels with it.

    Returns:
        network, under the same names; adapter, under its own names, without `ADAPTER_PREFIX`.
    """
    carried = [key for key in tensors if key.startswith(ADAPTER_PREFIX)]
    adapter = {key.removeprefix(ADAPTER_PREFIX): tensors[key] for key in carried}
    return {key: value for key, value in tensors.items() if key not in set(carried)}, adapter


def fork_camera_names(blocks: int) -> list[str]:
    """Names of the fork's camera layers that its adapter cannot do without, for a DiT of that many blocks."""
    pair = ("weight", "bias")
    names = [f"conv.{kind}" for kind in pair]
    names += [f"myadapter.{part}.{kind}" for part in ("initial_conv", "final_conv2d", "final_bn2d") for kind in pair]
    names += [f"myadapter.final_bn2d.{kind}" for kind in ("running_mean", "running_var", "num_batches_tracked")]
    for layer in range(2):
        inside = [f"{part}.{kind}" for part in ("norm1", "attn.out_proj", "norm2", "mlp.0", "mlp.3") for kind in pair]
        inside += ["attn.in_proj_weight", "attn.in_proj_bias"]
        names += [f"myadapter.transformer_layers.{layer}.{name}" for name in inside]
    for block in range(blocks):
        linears = [f"{side}.linear{n}.{kind}" for side in ("k_camera1", "v_camera1") for n in (1, 2) for kind in pair]
        names += [f"blocks.{block}.cross_attn.{name}" for name in (*linears, "norm_k_cam1.weight")]
    return names


def _inverted(table: Mapping[str, str]) -> dict[str, str]:
    return {new: old for old, new in table.items()}


def _rename(key: str, modules: Mapping[str, str], block_modules: Mapping[str, str]) -> str:
    new = _renamed(key, modules, block_modules)
    if new is None:
        raise ValueError(f"{key}: the Wan2.1 DiT has no weight of this name")
    return new


def _renamed(key: str, modules: Mapping[str, str], block_modules: Mapping[str, str]) -> str | None:
    in_block = _BLOCK.fullmatch(key)
    prefix, rest, table = (*in_block.groups(), block_modules) if in_block else ("", key, modules)
    if rest in table:
        return prefix + table[rest]
    module, _, leaf = rest.rpartition(".")
    return f"{prefix}{table[module]}.{leaf}" if module in table else None
