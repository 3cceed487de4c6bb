"""Full-size networks with random weights: loading, agreement with diffusers and transformers, and time of both.

    make   write a random DiT to --file (32.8 GB for i2v-14B)
    load   load it in a process of its own: seconds, and the most host memory that was taken
    dit    one forward, ours and diffusers', in one process, alternating; agreement with a float32 reference
    fp8    the same with scaled fp8 weights: memory, agreement with the bf16 weights, time
    vae    encode and decode, ours and diffusers'
    t5     the text encoder, ours padded to the longest prompt and transformers' padded to the full length

Every part prints one line of JSON; --output appends it to a file. `--small` takes small dimensions, for a rehearsal.
"""

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import Tensor

from common import arguments, cli
from common.logs import setup_logging
from common.precision import pick_device
from tools.bench.full_size import (
    add_rounds,
    agreement,
    diffusers_dit,
    dit_inputs,
    dit_shapes,
    machine,
    race,
    report,
    t5_shapes,
    transformers_t5,
    vae_shapes,
    write_random,
)
from wan.config import WAN_CONFIGS, TaskConfig
from wan.fp8 import use_fast_fp8
from wan.keys_encoders import vae_table
from wan.loading import load_dit, load_t5, load_vae

PARTS = ("make", "load", "dit", "fp8", "vae", "t5")


def build_parser() -> argparse.ArgumentParser:
    """The options of this benchmark."""
    parser = arguments.make_parser(__doc__ or "")
    add = parser.add_argument
    add("part", choices=PARTS, help="what to measure")
    add("--task", choices=list(WAN_CONFIGS), default="i2v-14B", help="whose networks")
    add("--file", metavar="PATH", default="outputs/bench/dit.safetensors", help="the random DiT")
    add("--grid", type=int, nargs=3, default=[21, 60, 104], metavar=("F", "H", "W"), help="latent grid that is timed")
    add("--short", type=int, nargs=3, default=[3, 30, 52], metavar=("F", "H", "W"), help="latent grid that is compared")
    add("--fp8", choices=("none", "base", "scaled"), default="none", help="how the part `load` keeps the weights")
    add("--prompts", type=int, default=16, help="prompts of the text encoder")
    add("--tokens", type=int, default=130, help="tokens of each")
    add("--small", action="store_true", help="small dimensions")
    add_rounds(parser, warmup=3)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure one part."""
    args = build_parser().parse_args(argv)
    setup_logging()
    device = pick_device(args.device)
    task = _task(args)
    measured = {"make": _make, "load": _load, "dit": _dit, "fp8": _fp8, "vae": _vae, "t5": _t5}[args.part](
        args, task, device
    )
    said = {"part": args.part, "task": args.task, "small": args.small}
    report({**said, **machine(device), **measured}, args.output)
    return 0


def _task(args: argparse.Namespace) -> TaskConfig:
    task = WAN_CONFIGS[args.task]
    if not args.small:
        return task
    text, image = 128, 160 if task.dit.image_dim else None
    dit = replace(task.dit, dim=256, ffn_dim=512, num_heads=2, num_layers=3, text_dim=text, image_dim=image)
    t5 = replace(task.t5, vocab_size=512, dim=text, dim_attn=128, dim_ffn=256, num_heads=2, num_layers=2)
    clip = replace(task.clip, dim=160, num_heads=4, num_layers=2) if task.clip else None
    adapter = replace(task.adapter, blocks=(0, 1))
    return replace(task, dit=dit, t5=t5, clip=clip, adapter=adapter, vae=replace(task.vae, dim=16))


def _make(args: argparse.Namespace, task: TaskConfig, device: torch.device) -> dict[str, float]:
    path = Path(args.file)
    begin = time.perf_counter()
    write_random(path, dit_shapes(task.dit), device, seed=0)
    return {"gb": path.stat().st_size / 1e9, "seconds": time.perf_counter() - begin}


def _load(args: argparse.Namespace, task: TaskConfig, device: torch.device) -> dict[str, object]:
    dtype = torch.bfloat16
    # what torch, CUDA and its kernels take is there before, and is not the loader's
    torch.zeros(8, device=device, dtype=dtype).square().sum().item()
    before, begin = _resident_gb(), time.perf_counter()
    dit = load_dit(args.file, task.dit, device=device, dtype=dtype, fp8=args.fp8)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - begin
    size = Path(args.file).stat().st_size / 1e9
    # VmHWM is reset by nobody, so the peak of the whole process is what it shows
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {
        "gb": size,
        "seconds": seconds,
        "gb_per_s": size / seconds,
        "peak_host_gb": peak,
        "host_gb_before": before,
        "fp8": args.fp8,
        "weights_gb": sum(tensor.numel() * tensor.element_size() for tensor in dit.state_dict().values()) / 1e9,
        "read_only_seconds": _read_seconds(Path(args.file)),
    }


def _resident_gb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e9


def _read_seconds(path: Path) -> float:
    """Seconds to read the file once more and do nothing with it; from the disk or from the system's cache."""
    buffer, begin = bytearray(2**24), time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return time.perf_counter() - begin


