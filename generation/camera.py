"""The camera of a request: its trajectory, its adapter, and what the network is given of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from camera.language import has_camera, parse
from camera.legacy import legacy_poses
from camera.network_input import CameraInput, camera_input
from camera.track import CameraTrack
from camera.trajectory import compile as compile_moves
from common.logs import get_logger
from common.tensor_headers import read_header
from generation.pictures import Pictures
from wan.adapters.files import is_fork_file, load_adapter
from wan.adapters.interface import CameraAdapter
from wan.config import DiTConfig, ForkConfig

log = get_logger("generate")

CompatMode = Literal["train", "infer"]
COMPAT_SCALES: dict[str, float] = {"train": 2.0, "infer": 0.0}
"""`camera_scale` by which a file of the fork acts as it did in the fork's training and in its inference."""


def compile_track(
    prompt: str, pictures: Pictures, fps: float, lens: Sequence[float] | Float[Tensor, "4"]
) -> CameraTrack:
    """The camera of every frame, from the tags in a prompt.

    Args:
        prompt: with a camera in it.
        pictures: their sizes and the number of frames.
        fps: frames per second of the video.
        lens: of the source picture, normalised (fx/W, fy/H, cx/W, cy/H).

    Raises:
        ValueError: the tags are wrong.
    """
    moves, seconds = parse(prompt), pictures.frames / fps
    late = sum(move.start >= seconds for move in moves)
    if late:
        log.warning("%d of %d camera moves begin after the video's end at %.2f s", late, len(moves), seconds)
    size = (pictures.height, pictures.width)
    return compile_moves(moves, pictures.frames, fps, lens).cropped(pictures.source_size, size)


def check_sigma_window(window: Sequence[float] | None) -> None:
    """Check what `--camera_sigma` says.

    Raises:
        ValueError: not a window of noise levels.
    """
    if window is not None and not 0 <= window[0] < window[1] <= 1:
        raise ValueError(f"--camera_sigma {window[0]:g} {window[1]:g}: expected 0 <= LOW < HIGH <= 1")


def scale_of(path: Path, scale: float, compat: CompatMode | None) -> float:
    """`camera_scale` of an adapter's file.

    Args:
        path: the file.
        scale: of the user.
        compat: how a file of the fork is to act; it has no right answer, so the user has to say it.

    Raises:
        ValueError: a file of the fork without `compat`, or `compat` for another file.
    """
    of_fork = is_fork_file(read_header(path))
    if of_fork and compat is None:
        raise ValueError(
            f"{path} is a checkpoint of the OmniCam-Wan fork, whose camera acted twice in its training and not at all "
            "in its inference: say --camera_compat train or --camera_compat infer"
        )
    if compat is None:
        return scale
    if not of_fork:
        raise ValueError(f"--camera_compat is for checkpoints of the OmniCam-Wan fork; {path} is none. Leave it out")
    return scale * COMPAT_SCALES[compat]


def load_scaled_adapter(
    path: Path,
    dit_config: DiTConfig,
    scale: float,
    sigma_window: tuple[float, float] | None,
    *,
    device: torch.device,
    dtype: torch.dtype,
    force: bool,
) -> CameraAdapter:
    """The adapter of a file, ready to be attached.

    Args:
        path: the file.
        dit_config: of the DiT it is for.
        scale: its `camera_scale`.
        sigma_window: noise levels at which it acts; None: those of its configuration.
        device, dtype: of its tensors.
        force: take it though it looks untrained or does not fit; see `wan.adapters.files.load_adapter`.
    """
    adapter = load_adapter(path, dit_config, device=device, dtype=dtype, force=force)
    adapter.camera_scale = scale
    if sigma_window is not None:
        adapter.sigma_window = sigma_window
    window = "sigma {:g} to {:g}".format(*adapter.sigma_window)
    log.info("camera adapter: %s (%s), times %g, at %s", path, adapter.config.design, scale, window)
    return adapter


def network_camera(track: CameraTrack, prompt: str, adapter: CameraAdapter, pictures: Pictures) -> CameraInput:
    """What the adapter is given of a trajectory: a batch of one, on the grids of the video's latent.

    Raises:
        ValueError: the adapter was made with the fork's geometry, and its planner cannot make this trajectory.
    """
    config, poses = adapter.config, track.c2w
    legacy = isinstance(config, ForkConfig) and config.geometry == "omnicam_legacy"
    if legacy:
        if not has_camera(prompt):
            raise ValueError(
                "the camera adapter was trained on the geometry of the OmniCam-Wan fork, which only tags in the prompt "
                "can be planned in: write the camera as tags, or give another --camera_adapter"
            )
        log.warning("the adapter was trained on the fork's geometry, so its camera does not do what the words say")
        poses = legacy_poses(parse(prompt), pictures.frames)
    height, width = pictures.height // 8, pictures.width // 8
    return camera_input(poses[None], track.intrinsics[None], height, width, config.ray_scale, rebase=not legacy)
