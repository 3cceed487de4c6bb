"""Fresh weights with which a small VAE shows block averages before its first training step.

With random weights an autoencoder needs a thousand steps to find out where anything is. Here the convolutions start as
a Haar wavelet transform, so training starts from a blurred picture instead of noise. Three facts make that possible:

- every residual branch ends in a zero convolution, so the way through is linear but for the two heads;
- a head's norm keeps directions only, so one channel, the anchor, carries a constant larger than the rest: lengths
  are then nearly the same everywhere and brightness survives;
- silu(x) - silu(-x) = x, so a channel and its negative pass through a head's SiLU unchanged.

Channels after each halving of the encoder (luma is the mean of red, green and blue; a step is the difference of two
halves of a block; whatever is not named starts as a random feature):

    half size              0-2 colour, 3-4 luma step across 2 pixels, horizontal and vertical
    quarter size, t/2      0-4 as before, 5-7 luma step across 4 pixels (third: diagonal), 8 luma step in time
    eighth size, t/4       0-8 as before, 9-11 luma step across 8 pixels, 12-13 steps of 5 and 6, 14-15 steps in time
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wan.vae import Decoder, Encoder, WanVAE
from wan.vae_blocks import AttentionBlock, CausalConv3d, Downsample, ResidualBlock, Upsample

ANCHOR = 4.0
"""Value of the constant channel; pixels are in [-1, 1]."""
RANDOM_GAIN = 0.3
"""Size of the random features beside the transform, as a part of their input's."""
LOG_VARIANCE = -6.0
"""Log-variance of a fresh latent: as good as no noise, or the decoder would learn to ignore the latent."""
GAINS = (3.5,) * 3 + (25.0,) * 2 + (20.0, 20.0, 40.0, 25.0) + (10.0, 12.0, 25.0, 10.0, 12.0, 12.0, 12.0)
"""What brings each latent channel of an ordinary picture to about unit variance; fine steps are rare, so small."""

_LUMA = (0, 1, 2)
_LATENTS = 16
_STEPS = {"horizontal": (-1, 1, -1, 1), "vertical": (-1, -1, 1, 1), "diagonal": (1, -1, -1, 1), "mean": (1, 1, 1, 1)}


def initialise_vae(vae: WanVAE, seed: int) -> None:
    """Set every weight of a small VAE in place, the same for the same seed on every machine.

    Args:
        vae: on the CPU; patch 2, two halvings, both of them in time too, 16 latent channels.
        seed: decides the random features.

    Raises:
        ValueError: the VAE is of another layout, or too narrow to hold the transform.
    """
    config = vae.config
    if (config.patch, config.temporal_downsample, config.z_dim) != (2, (True, True), _LATENTS):
        raise ValueError(f"initialise_vae: expected patch 2, two halvings in time, z_dim {_LATENTS}, not {config}")
    fine, middle, coarse = config.widths
    if fine < 10 or middle < 2 * (_LATENTS + 1) or coarse < 2 * (_LATENTS + 1):
        raise ValueError(f"initialise_vae: widths {config.widths} are below the (10, 34, 34) of the transform")
    if fine in (middle, middle // 2) or middle in (coarse, coarse // 2):
        raise ValueError(f"initialise_vae: widths {config.widths}: each must differ from the next and from half of it")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        _random_features(vae, generator)
        _encoder(vae.encoder, fine, middle, coarse)
        _diagonal(vae.conv1, range(2 * _LATENTS), range(2 * _LATENTS))
        vae.conv1.weight[_LATENTS:] = 0.0
        _bias(vae.conv1)[_LATENTS:] = LOG_VARIANCE
        _diagonal(vae.conv2, range(_LATENTS), range(_LATENTS))
        _decoder(vae.decoder, fine, middle, coarse)


def _random_features(vae: WanVAE, generator: torch.Generator) -> None:
    for module in vae.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            std = RANDOM_GAIN * module.weight[0].numel() ** -0.5
            module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * std)
            _bias(module).zero_()
    for module in vae.modules():
        if isinstance(module, ResidualBlock):
            _last_convolution(module).weight.zero_()
        elif isinstance(module, AttentionBlock):
            module.proj.weight.zero_()


def _last_convolution(block: ResidualBlock) -> CausalConv3d:
    last = block.residual[-1]
    assert isinstance(last, CausalConv3d)
    return last


def _encoder(encoder: Encoder, fine: int, middle: int, coarse: int) -> None:
    now = _clear(encoder.conv1, (*range(5), fine - 1))[:, :, 2, 1, 1]
    for source in range(12):  # of each colour the four pixels of a 2x2 block, row by row
        colour, pixel = divmod(source, 4)
        now[colour, source] = 1 / 4
        now[3, source] = _STEPS["horizontal"][pixel] / 12
        now[4, source] = _STEPS["vertical"][pixel] / 12
    _bias(encoder.conv1)[fine - 1] = ANCHOR
    luma_steps = [(_LUMA, "horizontal"), (_LUMA, "vertical"), (_LUMA, "diagonal")]
    halvings = [layer for layer in encoder.downsamples if isinstance(layer, Downsample)]
    _halve_space(halvings[0], 5, fine - 1, luma_steps)
    _halve_time(halvings[0], 8, fine - 1, [_LUMA])
    _halve_space(halvings[1], 9, middle - 1, [*luma_steps, ((5,), "horizontal"), ((6,), "vertical")])
    _halve_time(halvings[1], 14, middle - 1, [_LUMA, (9,)])
    wider = _width_changes(encoder.downsamples)
    _diagonal(wider[0], (*range(9), middle - 1), (*range(9), fine - 1))
    _diagonal(wider[1], (*range(_LATENTS), coarse - 1), (*range(_LATENTS), middle - 1))
    _diagonal(wider[1], range(_LATENTS, 2 * _LATENTS), range(_LATENTS), -1.0)
    _linear_head(encoder.head, coarse, [(i, i, _LATENTS + i, GAINS[i]) for i in range(_LATENTS)])


