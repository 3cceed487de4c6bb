"""Small DiTs and inputs for the tests of the DiT, the adapter and their loading."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from camera.network_input import CameraInput, camera_input
from camera.poses import exp_se3
from wan.adapters.build import build_adapter
from wan.adapters.interface import CameraAdapter
from wan.config import AdapterConfig, CrossConfig, DiTConfig, ForkConfig, PluckerConfig, RelativeConfig
from wan.initialise import initialise
from wan.model import WanModel

I2V = DiTConfig(
    dim=112, ffn_dim=160, num_heads=4, num_layers=3, in_dim=36, text_dim=40, text_len=24, image_dim=48, freq_dim=64
)
T2V = replace(I2V, in_dim=16, image_dim=None)
FLF2V = replace(I2V, image_pos_tokens=10)
FUN_CONTROL = replace(I2V, in_dim=48)
ADAPTERS: dict[str, AdapterConfig] = {
    "v2": RelativeConfig(inner_dim=40, num_heads=2, relative_dim=8, hidden_dim=24, blocks=(0, 2)),
    "cross": CrossConfig(inner_dim=32, num_heads=2, hidden_dim=48, token_dim=32, blocks=(0, 2)),
    "plucker": PluckerConfig(hidden_dim=24),
    "v1": ForkConfig(middle_dim=12, hidden_dim=16, num_heads=2, blocks=(0, 2)),
}
"""One small adapter of every design; those in blocks sit in the same ones."""
ADAPTER = ADAPTERS["v2"]


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
    generator = torch.Generator().manual_seed(seed)
    adapter = build_adapter(config, dit.dim, dit.num_layers, generator)
    with torch.no_grad():
        for layer in adapter.output_layers():
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * 0.2)
    return adapter


def random_camera(
    batch: int = 2, grid: tuple[int, int, int] = (3, 6, 8), seed: int = 5, size: float = 0.3, ray_scale: int = 1
) -> CameraInput:
    """Of videos whose camera jumps and turns by about `size` from frame to frame, each with a lens of its own."""
    generator = torch.Generator().manual_seed(seed)
    frames = 4 * grid[0] - 3
    poses = exp_se3(torch.randn(batch, frames, 6, generator=generator, dtype=torch.float64) * size)
    lenses = torch.tensor([0.9, 1.2, 0.5, 0.5], dtype=torch.float64)
    lenses = (lenses * (1 + 0.1 * torch.rand(batch, 1, 4, generator=generator).double())).expand(batch, frames, 4)
    return camera_input(poses, lenses, grid[1], grid[2], ray_scale)


@dataclass(frozen=True)
class Inputs:
    """Arguments of `WanModel.forward` but the camera, and a camera."""

    latents: Tensor
    timestep: Tensor
    context: Tensor
    clip_features: Tensor | None
    image_condition: Tensor | None
    camera: CameraInput

    @property
    def arguments(self) -> tuple[Tensor | None, ...]:
        return (self.latents, self.timestep, self.context, self.clip_features, self.image_condition)


def inputs(config: DiTConfig = I2V, batch: int = 2, grid: tuple[int, int, int] = (3, 6, 8), seed: int = 5) -> Inputs:
    """Random inputs of the right shapes."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=generator)

    return Inputs(
        latents=noise(config.out_dim, *grid),
        timestep=torch.linspace(999.0, 321.0, batch),
        context=noise(config.text_len, config.text_dim),
        clip_features=None if config.image_dim is None else noise(config.image_pos_tokens or 5, config.image_dim),
        image_condition=noise(config.condition_channels, *grid) if config.condition_channels else None,
        camera=random_camera(batch, grid, seed),
    )


def relative_error(a: Tensor, b: Tensor) -> float:
    """‖a - b‖ / ‖b‖ in float64."""
    return ((a.double() - b.double()).norm() / b.double().norm()).item()
