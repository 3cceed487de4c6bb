"""The loss on held-out clips, always with the same noise at the same noise levels, so that its course means something.

The training loss jumps with the noise level that a step happened to draw; this one moves only if the model does.
"""

from dataclasses import dataclass

import torch
from accelerate import Accelerator

from networks.network import Network
from training.config import TrainingConfig
from training.flow_matching import clip_losses, draw_noise, velocity_target
from training.loader import TrainingSet, to_device
from training.objective import predict_velocity
from training.order import BatchPlace
from wan.model import WanModel


@dataclass(frozen=True)
class ValidationResult:
    """Mean squared error of the velocity over all held-out clips."""

    by_sigma: tuple[tuple[float, float], ...]
    """(noise level, loss at it), rising."""

    @property
    def loss(self) -> float:
        """Mean over the noise levels."""
        return sum(loss for _, loss in self.by_sigma) / len(self.by_sigma)

    def values(self) -> dict[str, float]:
        """The same for a tracker."""
        levels = {f"validation/sigma_{sigma:g}": loss for sigma, loss in self.by_sigma}
        return {"validation/loss": self.loss, **levels}


def sigma_levels(config: TrainingConfig) -> tuple[float, ...]:
    """The noise levels that are tried, rising, each once."""
    return tuple(sorted(set(config.validation_sigmas)))


@torch.no_grad()
def validate(
    config: TrainingConfig,
    accelerator: Accelerator,
    dit: WanModel,
    network: Network | None,
    with_camera: bool,
    held_out: TrainingSet,
) -> ValidationResult:
    """Try every held-out clip at every noise level, without dropout; the processes share the batches.

    Args:
        config: `validation_sigmas`, `validation_seed` and `max_validation_steps`.
        accelerator: knows the processes, the device and the precision.
        dit: with LoRA and adapter in place; in training mode again afterwards.
        network: its LoRA.
        with_camera: give the DiT the batches' cameras.
        held_out: the batches; the first epoch's order is used.

    Raises:
        ValueError: there is nothing to validate on.
    """
    order = held_out.batch_order(config.validation_seed, 0)[: config.max_validation_steps]
    if not order:
        raise ValueError("there are no held-out clips to validate on; give more data, or leave validation out")
    sigmas = sigma_levels(config)
    totals = torch.zeros(len(sigmas) + 1, dtype=torch.float64)
    _set_training(False, dit, network)
    for position in range(accelerator.process_index, len(order), accelerator.num_processes):
        batch = to_device(held_out[order[position]], accelerator.device)
        clips, place = len(batch["item_keys"]), BatchPlace(config.validation_seed, 0, position, len(order))
        generator = torch.Generator().manual_seed(place.seed)
        noise = draw_noise(batch["latents"].shape, generator).to(accelerator.device)
        target = velocity_target(batch["latents"], noise)
        for index, sigma in enumerate(sigmas):
            levels = torch.full((clips,), sigma, device=accelerator.device)
            with accelerator.autocast():
                velocity = predict_velocity(dit, batch, levels, noise, with_camera)
            totals[index] += clip_losses(velocity, target).double().sum().cpu()
        totals[-1] += clips
    _set_training(True, dit, network)
    # float64 is not there on every device
    summed = accelerator.reduce(totals.float().to(accelerator.device), reduction="sum")
    assert isinstance(summed, torch.Tensor)
    *losses, count = summed.tolist()
    return ValidationResult(tuple((sigma, loss / count) for sigma, loss in zip(sigmas, losses, strict=True)))


def _set_training(training: bool, dit: WanModel, network: Network | None) -> None:
    dit.train(training)
    if network is not None:
        network.train(training)
