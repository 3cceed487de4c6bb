"""Tensors arrive bit for bit as torch casts them, in whatever pieces they are read."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from common.streaming import stream_tensors
from common.tensor_headers import read_header
from common.weights import write_tensors

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.float8_e4m3fn, torch.float8_e5m2),
]
GPU = pytest.param(
    "cuda",
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator on this machine")],
)


def bits(tensor: Tensor) -> Tensor:
    return tensor.cpu().reshape(-1).view(torch.uint8)


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("wanted", DTYPES, ids=str)
@pytest.mark.parametrize("given", DTYPES, ids=str)
def test_every_pair_of_types_in_pieces_smaller_than_the_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: torch.dtype, wanted: torch.dtype, suffix: str, device: str
):
    monkeypatch.setattr("common.streaming.BUFFER_BYTES", 4096)
    generator = torch.Generator().manual_seed(0)
    shapes = {"large": (37, 129), "small": (3,), "one": (), "none": (0, 4), "even": (64, 128), "last": (5, 1031)}
    tensors = {name: torch.randn(shape, generator=generator).mul(3).to(given) for name, shape in shapes.items()}
    path = tmp_path / f"x{suffix}"
    torch.save(tensors, path) if suffix == ".pth" else write_tensors(path, tensors)
    read: dict[str, Tensor] = {}
    shared = ("large", "even")
    for name, tensor in stream_tensors(
        read_header(path).entries, device, lambda name, entry: wanted, passing=shared.__contains__
    ):
        assert tensor.device.type == device and tensor.dtype == wanted and tensor.shape == tensors[name].shape
        read[name] = tensor.clone() if name in shared else tensor
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        # cast where it was streamed to: the CPU's and the GPU's casts agree, but that is not this test's matter
        assert bits(read[name]).equal(bits(tensor.to(device).to(wanted))), name
