"""Videos of a model that is still being trained, through the one sampler of generation.

Everything that does not change while training, texts, pictures and cameras, is read and encoded before the DiT is
loaded, and kept on the CPU. Frames per second and flow shift are those of generation (musubi-tuner's Wan previews run
at 24 and 14.5, and mislead).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from camera.beside import clip_video
from camera.plot import plot_trajectory
from camera.track import CameraTrack
from common.logs import get_logger
from common.media import write_image, write_video
from common.precision import compute_dtype
from generation.camera import network_camera
from generation.camera_source import choose_source, make_track
from generation.encode import encode_condition, encode_images, encode_prompts, needs_clip
from generation.pictures import PicturePaths, Pictures, read_pictures
from generation.prompt_file import PromptRequest, read_prompts
from networks.network import Network
from sampling.denoise import CameraControl, sample
from sampling.solvers import Solver, make_solver
from training.order import derived_seed
from wan.config import TaskConfig
from wan.loading import load_vae
from wan.model import WanModel
from wan.pixels import to_frames

log = get_logger("training")

FPS = 16
FOLDER = "sample"
_SHOWN = 80


@dataclass(frozen=True)
class PreviewFiles:
    """The files of weights that previews need beside the DiT."""

    vae: Path
    t5: Path
    tokenizer: Path
    clip: Path | None
    """None where the task has no image encoder, or no prompt has an image."""
    vae_dtype: str | None = None
    fp8_t5: bool = False


@dataclass(frozen=True)
class PlannedPreview:
    """One request, checked and read."""

    request: PromptRequest
    text: str
    """The prompt that the text encoder reads."""
    pictures: Pictures
    track: CameraTrack | None
    flow_shift: float
    guidance_scale: float
    negative_prompt: str
    seed: int

    def solver(self) -> Solver:
        """A fresh solver."""
        return make_solver("unipc", self.request.steps, self.flow_shift)


@dataclass(frozen=True)
class _Encoded:
    context: list[Tensor]
    """Tokens of the prompt and of the negative prompt."""
    clip_features: Tensor | None
    condition: Tensor | None


def plan_previews(path: str | Path, name: str, task: TaskConfig, with_camera: bool, seed: int) -> list[PlannedPreview]:
    """Read and check a file of prompts, its pictures and its cameras, before anything slow is done.

    Args:
        path: the file; see `generation.prompt_file`.
        name: of the task.
        task: whose DiT is trained.
        with_camera: whether it has a camera adapter; without, tags are left to the text encoder.
        seed: for prompts that state none.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a prompt does not fit the task, its camera is wrong or would have to be found in a video; names
            the line.
    """
    planned = []
    for number, request in enumerate(read_prompts(path)):
        try:
            planned.append(_plan(request, name, task, with_camera, derived_seed(seed, number)))
        except ValueError as error:
            raise ValueError(f"{request.where}: {error}") from None
    return planned


def _plan(request: PromptRequest, name: str, task: TaskConfig, with_camera: bool, seed: int) -> PlannedPreview:
    source = choose_source(request.prompt, request.camera_file, None, no_camera=False) if with_camera else None
    # a single frame, musubi-tuner's default, shows no camera
    frames = request.frames if request.frames is not None else 1 if source is None else task.frames
    paths = PicturePaths(request.image, request.end_image, request.control)
    pictures = read_pictures(name, task, paths, (request.height, request.width), frames, FPS)
    track = None if source is None else make_track(source, pictures, FPS)
    shift = task.flow_shift_for(request.height, request.width) if request.flow_shift is None else request.flow_shift
    planned = PlannedPreview(
        request=request,
        text=request.prompt if source is None else source.prompt,
        pictures=pictures,
        track=track,
        flow_shift=shift,
        guidance_scale=task.guidance_scale if request.guidance_scale is None else request.guidance_scale,
        negative_prompt=task.negative_prompt if request.negative_prompt is None else request.negative_prompt,
        seed=seed if request.seed is None else request.seed,
    )
    planned.solver()
    return planned


def wants_clip(planned: list[PlannedPreview], task: TaskConfig) -> bool:
    """Whether any preview needs the image encoder."""
    return any(needs_clip(task, item.pictures) for item in planned)


class Previews:
    """Makes the videos of a run.

    Args:
        planned: of `plan_previews`; encoded here, by each encoder in turn.
        files: of the encoders and the VAE, which is loaded again for each round.
        task: whose DiT is trained.
        device: where they run.
        output_dir: the videos lie in its folder `sample`.
        output_name: first part of their names.
    """

    def __init__(
        self,
        planned: list[PlannedPreview],
        files: PreviewFiles,
        task: TaskConfig,
        device: torch.device,
        output_dir: str | Path,
        output_name: str,
    ) -> None:
        self.planned, self.task, self.files, self.device = planned, task, files, device
        self.folder, self.output_name = Path(output_dir) / FOLDER, output_name
        self.encoded = _encode(planned, task, files, device)

    def make(
        self, dit: WanModel, network: Network | None, accelerator: Accelerator, label: str, step: int
    ) -> list[Path]:
        """Make every video; the processes share them, and no one waits for another.

        Args:
            dit: with LoRA and adapter in place; in training mode again afterwards.
            network: its LoRA.
            accelerator: knows the processes and the precision.
            label: e000001 after an epoch, 000100 after a step.
            step: for the trackers.

        Returns:
            the files that this process made.
        """
        mine = range(accelerator.process_index, len(self.planned), accelerator.num_processes)
        modules = [dit] if network is None else [dit, network]
        for module in modules:
            module.eval()
        with torch.no_grad():
            latents = {index: self._latent(dit, accelerator, index) for index in mine}
        for module in modules:
            module.train()
        if not latents:
            return []
        vae = load_vae(self.files.vae, self.task.vae, device=self.device, dtype=_vae_dtype(self.files, self.device))
        made = []
        for index, latent in latents.items():
            with torch.no_grad():
                frames = to_frames(vae.decode(latent)[0])
            made += self._write(index, label, frames)
        log.info("step %d: previews %s", step, ", ".join(map(str, made)))
        return made

    def _latent(self, dit: WanModel, accelerator: Accelerator, index: int) -> Tensor:
        planned, encoded, pictures = self.planned[index], self.encoded[index], self.planned[index].pictures
        context = [tokens.to(self.device) for tokens in encoded.context]
        features, condition = _to(encoded.clip_features, self.device), _to(encoded.condition, self.device)
        camera = control = None
        if dit.adapter is not None and planned.track is not None:
            camera = network_camera(planned.track, planned.request.prompt, dit.adapter, pictures)
        generator = torch.Generator().manual_seed(planned.seed)
        shape = (1, self.task.vae.z_dim, (pictures.frames - 1) // 4 + 1, pictures.height // 8, pictures.width // 8)
        noise = torch.randn(shape, generator=generator).to(self.device)
        guided = planned.guidance_scale != 1
        with accelerator.autocast():
            cond = dit.prepare(context[:1], features, camera, cache_kv=True)
            uncond = dit.prepare(context[1:], features, cond.camera, cache_kv=True) if guided else None
            if dit.adapter is not None:
                without = None if uncond is None else uncond.without_camera()
                control = CameraControl(cond.without_camera(), without, dit.adapter.sigma_window)
            guidance = planned.guidance_scale
            return sample(dit, planned.solver(), noise, cond, uncond, guidance, condition, camera=control)

    def _write(self, index: int, label: str, frames: np.ndarray) -> list[Path]:
        """The video, or the image where it has one frame; and with a camera, that drawn beside it and plotted."""
        track = self.planned[index].track
        stem = self.folder / f"{self.output_name}_{label}_{index:02d}"
        if len(frames) == 1:
            write_image(f"{stem}.png", frames[0])
            return [Path(f"{stem}.png")]
        write_video(f"{stem}.mp4", frames, FPS)
        made = [Path(f"{stem}.mp4")]
        if track is not None:
            title = self.planned[index].text[:_SHOWN]
            write_video(f"{stem}_camera.mp4", clip_video(frames, track, title), FPS)
            plot_trajectory(track, f"{stem}_camera.png", title=title)
            made += [Path(f"{stem}_camera.mp4"), Path(f"{stem}_camera.png")]
        return made


def _encode(
    planned: list[PlannedPreview], task: TaskConfig, files: PreviewFiles, device: torch.device
) -> list[_Encoded]:
    log.info("encoding the prompts of %d preview(s)", len(planned))
    prompts = [text for item in planned for text in (item.text, item.negative_prompt)]
    contexts = encode_prompts(prompts, task.t5, files.t5, files.tokenizer, device, fp8=files.fp8_t5)
    contexts = [context.cpu() for context in contexts]
    features: list[Tensor | None] = [None] * len(planned)
    conditions: list[Tensor | None] = [None] * len(planned)
    if task.dit.condition_channels:
        clip = files.clip if files.clip is not None else ""
        features = [_cpu(encode_images(task, item.pictures, clip, device)) for item in planned]
        vae = load_vae(files.vae, task.vae, device=device, dtype=_vae_dtype(files, device))
        conditions = [_cpu(encode_condition(vae, task, item.pictures, device)) for item in planned]
    return [
        _Encoded(contexts[2 * index : 2 * index + 2], features[index], conditions[index])
        for index in range(len(planned))
    ]


def _vae_dtype(files: PreviewFiles, device: torch.device) -> torch.dtype:
    return compute_dtype(files.vae_dtype, device, torch.bfloat16)


def _to(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    return None if tensor is None else tensor.to(device)


def _cpu(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.cpu()
