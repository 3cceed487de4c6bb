"""The camera adapter: in some blocks, video tokens look at the viewing rays of their own latent frame.

Per latent frame, a cross-attention from video tokens to ray tokens, with rotary row and column positions on queries
and keys, so that a token can tell the rays that pass through it. The output layer starts at zero, so a new adapter
leaves the model as it is, bit for bit.

Parameters: 0.49 M for `i2v-tiny`, 145 M for the 14B models, 14 M for the 1.3B ones (a test counts them).
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from common.streaming import stream_tensors
from common.tensor_headers import read_header
from common.weights import assign_tensors, check_finite, check_fit, total, write_tensors
from wan.attention import sdpa
from wan.blocks import CameraBranch, LayerNorm, RMSNorm, linear_float32
from wan.config import AdapterConfig, DiTConfig
from wan.recognise import recognise
from wan.rope import RotaryTable, apply_rotary, rotary_table

ADAPTER_FORMAT = "omnicam-adapter"
ADAPTER_VERSION = "1"
CAMERA_CONVENTION = "opencv_c2w"
"""What the Plücker maps of an adapter are made from: camera-to-world poses in OpenCV axes (docs/conventions.md)."""

RayKV = tuple[Tensor, Tensor]
"""Keys and values of one adapter layer, each [B * f, S, heads, D]; S ray tokens per latent frame."""


class CameraTokens(NamedTuple):
    """A camera prepared for denoising: once per video, shared by all steps and both guidance branches."""

    rays: Tensor
    """Ray tokens [B, f, S, token_dim]."""
    grid: tuple[int, int]
    """Rows and columns of the ray tokens; S is their product."""
    rope: RotaryTable
    """Rotary table of that grid, for the queries of the video tokens and the keys of the ray tokens."""
    cached: tuple[RayKV, ...] | None = None
    """Keys and values of every adapter layer, if asked for."""


class CameraAttention(nn.Module):
    """One block's attention from video tokens to the ray tokens of the same latent frame."""

    def __init__(self, config: AdapterConfig, dit_dim: int) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.norm = LayerNorm(dit_dim, config.eps)
        self.q = nn.Linear(dit_dim, config.inner_dim)
        self.k = nn.Linear(config.token_dim, config.inner_dim)
        self.v = nn.Linear(config.token_dim, config.inner_dim, bias=False)
        self.o = nn.Linear(config.inner_dim, dit_dim, bias=False)
        self.norm_q = RMSNorm(config.inner_dim, config.eps)
        self.norm_k = RMSNorm(config.inner_dim, config.eps)

    def project(self, camera: CameraTokens) -> RayKV:
        """Keys (turned by row and column) and values of the ray tokens."""
        rays = camera.rays.flatten(0, 1).to(self.k.weight.dtype)
        v = self._heads(self.v(rays))
        return self._turn(self.norm_k(self.k(rays)), camera.rope).to(v.dtype), v

    def forward(
        self, x: Float[Tensor, "b tokens dim"], camera: CameraTokens, kv: RayKV | None
    ) -> Float[Tensor, "b tokens dim"]:
        """What this layer adds to the video tokens, before `camera_scale`."""
        k, v = kv if kv is not None else self.project(camera)
        frames = self.norm(x).to(self.q.weight.dtype).reshape(k.shape[0], -1, x.shape[-1])
        q = self._turn(self.norm_q(self.q(frames)), camera.rope).to(v.dtype)
        return self.o(sdpa(q, k, v)).reshape(x.shape).to(x.dtype)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1))

    def _turn(self, x: Tensor, rope: RotaryTable) -> Tensor:
        return apply_rotary(self._heads(x), rope)


