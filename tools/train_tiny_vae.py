"""Train the VAE of i2v-tiny from scratch on a folder of videos; minutes on a CPU, and better the longer.

Ctrl-C keeps a state file beside the output, and the same command goes on from it. An output that was trained for as
many steps before is kept. Beside the weights lies a picture: a held-out video above, its reconstruction below.
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

from common import arguments, cli  # noqa: E402
from common.logs import get_logger, setup_logging  # noqa: E402
from common.media import write_image  # noqa: E402
from common.precision import pick_device  # noqa: E402
from common.progress import progress  # noqa: E402
from common.weights import read_metadata, write_tensors  # noqa: E402
from tools.tiny_model.vae_clips import Clips, to_video  # noqa: E402
from tools.tiny_model.vae_training import Run, fold_normalisation, latent_statistics, psnr  # noqa: E402
from wan.config import WAN_CONFIGS  # noqa: E402
from wan.pixels import to_frames  # noqa: E402
from wan.vae import WanVAE  # noqa: E402
from wan.vae_initialise import initialise_vae  # noqa: E402

log = get_logger("tiny_vae")

SAVE_SECONDS = 60.0
STATISTICS_VIDEOS = 32
STRIP_FRAMES = 5


def build_parser() -> argparse.ArgumentParser:
    """The options of this tool."""
    parser = arguments.make_parser(__doc__ or "")
    add = parser.add_argument
    add("--videos", metavar="PATH", nargs="+", required=True, help="folders of videos; the first's last is held out")
    add("--output", metavar="PATH", default="weights/tiny/vae.safetensors", help="the weights; default: the task's")
    add("--steps", type=int, default=1500, help="optimizer steps")
    add("--minutes", type=float, help="end after this time at the latest; the learning rate follows")
    add("--seed", type=int, default=0, help="decides the first weights and every batch")
    add("--learning_rate", type=float, default=5e-4, help="highest learning rate; it falls to 0 as a cosine")
    add("--batch_size", type=int, default=4, help="pieces of video in a step")
    add("--crop", type=int, default=32, help="height and width of a piece in pixels, a multiple of 8")
    add("--frames", type=int, default=17, help="frames of a piece, 4n+1")
    add("--video_size", type=int, nargs=2, metavar=("H", "W"), default=[96, 160], help="videos are scaled to this")
    add("--mixed_precision", choices=("no", "bf16"), default="no", help="bf16 suits GPUs and recent server CPUs")
    add("--overwrite", action="store_true", help="start anew whatever is there")
    arguments.add_device(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Train, or go on training, and write the weights and the picture."""
    args = build_parser().parse_args(argv)
    setup_logging()
    _check(args)
    output = Path(args.output)
    state = output.with_name(f"{output.stem}_training_state.pt")
    if args.overwrite:
        state.unlink(missing_ok=True)
    elif output.exists() and not state.exists() and _trained_steps(output) >= args.steps:
        log.info("kept %s: it was trained for %d steps (--overwrite makes it anew)", output, _trained_steps(output))
        return 0
    clips = Clips(args.videos, (args.video_size[0], args.video_size[1]), args.frames)
    device = pick_device(args.device)
    vae = WanVAE(WAN_CONFIGS["i2v-tiny"].vae)
    initialise_vae(vae, args.seed)
    run = Run(
        vae.to(device).channels_last(), torch.optim.AdamW(vae.parameters(), lr=args.learning_rate, betas=(0.9, 0.99))
    )
    identity = {name: str(getattr(args, name)) for name in ("steps", "seed", "learning_rate", "batch_size", "crop")}
    if state.exists():
        run.load(state, identity)
        log.info("going on from step %d of %s", run.step, state)
    _train(run, clips, args, state, identity)
    _finish(run, clips, args, output)
    state.unlink(missing_ok=True)
    return 0


