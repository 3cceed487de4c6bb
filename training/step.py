"""One optimizer step: forward and backward for each micro-batch, average, check, clip, update."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from accelerate.utils import gather_object
from torch import Tensor

from dataset.batch import Batch
from training.gradients import average_gradients, clip_gradients
from training.interrupt import StopRequest
from training.loader import to_device
from training.noise_levels import loss_weights
from training.objective import batch_loss, draw_camera_gain, draw_sigmas_and_noise
from training.order import BatchPlace, step_seed
from training.run import Run


@dataclass(frozen=True)
class StepResult:
    """What a step was, the same on every rank."""

    loss: float
    """Mean over the step's micro-batches of all ranks."""
    gradient_norm: float
    """Length of the averaged gradient, before clipping."""
    stop: bool
    """Whether the user of any rank asked to stop."""
    taken: int
    """Batches the step used, over all ranks."""


def optimizer_step(run: Run, batches: Iterator[Batch], stop: StopRequest) -> StepResult:
    """Take the batches of the next step, move the weights, and say how it went.

    Args:
        run: the counters say where the step begins; they are not moved here.
        batches: this rank's batches, from that position on.
        stop: whether this rank was asked to stop, looked at when the work of the step is done.

    Raises:
        ValueError: the loss or the gradient is not finite; the weights are untouched.
    """
    counters, accelerator = run.counters, run.accelerator
    losses: list[Tensor] = []
    keys: list[list[str]] = []
    for position in run.layout.positions(counters.position, counters.batches):
        batch = to_device(next(batches), accelerator.device)
        losses.append(_backward(run, batch, BatchPlace(counters.seed, counters.epoch, position, counters.batches)))
        keys.append(batch["item_keys"])
    taken = run.layout.taken(counters.position, counters.batches)
    average_gradients(run.parameters, accelerator, taken)
    if run.state.scaler is not None:
        run.state.scaler.unscale_(run.state.optimizer)
    norm = clip_gradients(run.parameters, run.config.max_grad_norm)
    result = _share(run, losses, stop.asked, norm, taken)
    # with fp16 an infinite gradient only means that the scaler has to come down, which it does by itself
    checked = result.loss if run.state.scaler is not None else result.loss + result.gradient_norm
    if not math.isfinite(checked):
        raise ValueError(_blame(run, losses, keys))
    _update(run)
    return result


def _backward(run: Run, batch: Batch, place: BatchPlace) -> Tensor:
    """Add one micro-batch's gradients to the parameters'; its loss, detached."""
    sigmas, noise = draw_sigmas_and_noise(run.config, batch, place)
    device, seed = run.accelerator.device, place.seed
    weights = loss_weights(run.config.weighting_scheme, sigmas)
    gain = draw_camera_gain(run.config.camera_dropout, len(sigmas), seed) if run.with_camera else None
    gain = None if gain is None else gain.to(device, non_blocking=True)
    # dropout draws from the global generator; setting it makes that, too, a matter of the batch alone
    torch.manual_seed(seed)
    with run.accelerator.autocast():
        loss = batch_loss(
            run.dit,
            batch,
            sigmas.to(device, non_blocking=True),
            noise.to(device, non_blocking=True),
            run.with_camera,
            gain,
            None if weights is None else weights.to(device, non_blocking=True),
        )
    # not through accelerate, whose backward would divide by an accumulation of its own
    scaler = run.state.scaler
    (loss if scaler is None else scaler.scale(loss)).backward()
    return loss.detach()


def _share(run: Run, losses: list[Tensor], stop: bool, norm: Tensor, taken: int) -> StepResult:
    """Sum over the ranks; the one place of a step that waits for the device."""
    device = run.accelerator.device
    total = torch.stack(losses).sum() if losses else torch.zeros((), device=device)
    summed = run.accelerator.reduce(torch.stack([total, torch.tensor(float(stop), device=device)]), reduction="sum")
    assert isinstance(summed, Tensor)
    loss, stops, length = torch.cat([summed, norm.detach().float().reshape(1)]).tolist()
    return StepResult(loss / taken, length, stops > 0, taken)


def _update(run: Run) -> None:
    """Optimizer, scaler and scheduler; a step that the fp16 scaler skips does not move the schedule either."""
    state = run.state
    torch.manual_seed(step_seed(run.counters.seed, run.counters.step))
    if state.scaler is None:
        state.optimizer.step()
        state.scheduler.step()
    else:
        before = state.scaler.get_scale()
        state.scaler.step(state.optimizer)
        state.scaler.update()
        if state.scaler.get_scale() >= before:
            state.scheduler.step()
    if run.config.scale_weight_norms is not None and state.network is not None:
        state.network.limit_norms(run.config.scale_weight_norms)
    state.optimizer.zero_grad(set_to_none=True)


def _blame(run: Run, losses: list[Tensor], keys: list[list[str]]) -> str:
    """Name the items of every rank whose loss is not finite, or all of the step's where only the gradient is not."""
    bad = [key for loss, names in zip(losses, keys, strict=True) if not loss.isfinite() for key in names]
    bad = gather_object(bad) or gather_object([key for names in keys for key in names])
    return (
        f"step {run.counters.step + 1}: the loss or its gradient is no longer a finite number. Items: "
        f"{', '.join(sorted(set(bad)))}. Look at their caches, or lower --learning_rate {run.config.learning_rate}; "
        f"nothing of this step was kept"
    )