class CameraAdapter(nn.Module):
    """Plücker maps in, per-block contributions out; attach it with `WanModel.attach_adapter`.

    Args:
        config: sizes and blocks.
        dit_dim: width of the DiT it is made for.
        layers: blocks of that DiT.

    Raises:
        ValueError: the config names a block that the DiT does not have.
    """

    camera_scale: float
    """Multiplies every contribution: 1 as trained, 0 skips the work and leaves the model as without an adapter."""

    def __init__(self, config: AdapterConfig, dit_dim: int, layers: int) -> None:
        super().__init__()
        if config.blocks[-1] >= layers:
            raise ValueError(f"the adapter sits in block {config.blocks[-1]}, but the DiT has {layers} blocks")
        self.config = config
        self.dit_dim = dit_dim
        self.dit_layers = layers
        self.camera_scale = 1.0
        rows, columns = config.patch_size
        self.ray_embedding = nn.Sequential(
            nn.Linear(config.ray_channels * rows * columns, config.hidden_dim),
            nn.GELU(),
            nn.Linear(config.hidden_dim, config.token_dim),
        )
        self.layers = nn.ModuleList(CameraAttention(config, dit_dim) for _ in config.blocks)
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Set fresh weights: outputs zero, other layers normal with unit gain."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                normal = torch.randn(layer.weight.shape, generator=generator) * layer.in_features**-0.5
                with torch.no_grad():
                    layer.weight.copy_(normal)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            elif isinstance(layer, LayerNorm):
                layer.reset_parameters()
        for layer in self._camera_layers():
            nn.init.zeros_(layer.o.weight)
            # equal biases of queries and keys, once turned, agree best at distance 0: a token starts at its own ray
            nn.init.ones_(layer.q.bias)
            nn.init.ones_(layer.k.bias)
            nn.init.constant_(layer.norm_q.weight, 2.0)
            nn.init.constant_(layer.norm_k.weight, 2.0)

    def prepare(self, camera: Float[Tensor, "b frames channels rows columns"], cache_kv: bool = False) -> CameraTokens:
        """Ray tokens of a batch of videos, to be made once per video.

        Args:
            camera: Plücker maps on the latent grid, grouped by latent frame (`camera.plucker.group_frames`). They
                are read in float32: half precision would swallow small motions.
            cache_kv: also keep keys and values of every layer.

        Raises:
            ValueError: the shape is not that of grouped Plücker maps on a grid of whole patches.
        """
        rows, columns = self.config.patch_size
        channels = self.config.ray_channels
        whole = camera.ndim == 5 and camera.shape[3] % rows == 0 and camera.shape[4] % columns == 0
        if not whole or camera.shape[2] != channels:
            raise ValueError(
                f"camera {list(camera.shape)}: expected [B, f, {channels}, h, w] with h, w the latent grid, "
                f"multiples of {rows} and {columns}"
            )
        first, gelu, second = self.ray_embedding
        assert isinstance(first, nn.Linear) and isinstance(second, nn.Linear)
        patches = camera.to(first.weight.device, torch.float32).unflatten(4, (-1, columns)).unflatten(3, (-1, rows))
        patches = patches.permute(0, 1, 3, 5, 2, 4, 6).flatten(4)
        rays = linear_float32(second, gelu(linear_float32(first, patches)))
        grid = (patches.shape[2], patches.shape[3])
        pairs = self.config.inner_dim // self.config.num_heads // 4
        rope = rotary_table(grid, (pairs, pairs), self.config.rope_theta, rays.device)
        tokens = CameraTokens(rays.flatten(2, 3), grid, rope)
        if not cache_kv:
            return tokens
        return tokens._replace(cached=tuple(layer.project(tokens) for layer in self._camera_layers()))

    def branch(self, block: int, camera: CameraTokens | None) -> CameraBranch | None:
        """What to add inside DiT block number `block`: a function of the video tokens, or None for nothing."""
        if camera is None or self.camera_scale == 0 or block not in self.config.blocks:
            return None
        index = self.config.blocks.index(block)
        kv = camera.cached[index] if camera.cached is not None else None
        return partial(self._contribution, self._camera_layers()[index], camera, kv)

    def is_trained(self) -> bool:
        """Whether any output layer has left its zero start."""
        return any(bool(layer.o.weight.any()) for layer in self._camera_layers())

    def _contribution(self, layer: CameraAttention, camera: CameraTokens, kv: RayKV | None, x: Tensor) -> Tensor:
        return layer(x, camera, kv) * self.camera_scale

    def _camera_layers(self) -> list[CameraAttention]:
        return [layer for layer in self.layers if isinstance(layer, CameraAttention)]