def _check(args: argparse.Namespace) -> None:
    height, width = args.video_size
    if args.crop < 8 or args.crop % 8 or args.crop > min(height, width) or height % 8 or width % 8:
        raise ValueError(
            f"--crop {args.crop}, --video_size {height} {width}: multiples of 8, and the crop no larger than a side"
        )
    if args.minutes is not None and not args.minutes > 0:
        raise ValueError(f"--minutes {args.minutes}: expected a number above 0")
    if args.seed < 0 or not 0 < args.learning_rate < math.inf:
        raise ValueError(f"--seed {args.seed} --learning_rate {args.learning_rate}: expected 0 or more, and above 0")
    if args.frames < 5 or args.frames % 4 != 1:
        raise ValueError(f"--frames {args.frames}: expected 4n+1, at least 5")
    if min(args.steps, args.batch_size) < 1:
        raise ValueError("--steps and --batch_size must be at least 1")


def _trained_steps(path: Path) -> int:
    return int(read_metadata(path).get("trained_steps", "0"))


def _train(run: Run, clips: Clips, args: argparse.Namespace, state: Path, identity: dict[str, str]) -> None:
    device = run.average[0].device
    started = saved = time.monotonic()
    before = run.elapsed
    bar = progress(args.steps, "training the tiny VAE", unit="step", initial=run.step)
    smooth = math.nan
    try:
        while (position := _position(run, args)) < 1.0:
            # everything random comes from seed and step, so that a resumed run is the same run
            rng = np.random.default_rng((args.seed, run.step))
            generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
            video = clips.batch(rng, args.batch_size, args.frames, args.crop).to(device)
            rate = args.learning_rate * 0.5 * (1.0 + math.cos(math.pi * position))
            loss = float(run.train_step(video, rate, generator, args.mixed_precision == "bf16"))
            if not math.isfinite(loss):
                raise ValueError(f"the loss is {loss} at step {run.step}; lower --learning_rate and pass --overwrite")
            smooth = loss if math.isnan(smooth) else 0.95 * smooth + 0.05 * loss
            now = time.monotonic()
            run.elapsed = before + now - started
            bar.set_postfix_str(f"loss {smooth:.3f}", refresh=False)
            bar.update()
            if now - saved > SAVE_SECONDS:
                run.save(state, identity)
                saved = now
    except KeyboardInterrupt:
        run.save(state, identity)
        log.info("stopped at step %d; the same command goes on from %s", run.step, state)
        raise
    finally:
        bar.close()


def _position(run: Run, args: argparse.Namespace) -> float:
    """How far the run is, from 0 to 1: by steps or by time, whichever is further."""
    by_time = run.elapsed / (60.0 * args.minutes) if args.minutes else 0.0
    return max(run.step / args.steps, by_time)


def _finish(run: Run, clips: Clips, args: argparse.Namespace, output: Path) -> None:
    device = run.average[0].device
    run.use_average()
    whole = [video[: (len(video) - 1) // 4 * 4 + 1] for video in clips.videos[:STATISTICS_VIDEOS]]
    mean, std = latent_statistics(run.vae, [to_video(video).to(device) for video in whole])
    fold_normalisation(run.vae, mean.to(device), std.to(device))
    held_out = to_video(clips.held_out[: (len(clips.held_out) - 1) // 4 * 4 + 1])
    quality, reconstruction = psnr(run.vae, held_out)
    picked = np.linspace(0, held_out.shape[1] - 1, STRIP_FRAMES).round().astype(int)
    rows = [np.concatenate(list(to_frames(video[:, picked])), axis=1) for video in (held_out, reconstruction)]
    picture = output.with_name(f"{output.stem}_reconstruction.png")
    write_image(picture, np.concatenate(rows, axis=0))
    metadata = {
        "task": "i2v-tiny",
        "trained": "yes",
        "trained_steps": str(args.steps),
        "steps_run": str(run.step),
        "seed": str(args.seed),
        "psnr_held_out": f"{quality:.2f}",
    }
    write_tensors(output, {key: value.bfloat16() for key, value in run.vae.state_dict().items()}, metadata)
    log.info("wrote %s: %d steps, %.0f s, PSNR of a held-out video %.1f dB", output, run.step, run.elapsed, quality)
    log.info("wrote %s: above the video, below its reconstruction", picture)


if __name__ == "__main__":
    sys.exit(cli.run(lambda: main()))
