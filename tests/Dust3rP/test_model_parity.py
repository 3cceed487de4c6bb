"""The network against an oracle in float64, and the faults that such a comparison must find."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from Dust3rP.loading import load_dust3r
from Dust3rP.model import Dust3R
from tests.Dust3rP.official import TINY, TINY_LINEAR, Sizes, random_state, write_safetensors
from tests.Dust3rP.oracle import Facts, dust3r

SIZES = {"dpt": TINY, "linear": TINY_LINEAR}
GATES = {torch.float64: 1e-9, torch.float32: 5e-5}
# landscape, portrait, an odd number of rows and of columns, and two pictures of different sizes
SHAPES = {
    "landscape": ((32, 64), (32, 64)),
    "portrait": ((64, 32), (64, 32)),
    "odd rows": ((48, 32), (48, 32)),
    "odd": ((48, 80), (48, 80)),
    "different": ((32, 48), (64, 32)),
}


def images(shape: str, batch: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    first, second = (
        torch.rand(batch, 3, *size, generator=generator, dtype=torch.float64) * 2 - 1 for size in SHAPES[shape]
    )
    return first, second


@cache
def weights(kind: str) -> dict[str, Tensor]:
    return random_state(SIZES[kind])


@cache
def oracle(kind: str, shape: str, facts: Facts | None = None) -> tuple[np.ndarray, ...]:
    state = {key: tensor.numpy() for key, tensor in weights(kind).items()}
    first, second = (picture[0].numpy() for picture in images(shape))
    return dust3r(state, first, second, SIZES[kind].heads, facts)


def network(folder: Path, kind: str, dtype: torch.dtype = torch.float64) -> Dust3R:
    sizes: Sizes = SIZES[kind]
    path = write_safetensors(folder / "dust3r.safetensors", weights(kind))
    heads = sizes.heads
    return load_dust3r(path, device="cpu", dtype=dtype, encoder_heads=heads[0], decoder_heads=heads[1])


@pytest.fixture(scope="module", params=SIZES)
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def nets(kind, tmp_path_factory) -> dict[torch.dtype, Dust3R]:
    return {dtype: network(tmp_path_factory.mktemp("weights"), kind, dtype) for dtype in GATES}


def error(found: Tensor, reference: np.ndarray) -> float:
    expected = torch.from_numpy(reference)
    return ((found.double() - expected).abs() / (1 + expected.abs())).max().item()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", GATES, ids=str)
def test_the_network_agrees_with_the_oracle(kind, nets, shape, dtype):
    first, second = images(shape)
    with torch.no_grad():
        found = nets[dtype](first, second)
    expected = oracle(kind, shape)
    (h1, w1), (h2, w2) = SHAPES[shape]
    assert [tuple(out.shape) for out in found] == [(1, h1, w1, 3), (1, h1, w1), (1, h2, w2, 3), (1, h2, w2)]
    assert all(out.dtype == dtype for out in found) and found[1].min() > 1 and found[3].min() > 1
    assert max(error(out[0], ref) for out, ref in zip(found, expected, strict=True)) < GATES[dtype]


FAULTS = {
    "eps": Facts(eps=1e-5),
    "tanh": Facts(tanh_gelu=True),
    "base": Facts(rope_base=1e4),
    "axes": Facts(swap_axes=True),
    "dec_norm": Facts(dec_norm=False),
    "hooks": Facts(hook_shift=1),
    "corners": Facts(align_corners=False),
    "crop": Facts(crop_from=1),
    "in turn": Facts(in_turn=True),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_far_above_the_gates(fault):
    right, wrong = oracle("dpt", "odd"), oracle("dpt", "odd", FAULTS[fault])
    # the order of the streams changes the second picture's points first
    relative = np.linalg.norm(right[2] - wrong[2], axis=-1) / np.linalg.norm(right[2], axis=-1)
    assert np.median(relative) > 1000 * GATES[torch.float64]
    assert error(torch.from_numpy(wrong[2]), right[2]) > 1000 * GATES[torch.float64]
    if fault != "eps":
        assert np.median(relative) > GATES[torch.float32]


def test_pairs_of_a_batch_do_not_touch_each_other(kind, nets):
    net = nets[torch.float64]
    first, second = images("odd rows", batch=3)
    with torch.no_grad():
        together = net(first, second)
        alone = net(first[1:2], second[1:2])
    for batch, single in zip(together, alone, strict=True):
        torch.testing.assert_close(batch[1:2], single, rtol=1e-12, atol=1e-12)


def test_points_of_every_stride_are_those_of_all_pixels(kind, nets):
    net = nets[torch.float64]
    first, second = images("different")
    with torch.no_grad():
        features = net.encode(first), net.encode(second)
        whole = net(first, second)
        for stride in (2, 3, 8):
            maps = net.decode(*features, stride=stride)
            for found, expected in zip((*maps[0], *maps[1]), whole, strict=True):
                torch.testing.assert_close(found, expected[:, ::stride, ::stride], rtol=1e-11, atol=1e-11)


def test_half_precision_stays_near(kind, tmp_path):
    net = network(tmp_path, kind, torch.bfloat16)
    assert net.head1.state_dict()["proj.weight" if kind == "linear" else "point.weight"].dtype == torch.float32
    assert net.encoder.patch_embed.weight.dtype == torch.float32
    assert net.decoders.embed.weight.dtype == torch.bfloat16
    with torch.no_grad():
        found = net(*images("landscape"))
    expected = oracle(kind, "landscape")
    for points, reference in ((found[0][0], expected[0]), (found[2][0], expected[2])):
        assert points.dtype == torch.float32
        truth = torch.from_numpy(reference)
        assert ((points - truth).norm(dim=-1) / truth.norm(dim=-1)).median() < 0.03


def test_pictures_of_other_shapes_are_refused(nets):
    with pytest.raises(ValueError, match=r"multiples of 16"):
        nets[torch.float64].encode(torch.zeros(1, 3, 40, 64))
    with pytest.raises(ValueError, match=r"\[B, 3, H, W\]"):
        nets[torch.float64].encode(torch.zeros(1, 4, 32, 64))