def save_adapter(
    path: str | Path, adapter: CameraAdapter, metadata: Mapping[str, str], dtype: torch.dtype | None = None
) -> None:
    """Write an adapter as its own .safetensors file, whole or not at all.

    Args:
        path: the file to write.
        adapter: the adapter; it stays as it is.
        metadata: what the caller knows, e.g. base_task, trained_steps; strings. Format, version, config and (unless
            given) convention are added.
        dtype: of the tensors in the file; None keeps the adapter's.
    """
    config = {**asdict(adapter.config), "dit_dim": adapter.dit_dim, "dit_layers": adapter.dit_layers}
    own = {"format": ADAPTER_FORMAT, "version": ADAPTER_VERSION, "config": json.dumps(config)}
    tensors = {key: value.to(dtype) for key, value in adapter.state_dict().items()}
    write_tensors(path, tensors, {"convention": CAMERA_CONVENTION, **metadata, **own})


def load_adapter(
    path: str | Path,
    dit_config: DiTConfig,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> CameraAdapter:
    """Read an adapter that fits a DiT.

    Args:
        path: a file of `save_adapter`.
        dit_config: the DiT it is to be attached to.
        device: where its tensors go.
        dtype: what they are cast to; None keeps the file's.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no camera adapter, is of another version or convention, or was made for another DiT.
    """
    header = read_header(path)
    metadata = header.metadata
    if metadata.get("format") != ADAPTER_FORMAT:
        raise ValueError(f"{path} is {recognise(header).words}, not a camera adapter saved by this project")
    for key, expected in (("version", ADAPTER_VERSION), ("convention", CAMERA_CONVENTION)):
        if metadata.get(key) != expected:
            raise ValueError(f"{path}: adapter {key} is {metadata.get(key)!r}; this program reads {expected!r}")
    config, dit_dim, layers = parse_adapter_config(path, metadata.get("config", ""))
    if (dit_dim, layers) != (dit_config.dim, dit_config.num_layers):
        raise ValueError(
            f"{path} was made for a DiT of width {dit_dim} with {layers} blocks "
            f"(task {metadata.get('base_task', 'unknown')}); this one has width {dit_config.dim} and "
            f"{dit_config.num_layers} blocks. Pass the --task it was trained with, or another adapter"
        )
    with torch.device("meta"):
        adapter = CameraAdapter(config, dit_dim, layers)
    check_fit(adapter, header.entries, "the camera adapter", path)
    placed = dict(stream_tensors(header.entries, device, lambda _, entry: dtype or entry.dtype))
    check_finite(list(placed), torch.stack([total(tensor) for tensor in placed.values()]), path)
    assign_tensors(adapter, placed, "the camera adapter", path)
    return adapter


def parse_adapter_config(path: str | Path, text: str) -> tuple[AdapterConfig, int, int]:
    """Sizes of an adapter, and the width and blocks of its DiT, from the metadata entry `config` of its file.

    Raises:
        ValueError: the text is not of that form.
    """
    try:
        values = json.loads(text)
        dit_dim, layers = int(values.pop("dit_dim")), int(values.pop("dit_layers"))
        known = {item.name for item in fields(AdapterConfig)}
        if unknown := set(values) - known:
            raise ValueError(f"unknown entries {sorted(unknown)}")
        for item in fields(AdapterConfig):
            if item.name in values:
                values[item.name] = _like(item.default, values[item.name], item.name)
        config = AdapterConfig(**values)
        if config.blocks[-1] >= layers:
            raise ValueError(f"block {config.blocks[-1]} of a DiT with {layers}")
        return config, dit_dim, layers
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: the adapter's metadata 'config' is unreadable ({error})") from None


def _like(default: Any, value: Any, name: str) -> Any:
    """A value from JSON as the type of the default one; sizes and numbers must be positive."""
    if isinstance(default, tuple):
        lowest = 1 if name == "patch_size" else 0
        wanted = len(default) if name == "patch_size" else None
        numbers = isinstance(value, list) and all(type(item) is int and item >= lowest for item in value)
        if numbers and wanted in (None, len(value)):
            return tuple(value)
    elif type(value) in (int, type(default)) and 0 < value < math.inf:
        return value
    raise ValueError(f"{name} is {value!r}; expected the like of {default!r}")
