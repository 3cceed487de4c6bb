"""Encode the clips and images of a data set: latents and, for image-to-video, the first frame's condition."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from common import arguments, cli
from common.arguments import model_path
from common.logs import setup_logging
from wan.config import TRAINABLE_TASKS, WAN_CONFIGS

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from dataset.clips import DecodedClip
    from wan.clip import CLIPVision
    from wan.vae import WanVAE


def build_parser() -> argparse.ArgumentParser:
    """The options of this script; musubi-tuner's names and meanings, and `--task`."""
    parser = arguments.make_parser(__doc__ or "")
    arguments.add_task(parser, TRAINABLE_TASKS, default="i2v-14B", generated_only=WAN_CONFIGS)
    arguments.add_caching(parser)
    arguments.add_model_paths(parser, "vae", "clip")
    parser.add_argument("--vae_dtype", help="default: bfloat16 on a GPU, float32 on a CPU")
    arguments.add_device(parser)
    return parser


def encode_clips(
    clips: Sequence["DecodedClip"], vae: "WanVAE", clip: "CLIPVision | None", device: "torch.device"
) -> list[Mapping[str, "Tensor"]]:
    """The tensors of each clip's cache; all clips have one shape."""
    import numpy as np
    import torch

    from wan.conditioning import image_condition
    from wan.pixels import to_tensor

    with torch.no_grad():
        video = to_tensor(np.stack([decoded.frames for decoded in clips]), device)
        tensors = {"latents": vae.encode(video)}
        if clip is not None:
            first = video[:, :, 0]
            tensors["latents_image"] = image_condition(vae, first, video.shape[2])
            tensors["clip"] = clip.encode_image(first)
    kept = {
        name: tensor.to("cpu", torch.float16 if name == "clip" else torch.bfloat16) for name, tensor in tensors.items()
    }
    return [{name: tensor[i] for name, tensor in kept.items()} for i in range(len(clips))]


def main(argv: Sequence[str] | None = None) -> int:
    """Plan, load the encoders if there is work for them, encode, write, prune."""
    args = build_parser().parse_args(argv)
    setup_logging()
    arguments.check_ranges(args, batch_size=1, num_workers=1)
    import torch

    from common.precision import compute_dtype, dtype_name, pick_device
    from common.tensor_files import tensor_files
    from dataset.caching import plan_caching, run_caching
    from dataset.config import load_config
    from dataset.fingerprint import encoder_identity
    from dataset.kinds import LatentCaching
    from dataset.sources import load_items
    from wan.loading import load_clip, load_vae
    from wan.loading_encoders import open_clip, open_vae
    from wan.placing import find_weights

    task, device = WAN_CONFIGS[args.task], pick_device(args.device)
    if task.clip is None and args.clip:
        raise ValueError(f"--clip: {args.task} makes video from text alone; choose an i2v task or leave it out")
    files = {"vae": model_path(args.vae, task.weights.vae, "vae")}
    dtypes = {"vae": compute_dtype(args.vae_dtype, device, torch.bfloat16)}
    if task.clip is not None:
        files["clip"] = model_path(
            args.clip, task.weights.clip, "clip", "Text-to-video caches need none: --task t2v-14B."
        )
        dtypes["clip"] = compute_dtype(None, device, torch.float16)
    open_vae(files["vae"], task.vae)
    if task.clip is not None:
        open_clip(files["clip"], task.clip)
    encoders = {
        name: encoder_identity(tensor_files(find_weights(file, name)), dtype_name(dtypes[name]))
        for name, file in files.items()
    }
    tensors = ("latents", "latents_image", "clip") if task.clip else ("latents",)

    groups = load_items(load_config(args.dataset_config))
    kind = LatentCaching(tensors, encoders)
    plan = plan_caching(groups, kind, skip_existing=args.skip_existing, num_workers=args.num_workers)
    vae, clip = None, None
    if plan.todo:
        vae = load_vae(files["vae"], task.vae, device=device, dtype=dtypes["vae"])
        if task.clip is not None:
            clip = load_clip(files["clip"], task.clip, device=device, dtype=dtypes["clip"])

    def encode(clips: list["DecodedClip"]) -> list[Mapping[str, "Tensor"]]:
        assert vae is not None
        return encode_clips(clips, vae, clip, device)

    run_caching(plan, encode, batch_size=args.batch_size, keep_cache=args.keep_cache, num_workers=args.num_workers)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
