"""Linear layers kept in fp8: what rounding costs, what stays as it is, LoRAs merged before it, gradients through it."""

import logging
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from common.weights import write_tensors
from networks.lora_files import write_lora
from networks.lora_wan import create_network
from networks.merging import merge_lora, merge_while_loading
from tests.wan import test_t5
from tests.wan.dit_helpers import I2V, inputs, relative_error, small_model, trained_adapter
from wan.config import WAN_CONFIGS
from wan.fp8 import (
    FP8,
    FP8Linear,
    Fp8Mode,
    check_fast_fp8,
    is_fp8_weight,
    quantise_rows,
    round_to_fp8,
    use_fast_fp8,
    use_fp8,
    widen,
)
from wan.initialise import initialise
from wan.keys_encoders import t5_table, to_official
from wan.loading import load_dit, load_t5
from wan.model import WanModel
from wan.t5 import T5Encoder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_tensors(tmp_path / "dit.safetensors", small_model().state_dict())
    return tmp_path / "dit.safetensors"


def load(path: Path, fp8: Fp8Mode = "none", **keywords) -> WanModel:
    return load_dit(path, I2V, device="cpu", dtype=torch.float32, fp8=fp8, **keywords)


def cosine(a: Tensor, b: Tensor) -> float:
    return torch.cosine_similarity(a.flatten().double(), b.flatten().double(), dim=0).item()


def steps(x: Tensor) -> Tensor:
    """Distance of neighbouring E4M3 numbers at x: 2^-3 of its power of two, 2^-9 below 2^-6."""
    return 2.0 ** (torch.floor(torch.log2(x.abs().double().clamp(min=2.0**-6))) - 3)


@given(st.integers(0, 2**31), st.floats(-6, 6), st.integers(1, 12))
@settings(deadline=None, max_examples=50)
def test_no_weight_is_off_by_more_than_half_a_step(seed: int, exponent: float, rows: int):
    weight = torch.randn(rows, 33, generator=torch.Generator().manual_seed(seed)) * 10.0**exponent
    rounded, scale = quantise_rows(weight)
    assert rounded.dtype == FP8 and scale.shape == (rows, 1) and rounded.float().isfinite().all()
    assert (rounded.float().abs().amax(1) == 448).all(), "the largest of each row is at the top of the range"
    off = (widen(rounded, scale, torch.float64) - weight.double()).abs()
    assert (off <= steps(weight / scale) / 2 * scale.double() * (1 + 1e-5)).all()


def test_the_error_of_normal_weights_is_what_uniform_rounding_predicts():
    weight = torch.randn(512, 1024, generator=torch.Generator().manual_seed(0)) * 0.02
    rounded, scale = quantise_rows(weight)
    measured = relative_error(widen(rounded, scale, torch.float32), weight)
    # the error within a step of length s is uniform: variance s^2 / 12
    variance = (steps(weight / scale) * scale.double()) ** 2 / 12
    predicted = float((variance.sum() / weight.double().square().sum()).sqrt())
    assert measured == pytest.approx(predicted, rel=0.01)
    assert 0.025 < measured < 0.028
    # as they are, such weights lie where E4M3 has steps of 2^-9 only
    assert relative_error(round_to_fp8(weight).float(), weight) > measured


def test_rows_of_zeros_and_numbers_beyond_the_range():
    weight = torch.tensor([[0.0, 0.0], [1e-30, -1e-30], [600.0, -3.0]])
    rounded, scale = quantise_rows(weight)
    assert widen(rounded, scale, torch.float32)[0].eq(0).all()
    assert widen(rounded, scale, torch.float32)[1, 0].item() == pytest.approx(1e-30, rel=1e-3)
    assert round_to_fp8(weight)[2].tolist() == [448.0, -3.0]


def test_only_the_blocks_linear_layers_are_in_fp8(path: Path):
    dit = load(path, "scaled")
    kept = {name for name, value in dit.state_dict().items() if value.dtype == FP8}
    layers = [f"{part}.{leaf}" for part in ("self_attn", "cross_attn") for leaf in "qkvo"]
    layers += ["cross_attn.k_img", "cross_attn.v_img", "ffn.0", "ffn.2"]
    assert kept == {f"blocks.{n}.{layer}.weight" for n in range(3) for layer in layers}
    assert all(value.dtype == torch.float32 for name, value in dit.state_dict().items() if name not in kept)
    assert not any(map(is_fp8_weight, ("blocks.0.cross_attn.k_camera1.linear1.weight", "blocks.0.modulation")))
    dit.attach_adapter(trained_adapter())
    assert all(value.dtype == torch.float32 for name, value in dit.state_dict().items() if "adapter" in name)


