"""Networks made by the package lycoris-lora; without it, that they say so."""

import importlib.util
from pathlib import Path

import pytest
import torch

from networks import loha, lokr, lycoris_wan
from networks.merging import merge_lora
from networks.settings import NetworkSettings
from tests.networks.test_lora_wan import call, make_dit, randomise

CASES = {
    "loha": (loha, {}),
    "lokr": (lokr, {"factor": 4}),
    "lokr of two products": (lokr, {"factor": 4, "decompose_both": True}),
    "lokr of whole matrices": (lokr, {"full_matrix": True}),
    "lora": (lycoris_wan, {"algo": "lora"}),
    "dora": (lycoris_wan, {"algo": "lora", "dora_wd": True}),
    "loha with dora": (loha, {"dora_wd": True}),
}


@pytest.mark.parametrize("case", CASES)
def test_starts_at_the_base_learns_everywhere_and_merges_to_what_it_was(tmp_path: Path, case: str) -> None:
    pytest.importorskip("lycoris")
    module, given = CASES[case]
    dit = make_dit().requires_grad_(False)
    base = call(dit)
    network = module.create_network(dit, 2, 1.0, settings=NetworkSettings(**given))
    network.apply_to(dit)
    # DoRA divides by a length and multiplies by the same
    torch.testing.assert_close(call(dit), base, rtol=1e-5, atol=1e-6 if "dora" in case else 0)
    randomise(network)
    live = call(dit)
    live.square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())
    network.save(tmp_path / "l.safetensors")
    network.remove()
    assert torch.equal(call(dit), base) and (live - base).norm() / base.norm() > 5e-3
    merge_lora(dit, tmp_path / "l.safetensors")
    assert (call(dit) - live).norm() / live.norm() < 1e-6

    other = make_dit()
    again = module.create_network(other, 2, 3.0, settings=NetworkSettings(**given))
    again.load(tmp_path / "l.safetensors")
    again.apply_to(other)
    torch.testing.assert_close(call(other), live)


@pytest.mark.skipif(importlib.util.find_spec("lycoris") is not None, reason="lycoris-lora is installed")
@pytest.mark.parametrize("module", [loha, lokr, lycoris_wan])
def test_a_missing_package_is_named(module: object) -> None:
    with pytest.raises(ValueError, match="pip install lycoris-lora"):
        module.create_network(make_dit(), 2, 1.0)  # pyright: ignore[reportAttributeAccessIssue]


def test_what_lycoris_has_not_is_refused_before_it_is_asked() -> None:
    with pytest.raises(ValueError, match="--network_dropout: LyCORIS has none for loha"):
        loha.create_network(make_dit(), 2, 1.0, 0.1)
    with pytest.raises(ValueError, match="loraplus_lr_ratio"):
        lokr.create_network(make_dit(), 2, 1.0, settings=NetworkSettings(loraplus_lr_ratio=4.0))
    with pytest.raises(ValueError, match="algo=oft"):
        lycoris_wan.create_network(make_dit(), 2, 1.0, settings=NetworkSettings(algo="oft"))
    with pytest.raises(ValueError, match="algo=lokr"):
        loha.create_network(make_dit(), 2, 1.0, settings=NetworkSettings(algo="lokr"))
