"""Making the videos of a row: the same conditions as in training, the one denoising loop, the VAE."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from camera.track import CameraTrack
from common.files import require_file
from common.precision import compute_dtype
from sampling.denoise import CameraControl, sample
from sampling.solvers import make_solver
from tools.camera_evaluation.held_out import HeldOutClip
from tools.camera_evaluation.rows import Row
from tools.procedural_world.live import LiveBatch
from tools.tiny_model.dit_data import EncodedClips, Encoders, encode_clips
from wan.adapters.files import load_adapter
from wan.config import TaskConfig
from wan.loading import load_clip, load_dit, load_t5, load_vae
from wan.model import WanModel


@dataclass(frozen=True)
class Sampling:
    """How videos are sampled; the same for all rows."""

    steps: int
    solver: str
    seed: int
    """With a clip's number it decides the noise, which all rows share."""
    batch: int
    """Clips at once."""
    force_adapter: bool = False
    """Take adapters that look untrained."""


def load_encoders(folder: Path, task: TaskConfig, device: torch.device) -> Encoders:
    """The frozen networks beside the DiT, from a folder of the tiny model's weights.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file does not hold the task's network.
    """
    assert task.clip is not None
    dtype = compute_dtype(None, device, torch.bfloat16)
    hint = "Train the tiny model, or write fresh weights with tools/make_tiny_weights.py."
    paths = {
        name: require_file(folder / f"{name}.safetensors", f"--weights, its {name}", hint)
        for name in ("vae", "t5", "clip")
    }
    return Encoders(
        vae=load_vae(paths["vae"], task.vae, device=device, dtype=dtype).eval(),
        t5=load_t5(paths["t5"], task.t5, device=device, dtype=dtype).eval(),
        clip=load_clip(paths["clip"], task.clip, device=device, dtype=dtype).eval(),
    )


def load_model(row: Row, task: TaskConfig, device: torch.device, *, force: bool) -> WanModel:
    """The DiT of a row, with its adapter, if it has one, at the row's scale.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file does not hold the task's DiT, or its adapter, or one that looks untrained, without `force`.
    """
    dtype = compute_dtype(None, device, torch.bfloat16)
    dit = load_dit(require_file(row.dit, f"the DiT of row {row.name}"), task.dit, device=device, dtype=dtype)
    if row.adapter is not None:
        path = require_file(row.adapter, f"the adapter of row {row.name}")
        adapter = load_adapter(path, task.dit, device=device, dtype=dtype, force=force)
        adapter.camera_scale = row.camera_scale
        dit.attach_adapter(adapter)
    return dit.eval()


@torch.no_grad()
def make_videos(
    row: Row,
    clips: Sequence[HeldOutClip],
    commands: Sequence[CameraTrack],
    frames: Tensor,
    encoders: Encoders | None,
    task: TaskConfig,
    sampling: Sampling,
) -> Iterator[Tensor]:
    """Videos of a row, in batches [B, F, H, W, 3] uint8, on the device of the encoders where those are used.

    Args:
        row: what to make.
        clips: all clips, in order.
        commands: the track that each is given.
        frames: [N, F, H, W, 3] uint8, the rendered truth; a model sees the first of each.
        encoders, task: of the model; the rendered truth needs no encoders.
        sampling: settings.
    """
    if row.source == "truth":
        yield frames
        return
    assert encoders is not None
    device = next(encoders.vae.parameters()).device
    dit = load_model(row, task, device, force=sampling.force_adapter) if row.source == "model" else None
    for first in range(0, len(clips), sampling.batch):
        part = slice(first, first + sampling.batch)
        shown = frames[part].to(device)
        encoded = encode_clips(encoders, _batch(shown, commands[part]), [_text(clip, row) for clip in clips[part]])
        latents = encoded.latents
        if dit is not None:
            noise = _noise([clip.number for clip in clips[part]], latents, sampling.seed)
            latents = _sampled(dit, row, encoded, noise, task, sampling)
        video = encoders.vae.decode(latents.to(next(encoders.vae.parameters()).dtype))
        yield ((video.float() + 1) * 127.5).round().clamp(0, 255).byte().movedim(1, -1)


def _text(clip: HeldOutClip, row: Row) -> str:
    return f"{clip.text} ; Camera: {clip.camera_text}" if row.tags_in_text else clip.text


def _batch(frames: Tensor, commands: Sequence[CameraTrack]) -> LiveBatch:
    """Clips as the encoding of training takes them, with the cameras that the model is given."""
    c2w = torch.stack([track.c2w for track in commands]).to(frames.device, torch.float32)
    intrinsics = torch.stack([track.intrinsics for track in commands]).to(frames.device, torch.float32)
    return LiveBatch(frames, c2w, intrinsics, (), ())


def _noise(numbers: Sequence[int], like: Tensor, seed: int) -> Tensor:
    """Standard normal noise in float32, each clip's own, made on the CPU so that every machine has the same."""
    drawn = [
        torch.randn(like.shape[1:], generator=torch.Generator().manual_seed(seed * 1_000_003 + number))
        for number in numbers
    ]
    return torch.stack(drawn).to(like.device)


def _sampled(
    dit: WanModel, row: Row, clips: EncodedClips, noise: Tensor, task: TaskConfig, sampling: Sampling
) -> Tensor:
    """Latents of a batch, told of the camera where the row has an adapter."""
    solver = make_solver(sampling.solver, sampling.steps, task.flow_shift)
    told, control = dit.prepare(clips.context, clips.clip_features), None
    if dit.adapter is not None:
        untold, adapter = told, dit.adapter
        camera = clips.camera(adapter.config.ray_scale)
        told = dit.prepare(clips.context, clips.clip_features, camera)
        control = CameraControl(untold, None, adapter.sigma_window, row.guidance)
    return sample(dit, solver, noise, told, None, 1.0, clips.condition, progress=False, camera=control)
