"""How LoRA files spell the modules of a DiT: every spelling is made from the modules that are there, none is undone.

Facts of the spellings: kohya-ss/musubi-tuner (`lora_unet_` and underscores for dots), LyCORIS (`lycoris_`), ComfyUI
(`diffusion_model.`), diffusers (`transformer.` and names of its own), peft (`base_model.model.`, adapter `default`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

PREFIX = "lora_unet_"
"""What musubi-tuner puts before a module's flattened path."""

_DOTTED = ("base_model.model.", "model.diffusion_model.", "diffusion_model.", "transformer.")
_FLAT = (PREFIX, "lycoris_", "lora_transformer_")

CARRIED = "omnicam_adapter."
"""What stands before the tensors of a camera adapter that travels with a LoRA (`wan.keys.ADAPTER_PREFIX`)."""

DOWN, UP, ALPHA = "lora_down.weight", "lora_up.weight", "alpha"
DIFF, DIFF_BIAS, DIFF_MODULATION, DORA = "diff", "diff_b", "diff_m", "dora_scale"

_PARTS = {
    **dict.fromkeys((DOWN, "lora_A.weight", "lora_A.default.weight"), DOWN),
    **dict.fromkeys((UP, "lora_B.weight", "lora_B.default.weight"), UP),
    **{name: name for name in (ALPHA, DIFF, DIFF_BIAS, DIFF_MODULATION, DORA)},
    **{f"lora_magnitude_vector{end}": DORA for end in ("", ".weight", ".default.weight")},
    **{name: name for name in ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")},
    **{name: name for name in ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b")},
}


def split_key(key: str) -> tuple[str, str] | None:
    """(the file's spelling of a module, which part of its change this is); None for keys of no LoRA that we know.

    The part comes back in one spelling: `lora_down.weight` for peft's `lora_A.weight` too.
    """
    pieces = key.split(".")
    for length in (3, 2, 1):
        part = _PARTS.get(".".join(pieces[-length:]))
        if part is not None and len(pieces) > length:
            return ".".join(pieces[:-length]), part
    return None


def flat(path: str) -> str:
    """musubi-tuner's name of the module at a dotted path."""
    return PREFIX + path.replace(".", "_")


@dataclass(frozen=True)
class ModuleNames:
    """The modules of one DiT and what they may be called in files."""

    weights: Mapping[str, torch.Size]
    """{name of a weight: its shape}, all of the DiT's own; the camera adapter's are not among them."""
    spellings: Mapping[str, str]
    """{spelling without prefix: path of the module, or the name of a weight that is no module's}."""
    in_diffusers: Mapping[str, str]
    """{path: diffusers' path}; empty where no table was given."""

    def find(self, spelling: str) -> str | None:
        """The path of a module as a file spells it; None where the DiT has no such module."""
        for prefix in ("", *_DOTTED, *_FLAT):
            if spelling.startswith(prefix):
                path = self.spellings.get(spelling[len(prefix) :])
                if path is not None:
                    return path
        return None

    def weight_of(self, path: str, part: str) -> str | None:
        """Name of the weight that a part of a module's change goes to; None where the module has no such weight."""
        own = {DIFF_BIAS: "bias", DIFF_MODULATION: "modulation"}.get(part, "weight")
        name = path if path in self.weights else f"{path}.{own}"
        return name if name in self.weights else None


def module_names(dit: nn.Module, to_diffusers: Callable[[str], str] | None = None) -> ModuleNames:
    """Look at a DiT, which need have no memory.

    Args:
        dit: the network.
        to_diffusers: diffusers' name of a weight (`wan.keys.dit_to_diffusers`); without it files in diffusers' names
            are not understood.
    """
    weights = {name: tensor.shape for name, tensor in dit.named_parameters() if not _of_adapter(name)}
    spellings: dict[str, str] = {}
    in_diffusers: dict[str, str] = {}
    for name in weights:
        stem, _, leaf = name.rpartition(".")
        path, end = (stem, f".{leaf}") if leaf in ("weight", "bias") else (name, "")
        if path in in_diffusers:
            continue
        theirs = path if to_diffusers is None else to_diffusers(name).removesuffix(end)
        in_diffusers[path] = theirs
        for spelling in (path, theirs):
            for form in (spelling, spelling.replace(".", "_")):
                assert spellings.setdefault(form, path) == path, f"{form} stands for two modules"
        spellings.update({stem: stem} if not end and stem else {})
    return ModuleNames(weights, spellings, in_diffusers if to_diffusers is not None else {})


def _of_adapter(name: str) -> bool:
    return "adapter" in name
