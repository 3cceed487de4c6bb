"""For which task a LoRA file is: the first whose DiT has all of its modules in their sizes."""

from pathlib import Path

import torch

from networks.lora_files import LoRAFile, open_lora
from networks.module_names import ModuleNames, module_names
from wan.config import WAN_CONFIGS
from wan.keys import dit_to_diffusers
from wan.model import WanModel


def open_for_task(path: str | Path, task: str | None) -> tuple[str, LoRAFile, ModuleNames]:
    """A LoRA file opened for a task's DiT, or for that of the first task that it fits.

    Returns:
        task, file, and the names of the DiT's modules.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it does not fit the task, or fits none, and why.
    """
    reasons: list[str] = []
    tried: set[object] = set()
    for name in [task] if task is not None else list(WAN_CONFIGS):
        config = WAN_CONFIGS[name].dit
        if config in tried:
            continue
        tried.add(config)
        with torch.device("meta"):
            names = module_names(WanModel(config), dit_to_diffusers)
        try:
            return name, open_lora(path, names), names
        except ValueError as error:
            reasons.append(f"{name}: {error}")
    if len({reason.partition(": ")[2] for reason in reasons}) == 1:
        raise ValueError(reasons[0].partition(": ")[2])
    raise ValueError(f"{path} fits no task's DiT. " + " | ".join(reasons))