def _race(
    works: dict[str, Callable[[], object]], args: argparse.Namespace, device: torch.device
) -> dict[str, dict[str, float]]:
    with torch.no_grad():
        return race(works, args.warmup, args.repeats, device)


def _dit(args: argparse.Namespace, task: TaskConfig, device: torch.device) -> dict[str, object]:
    ours = load_dit(args.file, task.dit, device=device, dtype=torch.bfloat16)
    twin = diffusers_dit(ours, torch.bfloat16, share=True)
    short = dit_inputs(task.dit, _grid(args.short), device, seed=1)
    timestep = torch.tensor([768.0], device=device)
    with torch.no_grad():
        half = {"ours": _ours(ours, short, timestep), "diffusers": _theirs(twin, short, timestep)}
    long = dit_inputs(task.dit, _grid(args.grid), device, seed=2)
    times = _race(
        {"ours": lambda: _ours(ours, long, timestep), "diffusers": lambda: _theirs(twin, long, timestep)}, args, device
    )
    del twin
    exact = diffusers_dit(ours, torch.float32, share=False)
    del ours
    with torch.no_grad():
        reference = _theirs(exact, short, timestep)
    tokens = args.grid[0] * args.grid[1] * args.grid[2] // 4
    return {
        "tokens": tokens,
        "time": times,
        "ratio": times["ours"]["ms"] / times["diffusers"]["ms"],
        "ours_to_float32": agreement(half["ours"], reference),
        "diffusers_to_float32": agreement(half["diffusers"], reference),
        "ours_to_diffusers": agreement(half["ours"], half["diffusers"]),
    }


def _fp8(args: argparse.Namespace, task: TaskConfig, device: torch.device) -> dict[str, object]:
    short, timestep = dit_inputs(task.dit, _grid(args.short), device, seed=1), torch.tensor([768.0], device=device)
    whole = load_dit(args.file, task.dit, device=device, dtype=torch.bfloat16)
    with torch.no_grad():
        expected = _ours(whole, short, timestep)
    del whole
    result: dict[str, object] = {}
    long = dit_inputs(task.dit, _grid(args.grid), device, seed=2)
    for mode in ("scaled", "base"):
        begin = time.perf_counter()
        model = load_dit(args.file, task.dit, device=device, dtype=torch.bfloat16, fp8=mode)
        seconds = time.perf_counter() - begin
        with torch.no_grad():
            close = agreement(_ours(model, short, timestep), expected)
        weights = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
        times = _race({mode: partial(_ours, model, long, timestep)}, args, device)
        if mode == "scaled" and device.type == "cuda":
            use_fast_fp8(model, device)
            with torch.no_grad():
                fast = agreement(_ours(model, short, timestep), expected)
            result["fast"] = {
                "to_bf16": fast,
                "time": _race({"fast": partial(_ours, model, long, timestep)}, args, device),
            }
        result[mode] = {"load_seconds": seconds, "weights_gb": weights / 1e9, "to_bf16": close, "time": times[mode]}
        del model
    return result


def _grid(numbers: list[int]) -> tuple[int, int, int]:
    frames, rows, columns = numbers
    return frames, rows, columns


def _ours(model: torch.nn.Module, given: dict[str, Tensor], timestep: Tensor) -> Tensor:
    return model(timestep=timestep, **given)


