"""The network as a source of pairs: features once, pairs in pieces, and the same numbers as the plain forward."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from Dust3rP import features
from Dust3rP.estimate import VideoFrames
from Dust3rP.features import NetworkPairs
from Dust3rP.images import to_input
from Dust3rP.loading import load_dust3r
from Dust3rP.model import Dust3R
from Dust3rP.pairs import PairSource
from tests.Dust3rP.official import TINY, TINY_LINEAR, random_state, write_safetensors

SIZES = {"dpt": TINY, "linear": TINY_LINEAR}
PAIRS = [(0, 1), (1, 0), (2, 0), (3, 2), (1, 3)]


def video(count: int = 4, height: int = 32, width: int = 512) -> VideoFrames:
    frames = np.random.default_rng(2).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    return VideoFrames(frames, torch.arange(count, dtype=torch.float64) / 8, "noise.mp4")


@pytest.fixture(scope="module", params=SIZES)
def network(request, tmp_path_factory) -> Dust3R:
    sizes = SIZES[request.param]
    path = write_safetensors(tmp_path_factory.mktemp("weights") / "a.safetensors", random_state(sizes))
    return load_dust3r(
        path, device="cpu", dtype=torch.float32, encoder_heads=sizes.heads[0], decoder_heads=sizes.heads[1]
    )


def test_pairs_are_those_of_the_plain_forward_whatever_the_pieces(network, monkeypatch):
    frames = video()
    source: PairSource = NetworkPairs(network, frames)
    assert len(source) == 4 and source.size == (32, 512) and source.middle_px == (256.0, 16.0)
    found = source.points(PAIRS)
    pictures = to_input(frames.frames, torch.device("cpu"))
    first, second = (pictures[list(numbers)] for numbers in zip(*PAIRS, strict=True))
    with torch.no_grad():
        points1, confidence1, points2, confidence2 = network(first, second)
    for one, other in zip(found, (points1, points2, confidence1, confidence2), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    monkeypatch.setitem(features._PIXELS_AT_ONCE, "cpu", 2 * 32 * 512)
    for one, other in zip(NetworkPairs(network, frames).points(PAIRS), found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_one_pair_is_the_plain_forward_bit_for_bit(network):
    frames = video(1)
    found = NetworkPairs(network, frames).points([(0, 0)])
    picture = to_input(frames.frames, torch.device("cpu"))
    with torch.no_grad():
        points1, confidence1, points2, confidence2 = network(picture, picture)
    for one, other in zip(found, (points1, points2, confidence1, confidence2), strict=True):
        assert torch.equal(one, other)


def test_a_stride_picks_pixels(network):
    source = NetworkPairs(network, video())
    for one, whole in zip(source.points(PAIRS, stride=8), source.points(PAIRS), strict=True):
        assert one.dtype == torch.float32 and one.shape[1:3] == (4, 64)
        torch.testing.assert_close(one, whole[:, ::8, ::8], rtol=1e-5, atol=1e-5)


def test_pictures_are_scaled_and_cut_and_the_crop_says_how(network):
    source = NetworkPairs(network, video(2, height=90, width=720))
    assert source.size == (64, 512) and source.crop.scaled_size == (64, 512)
    square = NetworkPairs(network, video(2, height=60, width=90), resolution=224)
    assert square.size == (224, 224) and square.crop.scaled_size == (224, 336)
    with pytest.raises(ValueError, match=r"noise\.mp4: a picture of 640x8"):
        NetworkPairs(network, video(2, height=8, width=640))


def test_the_networks_own_resolution_is_the_default(network, monkeypatch):
    monkeypatch.setattr(network, "config", replace(network.config, resolution=224))
    assert NetworkPairs(network, video(1, height=48, width=64)).size == (224, 224)


def test_long_work_on_a_cpu_shows_how_far_it_is(network, capsys, monkeypatch):
    monkeypatch.setitem(features._PIXELS_AT_ONCE, "cpu", 2 * 32 * 512)
    source = NetworkPairs(network, video())
    source.points(PAIRS)
    said = capsys.readouterr().err
    assert "encoding pictures: 100%" in said and "4/4" in said and "decoding pairs: 100%" in said and "5/5" in said


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator on this machine")
@pytest.mark.parametrize(("dtype", "gate"), [(torch.float32, 1e-4), (torch.bfloat16, 0.03)], ids=str)
def test_a_gpu_computes_what_the_cpu_does(tmp_path, monkeypatch, dtype, gate):
    # convolutions round to TF32 unless told otherwise
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", dtype != torch.float32)
    for name, sizes in SIZES.items():
        path = write_safetensors(tmp_path / f"{name}.safetensors", random_state(sizes))
        heads = {"encoder_heads": sizes.heads[0], "decoder_heads": sizes.heads[1]}
        cpu, gpu = (
            NetworkPairs(load_dust3r(path, device=device, dtype=used, **heads), video(height=80, width=512))
            for device, used in (("cpu", torch.float32), ("cuda", dtype))
        )
        expected, found = cpu.points(PAIRS, stride=2), gpu.points(PAIRS, stride=2)
        for truth, computed in zip(expected[:2], found[:2], strict=True):
            assert computed.device.type == "cuda"
            relative = (computed.cpu() - truth).norm(dim=-1) / truth.norm(dim=-1)
            assert relative.median() < gate
