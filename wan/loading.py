"""Opening model weights: the public functions, and the one for the DiT.

Networks are built without memory (on the meta device) and the file's tensors put in place, strictly.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from common.weights import assign_tensors, read_tensors
from wan.config import WAN_CONFIGS, DiTConfig
from wan.keys import describe_keys, dit_to_official
from wan.loading_encoders import load_clip, load_t5, load_vae
from wan.model import WanModel

__all__ = ["load_clip", "load_dit", "load_t5", "load_vae"]


class _Shape(NamedTuple):
    """What tells one DiT from another."""

    dim: int
    blocks: int
    ffn_dim: int
    in_dim: int
    text_dim: int
    image_dim: int | None
    image_pos_tokens: int

    def __str__(self) -> str:
        image = f"image tokens of width {self.image_dim}" if self.image_dim else "no image cross-attention"
        both = " for first and last frame" if self.image_pos_tokens else ""
        return (
            f"a DiT of dim {self.dim}, ffn_dim {self.ffn_dim}, {self.blocks} blocks, in_dim {self.in_dim}, text_dim "
            f"{self.text_dim}, {image}{both}"
        )


def load_dit(
    path: str | Path,
    config: DiTConfig,
    *,
    device: str | torch.device,
    dtype: torch.dtype,
    attn_mode: str = "torch",
) -> WanModel:
    """Load a DiT: one file or a sharded set, in official, Comfy's or diffusers' names.

    Args:
        path: .safetensors or .pth file, one of a set of shards, their index, or their folder.
        config: of the task, e.g. `WAN_CONFIGS[task].dit`.
        device: where the weights go.
        dtype: what they are cast to.
        attn_mode: one of `wan.attention.ATTN_MODES`.

    Returns:
        The model, frozen: what trains is the trainer's choice.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is unreadable, holds another network or the DiT of another task (the message says which
            it looks like), or lacks some weights; or the attention backend is not available.
    """
    with torch.device("meta"):
        model = WanModel(config, attn_mode)
    tensors = read_tensors(path)
    meaning = describe_keys(tensors)
    # the same name, so that nothing else holds what is popped below
    tensors = dit_to_official(tensors)
    _check_file(tensors, meaning, config, path)
    # one at a time, so that file and copy are never whole in memory together
    placed = {key: tensors.pop(key).to(device, dtype) for key in list(tensors)}
    assign_tensors(model, placed, "the DiT of this task", path)
    return model.requires_grad_(False).eval()


def _check_file(tensors: Mapping[str, Tensor], meaning: str, config: DiTConfig, path: str | Path) -> None:
    if any(key.startswith("myadapter.") for key in tensors):
        raise ValueError(
            f"{path} is {meaning}; those layers are not read here. Pass the base DiT at --dit, and a camera adapter "
            "of this project as its own file"
        )
    found = _shape_of_file(tensors)
    if found is None:
        raise ValueError(f"{path} is {meaning}, not a Wan2.1 DiT; pass the DiT's file at --dit")
    wanted = _shape_of_config(config)
    if found != wanted:
        tasks = [task for task, entry in WAN_CONFIGS.items() if _shape_of_config(entry.dit) == found]
        hint = f"pass --task {' or '.join(tasks)}, or the --dit of your task" if tasks else "pass another file at --dit"
        raise ValueError(f"{path} is {found}; this task needs {wanted}: {hint}")


def _shape_of_config(config: DiTConfig) -> _Shape:
    return _Shape(
        dim=config.dim,
        blocks=config.num_layers,
        ffn_dim=config.ffn_dim,
        in_dim=config.in_dim,
        text_dim=config.text_dim,
        image_dim=config.image_dim,
        image_pos_tokens=config.image_pos_tokens,
    )


def _shape_of_file(tensors: Mapping[str, Tensor]) -> _Shape | None:
    needed = ("patch_embedding.weight", "blocks.0.ffn.0.weight", "text_embedding.0.weight")
    if any(key not in tensors for key in needed):
        return None
    patch, ffn, text = (tensors[key].shape for key in needed)
    image = tensors.get("img_emb.proj.0.weight")
    positions = tensors.get("img_emb.emb_pos")
    return _Shape(
        dim=patch[0],
        blocks=len({key.split(".")[1] for key in tensors if key.startswith("blocks.")}),
        ffn_dim=ffn[0],
        in_dim=patch[1] if len(patch) > 1 else 0,
        text_dim=text[-1],
        image_dim=None if image is None else image.shape[0],
        image_pos_tokens=0 if positions is None else positions.shape[1],
    )
