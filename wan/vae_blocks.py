"""The layers of the Wan2.1 VAE: causal in time, plain convolutions in space.

Shapes: B videos, C channels, T frames at this level of the network, H and W at this level. Nothing here keeps a state
of its own: what a causal layer must remember between two groups of frames lies in the `TemporalState` of the call.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TemporalState:
    """What the causal layers of one network remember of one video while its frames come in groups.

    Start a fresh one with every video. `device` moves what is remembered there between groups (for instance to the
    CPU, to spare the memory of the GPU); None leaves it where it is.
    """

    def __init__(self, device: torch.device | str | None = None) -> None:
        self._device = device
        self._past: dict[nn.Module, Tensor] = {}
        self._seen: set[nn.Module] = set()

    def is_first_group(self, layer: nn.Module) -> bool:
        """True at the first question of this layer, that is, while the video's first frame is in hand."""
        first = layer not in self._seen
        self._seen.add(layer)
        return first

    def recall(self, layer: nn.Module, like: Tensor) -> Tensor | None:
        """The frames kept last for this layer, on the device of `like`; None before any was kept."""
        past = self._past.get(layer)
        return None if past is None else past.to(like.device)

    def keep(self, layer: nn.Module, frames: Tensor) -> None:
        """Remember the last input frames of a layer; a copy, so that the whole group can be freed."""
        self._past[layer] = frames.clone() if self._device is None else frames.to(self._device, copy=True)


class CausalLayer(nn.Module):
    """A layer called with the state of the video beside its input."""


class CausalConv3d(nn.Conv3d, CausalLayer):
    """Convolution that looks back in time only (official `CausalConv3d`).

    Before the first frame it sees zeros. Kernel (t, h, w) with stride s in time: its past is t - s frames, so that
    groups of any multiple of s frames give the same numbers as the whole video at once.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int | tuple[int, int, int], time_stride: int = 1
    ) -> None:
        size = (kernel, kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (0, size[1] // 2, size[2] // 2)
        super().__init__(in_channels, out_channels, size, stride=(time_stride, 1, 1), padding=padding)
        self.halo = size[0] - time_stride

    # the state is explicit at every call, which torch's own convolution does not know of
    def forward(self, input: Tensor, state: TemporalState) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """[B, C, T, H, W] -> [B, C', T / time stride, H, W]."""
        if self.halo == 0:
            return super().forward(input)
        past = state.recall(self, input)
        if past is None:
            past = input.new_zeros(*input.shape[:2], self.halo, *input.shape[3:])
        extended = torch.cat([past, input], dim=2)
        state.keep(self, extended[:, :, -self.halo :])
        return super().forward(extended)


class ChannelNorm(nn.Module):
    """Root-mean-square norm over the channels, with a gain (official `RMS_norm`).

    `gamma` has shape [C, 1, 1, 1] for videos and [C, 1, 1] for single frames, as in the official file.
    """

    # the official norm clamps the length of a vector at 1e-12; its square keeps a zero vector at zero
    EPS = 1e-24

    def __init__(self, channels: int, axes: int = 3) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, *[1] * axes))

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, ...] -> the same shape."""
        channels_last = input.movedim(1, -1)
        return F.rms_norm(channels_last, channels_last.shape[-1:], self.gamma.flatten(), self.EPS).movedim(-1, 1)


class CausalSequential(nn.Sequential):
    """Layers one after the other; those that are causal get the state."""

    def forward(self, input: Tensor, state: TemporalState) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Whatever the first layer takes -> whatever the last one gives."""
        for layer in self:
            input = layer(input, state) if isinstance(layer, CausalLayer) else layer(input)
        return input


