"""Make one video from a prompt, an image and a camera move."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from common import arguments, cli
from common.arguments import model_path, tokenizer_path
from common.files import require_file, require_writable
from common.logs import get_logger, setup_logging
from generation.camera_options import add_camera, choose_camera, warn_of_unused
from wan.config import WAN_CONFIGS, TaskConfig

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from camera.track import CameraTrack
    from generation.camera_source import CameraSource
    from generation.pictures import Pictures
    from sampling.solvers import Solver
    from wan.model import WanModel
    from wan.vae import WanVAE

log = get_logger("generate")


def build_parser() -> argparse.ArgumentParser:
    """The options of this script; musubi-tuner's names and meanings, and our camera."""
    parser = arguments.make_parser(__doc__ or "")
    arguments.add_task(parser, WAN_CONFIGS, default="t2v-14B")
    _add_what(parser.add_argument_group("what to make"))
    add_camera(parser)
    _add_weights(parser)
    _add_sampling(parser.add_argument_group("sampling"))
    return parser


def _add_what(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--prompt", required=True, help="the scene, and after `Camera:` the camera move in tags")
    add("--negative_prompt", help="default: Wan's own")
    add("--image_path", metavar="PATH", help="the first frame; i2v and flf2v tasks need it, t2v-*-FC tasks may have it")
    add("--end_image_path", metavar="PATH",
        help="the last frame (flf2v-14B needs it); with i2v tasks, which were not trained for it, an end image that "
        "makes the video 4 frames longer")  # fmt: skip
    add("--control_path", metavar="PATH", help="a control video, or a folder of images; Fun-Control tasks need it")
    add("--video_size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), default=[256, 256],
        help="height and width; with an image their product is the area, and the image gives the shape")  # fmt: skip
    add("--video_length", type=int, help="frames, 4n+1; default: the task's")
    add("--fps", type=int, default=16, help="frames per second of the file, and of the camera's seconds")
    add("--save_path", metavar="PATH", required=True, help="a directory, or a file name that ends in .mp4")
    add("--output_type", choices=["video", "images", "latent", "both"], default="video",
        help="video, numbered PNG files, latents, or video and latents")  # fmt: skip


def _add_weights(parser: argparse.ArgumentParser) -> None:
    arguments.add_model_paths(parser, "dit", "vae", "t5", "clip")
    arguments.add_tokenizer(parser)
    arguments.add_device(parser)
    parser.add_argument("--vae_dtype", help="default: bfloat16 on a GPU, float32 on a CPU")
    parser.add_argument("--fp8", action="store_true", help="keep the DiT's linear layers in fp8, as they are")
    parser.add_argument(
        "--fp8_scaled",
        action="store_true",
        help="the same with a scale per row, made from the whole weights: more exact",
    )
    parser.add_argument(
        "--fp8_fast", action="store_true", help="multiply fp8 weights in 8 bits (newer GPUs): faster, less exact"
    )
    arguments.add_fp8_t5(parser)
    parser.add_argument("--lora_weight", nargs="*", metavar="PATH", default=[], help="LoRA files, merged into the DiT")
    parser.add_argument("--lora_multiplier", nargs="*", type=float, default=[], help="one per LoRA; missing ones are 1")
    parser.add_argument("--attn_mode", choices=["torch", "sdpa"], default="torch", help="attention kernel")


def _add_sampling(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--sample_solver", choices=["unipc", "dpm++", "vanilla"], default="unipc", help="vanilla is Euler")
    add("--infer_steps", type=int, help="default: the task's")
    add("--flow_shift", type=float, help="default: the task's")
    add("--guidance_scale", type=float, help="classifier-free guidance; 1 switches it off; default: the task's")
    add("--seed", type=int, help="default: a random one, printed")


@dataclass
class Job:
    """One request, checked as far as it can be before a network is loaded."""

    args: argparse.Namespace
    task: TaskConfig
    video: Path
    pictures: "Pictures"
    camera: "CameraSource | None"
    track: "CameraTrack | None"
    """Of the camera; None too where it is still to be found in pictures."""
    adapter: Path | None
    camera_scale: float
    solver: "Solver"
    negative_prompt: str
    guidance_scale: float
    seed: int
    device: "torch.device"


def plan(args: argparse.Namespace) -> Job:
    """Check the whole request and compile its camera, before anything slow is done."""
    from common.precision import pick_device
    from generation.camera import check_sigma_window, scale_of
    from generation.camera_source import make_track
    from generation.encode import needs_clip
    from generation.pictures import PicturePaths, read_pictures
    from generation.weights import check_weights, find_adapter
    from wan.fp8 import check_fast_fp8
    from wan.tokenizer import find_tokenizer

    task, device = WAN_CONFIGS[args.task], pick_device(args.device)
    if args.fp8_fast:
        check_fast_fp8(device)
        if not (args.fp8 or args.fp8_scaled):
            raise ValueError("--fp8_fast needs fp8 weights: add --fp8 or --fp8_scaled")
    arguments.check_ranges(
        args, guidance_scale=None, camera_scale=None, camera_guidance=None, lora_multiplier=None, fps=1, seed=0
    )
    check_sigma_window(args.camera_sigma)
    paths = PicturePaths(args.image_path, args.end_image_path, args.control_path)
    size = (args.video_size[0], args.video_size[1])
    pictures = read_pictures(args.task, task, paths, size, args.video_length, args.fps)
    camera = choose_camera(args)
    track = None if camera is None or camera.needs_estimator else make_track(camera, pictures, args.fps)
    seed = args.seed if args.seed is not None else int.from_bytes(os.urandom(4), "little")
    names = [name for name in ("dit", "vae", "t5", "clip") if name != "clip" or needs_clip(task, pictures)]
    files = {name: model_path(getattr(args, name), getattr(task.weights, name), name) for name in names}
    vars(args).update(files)
    args.tokenizer = find_tokenizer(
        args.t5, tokenizer_path(args.tokenizer, task.weights.tokenizer), args.allow_download
    )
    for lora in args.lora_weight:
        require_file(arguments.named(lora, "--lora_weight"), "the LoRA", "Check --lora_weight.")
    if len(args.lora_multiplier) > len(args.lora_weight):
        raise ValueError(f"{len(args.lora_multiplier)} --lora_multiplier for {len(args.lora_weight)} --lora_weight")
    wanted = camera is not None and args.camera_scale
    adapter = find_adapter(args.camera_adapter, args.lora_weight, args.dit, task) if wanted else None
    scale = args.camera_scale if adapter is None else scale_of(adapter, args.camera_scale, args.camera_compat)
    if camera is not None and not scale:
        warn_of_unused(args, ("camera_sigma", "camera_guidance"), "the camera is off")
    video = video_path(args.save_path, seed, args.output_type == "images")
    fp8 = arguments.fp8_mode(args.fp8, args.fp8_scaled)
    check_weights(task, files, fp8, args.lora_weight, adapter, args.force_adapter)
    return Job(
        args=args,
        task=task,
        video=video,
        pictures=pictures,
        camera=camera,
        track=track,
        adapter=adapter if scale else None,
        camera_scale=scale,
        solver=_choose_solver(args, task),
        negative_prompt=task.negative_prompt if args.negative_prompt is None else args.negative_prompt,
        guidance_scale=task.guidance_scale if args.guidance_scale is None else args.guidance_scale,
        seed=seed,
        device=device,
    )


def _choose_solver(args: argparse.Namespace, task: TaskConfig) -> "Solver":
    from sampling.solvers import make_solver

    steps = task.steps if args.infer_steps is None else args.infer_steps
    shift = task.flow_shift_for(*args.video_size) if args.flow_shift is None else args.flow_shift
    log.info("%s, %d steps, flow shift %g", args.sample_solver, steps, shift)
    return make_solver(args.sample_solver, steps, shift)


def find_camera(job: Job) -> None:
    """Find in pictures what the camera still lacks."""
    from Dust3rP.estimators import open_estimators
    from generation.camera_source import make_track

    if job.camera is None or job.track is not None:
        return
    estimators = open_estimators(job.args.pose_backend, arguments.dust3r_weights(job.args), job.device)
    job.track = make_track(job.camera, job.pictures, job.args.fps, estimators)


def encode(job: Job) -> tuple["list[Tensor]", "Tensor | None", "Tensor | None"]:
    """Text tokens of the prompt and of the negative prompt; CLIP features and condition of the pictures."""
    from generation.encode import encode_condition, encode_images, encode_prompts

    args, task, pictures = job.args, job.task, job.pictures
    log.info("encoding the prompt")
    prompts = [args.prompt, job.negative_prompt]
    context = encode_prompts(prompts, task.t5, args.t5, args.tokenizer, job.device, fp8=args.fp8_t5)
    if not task.dit.condition_channels:
        return context, None, None
    log.info("encoding the pictures at %d x %d (height x width)", pictures.height, pictures.width)
    features = encode_images(task, pictures, args.clip, job.device)
    return context, features, encode_condition(_load_vae(job), task, pictures, job.device)


def _load_vae(job: Job) -> "WanVAE":
    import torch

    from common.precision import compute_dtype
    from wan.loading import load_vae

    dtype = compute_dtype(job.args.vae_dtype, job.device, torch.bfloat16)
    return load_vae(job.args.vae, job.task.vae, device=job.device, dtype=dtype)


def load_network(job: Job) -> "WanModel":
    """The DiT with its LoRAs merged and, where a camera was asked for, its adapter."""
    import torch

    from common.precision import compute_dtype
    from generation.camera import load_scaled_adapter
    from networks.merging import merge_while_loading
    from wan.fp8 import use_fast_fp8
    from wan.keys import dit_to_diffusers
    from wan.loading import load_dit

    args, dtype = job.args, compute_dtype(None, job.device, torch.bfloat16)
    log.info("loading the DiT from %s", args.dit)
    multipliers = args.lora_multiplier + [1.0] * (len(args.lora_weight) - len(args.lora_multiplier))
    loras = list(zip(args.lora_weight, multipliers, strict=True))
    dit = load_dit(
        args.dit,
        job.task.dit,
        device=job.device,
        dtype=dtype,
        attn_mode=args.attn_mode,
        fp8=arguments.fp8_mode(args.fp8, args.fp8_scaled),
        merge=merge_while_loading(loras, dit_to_diffusers) if loras else None,
    )
    if args.fp8_fast:
        log.info("%d layers multiply in 8 bits", use_fast_fp8(dit, job.device))
    if job.adapter is not None:
        window = None if args.camera_sigma is None else (args.camera_sigma[0], args.camera_sigma[1])
        placed = {"device": job.device, "dtype": dtype, "force": args.force_adapter}
        dit.attach_adapter(load_scaled_adapter(job.adapter, job.task.dit, job.camera_scale, window, **placed))
    return dit


def sample_latent(
    job: Job, context: "list[Tensor]", clip_features: "Tensor | None", condition: "Tensor | None"
) -> "Tensor":
    """Denoise: everything that does not change from step to step is prepared once, then the loop runs."""
    import torch

    from generation.camera import network_camera
    from sampling.denoise import CameraControl, sample

    dit, guidance, control = load_network(job), job.guidance_scale, None
    camera = None
    if dit.adapter is not None and job.track is not None:
        camera = network_camera(job.track, job.args.prompt, dit.adapter, job.pictures)
    with torch.no_grad():
        cond = dit.prepare(context[:1], clip_features, camera, cache_kv=True)
        uncond = dit.prepare(context[1:], clip_features, cond.camera, cache_kv=True) if guidance != 1 else None
    if dit.adapter is not None:
        without = cond.without_camera(), None if uncond is None else uncond.without_camera()
        control = CameraControl(*without, dit.adapter.sigma_window, job.args.camera_guidance)
    generator = torch.Generator(job.device).manual_seed(job.seed)
    pictures = job.pictures
    shape = (1, job.task.vae.z_dim, (pictures.frames - 1) // 4 + 1, pictures.height // 8, pictures.width // 8)
    noise = torch.randn(shape, generator=generator, device=job.device)
    log.info("seed %d, guidance %g", job.seed, guidance)
    latent = sample(dit, job.solver, noise, cond, uncond, guidance, condition, camera=control)
    if not latent.isfinite().all():
        raise ValueError(
            "the latent is no longer a finite number; lower --guidance_scale, --camera_scale or --lora_multiplier, or "
            "look whether a LoRA or the camera adapter is damaged"
        )
    return latent


def save(job: Job, latent: "Tensor") -> None:
    """Write what was asked for, and beside it the contact sheet and the plot of the trajectory."""
    import torch

    from camera.plot import plot_trajectory
    from common.media import contact_sheet, write_image, write_video
    from common.weights import write_tensors
    from wan.pixels import to_frames

    stem, kind = job.video.with_suffix(""), job.args.output_type
    if kind in ("latent", "both"):
        write_tensors(f"{stem}_latent.safetensors", {"latent": latent[0]}, describe(job))
        log.info("latent: %s_latent.safetensors", stem)
    if job.track is not None:
        plot_trajectory(job.track, f"{stem}_camera.png", title=job.video.stem)
        log.info("trajectory: %s_camera.png", stem)
    if kind == "latent":
        return
    with torch.no_grad():
        frames = to_frames(_load_vae(job).decode(latent)[0])
    if kind == "images":
        for index, frame in enumerate(frames):
            write_image(f"{stem}/{index:04d}.png", frame)
        log.info("images: %s/", stem)
    else:
        write_video(job.video, frames, job.args.fps)
        log.info("video: %s (%d frames of %d x %d at %d fps)", job.video, *frames.shape[:3], job.args.fps)
    write_image(f"{stem}_sheet.png", contact_sheet(frames, columns=4, count=8))
    log.info("contact sheet: %s_sheet.png", stem)


def describe(job: Job) -> dict[str, str]:
    """The request in words, for the metadata of the latent file; keys as musubi-tuner writes them."""
    args = job.args
    said = {
        "seeds": job.seed,
        "prompt": args.prompt,
        "negative_prompt": job.negative_prompt,
        "height": job.pictures.height,
        "width": job.pictures.width,
        "video_length": job.pictures.frames,
        "infer_steps": len(job.solver.timesteps),
        "guidance_scale": job.guidance_scale,
    }
    return {key: str(value) for key, value in said.items()}


def video_path(save_path: str, seed: int, as_images: bool) -> Path:
    """The video's file: `save_path` itself if it ends in .mp4, else a new name in that directory.

    Raises:
        ValueError, PermissionError: what would only fail when everything is computed.
    """
    from common.media import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS

    path = Path(arguments.named(save_path, "--save_path"))
    is_file = path.suffix.lower() == ".mp4"
    if not is_file and path.suffix.lower() in (*VIDEO_EXTENSIONS, *IMAGE_EXTENSIONS) and not path.is_dir():
        raise ValueError(f"--save_path {path}: expected a directory, or a file name that ends in .mp4")
    if is_file and path.is_dir():
        raise ValueError(f"--save_path {path}: is a directory; give another file name")
    require_writable(path.parent if is_file else path, "--save_path")
    if any(path.with_suffix("").glob("[0-9]*.png")) and is_file and as_images:
        raise ValueError(f"--save_path {path}: {path.with_suffix('')} holds images already; give another name")
    log.info("--save_path is a %s: %s", "file name" if is_file else "directory", path)
    return path if is_file else path / f"{datetime.now():%Y%m%d-%H%M%S}_{seed}.mp4"


def main(argv: Sequence[str] | None = None) -> int:
    """Check, find the camera if it is to be found, encode, denoise, decode, save."""
    args = build_parser().parse_args(argv)
    setup_logging()
    job = plan(args)
    find_camera(job)
    context, clip_features, condition = encode(job)
    latent = sample_latent(job, context, clip_features, condition)
    save(job, latent)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
