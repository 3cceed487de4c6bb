"""The camera's flags of a request. Imports nothing heavy, since `--help` does."""

import argparse

from common import arguments


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
