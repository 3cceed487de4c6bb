"""What a camera costs: every design of adapter beside none, on a DiT of random weights.

    sizes     parameters of each adapter, and the FLOPs of one forward with and without it; computes nothing
    forward   one forward in bf16, its conditions prepared before as in generation: without an adapter and with each
    train     one LoRA step (forward, backward, AdamW) with gradient checkpointing: without an adapter and with each

Works that are compared run in one process, one after the other (A, B, A, B): rounds that are not counted, then the
median of those that are. Memory is the largest that was allocated while nothing but that design was on the device
(forward), or the design and its optimizer (train). Every part prints one line of JSON; --output appends it to a file.
`--tiny` takes the networks of i2v-tiny on a small grid, for a rehearsal.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import flop_counter

from camera.language import Move
from camera.network_input import CameraInput, camera_input
from camera.trajectory import compile as compile_moves
from common import arguments, cli
from common.logs import setup_logging
from common.precision import pick_device
from networks.lora_wan import create_network
from tools.bench.full_size import add_rounds, dit_inputs, machine, peak_memory, race, random_dit, report
from wan.adapters.build import build_adapter
from wan.adapters.interface import CameraAdapter
from wan.config import ADAPTER_CONFIGS, WAN_CONFIGS, AdapterConfig
from wan.model import Tokens, WanModel
from wan.rope import rotary_table

NONE = "none"
"""The name of the DiT without an adapter."""
_TINY_GRID = (3, 6, 10)
_TIMESTEP = 768.0


def build_parser() -> argparse.ArgumentParser:
    """The options of this benchmark."""
    parser = arguments.make_parser(__doc__ or "")
    add = parser.add_argument
    add("part", choices=list(_PARTS), help="what to measure")
    add("--task", choices=list(WAN_CONFIGS), default="i2v-14B", help="whose networks")
    add("--designs", nargs="+", choices=list(ADAPTER_CONFIGS), default=list(ADAPTER_CONFIGS), help="of the adapter")
    add("--grid", type=int, nargs=3, default=[21, 60, 104], metavar=("F", "H", "W"), help="latent grid")
    add("--rank", type=int, default=64, help="of the LoRA")
    add("--tiny", action="store_true", help="the networks of i2v-tiny on a small grid")
    add_rounds(parser, warmup=2)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure one part."""
    args = build_parser().parse_args(argv)
    setup_logging()
    if args.repeats < 1 or args.warmup < 0:
        raise ValueError(f"--warmup {args.warmup} --repeats {args.repeats}: expected 0 or more, and 1 or more")
    if args.tiny:
        args.task, args.grid = "i2v-tiny", _TINY_GRID
    device = pick_device(args.device)
    frames, rows, columns = args.grid
    said = {"part": args.part, "task": args.task, "tokens": frames * rows * columns // 4}
    report({**said, **machine(device), "designs": _PARTS[args.part](args, device)}, args.output)
    return 0


class Bench(NamedTuple):
    """A DiT, one video for it, and the adapters to be compared."""

    device: torch.device
    dit: WanModel
    given: dict[str, Tensor]
    """Arguments of its forward, but the timestep and the camera."""
    configs: dict[str, AdapterConfig]
    """Of the designs, by name."""
    cameras: dict[str, CameraInput]
    """What each of them is given."""

    def adapter(self, design: str, dtype: torch.dtype) -> CameraAdapter:
        """A fresh adapter on the device."""
        config = self.dit.config
        adapter = build_adapter(self.configs[design], config.dim, config.num_layers)
        state = {
            name: value.to(self.device, dtype if value.is_floating_point() else value.dtype)
            for name, value in adapter.state_dict().items()
        }
        adapter.load_state_dict(state, assign=True)
        return adapter

    def tokens(self, adapter: CameraAdapter | None) -> Tokens:
        """What generation prepares once per video; the adapter is attached to the DiT for it."""
        self.dit.attach_adapter(adapter)
        camera = None if adapter is None else self.cameras[adapter.config.design]
        return self.dit.prepare(self.given["context"], self.given.get("clip_features"), camera, cache_kv=True)

    def denoise(self, adapter: CameraAdapter | None, tokens: Tokens) -> Tensor:
        """One forward."""
        self.dit.attach_adapter(adapter)
        timestep = torch.tensor([_TIMESTEP], device=self.device)
        return self.dit.denoise(self.given["latents"], timestep, tokens, self.given.get("image_condition"))


def _bench(args: argparse.Namespace, device: torch.device, cameras: dict[str, CameraInput]) -> Bench:
    task, (frames, rows, columns) = WAN_CONFIGS[args.task], args.grid
    dit = random_dit(task.dit, device, torch.bfloat16, seed=0)
    given = dit_inputs(task.dit, (frames, rows, columns), device, seed=1)
    return Bench(device, dit, given, {design: task.adapter_of(design) for design in args.designs}, cameras)


def _cameras(args: argparse.Namespace, device: torch.device) -> dict[str, CameraInput]:
    """An orbit of the length of the video, on the grids of each design."""
    frames, rows, columns = args.grid
    track = compile_moves([Move(0, 5, 1.0, "right")], 4 * frames - 3, 16.0, (0.9, 1.2, 0.5, 0.5))
    found: dict[str, CameraInput] = {}
    for design in args.designs:
        scale = WAN_CONFIGS[args.task].adapter_of(design).ray_scale
        camera = camera_input(track.c2w[None], track.intrinsics[None], rows, columns, scale)
        found[design] = CameraInput(*(part.to(device) for part in camera))
    return found


def _sizes(args: argparse.Namespace, device: torch.device) -> dict[str, dict[str, float]]:
    cpu = torch.device("cpu")
    cameras = _cameras(args, cpu)
    rotary_table.cache_clear()
    # tensors that have shapes alone, so that the large networks are counted on any machine
    with FakeTensorMode() as mode, torch.no_grad():
        shapes = {name: CameraInput(*map(mode.from_tensor, camera)) for name, camera in cameras.items()}
        found = _counted(_bench(args, cpu, shapes))
    rotary_table.cache_clear()
    return found


def _counted(bench: Bench) -> dict[str, dict[str, float]]:
    base = _flops(partial(bench.denoise, None, bench.tokens(None)))
    found: dict[str, dict[str, float]] = {NONE: {"parameters": _numbers(bench.dit), "tflop": base / 1e12}}
    for design in bench.configs:
        adapter = bench.adapter(design, torch.bfloat16)
        flops = _flops(partial(bench.denoise, adapter, bench.tokens(adapter)))
        parameters = _numbers(adapter)
        found[design] = {
            "parameters": parameters,
            "bf16_mb": 2e-6 * parameters,
            "tflop": flops / 1e12,
            "flop_share": flops / base - 1,
        }
    return found


def _numbers(module: nn.Module) -> int:
    return sum(parameter.numel() for name, parameter in module.named_parameters() if not name.startswith("adapter."))


def _attention_flops(q: Sequence[int], k: Sequence[int], v: Sequence[int], *_: object, **__: object) -> int:
    return flop_counter.sdpa_flop_count(q, k, v)


def _flops(work: Callable[[], object]) -> int:
    """Of the products of matrices in it, a multiplication and an addition counted as two."""
    # torch knows its attention kernels for GPUs only
    on_cpu = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
    with flop_counter.FlopCounterMode(display=False, custom_mapping=on_cpu) as counter:
        work()
    return counter.get_total_flops()


def _forward(args: argparse.Namespace, device: torch.device) -> dict[str, dict[str, float]]:
    bench = _bench(args, device, _cameras(args, device))
    found: dict[str, dict[str, float]] = {}
    works: dict[str, Callable[[], object]] = {}
    with torch.no_grad():
        for design in (NONE, *args.designs):
            adapter = None if design == NONE else bench.adapter(design, torch.bfloat16)
            prepare = race({"once": partial(bench.tokens, adapter)}, 1, 3, bench.device)["once"]["ms"]
            with peak_memory(bench.device) as peak:
                bench.denoise(adapter, bench.tokens(adapter))
            found[design] = {"prepare_ms": prepare, "alone_gib": peak.get("gib", 0.0)}
        # above each is alone in memory; here all are there, so that none runs on a warmer GPU than another
        for design in (NONE, *args.designs):
            adapter = None if design == NONE else bench.adapter(design, torch.bfloat16)
            works[design] = partial(bench.denoise, adapter, bench.tokens(adapter))
        times = race(works, args.warmup, args.repeats, bench.device)
    return {
        design: {**found[design], **_times(times[design]), "ratio": times[design]["ms"] / times[NONE]["ms"]}
        for design in works
    }


def _times(measured: dict[str, float]) -> dict[str, float]:
    return {key: measured[key] for key in ("ms", "least", "most")}


def _train(args: argparse.Namespace, device: torch.device) -> dict[str, dict[str, float]]:
    bench = _bench(args, device, _cameras(args, device))
    dit = bench.dit.train()
    dit.enable_gradient_checkpointing()
    network = create_network(dit, args.rank, float(args.rank)).to(bench.device).train()
    network.apply_to(dit)
    lora = list(network.parameters())
    alone = race({NONE: _step(bench, _optimizer(lora), None)}, args.warmup, args.repeats, bench.device)
    found = {NONE: {"parameters": _numbers(network), **alone[NONE]}}
    for design in args.designs:
        adapter = bench.adapter(design, torch.float32).train()
        optimizer = _optimizer([*lora, *adapter.parameters()])
        pair = {NONE: _step(bench, optimizer, None), design: _step(bench, optimizer, adapter)}
        times = race(pair, args.warmup, args.repeats, bench.device)
        found[design] = {
            "parameters": _numbers(adapter),
            **times[design],
            "ms_without": times[NONE]["ms"],
            "ratio": times[design]["ms"] / times[NONE]["ms"],
        }
        dit.attach_adapter(None)
    return found


def _optimizer(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=1e-6)


def _step(bench: Bench, optimizer: torch.optim.Optimizer, adapter: CameraAdapter | None) -> Callable[[], None]:
    """A training step on one clip with noise as its target; parameters without a gradient stay as they are."""
    camera = None if adapter is None else bench.cameras[adapter.config.design]
    target = torch.randn_like(bench.given["latents"])
    timestep = torch.tensor([_TIMESTEP], device=bench.device)

    def step() -> None:
        bench.dit.attach_adapter(adapter)
        with torch.autocast(bench.device.type, torch.bfloat16):
            velocity = bench.dit(timestep=timestep, camera=camera, **bench.given)
            nn.functional.mse_loss(velocity.float(), target).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


_PARTS = {"sizes": _sizes, "forward": _forward, "train": _train}


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
