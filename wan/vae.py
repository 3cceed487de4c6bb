"""The video autoencoder of Wan2.1: 4n+1 frames to n+1 latent frames and back, in groups of any size.

Parameter names are those of the official `Wan2.1_VAE.pth` (official module `wan/modules/vae.py`).
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from wan.config import VAEConfig
from wan.vae_blocks import (
    CausalConv3d,
    CausalSequential,
    TemporalState,
    decoder_layers,
    encoder_layers,
    head_layers,
    middle_layers,
    per_frame,
)

GROUP_PIXELS = 1_600_000
"""Video pixels of one group when the caller names no size: one latent of 480x832, or a whole small clip."""


class Encoder(nn.Module):
    """Frames to the mean and log-variance of the latent (official `Encoder3d`)."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        widths = config.widths
        self.conv1 = CausalConv3d(3 * config.patch**2, widths[0], 3)
        self.downsamples = CausalSequential(*encoder_layers(widths, config.num_res_blocks, config.temporal_downsample))
        self.middle = middle_layers(widths[-1])
        self.head = head_layers(widths[-1], config.z_dim * 2)

    def forward(self, frames: Tensor, state: TemporalState) -> Tensor:
        """[B, 3·patch², T, H, W] -> [B, 2·z_dim, t, h, w]."""
        x = self.conv1(frames, state)
        x = self.downsamples(x, state)
        x = self.middle(x, state)
        return self.head(x, state)