def test_parameters_take_a_quarter_of_float32(path: Path):
    def nbytes(model: WanModel, chosen: bool) -> int:
        return sum(value.nbytes for name, value in model.named_parameters() if is_fp8_weight(name) == chosen)

    plain, scaled = load(path), load(path, "scaled")
    assert nbytes(scaled, True) * 4 == nbytes(plain, True)
    assert nbytes(scaled, False) == nbytes(plain, False)


@pytest.mark.parametrize(("fp8", "lowest"), [("scaled", 0.999), ("base", 0.998)])
def test_the_tiny_dit_says_nearly_the_same(tmp_path: Path, fp8: Fp8Mode, lowest: float):
    config = WAN_CONFIGS["i2v-tiny"].dit
    model = WanModel(config)
    initialise(model, 0, head_std=0.1)
    write_tensors(tmp_path / "dit.safetensors", model.state_dict())
    arguments = inputs(config, grid=(2, 6, 10)).arguments
    with torch.no_grad():
        loaded = load_dit(tmp_path / "dit.safetensors", config, device="cpu", dtype=torch.float32, fp8=fp8)
        found = cosine(loaded(*arguments), model(*arguments))
    assert lowest < found < 1 - 1e-7


def test_a_file_in_fp8_stays_so_where_asked_and_is_refused_where_scales_are_wanted(tmp_path: Path):
    state = {
        name: value.to(FP8) if is_fp8_weight(name) else value for name, value in small_model().state_dict().items()
    }
    write_tensors(tmp_path / "dit.safetensors", {f"model.diffusion_model.{k}": v for k, v in state.items()})
    kept, cast = load(tmp_path / "dit.safetensors", "base"), load(tmp_path / "dit.safetensors")
    assert all(
        kept.state_dict()[name].view(torch.uint8).equal(value.view(torch.uint8)) for name, value in state.items()
    )
    with torch.no_grad():
        arguments = inputs().arguments
        assert torch.equal(kept(*arguments), cast(*arguments)), "widened weights are the same weights"
    with pytest.raises(ValueError, match=r"fp8 already.*--fp8_scaled"):
        load(tmp_path / "dit.safetensors", "scaled")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_computes_in_its_own_type(path: Path, dtype: torch.dtype):
    dit = load_dit(path, I2V, device="cpu", dtype=dtype, fp8="scaled")
    layer = dit.get_submodule("blocks.0.self_attn.q")
    assert isinstance(layer, FP8Linear)
    x = torch.randn(2, 5, I2V.dim, generator=torch.Generator().manual_seed(1)).to(dtype)
    y = layer(x)
    exact = x.double() @ widen(layer.weight, layer.scale, dtype).double().t() + layer.bias.double()
    assert y.dtype == dtype and relative_error(y, exact) < 2 * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_a_file_in_fp8_keeps_its_own_type(tmp_path: Path, dtype: torch.dtype):
    state = small_model().state_dict()
    name = "blocks.0.ffn.0.weight"
    state[name][0, 0] = 20_000.0  # E5M2 reaches it, E4M3 ends at 448
    narrow = {key: value.clamp(-448, 448) if dtype == FP8 else value for key, value in state.items()}
    narrow = {key: value.to(dtype) if is_fp8_weight(key) else value for key, value in narrow.items()}
    write_tensors(tmp_path / "dit.safetensors", narrow)
    kept, cast = load(tmp_path / "dit.safetensors", "base"), load(tmp_path / "dit.safetensors")
    assert kept.state_dict()[name].dtype == dtype and kept.state_dict()[name].view(torch.uint8).equal(
        narrow[name].view(torch.uint8)
    )
    assert kept.state_dict()[name][0, 0].float() == (448 if dtype == FP8 else 20_480)
    with torch.no_grad():
        assert torch.equal(kept(*inputs().arguments), cast(*inputs().arguments))


