"""What `tools/inspect_checkpoint.py` says of single kinds of files: networks, LoRAs, adapters, the fork's camera."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from common.streaming import stream_tensors
from common.tensor_headers import Header, TensorEntry
from common.weights import Misfit, compare_tensors
from wan.adapters.build import build_adapter
from wan.adapters.files import adapter_facts, looks_trained
from wan.clip import CLIPVision
from wan.config import WAN_CONFIGS, TaskConfig
from wan.fork_camera import examine_fork_camera
from wan.keys import dit_to_official, set_adapter_aside, set_fork_camera_aside
from wan.keys_encoders import clip_to_ours, t5_to_ours, vae_to_ours
from wan.model import WanModel
from wan.recognise import Contents
from wan.t5 import T5Encoder
from wan.vae import WanVAE

Entries = Mapping[str, TensorEntry]

_DOWN = re.compile(r"(?P<module>.+)\.(lora_down|lora_A)(\.default)?(\.weight)?$")
_LYCORIS = re.compile(r"(?P<module>.+)\.(hada_w1_b|lokr_w1_b|lokr_w2_b|lokr_w1|lokr_w2)$")
_BLOCK = re.compile(r"(?<=blocks[._])\d+")


def compare_with_task(header: Header, contents: Contents) -> tuple[str, Misfit]:
    """The task whose network of this kind fits a file best, and how it differs from it."""
    every = [task for task, config in WAN_CONFIGS.items() if contents.network != "clip" or config.clip is not None]
    best: tuple[str, Misfit] | None = None
    for task in contents.tasks[:1] or every:
        module, entries = _network(contents.network, header.entries, WAN_CONFIGS[task])
        misfit = compare_tensors(module.state_dict(), entries)
        if best is None or _size(misfit) < _size(best[1]):
            best = task, misfit
    assert best is not None, "there are tasks with every kind of network"
    return best


def _size(misfit: Misfit) -> int:
    return len(misfit.missing) + len(misfit.unexpected) + len(misfit.misshapen)


def _network(network: str, entries: Entries, config: TaskConfig) -> tuple[nn.Module, Entries]:
    """The network of a task, without memory, and the file's tensors under its names."""
    with torch.device("meta"):
        if network == "vae":
            return WanVAE(config.vae), vae_to_ours(entries, config.vae)
        if network == "t5":
            return T5Encoder(config.t5), t5_to_ours(entries, config.t5)
        if network == "clip":
            assert config.clip is not None
            return CLIPVision(config.clip), clip_to_ours(entries, config.clip)
        return WanModel(config.dit), set_fork_camera_aside(dit_to_official(set_adapter_aside(entries)[0]))[0]


def describe_camera_layers(header: Header) -> dict[str, Any] | None:
    """The fork's camera layers in a DiT file; None where there are none."""
    base, camera = set_fork_camera_aside(dit_to_official(header.entries))
    if not camera:
        return None
    blocks = len({name.split(".")[1] for name in base if name.startswith("blocks.")})
    found = examine_fork_camera(camera, blocks)
    return {"camera": str(found), "looks_trained": found.looks_trained, "missing": len(found.missing)}


def describe_lora(header: Header) -> dict[str, Any]:
    """Ranks, alphas and targets of a LoRA, LoHa or LoKr; of its data, only the alphas are read."""
    ranks: Counter[int] = Counter()
    targets: Counter[str] = Counter()
    for name, entry in header.entries.items():
        plain, lycoris = _DOWN.match(name), _LYCORIS.match(name)
        found = plain or lycoris
        if found is None:
            continue
        if plain or name.endswith("_b"):
            ranks[entry.shape[0] if entry.shape else 0] += 1
        if plain or not name.endswith("_b"):
            targets[_BLOCK.sub("N", found["module"])] += 1
    alphas = {name: entry for name, entry in header.entries.items() if name.endswith(".alpha")}
    read = (float(value.float().mean()) for _, value in stream_tensors(alphas, "cpu") if value.numel() == 1)
    return {
        "ranks": sorted(ranks),
        "alphas": sorted(set(read)) or "none stated: the rank",
        "modules": sum(targets.values()),
        "targets": dict(sorted(targets.items())),
    }


def describe_adapter(header: Header) -> dict[str, Any]:
    """Version, sizes and state of a camera adapter; output layers are read until one has left its zero start."""
    facts = adapter_facts(header)
    with torch.device("meta"):
        adapter = build_adapter(*facts)
    return {
        "design": facts.config.design,
        "version": header.metadata.get("version"),
        "convention": header.metadata.get("convention"),
        "made for": f"a DiT of width {facts.dit_dim} with {facts.dit_layers} blocks",
        "blocks": list(facts.config.blocks),
        "looks_trained": looks_trained(adapter, header.entries),
    }
