"""Adapter files of every design: what is written, read, and refused."""

from pathlib import Path

import pytest
import torch

from common.weights import read_metadata, read_tensors, write_tensors
from tests.wan.dit_helpers import ADAPTERS, I2V, T2V, inputs, small_model, trained_adapter
from wan.adapters.build import build_adapter
from wan.adapters.files import load_adapter, save_adapter
from wan.recognise import recognise


@pytest.mark.parametrize("design", list(ADAPTERS))
def test_a_file_comes_back_the_same(tmp_path: Path, design: str):
    adapter, given = trained_adapter(ADAPTERS[design]), inputs()
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, adapter, {"base_task": "i2v-tiny", "trained_steps": "7"})
    metadata = read_metadata(path)
    assert metadata["format"] == "omnicam-adapter" and metadata["version"] == "2"
    assert metadata["base_task"] == "i2v-tiny" and metadata["trained_steps"] == "7" and metadata["convention"]
    assert recognise(path).network == "adapter"
    loaded = load_adapter(path, I2V)
    assert loaded.config == adapter.config and loaded.sigma_window == adapter.config.sigma_window
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), adapter.parameters(), strict=True))
    results = []
    for each in (adapter, loaded):
        model = small_model()
        model.attach_adapter(each)
        with torch.no_grad():
            results.append(model(*given.arguments, camera=given.camera))
    assert torch.equal(*results)
    assert next(load_adapter(path, I2V, dtype=torch.bfloat16).parameters()).dtype == torch.bfloat16
    # the base model's task does not matter, its shape does
    load_adapter(path, T2V)


@pytest.mark.parametrize("design", list(ADAPTERS))
def test_an_untrained_file_is_refused_unless_forced(tmp_path: Path, design: str, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, build_adapter(ADAPTERS[design], I2V.dim, I2V.num_layers), {})
    with pytest.raises(ValueError, match=r"never trained.*--force_adapter"):
        load_adapter(path, I2V)
    assert not load_adapter(path, I2V, force=True).is_trained()
    assert "never trained" in caplog.text


@pytest.mark.parametrize(
    ("metadata", "word"),
    [
        ({"format": "other"}, "a camera adapter, not a camera adapter saved by this project"),
        ({"version": "9"}, "version"),
        ({"convention": "opengl_w2c"}, "convention.*--force_adapter"),
        ({"config": "{"}, "config"),
        ({"config": '{"design": "v9", "dit_dim": 112, "dit_layers": 3}'}, "config"),
        ({"config": '{"design": "v2", "dit_dim": 112, "dit_layers": 3, "colour": 1}'}, "colour"),
        ({"config": '{"dit_dim": 112, "dit_layers": 3, "num_heads": 0}'}, "num_heads is 0"),
        ({"config": '{"dit_dim": 112, "dit_layers": 3, "hidden_dim": "x"}'}, "hidden_dim is 'x'"),
        ({"config": '{"dit_dim": 112, "dit_layers": 3, "eps": NaN}'}, "eps is nan"),
        ({"config": '{"dit_dim": 112, "dit_layers": 3, "patch_size": [2]}'}, "patch_size is"),
        ({"config": '{"dit_dim": 112, "dit_layers": 3, "blocks": [0, "1"]}'}, "blocks is '1'"),
        ({"config": '{"dit_dim": 112, "dit_layers": 3, "blocks": [0, 7]}'}, "block 7 of a DiT with 3"),
        ({"config": '{"design": "v1", "dit_dim": 112, "dit_layers": 3, "same_frame": 1}'}, "same_frame is 1"),
        ({"config": '{"design": "v2", "dit_dim": 5120, "dit_layers": 40}'}, "width 5120 with 40 blocks"),
        (
            {"config": '{"design": "v2", "dit_dim": 112, "dit_layers": 3, "blocks": [0, 1, 2]}'},
            "does not fit the camera adapter",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_its_name(tmp_path: Path, metadata: dict[str, str], word: str):
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, trained_adapter(), {"base_task": "i2v-14B"})
    write_tensors(path, read_tensors(path), {**read_metadata(path), **metadata})
    with pytest.raises(ValueError, match=word) as error:
        load_adapter(path, I2V)
    assert str(path) in str(error.value)


def test_another_network_is_named(tmp_path: Path):
    path = tmp_path / "dit.safetensors"
    write_tensors(path, small_model().state_dict())
    with pytest.raises(ValueError, match=r"is a Wan2\.1 DiT, not a camera adapter"):
        load_adapter(path, I2V)


@pytest.mark.parametrize(("value", "word"), [(float("nan"), "NaN or infinity"), (1, "floating-point type")])
def test_an_adapter_of_no_numbers_is_refused(tmp_path: Path, value: float, word: str):
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, trained_adapter(), {})
    tensors = read_tensors(path)
    tensors["layers.0.q.weight"] = torch.full(tensors["layers.0.q.weight"].shape, value)
    write_tensors(path, tensors, read_metadata(path))
    with pytest.raises(ValueError, match=rf"adapter\.safetensors.*{word}"):
        load_adapter(path, I2V)
