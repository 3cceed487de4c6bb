"""Configurations of the networks: every dimension a field, one sentence each. Import them from `wan.config`."""

from dataclasses import dataclass

LATENT_MEAN = (
    *(-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508),
    *(0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921),
)
"""Mean of each latent channel of the official VAE (`wan/modules/vae.py`)."""

LATENT_STD = (
    *(2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743),
    *(3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160),
)
"""Standard deviation of each latent channel of the official VAE (`wan/modules/vae.py`)."""


def require(condition: bool, message: str) -> None:
    """Raise ValueError(message) unless the condition holds."""
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True)
class DiTConfig:
    """The diffusion transformer (official `WanModel`)."""

    dim: int = 5120
    """Width of the residual stream."""
    ffn_dim: int = 13824
    """Width of the hidden layer of each block's feed-forward network."""
    num_heads: int = 40
    """Attention heads; each has dim / num_heads channels."""
    num_layers: int = 40
    """Transformer blocks."""
    in_dim: int = 16
    """Channels of the input: the noisy latent, then the image condition."""
    out_dim: int = 16
    """Channels of the predicted velocity, equal to the VAE's latent channels."""
    patch_size: tuple[int, int, int] = (1, 2, 2)
    """Latent frames, rows and columns that one video token covers."""
    freq_dim: int = 256
    """Length of the sinusoidal timestep embedding."""
    text_dim: int = 4096
    """Width of the T5 tokens."""
    text_len: int = 512
    """Text tokens after zero padding; the padding is attended, as in the official model."""
    image_dim: int | None = None
    """Width of the CLIP tokens; None builds no image cross-attention (text-to-video)."""
    image_pos_tokens: int = 0
    """Length of `img_emb.emb_pos`: 514 for first-and-last-frame models, 0 for none."""
    eps: float = 1e-6
    """Epsilon of the blocks' norms."""
    rope_theta: float = 10000.0
    """Base of the rotary frequencies."""

    def __post_init__(self) -> None:
        require(
            self.dim % self.num_heads == 0,
            f"DiTConfig.dim {self.dim} must be a multiple of num_heads {self.num_heads}",
        )
        require(
            self.head_dim % 2 == 0 and self.head_dim >= 6,
            f"DiTConfig: dim / num_heads is {self.head_dim}, but rotary embedding needs an even number from 6 up",
        )
        require(self.freq_dim % 2 == 0, f"DiTConfig.freq_dim {self.freq_dim} must be even")
        require(
            self.in_dim >= self.out_dim,
            f"DiTConfig.in_dim {self.in_dim} must hold the {self.out_dim} latent channels (out_dim)",
        )
        require(
            len(self.patch_size) == 3 and self.patch_size[0] == 1,
            f"DiTConfig.patch_size {self.patch_size} must be (1, rows, columns)",
        )
        require(
            self.image_pos_tokens == 0 or self.image_dim is not None,
            "DiTConfig.image_pos_tokens needs image_dim: there are no image tokens to give a position to",
        )

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.dim // self.num_heads

    @property
    def condition_channels(self) -> int:
        """Channels of the image condition that follows the noisy latent (0 for text-to-video)."""
        return self.in_dim - self.out_dim

    @property
    def reads_control(self) -> bool:
        """Whether it is a Fun-Control one, which reads a control latent and an image latent, and no mask."""
        return self.condition_channels == 2 * self.out_dim


