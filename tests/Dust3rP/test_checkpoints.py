"""Checkpoints in the official structure: their list, what loads, and what is refused and how."""

import argparse
import logging
from pathlib import Path

import pytest
import torch

from Dust3rP import loading
from Dust3rP.config import Dust3RConfig
from Dust3rP.keys import config_of, key_table, to_ours
from Dust3rP.loading import load_dust3r
from Dust3rP.model import Dust3R
from tests.Dust3rP.official import (
    TINY,
    TINY_LINEAR,
    Sizes,
    official_shapes,
    random_state,
    write_pth,
    write_safetensors,
)

DTYPE = torch.float64


def load(path: Path, sizes: Sizes = TINY) -> Dust3R:
    return load_dust3r(path, device="cpu", dtype=DTYPE, encoder_heads=sizes.heads[0], decoder_heads=sizes.heads[1])


def same(one: Dust3R, other: Dust3R) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_the_full_size_has_the_official_keys_shapes_and_number_of_parameters():
    shapes = official_shapes(Sizes())
    with torch.device("meta"):
        tensors = {key: torch.empty(shape) for key, shape in shapes.items()}
        config = config_of(tensors)
        model = Dust3R(config)
    assert config == Dust3RConfig()
    assert len(shapes) == 1009 and set(key_table(config)) == set(shapes)
    ours = to_ours(tensors, model)
    assert {key: tensor.shape for key, tensor in model.state_dict().items()} == {k: t.shape for k, t in ours.items()}
    once = {key: tensor.numel() for key, tensor in tensors.items() if ".layer_rn." not in key}
    assert sum(once.values()) == 571_171_208
    unused = sum(count for key, count in once.items() if "refinenet4.resConfUnit1" in key or key == "mask_token")
    assert sum(weight.numel() for weight in model.parameters()) == 571_171_208 - unused


@pytest.mark.parametrize("sizes", [TINY, TINY_LINEAR], ids=["dpt", "linear"])
def test_both_kinds_of_file_load_and_are_the_same(tmp_path, sizes):
    state = random_state(sizes)
    official = load(write_pth(tmp_path / "a.pth", state), sizes)
    hub = load(write_safetensors(tmp_path / "model.safetensors", state), sizes)
    assert same(official, hub) and not official.training
    assert not any(weight.requires_grad for weight in official.parameters())
    assert torch.equal(official.decoders.embed.weight, state["decoder_embed.weight"])
    wanted = [sizes.encoder, sizes.decoder, sizes.linear]
    config = official.config
    assert wanted == [
        (config.encoder_dim, config.encoder_depth),
        (config.decoder_dim, config.decoder_depth),
        config.dpt is None,
    ]


def test_either_name_of_a_levels_convolution_will_do(tmp_path):
    state = random_state(TINY)
    whole = load(write_safetensors(tmp_path / "whole.safetensors", state))
    other = {key: tensor for key, tensor in state.items() if not ("scratch.layer" in key and "layer_rn" not in key)}
    assert len(other) == len(state) - 8
    assert same(whole, load(write_pth(tmp_path / "other.pth", other)))


def test_tensors_that_are_never_used_may_be_missing(tmp_path):
    state = random_state(TINY)
    whole = load(write_pth(tmp_path / "whole.pth", state))
    unused = [key for key in state if key == "mask_token" or "refinenet4.resConfUnit1" in key]
    for key in unused:
        del state[key]
    assert len(unused) == 9 and same(whole, load(write_pth(tmp_path / "less.pth", state)))


