"""Random networks of any size for benchmarks: a checkpoint on the disk, inputs, and diffusers' twin of each network."""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from common import arguments
from common.files import atomic_path
from common.logs import get_logger
from common.progress import progress
from wan.config import DiTConfig, T5Config, VAEConfig
from wan.keys import dit_to_diffusers
from wan.keys_encoders import t5_table, to_official
from wan.model import WanModel
from wan.t5 import T5Encoder
from wan.vae import WanVAE

log = get_logger("bench")

HEADER_ALIGNMENT = 8


def random_tensor(
    key: str, shape: torch.Size, device: torch.device, dtype: torch.dtype, generator: torch.Generator
) -> Tensor:
    """A weight that lets signals through at their size: norms near 1, matrices of unit gain, small biases."""
    noise = torch.randn(shape, device=device, generator=generator, dtype=torch.float32)
    if key.endswith("attn.q.weight") and "self_attn" not in key:
        # T5 does not divide its logits by the width of a head; its queries are small instead (Raffel et al. 2020)
        noise = noise / 8.0
    if ("norm" in key and key.endswith("weight")) or key.endswith(("gamma", "proj.0.weight", "proj.4.weight")):
        noise = 1.0 + 0.1 * noise
    elif key.endswith("modulation"):
        noise = noise / math.sqrt(shape[-1])
    elif len(shape) > 1:
        noise = noise / math.sqrt(shape[1:].numel())
    else:
        noise = 0.05 * noise
    return noise.to(dtype)


def write_random(path: Path, shapes: dict[str, torch.Size], device: torch.device, seed: int) -> None:
    """A bf16 .safetensors file of random weights, tensor by tensor, so that it is never whole in memory.

    The layout is that of https://github.com/huggingface/safetensors#format.
    """
    generator = torch.Generator(device).manual_seed(seed)
    header, offset = {}, 0
    for key, shape in shapes.items():
        size = 2 * shape.numel()
        header[key] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % HEADER_ALIGNMENT)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for key in progress(list(shapes), f"writing {path.name}", unit="tensor"):
            tensor = random_tensor(key, shapes[key], device, torch.bfloat16, generator)
            file.write(tensor.cpu().view(torch.int16).numpy().tobytes())


def dit_shapes(config: DiTConfig) -> dict[str, torch.Size]:
    """Official names and shapes of a DiT."""
    with torch.device("meta"):
        return {key: tensor.shape for key, tensor in WanModel(config).state_dict().items()}


def random_dit(config: DiTConfig, device: torch.device, dtype: torch.dtype, seed: int) -> WanModel:
    """A DiT of random weights that were never in a file or in host memory; frozen, in eval mode."""
    generator = torch.Generator(device).manual_seed(seed)
    with torch.device("meta"):
        model = WanModel(config)
    shapes = {key: tensor.shape for key, tensor in model.state_dict().items()}
    state = {key: random_tensor(key, shape, device, dtype, generator) for key, shape in shapes.items()}
    model.load_state_dict(state, strict=True, assign=True)
    return model.requires_grad_(False).eval()


def t5_shapes(config: T5Config) -> dict[str, torch.Size]:
    """Official names and shapes of a text encoder."""
    with torch.device("meta"):
        ours = T5Encoder(config).state_dict()
    return {key: tensor.shape for key, tensor in to_official(ours, t5_table(config)).items()}


def transformers_t5(ours: T5Encoder) -> nn.Module:
    """transformers' own UMT5EncoderModel with the same tensors."""
    from transformers import UMT5EncoderModel

    with torch.device("meta"):
        twin = UMT5EncoderModel(ours.encoder.config)
    state = dict(ours.state_dict())
    state["shared.weight"] = state["encoder.embed_tokens.weight"]
    twin.load_state_dict(state, strict=True, assign=True)
    return twin.eval().requires_grad_(False)


def vae_shapes(config: VAEConfig) -> dict[str, torch.Size]:
    """Official names and shapes of a VAE."""
    with torch.device("meta"):
        return {key: tensor.shape for key, tensor in WanVAE(config).state_dict().items()}


