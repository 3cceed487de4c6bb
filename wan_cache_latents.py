"""Encode the clips and images of a data set: latents and, for image-to-video, the first frame's condition."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from common import arguments, cli
from common.arguments import model_path
from common.logs import get_logger, setup_logging
from wan.config import TRAINABLE_TASKS, WAN_CONFIGS, TaskConfig

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from dataset.clips import DecodedClip

log = get_logger("cache")


def build_parser() -> argparse.ArgumentParser:
    """The options of this script; musubi-tuner's names and meanings, and `--task`."""
    parser = arguments.make_parser(__doc__ or "")
    arguments.add_task(parser, TRAINABLE_TASKS, default="i2v-14B", generated_only=WAN_CONFIGS)
    arguments.add_caching(parser)
    arguments.add_preview(parser)
    arguments.add_model_paths(parser, "vae", "clip")
    add = parser.add_argument
    add("--vae_dtype", help="default: bfloat16 on a GPU, float32 on a CPU")
    add("--vae_cache_cpu", action="store_true", help="keep what the VAE remembers between frames in the host's memory")
    add("--disable_cudnn_backend", action="store_true", help="convolve without cuDNN (for AMD)")
    add("--i2v", action="store_true", help="store the first frame's condition too; i2v tasks do so anyway")
    add(
        "--one_frame",
        action="store_true",
        help="refused: caches of musubi-tuner's one-frame training are not made here",
    )
    arguments.add_device(parser)
    return parser


def stack_clips(clips: list["DecodedClip"], device: "torch.device") -> tuple["Tensor", "Tensor | None"]:
    """The pictures of clips of one shape, and their controls where they have some, ready for the device."""
    from wan.pixels import stack_frames

    controls = [clip.control for clip in clips if clip.control is not None]
    frames = stack_frames([clip.frames for clip in clips], device)
    return frames, stack_frames(controls, device) if controls else None


def main(argv: Sequence[str] | None = None) -> int:
    """Plan, load the encoders if there is work for them, encode, write, prune."""
    args = build_parser().parse_args(argv)
    setup_logging()
    _check(args)
    if args.debug_mode is not None:
        return _show(args)
    import torch

    from common.precision import compute_dtype, dtype_name
    from common.ranks import device_of_rank, read_ranks
    from common.tensor_files import tensor_files
    from dataset.caching import plan_caching, run_caching
    from dataset.config import load_config
    from dataset.fingerprint import encoder_identity
    from dataset.kinds import LatentCaching
    from dataset.sources import load_items
    from wan.clip_latents import encode_pictures
    from wan.loading import load_clip, load_vae
    from wan.placing import find_weights

    ranks = read_ranks()
    task, device = WAN_CONFIGS[args.task], device_of_rank(args.device, ranks)
    files = _encoder_files(args, task)
    dtypes = {
        "vae": compute_dtype(args.vae_dtype, device, torch.bfloat16),
        "clip": compute_dtype(None, device, torch.float16),
    }
    encoders = {
        name: encoder_identity(tensor_files(find_weights(file, name)), dtype_name(dtypes[name]))
        for name, file in files.items()
    }
    image = args.i2v or task.clip is not None
    tensors = ("latents", *(["latents_image"] if image else []), *(["clip"] if task.clip else []))

    groups = load_items(load_config(args.dataset_config))
    plan = plan_caching(
        groups,
        LatentCaching(tensors, encoders, task.feature_widths),
        skip_existing=args.skip_existing,
        batch_size=args.batch_size,
        num_workers=args.num_workers,
        ranks=ranks,
    )
    encode, clip = None, None
    if plan.todo:
        torch.backends.cudnn.enabled = not args.disable_cudnn_backend
        vae = load_vae(files["vae"], task.vae, device=device, dtype=dtypes["vae"])
        encode = partial(vae.encode, halo_device="cpu" if args.vae_cache_cpu else None)
        if task.clip is not None:
            clip = load_clip(files["clip"], task.clip, device=device, dtype=dtypes["clip"])

    def encode_batch(clips: tuple["Tensor", "Tensor | None"]) -> Sequence[Mapping[str, "Tensor"]]:
        assert encode is not None
        return encode_pictures(clips, encode, clip, device, image=image)

    prepare = partial(stack_clips, device=device)
    run_caching(plan, encode_batch, prepare, pruning=arguments.pruning_of(args), num_workers=args.num_workers)
    return 0


def _show(args: argparse.Namespace) -> int:
    """Show the clips instead of encoding them; of several processes only the first does."""
    from common.ranks import read_ranks
    from dataset.config import load_config
    from dataset.preview import ascii_drawer, show_clips
    from dataset.sources import load_items

    if read_ranks().rank > 0:
        return 0
    draw = ascii_drawer(args.console_width, args.console_back) if args.debug_mode == "console" else None
    count = show_clips(load_items(load_config(args.dataset_config)), args.debug_mode, args.console_num_images, draw)
    log.info("%d clips shown; nothing was encoded", count)
    return 0


def _encoder_files(args: argparse.Namespace, task: TaskConfig) -> dict[str, Path]:
    """The weights of the task's encoders; they are opened, so that a wrong file is known before anything is planned."""
    from wan.loading_encoders import open_clip, open_vae

    files = {"vae": model_path(args.vae, task.weights.vae, "vae")}
    open_vae(files["vae"], task.vae)
    if task.clip is not None:
        hint = "Text-to-video caches need none: --task t2v-14B."
        files["clip"] = model_path(args.clip, task.weights.clip, "clip", hint)
        open_clip(files["clip"], task.clip)
    return files


def _check(args: argparse.Namespace) -> None:
    """Refuse flags that cannot be obeyed, and warn of those without effect."""
    arguments.check_ranges(args, batch_size=1, num_workers=1, console_width=1, console_num_images=1)
    if args.one_frame:
        raise ValueError(
            "--one_frame: musubi-tuner's one-frame training is not supported; leave the flag out to cache images and "
            "clips for the usual training, or cache with musubi-tuner"
        )
    if WAN_CONFIGS[args.task].clip is None and args.clip:
        raise ValueError(f"--clip: {args.task} makes video from text alone; choose an i2v task or leave it out")
    if args.debug_mode is None and args.console_num_images is not None:
        log.warning("--console_num_images has no effect without --debug_mode")
    if args.debug_mode != "console" and args.console_back is not None:
        log.warning("--console_back has no effect without --debug_mode console")


if __name__ == "__main__":
    sys.exit(cli.run(main))