def test_a_file_of_crocos_kind_starts_the_second_decoder_as_the_first(tmp_path):
    state = {key: tensor for key, tensor in random_state(TINY).items() if not key.startswith("dec_blocks2.")}
    net = load(write_pth(tmp_path / "croco.pth", state))
    pairs = zip(net.decoders.blocks1.state_dict().values(), net.decoders.blocks2.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert not torch.equal(net.head1.state_dict()["point.weight"], net.head2.state_dict()["point.weight"])


def test_everything_that_does_not_fit_is_named(tmp_path):
    state = random_state(TINY)
    for n in range(4):
        del state[f"dec_blocks2.{n}.norm_y.bias"]
    del state["downstream_head2.dpt.head.4.bias"]
    state["prediction_head.weight"] = torch.zeros(3)
    state["enc_blocks.0.mlp.fc2.weight"] = torch.zeros(1, 2)
    with pytest.raises(ValueError) as caught:
        load(write_pth(tmp_path / "odd.pth", state))
    said = str(caught.value)
    assert "odd.pth" in said and "5 missing: dec_blocks2.{0-3}.norm_y.bias, downstream_head2.dpt.head.4.bias" in said
    assert "1 unexpected: prediction_head.weight" in said
    assert "enc_blocks.0.mlp.fc2.weight (1, 2) instead of (32, 128)" in said
    assert "DUSt3R_ViTLarge_BaseDecoder_512_dpt.pth" in said


def test_another_networks_file_is_refused_by_name(tmp_path):
    path = write_pth(tmp_path / "vae.pth", {"encoder.conv1.weight": torch.zeros(4, 3, 3, 3)})
    with pytest.raises(ValueError, match=r"vae\.pth: no DUSt3R: expected patch_embed\.proj\.weight.*lacks it"):
        load(path)
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        load(tmp_path / "none.pth")


def test_heads_are_one_for_64_channels_unless_given(tmp_path):
    path = write_pth(tmp_path / "narrow.pth", random_state(TINY))
    with pytest.raises(ValueError, match=r"narrow\.pth: encoder_heads 0: the encoder is 32 wide"):
        load_dust3r(path, device="cpu", dtype=DTYPE)
    broad = Sizes(encoder=(128, 1), decoder=(64, 2), linear=True)
    net = load_dust3r(write_pth(tmp_path / "broad.pth", random_state(broad)), device="cpu", dtype=DTYPE)
    assert (net.config.encoder_heads, net.config.decoder_heads) == (2, 1)


@pytest.mark.parametrize(
    ("path", "resolution"),
    [
        ("DUSt3R_224_linear.safetensors", 224),
        ("DUSt3R_512_linear.safetensors", 512),
        ("some.safetensors", 512),
        ("models--naver--DUSt3R_224_linear/snapshots/1f2e/model.safetensors", 224),
        ("old_224_runs/DUSt3R_512_linear.safetensors", 512),
    ],
)
def test_the_resolution_is_read_from_the_path_alone(tmp_path, path, resolution):
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    write_safetensors(file, random_state(TINY_LINEAR))
    assert load(file, TINY_LINEAR).config.resolution == resolution
    # the hub's folder holds a config.json beside the tensors
    (file.parent / "config.json").write_text("{}", encoding="utf-8")
    assert load(file.parent, TINY_LINEAR).config.resolution == resolution


def test_code_in_a_file_is_not_run(tmp_path):
    path = tmp_path / "code.pth"
    torch.save({"args": argparse.Namespace(hook=print), "model": random_state(TINY_LINEAR)}, path)
    with pytest.raises(ValueError, match=r"code\.pth: refused .*nothing of it was run"):
        load(path, TINY_LINEAR)


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    state = random_state(TINY_LINEAR)
    state["dec_norm.bias"][3] = torch.nan
    with pytest.raises(ValueError, match=r"bad\.safetensors: 1 of \d+ tensors hold NaN or infinity: decoders\.norm"):
        load(write_safetensors(tmp_path / "bad.safetensors", state), TINY_LINEAR)


def test_the_licence_is_told_once(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("omnicam"), "propagate", True)
    loading._tell_licence.cache_clear()
    path = write_safetensors(tmp_path / "a.safetensors", random_state(TINY_LINEAR))
    with caplog.at_level("INFO", "omnicam"):
        load(path, TINY_LINEAR)
        load(path, TINY_LINEAR)
    # by identity: under some orders of tests the logger hands a record to the handler of caplog twice
    told = {id(record) for record in caplog.records if "not for commercial use" in record.getMessage()}
    assert len(told) == 1
