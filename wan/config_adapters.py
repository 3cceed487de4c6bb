"""Configurations of the camera adapters, one dataclass per design. Import them from `wan.config`."""

import math
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from wan.config_networks import require

PATCH = 2
"""Rows and columns of the latent grid per video token, as in every Wan2.1 DiT."""

RAY_CHANNELS = 24
"""Plücker channels per latent frame: 4 video frames of 6 (moment, direction)."""


@dataclass(frozen=True)
class AdapterConfig:
    """What every design has."""

    design: ClassVar[str] = ""
    """Its name at `--adapter`."""
    _may_be_zero: ClassVar[tuple[str, ...]] = ()
    """The sizes that may be 0."""
    acts_in_blocks: ClassVar[bool] = True
    """Whether it acts in blocks of the DiT at all."""

    sigma_window: tuple[float, float] = (0.0, 1.0)
    """Noise levels at which the camera acts, lowest and highest; outside it the model is the one without a camera."""
    eps: float = 1e-6
    """Epsilon of the norms."""
    blocks: tuple[int, ...] = ()
    """Indices of the DiT blocks that it acts in."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if type(value) in (int, float):
                zero = item.name in self._may_be_zero
                least = "0 or more" if zero else "a number above 0"
                fits = 0 < value < math.inf or (zero and value == 0)
                require(fits, f"{self._name}.{item.name} is {value!r}; expected {least}")
        require(len(self.sigma_window) == 2, f"{self._name}.sigma_window {self.sigma_window}: expected two numbers")
        low, high = self.sigma_window
        require(0 <= low < high <= 1, f"{self._name}.sigma_window {self.sigma_window}: expected 0 <= low < high <= 1")
        blocks = self.blocks
        require(
            (len(blocks) > 0) == self.acts_in_blocks,
            f"{self._name}.blocks {blocks}: {'name at least one' if self.acts_in_blocks else 'it acts in none'}",
        )
        require(
            list(blocks) == sorted(set(blocks)) and min(blocks, default=0) >= 0,
            f"{self._name}.blocks {blocks} must be different block indices from 0 up, in rising order",
        )

    @property
    def ray_scale(self) -> int:
        """Rays per latent position, along each side, that its Plücker maps have."""
        return 1

    @property
    def _name(self) -> str:
        return type(self).__name__


@dataclass(frozen=True)
class RaysConfig(AdapterConfig):
    """What the designs that read Plücker maps have."""

    rays_of: Literal["group", "last"] = "group"
    """Whose rays a latent frame has: those of its four video frames, or four times the last one's (for comparison)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.rays_of in ("group", "last"), f"{self._name}.rays_of {self.rays_of!r}: expected group or last")


