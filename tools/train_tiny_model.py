"""Train i2v-tiny on the procedural world, whose clips are rendered fresh on the device while it trains.

Stages, in this order:
  vae   the video autoencoder.
  dit   the diffusion transformer together with its camera adapter; a share of the steps has no camera, so that the
        same weights without a camera are the base.

A run goes on from its state file, and ends after --minutes; the last --decay_minutes bring the learning rate down, so
leave them at 0 for a run that is to be continued. Everything random follows from --seed.
"""

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from common import arguments, cli  # noqa: E402
from common.logs import get_logger, setup_logging  # noqa: E402
from common.media import write_image  # noqa: E402
from common.precision import pick_device  # noqa: E402
from common.progress import progress  # noqa: E402
from common.weights import write_tensors  # noqa: E402
from sampling.denoise import sample  # noqa: E402
from sampling.solvers import make_solver  # noqa: E402
from tools.procedural_world.clips import WORLD_VERSION  # noqa: E402
from tools.procedural_world.live import LiveClips  # noqa: E402
from tools.tiny_dit_data import ClipRing, EncodedClips, Encoders, encode_clips  # noqa: E402
from tools.tiny_dit_training import DiTRun, learning_rate_at, make_adamw  # noqa: E402
from tools.tiny_vae_training import Run, fold_normalisation, latent_statistics, psnr  # noqa: E402
from wan.adapter import CameraAdapter, load_adapter, save_adapter  # noqa: E402
from wan.config import WAN_CONFIGS  # noqa: E402
from wan.initialise import initialise  # noqa: E402
from wan.loading import load_clip, load_dit, load_t5, load_vae  # noqa: E402
from wan.model import WanModel  # noqa: E402
from wan.pixels import to_frames  # noqa: E402
from wan.vae import WanVAE  # noqa: E402
from wan.vae_initialise import initialise_vae  # noqa: E402

log = get_logger("tiny")

TASK = WAN_CONFIGS["i2v-tiny"]
HELD_OUT_SEED = 1_000_003
STATE_SECONDS = 120.0
SHOWN = 6
STRIP_FRAMES = 6
_FIRST_STEPS = 10
"""Steps that may be spent on compiling; the clock starts after them."""


