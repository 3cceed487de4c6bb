"""Opening model weights: the public functions, and the one for the DiT."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from common.logs import get_logger
from common.tensor_headers import TensorEntry
from wan.config import WAN_CONFIGS, DiTConfig
from wan.fork_camera import examine_fork_camera
from wan.fp8 import Fp8Mode
from wan.keys import dit_to_official, set_adapter_aside, set_fork_camera_aside
from wan.loading_clip_text import load_clip_text
from wan.loading_encoders import load_clip, load_t5, load_vae
from wan.model import WanModel
from wan.placing import Merge, Opened, fit, open_network, place
from wan.recognise import Contents, shape_of_config, shape_of_dit

__all__ = ["load_clip", "load_clip_text", "load_dit", "load_t5", "load_vae"]

log = get_logger("loading")


def load_dit(
    path: str | Path,
    config: DiTConfig,
    *,
    device: str | torch.device,
    dtype: torch.dtype,
    attn_mode: str = "torch",
    fp8: Fp8Mode = "none",
    merge: Callable[[nn.Module], Merge] | None = None,
) -> WanModel:
    """Load a DiT in official, Comfy's, diffusers' or the fork's names, streaming it to its device.

    Reading a .safetensors takes at most 128 MiB of host memory beside the weights; torch maps a .pth, whose pages count
    whole as resident. The fork's own camera layers are set aside, with a line in the log that says what they are.

    Args:
        path: a .safetensors or .pth file, one of a set of shards, their index, or a folder: of the part
            (`transformer/`), of a whole diffusers pipeline, or of an official download.
        config: of the task, e.g. `WAN_CONFIGS[task].dit`.
        device: where the weights go.
        dtype: what they are cast to.
        attn_mode: one of `wan.attention.ATTN_MODES`.
        fp8: how the blocks' linear layers are kept: "none" in `dtype`, "base" in E4M3 as they are, "scaled" in E4M3
            with a scale per output row (see `wan.fp8`).
        merge: given the DiT, without memory, gives the function that merges LoRAs into its weights as they arrive
            (`networks.lora_wan.merge_while_loading`), before they are rounded.

    Returns:
        The model, frozen: what trains is the trainer's choice.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is unreadable, holds another network or the DiT of another task (the message says which
            it looks like), or lacks some weights; it is in scaled fp8 of another program, or already in fp8 where
            "scaled" was asked for; or the attention backend is not available.
    """
    opened = open_dit(path, config, attn_mode=attn_mode, fp8=fp8)
    return place(opened, device, dtype, fp8=fp8, merge=None if merge is None else merge(opened.module))


def open_dit(
    path: str | Path, config: DiTConfig, *, attn_mode: str = "torch", fp8: Fp8Mode = "none"
) -> Opened[WanModel]:
    """All that `load_dit` checks before it reads the weights; takes a moment whatever the file's size.

    Raises:
        FileNotFoundError, ValueError: as `load_dit`.
    """
    with torch.device("meta"):
        model = WanModel(config, attn_mode)
    header, contents = open_network(path, "dit", model)
    if fp8 == "scaled" and contents.is_fp8:
        raise ValueError(
            f"{path} is in fp8 already, without scales: --fp8_scaled makes its scales from whole weights. Pass the "
            "bf16 or fp16 file, or leave --fp8_scaled out"
        )
    own, adapter = set_adapter_aside(header.entries)
    entries, camera = set_fork_camera_aside(dit_to_official(own))
    _check_task(entries, contents, config, path)
    opened = fit(model, entries, path, f"the DiT of this task, though it is {contents}")
    if camera:
        log.info("%s also holds %s; they are not used here", path, examine_fork_camera(camera, config.num_layers))
    if adapter:
        log.info("%s also holds a camera adapter; pass the file at --camera_adapter too to use it", path)
    return opened


def _check_task(entries: Mapping[str, TensorEntry], contents: Contents, config: DiTConfig, path: str | Path) -> None:
    """Refuse the DiT of another task by name, before its keys are compared one by one."""
    found, wanted = shape_of_dit(entries), shape_of_config(config)
    if found is not None and found != wanted:
        tasks = [task for task in contents.tasks if WAN_CONFIGS[task].dit != config]
        hint = f"pass --task {' or '.join(tasks)}, or the --dit of your task" if tasks else "pass another file at --dit"
        raise ValueError(f"{path} is {found} ({contents}); this task needs {wanted}: {hint}")