def _decoder(decoder: Decoder, fine: int, middle: int, coarse: int) -> None:
    _diagonal(decoder.conv1, range(_LATENTS), range(_LATENTS), torch.tensor(GAINS).reciprocal())
    _clear(decoder.conv1, (coarse - 1,))
    _bias(decoder.conv1)[coarse - 1] = ANCHOR
    doublings = [layer for layer in decoder.upsamples if isinstance(layer, Upsample)]
    _double(doublings[0], coarse, time_step=14)
    _double(doublings[1], middle, time_step=8)
    narrower = _width_changes(decoder.upsamples)
    _diagonal(narrower[0], (*range(_LATENTS), middle - 1), (*range(_LATENTS), coarse // 2 - 1))
    _diagonal(narrower[1], (*range(3), fine - 1), (*range(3), middle // 2 - 1))
    _diagonal(narrower[1], range(3, 6), range(3), -1.0)
    _linear_head(decoder.head, fine, [(pixel, pixel // 4, 3 + pixel // 4, 1.0) for pixel in range(12)])


def _halve_space(layer: Downsample, kept: int, anchor: int, steps: Sequence[tuple[tuple[int, ...], str]]) -> None:
    """Channels below `kept` and the anchor are averaged over 2x2; the next ones take a step of some of them."""
    convolution = layer.resample[1]
    assert isinstance(convolution, nn.Conv2d)
    weight = _clear(convolution, (*range(kept + len(steps)), anchor))
    for channel in (*range(kept), anchor):
        weight[channel, channel, :2, :2] = 1 / 4
    for channel, (sources, kind) in enumerate(steps, kept):
        pattern = torch.tensor(_STEPS[kind], dtype=weight.dtype).view(2, 2)
        weight[channel, list(sources), :2, :2] = pattern / (2 * len(sources))


def _halve_time(layer: Downsample, kept: int, anchor: int, steps: Sequence[tuple[int, ...]]) -> None:
    """Channels below `kept` and the anchor are averaged over two frames; the next ones take their difference."""
    assert layer.time_conv is not None
    weight = _clear(layer.time_conv, (*range(kept + len(steps)), anchor))
    for channel in (*range(kept), anchor):
        weight[channel, channel, 1:] = 1 / 2
    for channel, sources in enumerate(steps, kept):
        weight[channel, list(sources), 1] = -1 / len(sources)
        weight[channel, list(sources), 2] = 1 / len(sources)


def _double(layer: Upsample, width: int, time_step: int) -> None:
    """Repeat every channel of the transform in time, colours with half of their step, and in space, smoothly."""
    assert layer.time_conv is not None
    carried = (*range(_LATENTS), width - 1)
    weight = _clear(layer.time_conv, (*carried, *(width + channel for channel in carried)))
    for channel in carried:
        weight[channel, channel, 2] = weight[width + channel, channel, 2] = 1.0
    for colour in _LUMA:
        weight[colour, time_step, 2] = -1 / 2
        weight[width + colour, time_step, 2] = 1 / 2
    convolution = layer.resample[1]
    assert isinstance(convolution, nn.Conv2d)
    weight = _clear(convolution, (*range(_LATENTS), width // 2 - 1))
    tent = torch.tensor([1.0, 2.0, 1.0]) / 4
    for channel in range(_LATENTS):
        weight[channel, channel] = tent[:, None] * tent
    weight[width // 2 - 1, width - 1, 1, 1] = 1.0


def _linear_head(head: nn.Sequential, width: int, routes: list[tuple[int, int, int, float]]) -> None:
    """Pass channels through norm and SiLU unchanged; a route is (out, channel, the channel's negative, gain)."""
    convolution = head[-1]
    assert isinstance(convolution, CausalConv3d)
    weight = _clear(convolution, range(convolution.out_channels))
    length = ANCHOR / width**0.5
    for out, channel, negative, gain in routes:
        weight[out, channel, 2, 1, 1] = gain * length
        weight[out, negative, 2, 1, 1] = -gain * length


def _diagonal(
    convolution: CausalConv3d, outs: range | tuple[int, ...], ins: range | tuple[int, ...], value: float | Tensor = 1.0
) -> None:
    """Let each of `outs` be one of `ins`, times a value, at this frame and pixel."""
    kernel = convolution.kernel_size
    centre = _clear(convolution, outs)[:, :, kernel[0] - 1, kernel[1] // 2, kernel[2] // 2]
    centre[list(outs), list(ins)] = value if isinstance(value, Tensor) else torch.full((len(outs),), value)


def _width_changes(layers: nn.Sequential) -> list[CausalConv3d]:
    blocks = [layer for layer in layers if isinstance(layer, ResidualBlock)]
    return [block.shortcut for block in blocks if isinstance(block.shortcut, CausalConv3d)]


def _clear(convolution: nn.Conv2d | nn.Conv3d, outs: range | tuple[int, ...]) -> Tensor:
    """Zero the weights and biases of some output channels; the weight tensor, to be written to."""
    convolution.weight[list(outs)] = 0.0
    _bias(convolution)[list(outs)] = 0.0
    return convolution.weight


def _bias(convolution: nn.Conv2d | nn.Conv3d) -> Tensor:
    assert convolution.bias is not None
    return convolution.bias
