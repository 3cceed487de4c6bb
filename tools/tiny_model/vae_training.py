"""What training the tiny VAE consists of: the loss, a step, the running average, and the final normalisation."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from common.files import atomic_path
from wan.vae import WanVAE

GRADIENT_WEIGHT = 0.5
DIVERGENCE_WEIGHT = 2e-4
EMA_DECAY = 0.998
WARMUP_STEPS = 20
MIN_STD = 0.01
"""Least standard deviation a latent channel is divided by: a silent channel stays silent."""
LEAST_VISIBLE = 0.05
"""Least share of its standard deviation that a channel keeps."""


def reconstruct(vae: WanVAE, video: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One differentiable pass through a sampled latent.

    Args:
        vae: the network, its own mean 0 and std 1.
        video: [B, 3, F, H, W] in [-1, 1].
        generator: source of the latent's noise, on the CPU.

    Returns:
        the reconstruction [B, 3, F, H, W], not clamped, and the Kullback-Leibler divergence of the latent from a
        standard normal, per latent element (Kingma & Welling 2014, appendix B).
    """
    mean, log_variance = vae.encode_moments(video)
    log_variance = log_variance.clamp(-30.0, 20.0)
    noise = torch.randn(mean.shape, generator=generator).to(mean)
    latent = mean + torch.exp(0.5 * log_variance) * noise
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).mean()
    return vae.decode(latent, clamp=False), divergence


def reconstruction_loss(output: Tensor, video: Tensor) -> Tensor:
    """Charbonnier distance plus half the L1 distance of the horizontal and vertical differences."""
    distance = (output - video).square().add(1e-6).sqrt().mean()
    edges = sum((output.diff(dim=axis) - video.diff(dim=axis)).abs().mean() for axis in (-1, -2))
    return distance + GRADIENT_WEIGHT * edges


@dataclass
class Run:
    """Everything a training run must remember to go on exactly where it stopped."""

    vae: WanVAE
    optimizer: torch.optim.Optimizer
    step: int = 0
    elapsed: float = 0.0
    average: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.average = [parameter.detach().clone() for parameter in self.vae.parameters()]

    @classmethod
    def start(cls, vae: WanVAE, learning_rate: float, decoder_only: bool = False) -> "Run":
        """A run with AdamW; `decoder_only` leaves everything up to the latent as it is."""
        vae.requires_grad_(True)
        if decoder_only:
            vae.encoder.requires_grad_(False)
            vae.conv1.requires_grad_(False)
        parameters = [parameter for parameter in vae.parameters() if parameter.requires_grad]
        return cls(vae, torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.99)))

    def train_step(self, video: Tensor, learning_rate: float, generator: torch.Generator, amp: bool) -> Tensor:
        """One optimizer step on a batch [B, 3, F, H, W]; the loss, detached."""
        with torch.autocast(video.device.type, torch.bfloat16, enabled=amp):
            output, divergence = reconstruct(self.vae, video, generator)
        loss = reconstruction_loss(output.float(), video) + DIVERGENCE_WEIGHT * divergence.float()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.vae.parameters(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * min(1.0, (self.step + 1) / WARMUP_STEPS)
        self.optimizer.step()
        self.step += 1
        # young averages forget faster, or they would remember the first weights
        weight = 1.0 - min(EMA_DECAY, (1 + self.step) / (10 + self.step))
        for average, parameter in zip(self.average, self.vae.parameters(), strict=True):
            average.lerp_(parameter.detach(), weight)
        return loss.detach()

    def use_average(self) -> None:
        """Put the running average in the place of the weights."""
        with torch.no_grad():
            for parameter, average in zip(self.vae.parameters(), self.average, strict=True):
                parameter.copy_(average)

    def save(self, path: Path, identity: dict[str, str]) -> None:
        """Write the whole state; `identity` says which run it belongs to."""
        state = {
            "identity": identity,
            "step": self.step,
            "elapsed": self.elapsed,
            "weights": [parameter.detach() for parameter in self.vae.parameters()],
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }
        with atomic_path(path) as temporary:
            torch.save(state, temporary)

    def load(self, path: Path, identity: dict[str, str]) -> None:
        """Go on from a state.

        Raises:
            ValueError: it belongs to a run with other settings.
        """
        state = torch.load(path, map_location=self.average[0].device, weights_only=True)
        differing = [
            f"{key} {state['identity'].get(key)}" for key in identity if state["identity"].get(key) != identity[key]
        ]
        if differing:
            raise ValueError(
                f"{path} is of a run with {', '.join(differing)}; repeat those settings, or pass --overwrite"
            )
        self.step, self.elapsed, self.average = state["step"], state["elapsed"], state["average"]
        with torch.no_grad():
            for parameter, saved in zip(self.vae.parameters(), state["weights"], strict=True):
                parameter.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])


def fold_normalisation(vae: WanVAE, mean: Tensor, std: Tensor) -> None:
    """Rewrite `conv1` and `conv2` so that the weights themselves normalise the latent; exact up to rounding.

    Args:
        vae: a network whose config has mean 0 and std 1, which is then true of it; changed in place.
        mean: [z_dim] measured mean of each latent channel.
        std: [z_dim] measured standard deviation of each latent channel.
    """
    z = vae.config.z_dim
    inward, outward = vae.conv1.bias, vae.conv2.bias
    assert inward is not None and outward is not None
    with torch.no_grad():
        vae.conv1.weight[:z] /= std.view(-1, 1, 1, 1, 1)
        inward[:z] = (inward[:z] - mean) / std
        inward[z:] -= 2.0 * std.log()
        outward += vae.conv2.weight.flatten(1) @ mean
        vae.conv2.weight *= std.view(1, -1, 1, 1, 1)


@torch.no_grad()
def latent_statistics(vae: WanVAE, videos: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [z_dim] of the latent over videos [3, F, H, W] in [-1, 1]."""
    latents = [vae.encode(video[None])[0].flatten(1) for video in videos]
    pooled = torch.cat(latents, dim=1).double()
    return pooled.mean(1).float(), pooled.std(1).float().clamp_min(MIN_STD)


@torch.no_grad()
def visibility(vae: WanVAE, videos: list[Tensor]) -> Tensor:
    """How much of the picture each latent channel carries: [z_dim], root mean square 1.

    The measure is how far the reconstruction moves when a channel is set to 0. Scaled by it, a step of one size in the
    latent costs about as much in the picture whatever channel it is in, so that a diffusion model does not spend itself
    on channels of hardly visible detail.

    Args:
        vae: its latent normalised to mean 0 and standard deviation 1.
        videos: [3, F, H, W] in [-1, 1].
    """
    seen = torch.zeros(vae.config.z_dim, dtype=torch.float64)
    for video in videos:
        latent = vae.encode(video[None])
        whole = vae.decode(latent).float()
        for channel in range(len(seen)):
            without = latent.clone()
            without[:, channel] = 0.0
            seen[channel] += float((vae.decode(without).float() - whole).square().mean())
    return (seen / seen.mean()).sqrt().float().clamp_min(LEAST_VISIBLE)


@torch.no_grad()
def psnr(vae: WanVAE, video: Tensor) -> tuple[float, Tensor]:
    """Peak signal-to-noise ratio in dB of a reconstruction, and the reconstruction [3, F, H, W]."""
    output = vae.decode(vae.encode(video[None]))[0].float().cpu()
    error = (output - video.float().cpu()).square().mean()
    return float(10.0 * torch.log10(4.0 / error)), output
