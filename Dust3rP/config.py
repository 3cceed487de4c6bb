"""Sizes of DUSt3R's network. Free of torch, so `--help` stays instant.

The defaults are those of DUSt3R_ViTLarge_BaseDecoder_512_dpt (Wang et al., "DUSt3R: Geometric 3D Vision Made Easy",
CVPR 2024): 571,171,208 parameters.
"""

from dataclasses import dataclass, field

_DPT_PATCH = 16


@dataclass(frozen=True)
class DPTConfig:
    """Channels of a dense-prediction head (Ranftl et al., "Vision Transformers for Dense Prediction", ICCV 2021)."""

    widths: tuple[int, ...] = (96, 192, 384, 768)
    """Of the four levels, finest first, before they are brought to one width."""
    features: int = 256
    """Of every level where levels are fused."""
    half: int = 128
    """Of the map at half the picture's size."""
    last: int = 128
    """Of the map at the picture's size, before points and confidence."""


@dataclass(frozen=True)
class Dust3RConfig:
    """Sizes of the network; all but the numbers of heads and the resolution show in the shapes of its tensors."""

    encoder_dim: int = 1024
    """Width of the encoder's tokens."""
    encoder_depth: int = 24
    """Blocks of the encoder."""
    encoder_heads: int = 16
    """Heads of its attention."""
    encoder_mlp: int = 4096
    """Hidden width of its MLPs."""
    decoder_dim: int = 768
    """Width of the decoders' tokens."""
    decoder_depth: int = 12
    """Blocks of each of the two decoders."""
    decoder_heads: int = 12
    """Heads of their attention."""
    decoder_mlp: int = 3072
    """Hidden width of their MLPs."""
    patch_size: int = 16
    """Side of a patch in pixels."""
    dpt: DPTConfig | None = field(default_factory=DPTConfig)
    """Of the two heads; None where they are one linear layer each."""
    resolution: int = 512
    """What the network was trained at: 512, the long side of pictures of many shapes, or 224, squares."""

    def __post_init__(self) -> None:
        for part in ("encoder", "decoder"):
            width, heads = getattr(self, f"{part}_dim"), getattr(self, f"{part}_heads")
            if heads < 1 or width % heads or (width // heads) % 4:
                raise ValueError(
                    f"{part}_heads {heads}: the {part} is {width} wide, and each head must have the same number of "
                    f"channels, a multiple of 4; released models have 64. Pass {part}_heads"
                )
        if self.dpt is not None and self.patch_size != _DPT_PATCH:
            raise ValueError(f"patches of {self.patch_size} pixels: a DPT head works on patches of {_DPT_PATCH}")
        if self.resolution not in (224, 512):
            raise ValueError(f"resolution {self.resolution}: DUSt3R's networks were trained at 512 or 224")

    @property
    def head_levels(self) -> tuple[int, ...]:
        """The token lists that the heads read: 0 is the encoder's, k that of the k-th blocks of the decoders."""
        depth = self.decoder_depth
        return (depth,) if self.dpt is None else (0, depth * 2 // 4, depth * 3 // 4, depth)

    def level_dim(self, level: int) -> int:
        """Width of the tokens of a level of `head_levels`."""
        return self.decoder_dim if level else self.encoder_dim