class ResidualBlock(CausalLayer):
    """Norm, SiLU, convolution, twice, beside a shortcut (official `ResidualBlock`)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.residual = CausalSequential(
            ChannelNorm(in_channels),
            nn.SiLU(),
            CausalConv3d(in_channels, out_channels, 3),
            ChannelNorm(out_channels),
            nn.SiLU(),
            nn.Identity(),  # the official dropout, whose index the parameter names count
            CausalConv3d(out_channels, out_channels, 3),
        )
        self.shortcut = nn.Identity() if in_channels == out_channels else CausalConv3d(in_channels, out_channels, 1)

    def forward(self, input: Tensor, state: TemporalState) -> Tensor:
        """[B, C, T, H, W] -> [B, C', T, H, W]."""
        shortcut = self.shortcut
        direct = shortcut(input, state) if isinstance(shortcut, CausalConv3d) else shortcut(input)
        return self.residual(input, state) + direct


class AttentionBlock(nn.Module):
    """One head of attention over the pixels of each frame, frames apart (official `AttentionBlock`)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels, axes=2)
        self.to_qkv = nn.Conv2d(channels, channels * 3, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, T, H, W] -> the same shape."""
        return input + per_frame(self._attend, input)

    def _attend(self, frames: Tensor) -> Tensor:
        size = frames.shape[-2:]
        qkv = self.to_qkv(self.norm(frames)).flatten(2).transpose(1, 2)  # [N, pixels, 3C]
        q, k, v = (part.contiguous()[:, None] for part in qkv.chunk(3, dim=-1))
        attended = F.scaled_dot_product_attention(q, k, v)[:, 0]
        return self.proj(attended.transpose(1, 2).unflatten(2, size))


class Downsample(CausalLayer):
    """Halve height and width, and time too where asked (official `Resample`, downsample2d and downsample3d)."""

    def __init__(self, channels: int, temporal: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(channels, channels, 3, stride=2))
        self.time_conv = CausalConv3d(channels, channels, (3, 1, 1), time_stride=2) if temporal else None

    def forward(self, input: Tensor, state: TemporalState) -> Tensor:
        """[B, C, T, H, W] -> [B, C, T', H/2, W/2]; in time 1 + 2n frames become 1 + n, later groups of 2n n."""
        small = per_frame(self.resample, input)
        if self.time_conv is None:
            return small
        if not state.is_first_group(self):
            return self.time_conv(small, state)
        # the first frame of a video passes untouched and is the past of the others
        state.keep(self.time_conv, small[:, :, :1])
        if small.shape[2] == 1:
            return small
        return torch.cat([small[:, :, :1], self.time_conv(small[:, :, 1:], state)], dim=2)


class Upsample(CausalLayer):
    """Double height and width and halve the channels; double time too where asked (official `Resample`)."""

    def __init__(self, channels: int, temporal: bool) -> None:
        super().__init__()
        nearest = nn.Upsample(scale_factor=2.0, mode="nearest-exact")
        self.resample = nn.Sequential(nearest, nn.Conv2d(channels, channels // 2, 3, padding=1))
        self.time_conv = CausalConv3d(channels, channels * 2, (3, 1, 1)) if temporal else None

    def forward(self, input: Tensor, state: TemporalState) -> Tensor:
        """[B, C, T, H, W] -> [B, C/2, T', 2H, 2W]; in time 1 + n frames become 1 + 2n, later groups of n 2n."""
        if self.time_conv is not None:
            input = self._double_time(input, self.time_conv, state)
        return per_frame(self.resample, input)

    def _double_time(self, input: Tensor, time_conv: CausalConv3d, state: TemporalState) -> Tensor:
        if not state.is_first_group(self):
            return _interleave(time_conv(input, state))
        if input.shape[2] == 1:
            return input
        # the first frame of a video is neither doubled nor part of the past of the others
        return torch.cat([input[:, :, :1], _interleave(time_conv(input[:, :, 1:], state))], dim=2)


def _interleave(pairs: Tensor) -> Tensor:
    """[B, 2C, T, H, W] -> [B, C, 2T, H, W]: the first half of the channels are the even frames."""
    even_odd = pairs.unflatten(1, (2, -1))
    return even_odd.permute(0, 2, 3, 1, 4, 5).flatten(2, 3)


def per_frame(layer: Callable[[Tensor], Tensor], input: Tensor) -> Tensor:
    """Apply a layer of images to every frame of [B, C, T, H, W]."""
    frames = input.transpose(1, 2)
    return layer(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).transpose(1, 2)


def encoder_layers(widths: Sequence[int], blocks: int, temporal: Sequence[bool]) -> Iterator[nn.Module]:
    """The layers `encoder.downsamples`: per stage `blocks` residual blocks, then a halving except after the last.

    Args:
        widths: channels of each stage, the finest first.
        blocks: residual blocks of each stage.
        temporal: for each halving, whether time is halved too.
    """
    channels = widths[0]
    for stage, width in enumerate(widths):
        for _ in range(blocks):
            yield ResidualBlock(channels, width)
            channels = width
        if stage < len(widths) - 1:
            yield Downsample(width, temporal[stage])


def decoder_layers(widths: Sequence[int], blocks: int, temporal: Sequence[bool]) -> Iterator[nn.Module]:
    """The layers `decoder.upsamples`, the mirror of `encoder_layers` with one more block in every stage."""
    channels = widths[-1]
    last = len(widths) - 1
    for stage, width in enumerate(reversed(widths)):
        for _ in range(blocks + 1):
            yield ResidualBlock(channels, width)
            channels = width
        if stage < last:
            yield Upsample(width, temporal[last - 1 - stage])
            channels = width // 2


def middle_layers(width: int) -> CausalSequential:
    """The layers between the two halves: block, attention, block."""
    return CausalSequential(ResidualBlock(width, width), AttentionBlock(width), ResidualBlock(width, width))


def head_layers(width: int, out_channels: int) -> CausalSequential:
    """Norm, SiLU and the last convolution."""
    return CausalSequential(ChannelNorm(width), nn.SiLU(), CausalConv3d(width, out_channels, 3))