def _theirs(twin: torch.nn.Module, given: dict[str, Tensor], timestep: Tensor) -> Tensor:
    dtype = next(twin.parameters()).dtype
    parts = [given["latents"], given["image_condition"]] if "image_condition" in given else [given["latents"]]
    image = given["clip_features"].to(dtype) if "clip_features" in given else None
    return twin(torch.cat(parts, dim=1).to(dtype), timestep, given["context"].to(dtype), image).sample.float()


def _vae(args: argparse.Namespace, task: TaskConfig, device: torch.device) -> dict[str, object]:
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    config, path = task.vae, Path(args.file).with_name("vae.safetensors")
    write_random(path, vae_shapes(config), device, seed=3)
    ours = load_vae(path, config, device=device, dtype=torch.float32)
    theirs: Any = AutoencoderKLWan(
        base_dim=config.dim, z_dim=config.z_dim, dim_mult=list(config.dim_mult), num_res_blocks=config.num_res_blocks
    )
    theirs = theirs.to(device)
    shapes = {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    names = {official: others[0] for official, others in vae_table(config).items() if others}
    weights = ours.state_dict()
    theirs.load_state_dict({names[key]: value.reshape(shapes[names[key]]) for key, value in weights.items()})
    generator = torch.Generator(device).manual_seed(3)
    frames, height, width = 4 * args.grid[0] - 3, 8 * args.grid[1], 8 * args.grid[2]
    video = torch.rand(1, 3, frames, height, width, device=device, generator=generator) * 2 - 1
    result: dict[str, object] = {"frames": frames, "height": height, "width": width}
    # cuDNN's convolutions round to TF32 unless told otherwise
    torch.backends.cudnn.allow_tf32 = False
    with torch.no_grad():
        small = video[:, :, :9, : height // 2, : width // 2]
        exact = theirs.double().encode(small.double()).latent_dist.mode()
        ours.float()
        latent = ours.encode(small) * ours.std.view(1, -1, 1, 1, 1) + ours.mean.view(1, -1, 1, 1, 1)
        result["encode_float32_to_float64"] = agreement(latent, exact)
        result["decode_float32_to_float64"] = agreement(ours.decode(ours.encode(small)), theirs.decode(exact).sample)
    torch.backends.cudnn.allow_tf32 = True
    ours, theirs = ours.bfloat16().channels_last(), theirs.bfloat16()
    half = video.bfloat16()
    with torch.no_grad():
        z_ours, z_theirs = ours.encode(half), theirs.encode(half).latent_dist.mode()
    result["encode"] = _race(
        {"ours": lambda: ours.encode(half), "diffusers": lambda: theirs.encode(half)}, args, device
    )
    result["decode"] = _race(
        {"ours": lambda: ours.decode(z_ours), "diffusers": lambda: theirs.decode(z_theirs)}, args, device
    )
    return result


def _t5(args: argparse.Namespace, task: TaskConfig, device: torch.device) -> dict[str, object]:
    path = Path(args.file).with_name("t5.safetensors")
    write_random(path, t5_shapes(task.t5), device, seed=4)
    begin = time.perf_counter()
    ours = load_t5(path, task.t5, device=device, dtype=torch.bfloat16)
    seconds = time.perf_counter() - begin
    theirs = transformers_t5(ours)
    generator = torch.Generator(device).manual_seed(5)
    length = task.t5.text_len
    ids = torch.randint(task.t5.vocab_size, (args.prompts, length), device=device, generator=generator)
    mask = (torch.arange(length, device=device) < args.tokens).long().expand(args.prompts, -1)
    short = (ids[:, : args.tokens], mask[:, : args.tokens])
    with torch.no_grad():
        trimmed, padded = ours(*short), theirs(input_ids=ids, attention_mask=mask).last_hidden_state[:, : args.tokens]
    works = {"ours": lambda: ours(*short), "transformers": lambda: theirs(input_ids=ids, attention_mask=mask)}
    times = _race(works, args, device)
    with torch.no_grad():
        exact = theirs.float()(input_ids=short[0][:2], attention_mask=short[1][:2]).last_hidden_state
    return {
        "load_seconds": seconds,
        "prompts": args.prompts,
        "tokens": args.tokens,
        "time": times,
        "ours_to_float32": agreement(trimmed[:2], exact),
        "transformers_to_float32": agreement(padded[:2], exact),
        "ours_to_transformers": agreement(trimmed, padded),
    }


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
