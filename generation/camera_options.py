"""The camera's flags of a request, and what they say together. Imports nothing heavy until a request is read."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from common import arguments
from common.logs import get_logger

if TYPE_CHECKING:
    from generation.camera_source import CameraSource

log = get_logger("generate")

_UNSET = {"camera_guidance": 1.0, "camera_fit": "time", "camera_translation": 1.0, "pose_backend": "auto"}
_FITTING = ("camera_fit", "camera_translation")
_FINDING = ("pose_backend", "dust3r")


def add_camera(parser: argparse.ArgumentParser) -> None:
    """What the camera does, where it comes from, and the adapter that obeys it."""
    _add_source(parser.add_argument_group("camera"))
    _add_adapter(parser.add_argument_group("camera adapter"))


def _add_source(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--camera_file", metavar="PATH", help="take the camera from a trajectory file, not from tags in the prompt")
    add("--camera_video", metavar="PATH", help="take the camera that is found in a video or folder of images")
    add(
        "--camera_fit",
        choices=["time", "stretch"],
        default="time",
        help="time: a second of the file or video is one of the new video, after its end the camera stands; stretch: "
        "all of it, faster or slower, from the first to the last frame",
    )
    add(
        "--camera_translation",
        type=float,
        default=1.0,
        help="how far the camera of a file or video travels, times this; its turns stay",
    )
    arguments.add_pose_backend(group)
    arguments.add_lens(group, f"that of the file or video; with tags {arguments.DEFAULT_FOV_DEG:g} degrees")
    add("--no_camera", action="store_true", help="let camera tags reach the model as text only")


def _add_adapter(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--camera_adapter",
        metavar="PATH",
        help="camera adapter; default: LORA_camera.safetensors, one beside --dit, or the task's",
    )
    add("--camera_scale", type=float, default=1.0, help="strength of the adapter; 0 leaves it out")
    add(
        "--camera_sigma",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="noise levels, 0 to 1, at which the camera acts; default: those the adapter was made for",
    )
    add(
        "--camera_guidance",
        type=float,
        default=1.0,
        help="follow the camera more closely than trained (1.5); one more forward a step; 1: off",
    )
    add(
        "--camera_compat",
        choices=["train", "infer"],
        help="for a checkpoint of the OmniCam-Wan fork as --camera_adapter: its camera as in the fork's training "
        "(--camera_scale times 2), or as in its inference (off)",
    )
    add("--force_adapter", action="store_true", help="take a camera adapter that looks untrained or does not fit")


def choose_camera(args: argparse.Namespace) -> "CameraSource | None":
    """Where the camera comes from, with what the flags say of it; those without effect draw a warning.

    A clause `#trajectory {path}` is taken out of `args.prompt`: it says nothing to a text encoder.

    Raises:
        FileNotFoundError: the file or video, or the weights to find a camera with, are not there.
        ValueError: two places say the camera, an adapter has none to obey, or a flag is out of range.
    """

    from camera.captions import split_trajectory
    from generation.camera_source import choose_source

    chosen = choose_source(args.prompt, args.camera_file, args.camera_video, args.no_camera)
    args.prompt = split_trajectory(args.prompt)[0]
    if args.camera_adapter is not None and not args.no_camera and chosen is None:
        raise ValueError(
            "--camera_adapter is given, but the prompt has no camera: add it to the prompt ('... ; Camera: "
            "<starttime>0</starttime> ...'), give --camera_file or --camera_video, or pass --no_camera to leave the "
            "adapter out"
        )
    if chosen is None:
        reason = "--no_camera was given" if args.no_camera else "the prompt has no camera"
        flags = ("camera_adapter", "camera_sigma", "camera_guidance", "camera_compat", "intrinsics", "fov_deg")
        warn_of_unused(args, (*flags, *_FITTING, *_FINDING), reason)
        return None
    arguments.check_ranges(args, camera_translation=0)
    if args.camera_translation == 0:
        raise ValueError("--camera_translation 0: expected a number above 0")
    lens = arguments.lens_choice_of(args)
    if lens == "estimate" and args.image_path is None:
        raise ValueError("--intrinsics estimate: there is no --image_path whose lens could be found")
    translation = args.camera_translation
    source = replace(chosen, lens=lens, fit=args.camera_fit, translation=translation, image=args.image_path)
    if source.kind == "tags":
        warn_of_unused(args, _FITTING, "the camera comes from the prompt")
    if source.needs_estimator:
        arguments.dust3r_weights(args)
    else:
        warn_of_unused(args, _FINDING, "nothing is to be found in pictures")
    return source


def warn_of_unused(args: argparse.Namespace, flags: Sequence[str], reason: str) -> None:
    """Say which of these flags were given, though nothing asks for them."""
    for flag in flags:
        if getattr(args, flag) != _UNSET.get(flag):
            log.warning("--%s is not used: %s", flag, reason)