def diffusers_dit(model: WanModel, dtype: torch.dtype, share: bool) -> nn.Module:
    """diffusers' WanTransformer3DModel with the same weights.

    Args:
        model: ours.
        dtype: of the twin's weights.
        share: use our tensors themselves where the dtype is the same, instead of copies.
    """
    from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed, WanTransformer3DModel

    config = model.config
    with torch.device("meta"):
        twin = WanTransformer3DModel(
            num_attention_heads=config.num_heads,
            attention_head_dim=config.head_dim,
            in_channels=config.in_dim,
            out_channels=config.out_dim,
            text_dim=config.text_dim,
            freq_dim=config.freq_dim,
            ffn_dim=config.ffn_dim,
            num_layers=config.num_layers,
            image_dim=config.image_dim,
            added_kv_proj_dim=None if config.image_dim is None else config.dim,
            pos_embed_seq_len=config.image_pos_tokens or None,
        )
    state = {
        dit_to_diffusers(key): value.detach().to(dtype, copy=not share) for key, value in model.state_dict().items()
    }
    twin.load_state_dict(state, strict=True, assign=True)
    # the tables of positions are made in the constructor and have no place in a state dict
    rope = WanRotaryPosEmbed(config.head_dim, config.patch_size, 1024)
    twin.rope = rope.to(next(iter(state.values())).device)
    return twin.eval().requires_grad_(False)


def dit_inputs(config: DiTConfig, grid: tuple[int, int, int], device: torch.device, seed: int) -> dict[str, Tensor]:
    """Random inputs of one video on a latent grid, float32."""
    generator = torch.Generator(device).manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(1, *shape, device=device, generator=generator)

    given = {"latents": noise(config.out_dim, *grid), "context": noise(config.text_len, config.text_dim)}
    if config.image_dim is not None:
        given["clip_features"] = noise(config.image_pos_tokens or 257, config.image_dim)
    if config.condition_channels:
        given["image_condition"] = noise(config.condition_channels, *grid)
    return given


@contextmanager
def peak_memory(device: torch.device) -> Iterator[dict[str, float]]:
    """Largest device memory allocated inside, in GiB; empty on a CPU."""
    result: dict[str, float] = {}
    if device.type != "cuda":
        yield result
        return
    torch.cuda.reset_peak_memory_stats(device)
    yield result
    result["gib"] = torch.cuda.max_memory_allocated(device) / 2**30


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that a piece of work takes, on a GPU by its own clock."""
    if device.type != "cuda":
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    work()
    end.record()
    torch.cuda.synchronize(device)
    return start.elapsed_time(end) / 1e3


def race(
    works: Mapping[str, Callable[[], object]], warmup: int, repeats: int, device: torch.device
) -> dict[str, dict[str, float]]:
    """Each work in turn, again and again; median, least and most milliseconds of the timed rounds, and memory.

    Args:
        works: by their names.
        warmup: rounds that are not timed.
        repeats: rounds that are timed.
        device: whose clock and memory are read.
    """
    taken: dict[str, list[float]] = {name: [] for name in works}
    peaks: dict[str, float] = {}
    for index in range(warmup + repeats):
        for name, work in works.items():
            with peak_memory(device) as peak:
                seconds = seconds_of(work, device)
            peaks[name] = peak.get("gib", 0.0)
            if index >= warmup:
                taken[name].append(1e3 * seconds)
    return {
        name: {"ms": statistics.median(times), "least": min(times), "most": max(times), "peak_gib": peaks[name]}
        for name, times in taken.items()
    }


def add_rounds(parser: argparse.ArgumentParser, warmup: int) -> None:
    """Options that every benchmark of networks has."""
    add = parser.add_argument
    add("--warmup", type=int, default=warmup, help="rounds that are not timed")
    add("--repeats", type=int, default=5, help="rounds that are timed")
    add("--output", metavar="PATH", help="file that the JSON lines are appended to")
    arguments.add_device(parser)


def report(measured: Mapping[str, object], output: str | None) -> None:
    """One line of JSON, to the log and, where one is named, to the end of a file."""
    line = json.dumps(measured)
    log.info(line)
    if output:
        with Path(output).open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def machine(device: torch.device) -> dict[str, str]:
    """What a measurement was made on, and when."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {"device": name, "torch": torch.__version__, "date": time.strftime("%Y-%m-%d")}


def agreement(one: Tensor, other: Tensor) -> dict[str, float]:
    """Cosine of the angle between two outputs, and ‖a - b‖ / ‖b‖, in float64."""
    a, b = one.double().flatten(), other.double().flatten()
    return {"cosine": float(a @ b / (a.norm() * b.norm())), "relative": float((a - b).norm() / b.norm())}