def test_scales_are_made_from_the_files_own_numbers_not_from_rounded_ones(path: Path):
    dit = load_dit(path, I2V, device="cpu", dtype=torch.bfloat16, fp8="scaled")
    name = "blocks.2.cross_attn.o"
    wide = small_model().get_parameter(f"{name}.weight")
    rounded, scale = quantise_rows(wide)
    assert dit.state_dict()[f"{name}.weight"].view(torch.uint8).equal(rounded.view(torch.uint8))
    assert dit.state_dict()[f"{name}.scale"].equal(scale)
    through = quantise_rows(wide.bfloat16())
    assert not through[1].equal(scale) and not through[0].view(torch.uint8).equal(rounded.view(torch.uint8))


@pytest.mark.parametrize("fp8", ["none", "base"])
def test_a_lora_reaches_weights_that_fp8_leaves_alone(path: Path, lora: Path, fp8: Fp8Mode, monkeypatch):
    monkeypatch.setattr("wan.placing.is_fp8_weight", lambda name: name.endswith("ffn.0.weight"))
    after = small_model()
    assert merge_lora(after, lora, 0.7) == 3 * 12
    merged = load(path, fp8, merge=merge_while_loading([(lora, 0.7)])).state_dict()
    for name, value in after.state_dict().items():
        if fp8 == "base" and name.endswith("ffn.0.weight"):
            assert merged[name].dtype == FP8
        else:
            assert merged[name].equal(value), name


def test_a_lora_for_a_weight_that_is_not_there_stops_the_program(path: Path):
    with pytest.raises(AssertionError, match="has not"):
        load(path, merge=lambda dit: {"blocks.9.ffn.0.weight": lambda weight: weight})


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    network = create_network(small_model(), rank=3, alpha=3.0)
    generator = torch.Generator().manual_seed(4)
    tensors = {
        key: value if key.endswith("alpha") else 0.3 * torch.randn(value.shape, generator=generator)
        for key, value in network.state_dict().items()
    }
    write_lora(tmp_path / "lora.safetensors", tensors)
    return tmp_path / "lora.safetensors"


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_a_lora_is_merged_as_the_weights_arrive(tmp_path: Path, lora: Path, prefix: str):
    write_tensors(
        tmp_path / "p.safetensors", {prefix + key: value for key, value in small_model().state_dict().items()}
    )
    after = small_model()
    merge_lora(after, lora, 0.7)
    merge_lora(after, lora, -0.2)
    arriving = load(tmp_path / "p.safetensors", merge=merge_while_loading([(lora, 0.7), (lora, -0.2)]))
    assert all(value.equal(after.state_dict()[name]) for name, value in arriving.state_dict().items())
    scaled = load(tmp_path / "p.safetensors", "scaled", merge=merge_while_loading([(lora, 0.7), (lora, -0.2)]))
    name = "blocks.1.ffn.2"
    rounded, scale = quantise_rows(after.get_parameter(f"{name}.weight"))
    assert scaled.state_dict()[f"{name}.weight"].float().equal(rounded.float())
    assert scaled.state_dict()[f"{name}.scale"].equal(scale)


def test_a_lora_of_another_dit_is_refused_before_anything_is_read(path: Path, tmp_path: Path, monkeypatch):
    down, up = torch.ones(1, 7), torch.ones(7, 1)
    name = "lora_unet_blocks_0_self_attn_q"
    write_lora(tmp_path / "l.safetensors", {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up})
    monkeypatch.setattr("wan.placing.stream_tensors", None)
    with pytest.raises(ValueError, match="another size"):
        load(path, merge=merge_while_loading([(tmp_path / "l.safetensors", 1.0)]))


def test_merging_into_fp8_weights_is_refused(path: Path, lora: Path):
    with pytest.raises(ValueError, match="in fp8"):
        merge_lora(load(path, "base"), lora)


def test_gradients_pass_and_no_wide_weight_is_kept_for_them():
    layer = torch.nn.Sequential(torch.nn.Linear(24, 16))
    wide = layer[0].weight.detach().clone()
    rounded, scale = quantise_rows(wide)
    use_fp8(layer, ["0.weight"], scaled=True)
    layer.load_state_dict({"0.weight": rounded, "0.scale": scale, "0.bias": torch.randn(16)}, assign=True)
    layer.requires_grad_(False)
    x = torch.randn(5, 24, generator=torch.Generator().manual_seed(0), requires_grad=True)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        y = layer(x)
    assert not any(tensor.shape == wide.shape and tensor.dtype != FP8 for tensor in kept)
    y.square().sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, 2 * y.detach() @ widen(rounded, scale, torch.float32))


