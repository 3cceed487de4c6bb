"""Small DiTs and inputs for the tests of the DiT, the adapter and their loading."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from wan.adapter import CameraAdapter
from wan.config import AdapterConfig, DiTConfig
from wan.initialise import initialise
from wan.model import WanModel

I2V = DiTConfig(
    dim=112, ffn_dim=160, num_heads=4, num_layers=3, in_dim=36, text_dim=40, text_len=24, image_dim=48, freq_dim=64
)
T2V = replace(I2V, in_dim=16, image_dim=None)
FLF2V = replace(I2V, image_pos_tokens=10)
FUN_CONTROL = replace(I2V, in_dim=48)
ADAPTER = AdapterConfig(inner_dim=32, num_heads=2, hidden_dim=48, token_dim=32, blocks=(0, 2))


def small_model(config: DiTConfig = I2V, seed: int = 0) -> WanModel:
    """A DiT whose head, biases and norms are not at their uninformative start."""
    model = WanModel(config)
    initialise(model, seed, head_std=0.1)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return model


def trained_adapter(config: AdapterConfig = ADAPTER, dit: DiTConfig = I2V, seed: int = 0) -> CameraAdapter:
    """An adapter whose output layers have left zero."""
    adapter = CameraAdapter(config, dit.dim, dit.num_layers)
    generator = torch.Generator().manual_seed(seed)
    adapter.reset_parameters(generator)
    with torch.no_grad():
        for layer in adapter.layers:
            layer.o.weight.copy_(torch.randn(layer.o.weight.shape, generator=generator) * 0.2)
    return adapter


@dataclass(frozen=True)
class Inputs:
    """Arguments of `WanModel.forward` but the camera, and a camera."""

    latents: Tensor
    timestep: Tensor
    context: Tensor
    clip_features: Tensor | None
    image_condition: Tensor | None
    camera: Tensor

    @property
    def arguments(self) -> tuple[Tensor | None, ...]:
        return (self.latents, self.timestep, self.context, self.clip_features, self.image_condition)


def inputs(config: DiTConfig = I2V, batch: int = 2, grid: tuple[int, int, int] = (3, 6, 8), seed: int = 5) -> Inputs:
    """Random inputs of the right shapes."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=generator)

    frames, rows, columns = grid
    return Inputs(
        latents=noise(config.out_dim, *grid),
        timestep=torch.linspace(999.0, 321.0, batch),
        context=noise(config.text_len, config.text_dim),
        clip_features=None if config.image_dim is None else noise(config.image_pos_tokens or 5, config.image_dim),
        image_condition=noise(config.condition_channels, *grid) if config.condition_channels else None,
        camera=noise(frames, 24, rows, columns) * 0.3,
    )


def relative_error(a: Tensor, b: Tensor) -> float:
    """‖a - b‖ / ‖b‖ in float64."""
    return ((a.double() - b.double()).norm() / b.double().norm()).item()
