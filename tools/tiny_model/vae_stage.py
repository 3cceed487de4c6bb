"""Stage `vae` of the tiny model's training: the autoencoder, on random pieces of fresh clips."""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.logs import get_logger
from common.media import write_image
from common.progress import progress
from common.weights import write_tensors
from tools.tiny_model.results import half, strip, to_video, write_losses
from tools.tiny_model.stage import HELD_OUT_SEED, TASK, schedule, story, stream
from tools.tiny_model.vae_training import Run, fold_normalisation, latent_statistics, psnr, visibility
from wan.loading import load_vae
from wan.vae import WanVAE
from wan.vae_initialise import initialise_vae

log = get_logger("tiny")

_KEPT_RENDERS = 16
_GREY_SHARE = 0.1
"""Share of the pieces that are a first frame and then grey, as an image condition is."""
_PIECE_FRAMES = 17
_JUDGED = 8
"""Held-out clips that say how visible each latent channel is."""
_FIRST_STEPS = 5
"""Steps that may be spent on compiling; the clock starts after them."""


def train_vae(args: argparse.Namespace, device: torch.device) -> None:
    """Train, then write vae.safetensors, the loss curve and reconstructions of held-out clips.

    With --continue_weights only the decoder trains on, so that the latents, and a DiT that knows them, stay valid.
    """
    run = Run.start(_vae(args, device), args.learning_rate, args.continue_weights)
    vae = run.vae
    if args.compile:
        vae.encoder.compile()
        vae.decoder.compile()
    clips, plan, losses = stream(args, device, args.seed), schedule(args), []
    videos = to_video(clips.take().frames)
    with progress(args.steps or 0, "training the tiny VAE", unit="step") as bar:
        while run.step < _FIRST_STEPS or plan.over < 1:
            rng = np.random.default_rng((args.seed, run.step))
            if run.step % args.render_every == 0 and run.step:
                videos = torch.cat((videos, to_video(clips.take().frames)))[-_KEPT_RENDERS * args.render_batch :]
            pieces = _pieces(videos, rng, args.batch_size, args.crop)
            generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
            losses.append(run.train_step(pieces, plan.learning_rate(), generator, device.type == "cuda").clone())
            plan.taken += 1
            bar.update()
            if run.step == _FIRST_STEPS:
                plan.restart_clock()
    clips.close()
    _finish(args, run, torch.stack(losses).tolist())


def _vae(args: argparse.Namespace, device: torch.device) -> WanVAE:
    if args.continue_weights:
        path = Path(args.output_dir) / "vae.safetensors"
        return load_vae(path, TASK.vae, device=device, dtype=torch.float32).channels_last()
    vae = WanVAE(TASK.vae)
    initialise_vae(vae, args.seed)
    return vae.to(device).channels_last()


def _pieces(videos: Tensor, rng: np.random.Generator, count: int, crop: int) -> Tensor:
    """Random pieces [count, 3, F, crop, crop] of videos [B, 3, F, H, W], half of them mirrored."""
    pieces = []
    for _ in range(count):
        room = (
            len(videos),
            videos.shape[2] - _PIECE_FRAMES + 1,
            videos.shape[3] - crop + 1,
            videos.shape[4] - crop + 1,
        )
        clip, start, top, left = (int(rng.integers(size)) for size in room)
        piece = videos[clip, :, start : start + _PIECE_FRAMES, top : top + crop, left : left + crop]
        if rng.random() < 0.5:
            piece = piece.flip(-1)
        if rng.random() < _GREY_SHARE:
            piece = torch.cat((piece[:, :1], torch.zeros_like(piece[:, 1:])), dim=1)
        pieces.append(piece)
    return torch.stack(pieces)


def _finish(args: argparse.Namespace, run: Run, losses: list[float]) -> None:
    run.use_average()
    held_out = to_video(stream(args, run.average[0].device, HELD_OUT_SEED).take().frames)
    if not args.continue_weights:
        mean, std = latent_statistics(run.vae, list(held_out))
        fold_normalisation(run.vae, mean.to(held_out.device), std.to(held_out.device))
        visible = visibility(run.vae, list(held_out[:_JUDGED])).to(held_out.device)
        fold_normalisation(run.vae, torch.zeros_like(visible), 1.0 / visible)
    measured = [psnr(run.vae, video) for video in held_out]
    quality = sum(value for value, _ in measured) / len(measured)
    pairs = zip(held_out[:4], (output for _, output in measured[:4]), strict=True)
    folder = Path(args.output_dir)
    write_image(folder / "vae_reconstruction.png", np.concatenate([strip(video) for pair in pairs for video in pair]))
    metadata = {**story(args, run.step), "psnr_held_out": f"{quality:.2f}"}
    write_tensors(folder / "vae.safetensors", half(run.vae.state_dict()), metadata)
    write_losses(folder / "vae_loss.csv", losses)
    log.info("vae: %d steps, PSNR of %d held-out clips %.2f dB", run.step, len(held_out), quality)