def build_parser() -> argparse.ArgumentParser:
    """The options of this tool."""
    parser = arguments.make_parser(__doc__ or "")
    add = parser.add_argument
    add("--stage", choices=("vae", "dit"), required=True, help="what to train")
    add("--output_dir", metavar="PATH", default="weights/tiny", help="folder of the weights, read and written")
    add("--state_dir", metavar="PATH", default="outputs/tiny_training", help="folder of the state to go on from")
    add("--minutes", type=float, required=True, help="training time of this run")
    add("--decay_minutes", type=float, default=0.0, help="of these, the last in which the learning rate falls to 0")
    add("--seed", type=int, default=0, help="decides first weights, clips and noise")
    add("--learning_rate", type=float, default=1e-3, help="highest learning rate")
    add("--batch_size", type=int, default=128, help="clips (dit) or pieces of clips (vae) in a step")
    add("--render_batch", type=int, default=32, help="clips rendered at once")
    add("--render_every", type=int, default=8, help="steps between two renders")
    add("--ring", type=int, default=4096, help="clips kept to draw from (dit), a multiple of --render_batch")
    add("--crop", type=int, default=64, help="height and width of a piece in pixels (vae)")
    add("--workers", type=int, default=8, help="processes that plan clips")
    add("--compile", action="store_true", help="compile the blocks with torch.compile")
    add("--continue_weights", action="store_true", help="start from the weights in --output_dir, not from fresh ones")
    arguments.add_device(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Train one stage."""
    args = build_parser().parse_args(argv)
    setup_logging()
    arguments.check_ranges(args, minutes=0, decay_minutes=0, seed=0, learning_rate=0, batch_size=1, render_batch=1)
    arguments.check_ranges(args, render_every=1, ring=1, crop=8, workers=0)
    if args.ring % args.render_batch or args.ring < args.batch_size:
        raise ValueError(
            f"--ring {args.ring}: expected a multiple of --render_batch {args.render_batch}, at least --batch_size"
        )
    torch.set_float32_matmul_precision("high")
    device = pick_device(args.device)
    (train_vae if args.stage == "vae" else train_dit)(args, device)
    return 0


def _stream(args: argparse.Namespace, device: torch.device, seed: int, first: int = 0) -> LiveClips:
    return LiveClips(
        seed,
        args.render_batch,
        TASK.frames,
        TASK.fps,
        TASK.size,
        device,
        args.workers if seed == args.seed else 0,
        first,
    )


class _Clock:
    """How much of the run's time is left, counted from the first step that was not spent on compiling."""

    def __init__(self, minutes: float, decay_minutes: float) -> None:
        self.seconds, self.decay = 60.0 * minutes, 60.0 * decay_minutes
        self.started = time.monotonic()

    @property
    def left(self) -> float:
        return self.seconds - (time.monotonic() - self.started)

    @property
    def remaining_of_decay(self) -> float:
        """1 before the decay, then falling to 0."""
        return self.left / self.decay if self.decay else 1.0


def train_vae(args: argparse.Namespace, device: torch.device) -> None:
    """The autoencoder, on random pieces of fresh clips."""
    vae = WanVAE(TASK.vae)
    initialise_vae(vae, args.seed)
    vae = vae.to(device).channels_last()
    run = Run(vae, torch.optim.AdamW(vae.parameters(), lr=args.learning_rate, betas=(0.9, 0.99)))
    stream = _stream(args, device, args.seed)
    videos = _to_video(stream.take().frames)
    clock, losses = _Clock(args.minutes, args.decay_minutes), []
    with progress(1_000_000, "training the tiny VAE", unit="step") as bar:
        while clock.left > 0:
            rng = np.random.default_rng((args.seed, run.step))
            if run.step % args.render_every == 0 and run.step:
                videos = torch.cat((videos, _to_video(stream.take().frames)))[-8 * args.render_batch :]
            pieces = _pieces(videos, rng, args.batch_size, args.crop)
            rate = learning_rate_at(run.step * 10, clock.remaining_of_decay, args.learning_rate)
            generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
            loss = run.train_step(pieces, rate, generator, device.type == "cuda")
            losses.append(loss.clone())
            bar.update()
    stream.close()
    _finish_vae(args, run, torch.stack(losses).tolist())


def _to_video(frames: Tensor) -> Tensor:
    """[B, F, H, W, 3] uint8 -> [B, 3, F, H, W] in [-1, 1]."""
    return frames.movedim(-1, 1).float() / 127.5 - 1


def _pieces(videos: Tensor, rng: np.random.Generator, count: int, crop: int, frames: int = 17) -> Tensor:
    """Random pieces [count, 3, frames, crop, crop]; every tenth is followed by mid-grey, as an image condition is."""
    pieces = []
    for _ in range(count):
        room = (len(videos), videos.shape[2] - frames + 1, videos.shape[3] - crop + 1, videos.shape[4] - crop + 1)
        clip, start, top, left = (int(rng.integers(size)) for size in room)
        piece = videos[clip, :, start : start + frames, top : top + crop, left : left + crop]
        if rng.random() < 0.5:
            piece = piece.flip(-1)
        if rng.random() < 0.1:
            piece = torch.cat((piece[:, :1], torch.zeros_like(piece[:, 1:])), dim=1)
        pieces.append(piece)
    return torch.stack(pieces)


def _finish_vae(args: argparse.Namespace, run: Run, losses: list[float]) -> None:
    run.use_average()
    held_out = _to_video(_stream(args, run.average[0].device, HELD_OUT_SEED).take().frames)
    mean, std = latent_statistics(run.vae, list(held_out))
    fold_normalisation(run.vae, mean.to(held_out.device), std.to(held_out.device))
    measured = [psnr(run.vae, video) for video in held_out]
    quality = sum(value for value, _ in measured) / len(measured)
    strips = [_strip(video) for pair in zip(held_out[:3], (m[1] for m in measured[:3]), strict=True) for video in pair]
    folder = Path(args.output_dir)
    write_image(folder / "vae_reconstruction.png", np.concatenate(strips))
    metadata = {**_metadata(args, run.step), "psnr_held_out": f"{quality:.2f}"}
    write_tensors(folder / "vae.safetensors", _half(run.vae.state_dict()), metadata)
    _write_losses(folder / "vae_loss.csv", losses)
    log.info("vae: %d steps, PSNR of %d held-out clips %.2f dB", run.step, len(held_out), quality)


def _metadata(args: argparse.Namespace, steps: int) -> dict[str, str]:
    return {
        "task": "i2v-tiny",
        "base_task": "i2v-tiny",
        "trained": "yes",
        "trained_steps": str(steps),
        "seed": str(args.seed),
        "data": f"procedural world {WORLD_VERSION}",
    }


def _half(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor.bfloat16() for key, tensor in tensors.items()}


def _strip(video: Tensor) -> np.ndarray:
    """[3, F, H, W] in [-1, 1] to one row of frames."""
    picked = torch.linspace(0, video.shape[1] - 1, STRIP_FRAMES).round().long()
    return np.concatenate(list(to_frames(video[:, picked.to(video.device)].float())), axis=1)


def _write_losses(path: Path, losses: list[float]) -> None:
    lines = (f"{step},{loss:.6f}" for step, loss in enumerate(losses, start=1) if step % 20 == 0)
    path.write_text("step,loss\n" + "\n".join(lines) + "\n", encoding="utf-8")


def _encoders(folder: Path, device: torch.device) -> Encoders:
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    assert TASK.clip is not None
    return Encoders(
        vae=load_vae(folder / "vae.safetensors", TASK.vae, device=device, dtype=dtype),
        t5=load_t5(folder / "t5.safetensors", TASK.t5, device=device, dtype=dtype),
        clip=load_clip(folder / "clip.safetensors", TASK.clip, device=device, dtype=dtype),
    )


def _dit(args: argparse.Namespace, device: torch.device) -> WanModel:
    """The DiT with its adapter in float32, fresh or from the weights in the output folder; everything trains."""
    folder = Path(args.output_dir)
    if args.continue_weights:
        dit = load_dit(folder / "dit.safetensors", TASK.dit, device="cpu", dtype=torch.float32)
        adapter = load_adapter(folder / "camera_adapter.safetensors", TASK.dit, dtype=torch.float32)
    else:
        dit, adapter = WanModel(TASK.dit), CameraAdapter(TASK.adapter, TASK.dit.dim, TASK.dit.num_layers)
    dit.attach_adapter(adapter)
    if not args.continue_weights:
        initialise(dit, args.seed)
    return dit.to(device).requires_grad_(True).train()


def train_dit(args: argparse.Namespace, device: torch.device) -> None:
    """DiT and adapter together, on a ring of fresh clips."""
    encoders, dit = _encoders(Path(args.output_dir), device), _dit(args, device)
    run = DiTRun(dit, make_adamw(dit, args.learning_rate, device), TASK.flow_shift, args.seed)
    state = Path(args.state_dir) / "dit_state.pt"
    first = run.load(state) if state.exists() else 0
    if args.compile:
        for block in dit.blocks:
            block.compile()
    ring = ClipRing(encoders, _stream(args, device, args.seed, first), args.ring)
    for _ in progress(range(min(args.ring, 4 * args.batch_size) // args.render_batch), "first clips", unit="batch"):
        ring.refill()
    losses = _dit_loop(args, run, ring, state)
    ring.clips.close()
    run.save(state, ring.clips.next_clip)
    _finish_dit(args, run, encoders, losses)


def _dit_loop(args: argparse.Namespace, run: DiTRun, ring: ClipRing, state: Path) -> list[float]:
    begin = run.step
    clock, saved, losses = _Clock(args.minutes, args.decay_minutes), time.monotonic(), []
    with progress(1_000_000, "training the tiny DiT", unit="step") as bar:
        while run.step - begin < _FIRST_STEPS or clock.left > 0:
            if run.step % args.render_every == 0:
                ring.refill()
            generator = torch.Generator().manual_seed(hash((args.seed, run.step)) % 2**62)
            rate = learning_rate_at(run.step - begin, clock.remaining_of_decay, args.learning_rate)
            losses.append(run.train_step(ring.draw(args.batch_size, generator), generator, rate))
            bar.update()
            if run.step - begin == _FIRST_STEPS:
                clock = _Clock(args.minutes, args.decay_minutes)
            if run.step % 100 == 0:
                mean = float(torch.stack(losses[-100:]).mean())
                if not math.isfinite(mean):
                    raise ValueError(f"the loss is {mean} at step {run.step}; lower --learning_rate")
                bar.set_postfix_str(f"loss {mean:.4f}", refresh=False)
            if run.step % 2000 == 0:
                log.info("step %d: loss %.4f, clips %d", run.step, mean, ring.clips.next_clip)
            if time.monotonic() - saved > STATE_SECONDS:
                run.save(state, ring.clips.next_clip)
                saved = time.monotonic()
    return torch.stack(losses).tolist()


def _finish_dit(args: argparse.Namespace, run: DiTRun, encoders: Encoders, losses: list[float]) -> None:
    run.swap_average()
    folder, adapter = Path(args.output_dir), run.dit.adapter
    assert adapter is not None
    metadata = _metadata(args, run.step)
    weights = {key: value for key, value in run.dit.state_dict().items() if not key.startswith("adapter.")}
    write_tensors(folder / "dit.safetensors", _half(weights), metadata)
    save_adapter(folder / "camera_adapter.safetensors", adapter, metadata, torch.bfloat16)
    _write_losses(folder / "dit_loss.csv", losses)
    rendered = _stream(args, run.average[0].device, HELD_OUT_SEED).take()
    clips = encode_clips(encoders, rendered, rendered.scenes)
    _show(run.dit, encoders, clips, _to_video(rendered.frames), folder / "dit_samples.png")
    log.info("dit: %d steps, last 500 losses mean %.4f", run.step, sum(losses[-500:]) / max(1, len(losses[-500:])))


@torch.no_grad()
def _show(dit: WanModel, encoders: Encoders, clips: EncodedClips, truth: Tensor, path: Path) -> None:
    """For some held-out clips three rows: the truth, with the camera, without."""
    dit.eval()
    few = EncodedClips(**{name: tensor[:SHOWN] for name, tensor in vars(clips).items()})
    noise = torch.randn(few.latents.shape, generator=torch.Generator().manual_seed(0)).to(few.latents.device)
    solver = make_solver("unipc", 20, TASK.flow_shift)
    videos = [truth[:SHOWN]]
    for rays in (few.rays(), None):
        tokens = dit.prepare(few.context, few.clip_features, rays)
        latent = sample(dit, solver, noise, tokens, None, 1.0, few.condition, progress=False)
        videos.append(encoders.vae.decode(latent.to(next(encoders.vae.parameters()).dtype)))
        solver = make_solver("unipc", 20, TASK.flow_shift)
    rows = [_strip(video[index]) for index in range(len(few.latents)) for video in videos]
    write_image(path, np.concatenate(rows))


if __name__ == "__main__":
    sys.exit(cli.run(main))
