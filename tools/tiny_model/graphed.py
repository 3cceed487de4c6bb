"""A training step as one CUDA graph: a network this small waits for the CPU to launch its kernels otherwise."""

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3
"""Steps on a stream of their own before the capture, as PyTorch asks for."""


class GraphedStep:
    """Runs a step, first as it is, then as a graph of what it did.

    Args:
        work: from input tensors on the device to the loss; the same operations on the same shapes every time, no copy
            from or to the CPU. Gradients are made anew in it (`zero_grad` with None), its optimizer is `capturable`.
    """

    def __init__(self, work: Callable[[dict[str, Tensor]], Tensor]) -> None:
        self._work = work
        self._inputs: dict[str, Tensor] = {}
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._loss: Tensor | None = None

    def __call__(self, inputs: dict[str, Tensor]) -> Tensor:
        """One step; the loss, a copy of its own."""
        if not self._inputs:
            self._inputs = {name: tensor.clone() for name, tensor in inputs.items()}
        for name, tensor in inputs.items():
            self._inputs[name].copy_(tensor)
        self._calls += 1
        if self._calls <= WARM_UP:
            return self._beside()
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._loss = self._work(self._inputs)
        assert self._loss is not None
        self._graph.replay()
        return self._loss.clone()

    def _beside(self) -> Tensor:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            loss = self._work(self._inputs).clone()
        torch.cuda.current_stream().wait_stream(side)
        return loss