def test_a_lora_trains_on_a_dit_in_fp8(path: Path):
    dit = load(path, "scaled")
    network = create_network(dit, rank=2, alpha=2.0)
    network.apply_to(dit)
    arguments = inputs().arguments
    with torch.autocast("cpu", torch.bfloat16):
        dit(*arguments).square().mean().backward()
    gradients = [lora.lora_up.weight.grad for lora in network.loras().values()]
    assert all(gradient is not None and gradient.isfinite().all() and gradient.any() for gradient in gradients)
    assert all(parameter.grad is None for parameter in dit.parameters())


def test_t5_in_fp8_says_nearly_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    generator = torch.Generator().manual_seed(0)
    table = t5_table(test_t5.SMALL)
    official = to_official(T5Encoder(test_t5.SMALL).state_dict(), table)
    official = {key: 0.3 * torch.randn(value.shape, generator=generator) for key, value in official.items()}
    write_tensors(tmp_path / "t5.safetensors", official)
    wide = load_t5(tmp_path / "t5.safetensors", test_t5.SMALL, device="cpu", dtype=torch.float32)
    with caplog.at_level(logging.INFO, "omnicam"):
        narrow = load_t5(tmp_path / "t5.safetensors", test_t5.SMALL, device="cpu", dtype=torch.float32, fp8=True)
    assert "12 weights are kept in fp8, with a scale per row" in caplog.text
    ids = torch.arange(2, 26).view(2, 12)
    with torch.no_grad():
        a, b = wide(ids, torch.ones_like(ids)), narrow(ids, torch.ones_like(ids))
    assert 0.99 < cosine(a, b) < 1 - 1e-7
    in_fp8 = {key: value.to(FP8) for key, value in official.items()}
    write_tensors(tmp_path / "8.safetensors", in_fp8)
    kept = load_t5(tmp_path / "8.safetensors", test_t5.SMALL, device="cpu", dtype=torch.float32, fp8=True)
    weight = kept.state_dict()["encoder.block.0.layer.0.SelfAttention.q.weight"]
    assert weight.float().equal(in_fp8["blocks.0.attn.q.weight"].float())


def test_fast_fp8_is_refused_without_the_hardware(path: Path):
    with pytest.raises(ValueError, match=r"--fp8_fast needs a GPU.*Leave the flag out"):
        use_fast_fp8(load(path, "scaled"), torch.device("cpu"))


def test_fast_fp8_is_refused_where_torch_has_no_such_product(monkeypatch: pytest.MonkeyPatch):
    def fail(device: torch.device) -> None:
        raise RuntimeError("rowwise scaling is for sm90 only\n at a place in C++")

    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (8, 9))
    monkeypatch.setattr("wan.fp8._try_product", fail)
    with pytest.raises(
        ValueError, match=r"--fp8_fast: torch .*for cuda \(rowwise scaling is for sm90 only\)\. Install"
    ):
        check_fast_fp8(torch.device("cuda"))


def test_fast_fp8_is_refused_for_e5m2(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("wan.fp8.check_fast_fp8", lambda device: None)
    layer = FP8Linear(16, 16, bias=False, scaled=False)
    layer.weight = torch.nn.Parameter(layer.weight.detach().to(torch.float8_e5m2), requires_grad=False)
    with pytest.raises(ValueError, match="E5M2"):
        use_fast_fp8(layer, torch.device("cuda"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator on this machine")
def test_eight_bit_products_are_close_to_the_exact_ones(path: Path):
    if torch.cuda.get_device_capability() < (8, 9):
        pytest.skip("this GPU does not multiply in 8 bits")
    device = torch.device("cuda")
    with torch.device(device):
        layer = torch.nn.Sequential(torch.nn.Linear(1024, 2048))
    rounded, scale = quantise_rows(layer[0].weight.detach())
    bias = torch.randn(2048, device=device)
    use_fp8(layer, ["0.weight"], scaled=True)
    layer.load_state_dict({"0.weight": rounded, "0.scale": scale, "0.bias": bias.bfloat16()}, assign=True)
    x = torch.randn(2, 96, 1024, device=device).bfloat16()
    with torch.no_grad():
        exact = layer(x)
        assert use_fast_fp8(layer, device) == 1
        assert 0.01 < relative_error(layer(x).cpu(), exact.cpu()) < 0.05