@dataclass(frozen=True)
class RelativeConfig(RaysConfig):
    """v2: attention relative to rays, beside self-attention, and a fine Plücker branch at the patches."""

    design: ClassVar[str] = "v2"
    _may_be_zero: ClassVar[tuple[str, ...]] = ("hidden_dim",)

    inner_dim: int = 640
    """Width of the camera attention, over all heads: an eighth of the DiT's (UCPE's best trade)."""
    num_heads: int = 5
    """Attention heads of the camera attention."""
    relative_dim: int = 64
    """Channels of each head that are turned by the frames of the rays, in groups of 4; the others by position."""
    blocks: tuple[int, ...] = tuple(range(20))
    """Indices of the DiT blocks that it acts in; the first half by default (camera.md 3a, E1)."""
    kv_stride: Literal[1, 2] = 2
    """Keys and values stand for cells of so many video tokens a side; 2 quarters the cost of the attention."""
    translation_unit: float = 1.0
    """The length that counts as one; see `wan.adapters.relative.compress`."""
    hidden_dim: int = 1024
    """Width of the hidden layer of the fine branch; 0 builds none."""
    fine_scale: Literal[1, 2, 4] = 1
    """Rays per latent position, along each side, that the fine branch is given."""
    rope_theta: float = 10000.0
    """Base of the rotary frequencies of frame, row and column, as in the DiT."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.inner_dim % self.num_heads == 0,
            f"RelativeConfig.inner_dim {self.inner_dim} must be a multiple of num_heads {self.num_heads}",
        )
        rest = self.inner_dim // self.num_heads - self.relative_dim
        require(
            self.relative_dim >= 4 and self.relative_dim % 4 == 0 and rest >= 6 and rest % 2 == 0,
            f"RelativeConfig.relative_dim {self.relative_dim} of {self.inner_dim // self.num_heads} channels a head: "
            "expected a multiple of 4 that leaves an even number from 6 up for the rotary positions",
        )
        require(self.kv_stride in (1, 2), f"RelativeConfig.kv_stride {self.kv_stride}: expected 1 or 2")
        require(self.fine_scale in (1, 2, 4), f"RelativeConfig.fine_scale {self.fine_scale}: expected 1, 2 or 4")

    @property
    def ray_scale(self) -> int:
        """Those of the fine branch."""
        return self.fine_scale


@dataclass(frozen=True)
class CrossConfig(RaysConfig):
    """cross: cross-attention from video tokens to ray tokens, latent frame by latent frame."""

    design: ClassVar[str] = "cross"

    inner_dim: int = 640
    """Width of the camera attention, over all heads."""
    num_heads: int = 5
    """Attention heads of the camera attention."""
    hidden_dim: int = 1024
    """Width of the hidden layer that turns rays into ray tokens."""
    token_dim: int = 512
    """Width of the ray tokens."""
    blocks: tuple[int, ...] = tuple(range(20))
    """Indices of the DiT blocks that look at the camera; the first half by default (camera.md 3a, E1)."""
    ray_channels: int = RAY_CHANNELS
    """Plücker channels per latent frame."""
    patch_size: tuple[int, int] = (PATCH, PATCH)
    """Rows and columns of the latent grid per ray token, as in the DiT, so that each video token has its own ray."""
    rope_theta: float = 100.0
    """Base of the rotary frequencies over rows and columns; small, since a grid has at most some hundred rows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.inner_dim % self.num_heads == 0 and (self.inner_dim // self.num_heads) % 4 == 0,
            f"CrossConfig: inner_dim {self.inner_dim} / num_heads {self.num_heads} must be a multiple of 4 "
            "(rotary pairs for rows and for columns)",
        )
        require(
            (self.ray_channels, self.patch_size) == (RAY_CHANNELS, (PATCH, PATCH)),
            f"CrossConfig: ray_channels is {self.ray_channels}, patch_size is {self.patch_size}; expected "
            f"{RAY_CHANNELS} and {(PATCH, PATCH)}, as the camera is given",
        )


@dataclass(frozen=True)
class PluckerConfig(RaysConfig):
    """plucker: Plücker maps added to the video tokens once, after the patch embedding."""

    design: ClassVar[str] = "plucker"
    acts_in_blocks: ClassVar[bool] = False

    hidden_dim: int = 1024
    """Width of the hidden layer."""
    fine_scale: Literal[1, 2, 4] = 1
    """Rays per latent position, along each side."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.fine_scale in (1, 2, 4), f"PluckerConfig.fine_scale {self.fine_scale}: expected 1, 2 or 4")

    @property
    def ray_scale(self) -> int:
        """The field `fine_scale`."""
        return self.fine_scale


@dataclass(frozen=True)
class ForkConfig(AdapterConfig):
    """v1: the OmniCam-Wan fork's adapter, under its own names and with its own shapes."""

    design: ClassVar[str] = "v1"

    middle_dim: int = 640
    """Width between the two linear layers of the keys and of the values (the fork's `cam_middim`)."""
    hidden_dim: int = 64
    """Width of the transformer over the rays of one frame (`hidden_channels`)."""
    num_heads: int = 8
    """Attention heads of that transformer; the fork's files do not tell it."""
    num_layers: int = 2
    """Layers of that transformer."""
    blocks: tuple[int, ...] = tuple(range(40))
    """Indices of the DiT blocks whose cross-attention looks at the camera; all of them in the fork."""
    same_frame: bool = True
    """Video tokens see the rays of their own latent frame; False: of all frames, as the fork's files were made."""
    geometry: Literal["opencv", "omnicam_legacy"] = "opencv"
    """How poses are made: as everywhere here, or as the fork made them (`camera.legacy`)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.hidden_dim % self.num_heads == 0,
            f"ForkConfig.hidden_dim {self.hidden_dim} must be a multiple of num_heads {self.num_heads}",
        )
        require(
            self.geometry in ("opencv", "omnicam_legacy"),
            f"ForkConfig.geometry {self.geometry!r}: expected opencv or omnicam_legacy",
        )


ADAPTER_CONFIGS: dict[str, type[AdapterConfig]] = {
    kind.design: kind for kind in (RelativeConfig, CrossConfig, PluckerConfig, ForkConfig)
}
"""The designs by their names at `--adapter`; the first is the default."""