class Decoder(nn.Module):
    """Latent frames to frames (official `Decoder3d`)."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        widths = config.widths
        self.conv1 = CausalConv3d(config.z_dim, widths[-1], 3)
        self.middle = middle_layers(widths[-1])
        self.upsamples = CausalSequential(*decoder_layers(widths, config.num_res_blocks, config.temporal_downsample))
        self.head = head_layers(widths[0], 3 * config.patch**2)

    def forward(self, latent: Tensor, state: TemporalState) -> Tensor:
        """[B, z_dim, t, h, w] -> [B, 3·patch², T, H, W]."""
        x = self.conv1(latent, state)
        x = self.middle(x, state)
        x = self.upsamples(x, state)
        return self.head(x, state)


class WanVAE(nn.Module):
    """Encoder, decoder and the per-channel normalisation of the latent.

    `mean` and `std` [z_dim] come from the config, not from the weights file; they are buffers, so they can be set.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.conv1 = CausalConv3d(config.z_dim * 2, config.z_dim * 2, 1)
        self.conv2 = CausalConv3d(config.z_dim, config.z_dim, 1)
        self.decoder = Decoder(config)
        # on the CPU even where the parameters are built on meta: their values are known here
        self.register_buffer("mean", torch.tensor(config.mean, device="cpu"), persistent=False)
        self.register_buffer("std", torch.tensor(config.std, device="cpu"), persistent=False)

    def channels_last(self) -> "WanVAE":
        """Store the weights in the layout that convolutions are fastest in; the numbers stay the same."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv3d):
                layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last_3d)
            elif isinstance(layer, nn.Conv2d):
                layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
        return self

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are stored and computed in."""
        return self.conv1.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.conv1.weight.device

    def encode(self, video: Tensor, group: int | None = None, halo_device: torch.device | str | None = None) -> Tensor:
        """Normalised mean of the latent of a video.

        Args:
            video: [B, 3, F, H, W] in [-1, 1]; F = 4n+1, H and W multiples of 8 (of the VAE's spatial stride).
            group: latent frames worked on at once; the numbers are the same for any. None picks it by the size.
            halo_device: where the frames remembered between groups are kept; None is beside the weights.

        Returns:
            [B, z_dim, n+1, H/8, W/8] in the dtype of the weights.

        Raises:
            ValueError: the video has another number of frames or another size.
        """
        mean, _ = self.encode_moments(video, group, halo_device)
        return self.normalise(mean)

    def encode_moments(
        self, video: Tensor, group: int | None = None, halo_device: torch.device | str | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latent before the normalisation, each [B, z_dim, f, h, w]; as `encode`."""
        self._check_video(video)
        stride = self.config.temporal_stride
        count = (video.shape[2] - 1) // stride + 1
        state = TemporalState(halo_device)
        parts = []
        for start, stop in _groups(count, self._group_size(group, video.shape[-2] * video.shape[-1])):
            frames = video[:, :, max(0, (start - 1) * stride + 1) : (stop - 1) * stride + 1]
            parts.append(self.encode_group(frames, state))
        mean, log_variance = torch.cat(parts, dim=2).chunk(2, dim=1)
        return mean, log_variance

    def encode_group(self, frames: Tensor, state: TemporalState) -> Tensor:
        """Mean and log-variance [B, 2·z_dim, t, h, w] of the next frames of a video: 1 + 4n at first, then 4n."""
        frames = frames.to(self.device, self.dtype).contiguous(memory_format=torch.channels_last_3d)
        frames = per_frame(nn.PixelUnshuffle(self.config.patch), frames)
        return self.conv1(self.encoder(frames, state), state)

    def decode(
        self,
        latent: Tensor,
        group: int | None = None,
        halo_device: torch.device | str | None = None,
        clamp: bool = True,
    ) -> Tensor:
        """The video of a normalised latent.

        Args:
            latent: [B, z_dim, f, h, w].
            group: latent frames worked on at once; the numbers are the same for any. None picks it by the size.
            halo_device: where the frames remembered between groups are kept; None is beside the weights.
            clamp: cut the result to [-1, 1], as the official decoder does; training must not.

        Returns:
            [B, 3, 4(f-1)+1, 8h, 8w] in the dtype of the weights.
        """
        if latent.ndim != 5 or latent.shape[1] != self.config.z_dim:
            raise ValueError(f"latent {list(latent.shape)}: expected [B, {self.config.z_dim}, f, h, w]")
        pixels = latent.shape[-2] * latent.shape[-1] * self.config.spatial_stride**2
        state = TemporalState(halo_device)
        unscaled = self.denormalise(latent.to(self.device))
        parts = []
        for start, stop in _groups(latent.shape[2], self._group_size(group, pixels)):
            frames = self.decode_group(unscaled[:, :, start:stop], state)
            parts.append(frames.clamp(-1.0, 1.0) if clamp else frames)
        return torch.cat(parts, dim=2)

    def decode_group(self, latent: Tensor, state: TemporalState) -> Tensor:
        """Frames [B, 3, T, H, W], not clamped, of the next latent frames before the normalisation."""
        latent = latent.to(self.device, self.dtype).contiguous(memory_format=torch.channels_last_3d)
        frames = self.decoder(self.conv2(latent, state), state)
        return per_frame(nn.PixelShuffle(self.config.patch), frames)

    def normalise(self, latent: Tensor) -> Tensor:
        """(latent - mean) / std per channel; [B, z_dim, f, h, w] in and out, same dtype."""
        return ((latent - _per_channel(self.mean)) / _per_channel(self.std)).to(latent.dtype)

    def denormalise(self, latent: Tensor) -> Tensor:
        """The inverse of `normalise`, in the dtype of the weights."""
        return (latent * _per_channel(self.std) + _per_channel(self.mean)).to(self.dtype)

    def _check_video(self, video: Tensor) -> None:
        temporal, spatial = self.config.temporal_stride, self.config.spatial_stride
        if video.ndim != 5 or video.shape[1] != 3:
            raise ValueError(f"video {list(video.shape)}: expected [B, 3, F, H, W]")
        frames, height, width = video.shape[2:]
        if frames < 1 or (frames - 1) % temporal:
            below = max(1, (frames - 1) // temporal * temporal + 1)
            raise ValueError(
                f"a video of {frames} frames: the VAE takes {temporal}n+1; use {below} or {below + temporal} frames"
            )
        if height % spatial or width % spatial or not height * width:
            raise ValueError(f"a video of {height}x{width} (HxW): both sides must be multiples of {spatial}")

    def _group_size(self, asked: int | None, pixels: int) -> int:
        return max(1, GROUP_PIXELS // (pixels * self.config.temporal_stride)) if asked is None else asked


def _groups(count: int, size: int) -> Iterator[tuple[int, int]]:
    """Split `count` latent frames into runs [start, stop) of `size`."""
    if size < 1:
        raise ValueError(f"group of {size} latent frames: expected at least 1")
    for start in range(0, count, size):
        yield start, min(start + size, count)


def _per_channel(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1, 1)
