"""Stage `dit` of the tiny model's training: the diffusion transformer and its camera adapter, on a ring of clips."""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from common.logs import get_logger
from common.media import write_image
from common.progress import progress
from common.weights import write_tensors
from sampling.denoise import sample
from sampling.solvers import make_solver
from tools.tiny_model.dit_data import ClipRing, EncodedClips, Encoders, encode_clips
from tools.tiny_model.dit_start import start_from_first_frame
from tools.tiny_model.dit_training import DiTRun, choose_parameters, make_adamw
from tools.tiny_model.results import half, strip, to_video, write_losses
from tools.tiny_model.schedule import Schedule
from tools.tiny_model.stage import HELD_OUT_SEED, TASK, schedule, story, stream
from wan.adapters.build import build_adapter, with_arguments
from wan.adapters.files import load_adapter, save_adapter
from wan.loading import load_clip, load_dit, load_t5, load_vae
from wan.model import WanModel

log = get_logger("tiny")

STATE_SECONDS = 120.0
SHOWN = 6
_FIRST_STEPS = 12
"""Steps that may be spent on compiling; the clock starts after them."""
_REPORT_EVERY = 1000


def train_dit(args: argparse.Namespace, device: torch.device) -> None:
    """Train the chosen parts, then write their weights, the loss curve and samples of held-out clips."""
    encoders, run = load_encoders(Path(args.output_dir), device), make_run(args, device)
    accelerator, adapter = run.accelerator, run.dit.adapter
    rank, world = accelerator.process_index, accelerator.num_processes
    if world > 1 and args.steps is None:
        raise ValueError("several processes train for --steps, not --minutes: their clocks would end them apart")
    state = Path(args.state_dir) / f"{args.parts}_state.pt"
    first = run.load(state) if state.exists() else 0
    ray_scale = 1 if adapter is None else adapter.config.ray_scale
    ring = ClipRing(encoders, stream(args, device, args.seed, first, rank, world), args.ring, ray_scale)
    for _ in progress(range(min(args.ring, 8 * args.batch_size) // args.render_batch), "first clips", unit="batch"):
        ring.refill()
    begin = run.step
    losses = _loop(args, run, ring, state)
    ring.clips.close()
    if accelerator.is_main_process:
        run.save(state, ring.clips.next_clip)
        _finish(args, run, encoders, losses, begin)
    accelerator.wait_for_everyone()
    accelerator.end_training()


def make_run(args: argparse.Namespace, device: torch.device) -> DiTRun:
    """Network, optimizer and processes of the run that the options ask for."""
    dit = _dit(args, device)
    parameters = choose_parameters(dit, args.parts)
    if args.compile:
        for block in dit.blocks:
            block.compile()
    accelerator = Accelerator(cpu=device.type == "cpu")
    if args.graph and (device.type != "cuda" or accelerator.num_processes > 1):
        raise ValueError("--graph is for one process on one NVIDIA GPU; leave it out")
    optimizer = make_adamw(parameters, args.learning_rate, device, capturable=args.graph)
    run = DiTRun(dit, parameters, optimizer, TASK.flow_shift, args.seed, accelerator)
    if args.graph:
        run.use_graph()
    return run


def load_encoders(folder: Path, device: torch.device) -> Encoders:
    """The trained VAE, text and image encoder of a folder; bfloat16 on a GPU, float32 on a CPU."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    assert TASK.clip is not None
    return Encoders(
        vae=load_vae(folder / "vae.safetensors", TASK.vae, device=device, dtype=dtype),
        t5=load_t5(folder / "t5.safetensors", TASK.t5, device=device, dtype=dtype),
        clip=load_clip(folder / "clip.safetensors", TASK.clip, device=device, dtype=dtype),
    )


def _dit(args: argparse.Namespace, device: torch.device) -> WanModel:
    """The DiT in float32, fresh or from the weights in the output folder, with the adapter that the parts need."""
    folder = Path(args.output_dir)
    generator = torch.Generator().manual_seed(args.seed + 1)
    new = build_adapter(
        with_arguments(TASK.adapter_of(args.adapter), args.adapter_args), TASK.dit.dim, TASK.dit.num_layers, generator
    )
    if args.continue_weights or args.parts == "adapter":
        dit = load_dit(folder / "dit.safetensors", TASK.dit, device="cpu", dtype=torch.float32)
        if args.parts == "all":
            new = load_adapter(folder / "camera_adapter.safetensors", TASK.dit, dtype=torch.float32)
    else:
        dit = WanModel(TASK.dit)
        start_from_first_frame(dit, args.seed)
    if args.parts != "base":
        dit.attach_adapter(new)
    return dit.to(device).train()


def _loop(args: argparse.Namespace, run: DiTRun, ring: ClipRing, state: Path) -> list[float]:
    plan, saved, losses = schedule(args), time.monotonic(), []
    rank, main = run.accelerator.process_index, run.accelerator.is_main_process
    with progress(args.steps or 0, "training the tiny DiT", unit="step", disable=not main) as bar:
        while plan.taken < min(_FIRST_STEPS, args.steps or _FIRST_STEPS) or plan.over < 1:
            if run.step % args.render_every == 0:
                ring.refill()
            generator = torch.Generator().manual_seed((run.seed * 1_000 + rank) * 1_000_003 + run.step)
            losses.append(run.train_step(*ring.draw(args.batch_size, generator), generator, plan.learning_rate()))
            plan.taken += 1
            bar.update()
            if plan.taken == _FIRST_STEPS:
                plan.restart_clock()
            if plan.taken % _REPORT_EVERY == 0 and main:
                _report(run, ring, plan, losses)
            if time.monotonic() - saved > STATE_SECONDS and main:
                run.save(state, ring.clips.next_clip)
                saved = time.monotonic()
    return torch.stack(losses).tolist()


def _report(run: DiTRun, ring: ClipRing, plan: Schedule, losses: list[Tensor]) -> None:
    mean = float(torch.stack(losses[-_REPORT_EVERY:]).mean())
    if not math.isfinite(mean):
        raise ValueError(f"the loss is {mean} at step {run.step}; lower --learning_rate")
    seconds = time.monotonic() - plan.begun
    log.info(
        "step %d: loss %.4f, rate %.2e, clips %d, %.0f s",
        *(run.step, mean, plan.learning_rate(), ring.clips.next_clip, seconds),
    )


def _finish(args: argparse.Namespace, run: DiTRun, encoders: Encoders, losses: list[float], begin: int) -> None:
    run.swap_average()
    folder, adapter = Path(args.output_dir), run.dit.adapter
    metadata = {**story(args, run.step), "parts": args.parts}
    if args.parts != "adapter":
        weights = {key: value for key, value in run.dit.state_dict().items() if not key.startswith("adapter.")}
        write_tensors(folder / "dit.safetensors", half(weights), metadata)
    if adapter is not None:
        save_adapter(folder / "camera_adapter.safetensors", adapter, metadata, torch.bfloat16)
    write_losses(folder / f"{args.parts}_loss.csv", losses, begin)
    rendered = stream(args, run.average[0].device, HELD_OUT_SEED).take()
    clips = encode_clips(encoders, rendered, rendered.scenes)
    _show(run.dit, encoders, clips, to_video(rendered.frames), folder / f"{args.parts}_samples.png")
    last = losses[-500:]
    log.info("dit: %d steps, last %d losses mean %.4f", run.step, len(last), sum(last) / max(1, len(last)))


@torch.no_grad()
def _show(dit: WanModel, encoders: Encoders, clips: EncodedClips, truth: Tensor, path: Path) -> None:
    """For some held-out clips three rows: the truth, with the camera, without."""
    dit.eval()
    few = EncodedClips(**{name: tensor[:SHOWN] for name, tensor in vars(clips).items()})
    noise = torch.randn(few.latents.shape, generator=torch.Generator().manual_seed(0)).to(few.latents.device)
    cameras = [None] if dit.adapter is None else [few.camera(dit.adapter.config.ray_scale), None]
    videos = [truth[:SHOWN]]
    for camera in cameras:
        solver = make_solver("unipc", TASK.steps, TASK.flow_shift)
        tokens = dit.prepare(few.context, few.clip_features, camera)
        with torch.autocast(noise.device.type, torch.bfloat16, enabled=noise.device.type == "cuda"):
            latent = sample(dit, solver, noise, tokens, None, 1.0, few.condition.float(), progress=False)
        videos.append(encoders.vae.decode(latent.to(next(encoders.vae.parameters()).dtype)))
    rows = [strip(video[index]) for index in range(len(few.latents)) for video in videos]
    write_image(path, np.concatenate(rows))