@dataclass(frozen=True)
class VAEConfig:
    """The causal video autoencoder (official `WanVAE_`)."""

    dim: int = 96
    """Channels at full resolution."""
    z_dim: int = 16
    """Channels of the latent."""
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    """Multiple of `dim` at each resolution, finest first; one halving of height and width between two of them."""
    num_res_blocks: int = 2
    """Residual blocks per resolution in the encoder; the decoder has one more."""
    temporal_downsample: tuple[bool, ...] = (False, True, True)
    """Which of the halvings also halve the frames (official `temperal_downsample`)."""
    patch: int = 1
    """Pixels a side folded into channels before the first convolution; 1 (none) in the official VAE."""
    mean: tuple[float, ...] = LATENT_MEAN
    """Mean of each latent channel, subtracted after encoding."""
    std: tuple[float, ...] = LATENT_STD
    """Standard deviation of each latent channel, divided by after encoding."""

    def __post_init__(self) -> None:
        require(
            len(self.mean) == self.z_dim and len(self.std) == self.z_dim,
            f"VAEConfig: mean ({len(self.mean)}) and std ({len(self.std)}) need one number for each of the "
            f"{self.z_dim} latent channels",
        )
        require(all(value > 0 for value in self.std), "VAEConfig.std: every number must be above 0")
        require(
            len(self.temporal_downsample) == len(self.dim_mult) - 1,
            f"VAEConfig.temporal_downsample needs {len(self.dim_mult) - 1} entries, one per halving between the "
            f"{len(self.dim_mult)} entries of dim_mult",
        )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels at each resolution, finest first."""
        return tuple(self.dim * multiple for multiple in self.dim_mult)

    @property
    def temporal_stride(self) -> int:
        """Video frames per latent frame after the first; 4 in every shipped model."""
        return 2 ** sum(self.temporal_downsample)

    @property
    def spatial_stride(self) -> int:
        """Pixels a side per latent position; 8 in every shipped model."""
        return self.patch * 2 ** len(self.temporal_downsample)


@dataclass(frozen=True)
class T5Config:
    """The text encoder (umT5, encoder only)."""

    vocab_size: int = 256384
    """Rows of the token embedding."""
    dim: int = 4096
    """Width of the residual stream and of the tokens it gives."""
    dim_attn: int = 4096
    """Width of the attention, over all heads."""
    dim_ffn: int = 10240
    """Width of the hidden layer of the gated feed-forward network."""
    num_heads: int = 64
    """Attention heads."""
    num_layers: int = 24
    """Transformer blocks."""
    num_buckets: int = 32
    """Buckets of the relative positions; each layer has its own table."""
    max_distance: int = 128
    """Distance from which all relative positions share the last bucket."""
    text_len: int = 512
    """Longest text in tokens; the rest is cut."""
    eps: float = 1e-6
    """Epsilon of the RMS norms."""

    def __post_init__(self) -> None:
        require(
            self.dim_attn % self.num_heads == 0,
            f"T5Config.dim_attn {self.dim_attn} must be a multiple of num_heads {self.num_heads}",
        )


@dataclass(frozen=True)
class CLIPTextConfig:
    """The text tower beside the image encoder (XLM-RoBERTa large, encoder only)."""

    vocab_size: int = 250002
    """Rows of the token embedding."""
    dim: int = 1024
    """Width of the residual stream."""
    mlp_ratio: int = 4
    """Width of the hidden layer of each block, as a multiple of dim."""
    num_heads: int = 16
    """Attention heads."""
    num_layers: int = 24
    """Transformer blocks."""
    positions: int = 514
    """Rows of the position embedding; the first two (up to pad_id) belong to no token."""
    pad_id: int = 1
    """Token number of the padding, which no token looks at and no mean counts."""
    eps: float = 1e-5
    """Epsilon of the layer norms."""

    def __post_init__(self) -> None:
        require(
            self.dim % self.num_heads == 0,
            f"CLIPTextConfig.dim {self.dim} must be a multiple of num_heads {self.num_heads}",
        )
        require(
            self.text_len > 2,
            f"CLIPTextConfig.positions {self.positions} leaves no room for a token between start and end",
        )

    @property
    def text_len(self) -> int:
        """Longest text in tokens, start and end included; the rest is cut."""
        return self.positions - self.pad_id - 1


@dataclass(frozen=True)
class CLIPConfig:
    """The image encoder (the visual tower of open-clip's XLM-RoBERTa ViT-H/14), and the text tower in its file."""

    image_size: int = 224
    """Height and width in pixels to which every image is resized, without a crop."""
    patch_size: int = 14
    """Height and width in pixels of one patch; one token each, after the class token."""
    dim: int = 1280
    """Width of the residual stream and of the tokens it gives."""
    mlp_ratio: int = 4
    """Width of the hidden layer of each block, as a multiple of dim."""
    num_heads: int = 16
    """Attention heads."""
    num_layers: int = 32
    """Transformer blocks in the file; the last one is not run."""
    embed_dim: int = 1024
    """Width of the space shared with the text tower (`visual.head`), unused by the video model."""
    text: CLIPTextConfig | None = CLIPTextConfig()
    """The text tower, unused by the video model; None where the file has none."""
    eps: float = 1e-5
    """Epsilon of the layer norms."""
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    """Mean of the pixels in [0, 1], red, green, blue (OpenAI CLIP)."""
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    """Standard deviation of the pixels in [0, 1], red, green, blue (OpenAI CLIP)."""

    def __post_init__(self) -> None:
        require(
            self.image_size % self.patch_size == 0,
            f"CLIPConfig.image_size {self.image_size} must be a multiple of patch_size {self.patch_size}",
        )
        require(
            self.dim % self.num_heads == 0,
            f"CLIPConfig.dim {self.dim} must be a multiple of num_heads {self.num_heads}",
        )

    @property
    def tokens(self) -> int:
        """Tokens per image: the class token and one per patch (257 for ViT-H/14)."""
        return (self.image_size // self.patch_size) ** 2 + 1
