"""Averaging the gradients of the trained parameters over the processes, without wrapping the network.

DistributedDataParallel would register the whole frozen network and cannot see a LoRA's forward. The trained part is
small, so its gradients are summed once per optimizer step in a few flat buffers.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn

BUCKET_BYTES = 64 * 2**20


def average_gradients(parameters: Sequence[nn.Parameter], accelerator: Accelerator, micro_batches: int) -> None:
    """Turn each rank's summed gradients into the mean over all micro-batches of the step.

    A parameter that had no part in the loss (or a rank that had no batch) counts as zero, so afterwards every
    parameter has a gradient, the same on every rank, however the batches were shared out.

    Args:
        parameters: the trained parameters, in the same order on every rank.
        accelerator: knows the processes.
        micro_batches: how many the step really had, over all ranks.
    """
    assert micro_batches > 0
    gradients = [_gradient(parameter) for parameter in parameters]
    if accelerator.num_processes > 1:
        for bucket in _buckets(gradients):
            flat = accelerator.reduce(torch.cat([gradient.flatten() for gradient in bucket]), reduction="sum")
            assert isinstance(flat, Tensor)
            parts = flat.split([gradient.numel() for gradient in bucket])
            for gradient, part in zip(bucket, parts, strict=True):
                gradient.copy_(part.view_as(gradient))
    for gradient in gradients:
        gradient.div_(micro_batches)


def clip_gradients(parameters: Sequence[nn.Parameter], longest: float) -> Tensor:
    """Shorten the gradient over all parameters to `longest` (0: leave it) and return its length before."""
    return nn.utils.clip_grad_norm_(parameters, longest if longest > 0 else math.inf)


def same_start(parameters: Sequence[nn.Parameter], accelerator: Accelerator) -> None:
    """Give every rank the first rank's values: fresh LoRA and adapter weights were drawn in each process."""
    if accelerator.num_processes > 1:
        for parameter in parameters:
            value = broadcast(parameter.data)
            assert isinstance(value, Tensor)
            parameter.data.copy_(value)


def _gradient(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours of one dtype, up to BUCKET_BYTES together."""
    bucket: list[Tensor] = []
    size = 0
    for gradient in gradients:
        if bucket and (gradient.dtype != bucket[0].dtype or size + gradient.nbytes > BUCKET_BYTES):
            yield bucket
            bucket, size = [], 0
        bucket.append(gradient)
        size += gradient.nbytes
    if bucket:
        yield bucket
