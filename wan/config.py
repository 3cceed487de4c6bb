"""Configurations of Wan2.1's networks and of the tasks users type. Free of torch, so `--help` stays instant.

Dimensions and defaults are those of Wan-Video/Wan2.1 (`wan/configs/`, Apache-2.0); `i2v-tiny` is ours: the same
classes at small dimensions. `dataclasses.replace` gives any other size.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from wan.config_adapters import (
    ADAPTER_CONFIGS,
    AdapterConfig,
    CrossConfig,
    ForkConfig,
    PluckerConfig,
    RelativeConfig,
)
from wan.config_networks import CLIPConfig, CLIPTextConfig, DiTConfig, T5Config, VAEConfig, require

__all__ = [
    "ADAPTER_CONFIGS",
    "MASK_CHANNELS",
    "NEGATIVE_PROMPT",
    "TEMPORAL_STRIDE",
    "TRAINABLE_TASKS",
    "WAN_CONFIGS",
    "AdapterConfig",
    "CLIPConfig",
    "CLIPTextConfig",
    "CrossConfig",
    "DiTConfig",
    "ForkConfig",
    "PluckerConfig",
    "RelativeConfig",
    "T5Config",
    "TaskConfig",
    "VAEConfig",
    "WeightPaths",
]

TEMPORAL_STRIDE = 4
"""Video frames per latent frame: F video frames become (F - 1) / 4 + 1 latent frames."""

MASK_CHANNELS = 4
"""Channels of the first-frame mask in an image condition, one per video frame of a latent frame."""

NEGATIVE_PROMPT = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，"
    "丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，"
    "杂乱的背景，三条腿，背景人很多，倒着走"
)
"""Wan2.1's default negative prompt, a datum of the model (`wan/configs/shared_config.py`)."""


DIT_FOLDER = "weights/diffusionmodel"
"""Where the large DiTs lie, relative to the repository root."""


@dataclass(frozen=True)
class WeightPaths:
    """Where a task's weights lie by default, relative to the repository root."""

    dit: str
    """The diffusion transformer."""
    vae: str = "weights/Wan2.1_VAE.pth"
    """The video autoencoder."""
    t5: str = "weights/models_t5_umt5-xxl-enc-bf16.pth"
    """The text encoder."""
    clip: str = "weights/models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"
    """The image encoder."""
    tokenizer: str = "weights/google/umt5-xxl"
    """The tokenizer of the text encoder: a folder, or a single tokenizer.json."""
    adapter: str = "weights/mycheckpoint/camera_adapter.safetensors"
    """The camera adapter."""


@dataclass(frozen=True)
class TaskConfig:
    """Everything that a task name stands for: networks, sampling defaults, weight paths."""

    dit: DiTConfig
    """The diffusion transformer."""
    vae: VAEConfig
    """The video autoencoder."""
    t5: T5Config
    """The text encoder."""
    clip: CLIPConfig | None
    """The image encoder; None where the DiT has no image cross-attention."""
    adapter: AdapterConfig
    """The shape of a new camera adapter of the default design."""
    weights: WeightPaths
    """Default places of the weights."""
    first_frame: Literal["none", "optional", "needed"] = "none"
    """Whether generation may or must be given the first frame of the video."""
    fps: int = 16
    """Frames per second that the task is made for."""
    frames: int = 81
    """Default number of video frames, 4n + 1."""
    size: tuple[int, int] = (480, 832)
    """Video size in pixels (height, width) that the task is made for."""
    steps: int = 50
    """Default number of denoising steps."""
    flow_shift: float = 5.0
    """Default shift of the sigmas."""
    flow_shift_480p: float | None = None
    """Default shift at 480 × 832 or 832 × 480 where it differs (official `generate.py`: 3 for i2v)."""
    guidance_scale: float = 5.0
    """Default weight of classifier-free guidance; 1 means none."""
    negative_prompt: str = field(default=NEGATIVE_PROMPT, repr=False)
    """Default negative prompt."""
    other_adapters: tuple[AdapterConfig, ...] = ()
    """The shapes of new adapters of the other designs."""

    def __post_init__(self) -> None:
        require(
            self.dit.text_dim == self.t5.dim and self.dit.text_len == self.t5.text_len,
            f"TaskConfig: the DiT reads text [{self.dit.text_len}, {self.dit.text_dim}], T5 gives "
            f"[{self.t5.text_len}, {self.t5.dim}]",
        )
        require(
            self.dit.image_dim == (self.clip.dim if self.clip else None),
            f"TaskConfig: the DiT reads image tokens of width {self.dit.image_dim}, CLIP gives "
            f"{self.clip.dim if self.clip else None}",
        )
        require(
            self.dit.out_dim == self.vae.z_dim,
            f"TaskConfig: the DiT predicts {self.dit.out_dim} channels, the VAE has {self.vae.z_dim}",
        )
        require(
            self.frames % TEMPORAL_STRIDE == 1,
            f"TaskConfig.frames {self.frames} must be 4n + 1",
        )
        last = max(self.adapter.blocks, default=0)
        require(
            last < self.dit.num_layers,
            f"TaskConfig: the adapter names block {last}, the DiT has {self.dit.num_layers}",
        )
        channels = (0, MASK_CHANNELS + self.vae.z_dim, 2 * self.vae.z_dim)
        require(
            self.dit.condition_channels in channels,
            f"TaskConfig: the DiT reads {self.dit.condition_channels} channels beside the latent; known are "
            f"{channels[0]} (text), {channels[1]} (mask and image) and {channels[2]} (control and image)",
        )
        require(
            (self.first_frame == "none") == (self.dit.condition_channels == 0),
            f"TaskConfig.first_frame is {self.first_frame!r}, but the DiT reads {self.dit.condition_channels} channels "
            "beside the latent",
        )

    def adapter_of(self, design: str) -> AdapterConfig:
        """The shape of a new camera adapter of a design.

        Raises:
            ValueError: there is no such design for this task.
        """
        known = {adapter.design: adapter for adapter in (self.adapter, *self.other_adapters)}
        require(design in known, f"--adapter {design!r}: expected one of {', '.join(known)}")
        return known[design]

    @property
    def needs_last_frame(self) -> bool:
        """Whether the DiT is a first-and-last-frame one, with CLIP tokens of both (`img_emb.emb_pos`)."""
        return self.dit.image_pos_tokens > 0

    @property
    def needs_control(self) -> bool:
        """Whether the DiT is a Fun-Control one (`DiTConfig.reads_control`)."""
        return self.dit.reads_control

    @property
    def feature_widths(self) -> dict[str, int]:
        """Width of the text and image features that training reads from caches, by their names there."""
        image = {"clip": self.dit.image_dim} if self.dit.image_dim and "clip" in self.cached_tensors else {}
        return {"t5": self.dit.text_dim, **image}

    @property
    def cached_tensors(self) -> tuple[str, ...]:
        """What a latent cache must hold to train this task; a first frame that is optional is not trained with."""
        image = ("latents_image", "clip") if self.first_frame == "needed" else ()
        return ("latents", *image, *(("latents_control",) if self.needs_control else ()))

    def flow_shift_for(self, height: int, width: int) -> float:
        """Default shift of the sigmas for a video of this size in pixels."""
        if self.flow_shift_480p is not None and sorted((height, width)) == [480, 832]:
            return self.flow_shift_480p
        return self.flow_shift


_T2V_1_3B = DiTConfig(dim=1536, ffn_dim=8960, num_heads=12, num_layers=30)
_T2V_14B = DiTConfig()
_I2V_14B = DiTConfig(in_dim=36, image_dim=1280)
_FLF2V_14B = DiTConfig(in_dim=36, image_dim=1280, image_pos_tokens=514)
# Fun-Control reads control (16) and image (16) latents beside the noisy one, and looks at CLIP tokens in every task
_FC_1_3B = DiTConfig(dim=1536, ffn_dim=8960, num_heads=12, num_layers=30, in_dim=48, image_dim=1280)
_FC_14B = DiTConfig(in_dim=48, image_dim=1280)

_ADAPTERS_14B = (RelativeConfig(), CrossConfig(), PluckerConfig(), ForkConfig())
_HALF_1_3B = tuple(range(15))
_ADAPTERS_1_3B = (
    RelativeConfig(inner_dim=192, num_heads=2, relative_dim=48, hidden_dim=512, blocks=_HALF_1_3B),
    CrossConfig(inner_dim=256, num_heads=2, hidden_dim=512, token_dim=256, blocks=_HALF_1_3B),
    PluckerConfig(hidden_dim=512),
    ForkConfig(middle_dim=192, blocks=tuple(range(30))),
)
_ALL_TINY = tuple(range(6))
_ADAPTERS_TINY = (
    RelativeConfig(inner_dim=64, num_heads=2, relative_dim=16, hidden_dim=192, blocks=(0, 1, 2), kv_stride=1),
    CrossConfig(inner_dim=96, num_heads=4, hidden_dim=192, token_dim=128, blocks=_ALL_TINY),
    PluckerConfig(hidden_dim=256),
    ForkConfig(middle_dim=32, hidden_dim=32, num_heads=4, blocks=_ALL_TINY),
)


def _official(
    dit: DiTConfig, file: str, adapters: tuple[AdapterConfig, ...] = _ADAPTERS_14B, **defaults: Any
) -> TaskConfig:
    return TaskConfig(
        dit=dit,
        vae=VAEConfig(),
        t5=T5Config(),
        clip=CLIPConfig() if dit.image_dim else None,
        adapter=adapters[0],
        other_adapters=adapters[1:],
        weights=WeightPaths(dit=f"{DIT_FOLDER}/{file}"),
        **defaults,
    )


_I2V_TINY = TaskConfig(
    dit=DiTConfig(
        dim=256,
        ffn_dim=512,
        num_heads=4,
        num_layers=6,
        in_dim=36,
        text_dim=128,
        text_len=128,
        image_dim=128,
    ),
    vae=VAEConfig(
        dim=8,
        dim_mult=(2, 6, 7),
        num_res_blocks=1,
        temporal_downsample=(True, True),
        patch=2,
        mean=(0.0,) * 16,
        std=(1.0,) * 16,
    ),
    t5=T5Config(
        vocab_size=2048,
        dim=128,
        dim_attn=128,
        dim_ffn=256,
        num_heads=4,
        num_layers=3,
        text_len=128,
    ),
    clip=CLIPConfig(image_size=112, dim=128, num_heads=4, num_layers=3, embed_dim=64, text=None),
    adapter=_ADAPTERS_TINY[0],
    other_adapters=_ADAPTERS_TINY[1:],
    weights=WeightPaths(
        dit="weights/tiny/dit.safetensors",
        vae="weights/tiny/vae.safetensors",
        t5="weights/tiny/t5.safetensors",
        clip="weights/tiny/clip.safetensors",
        tokenizer="weights/tiny/tokenizer.json",
        adapter="weights/tiny/camera_adapter.safetensors",
    ),
    first_frame="needed",
    frames=33,
    size=(96, 160),
    steps=20,
    flow_shift=3.0,
    guidance_scale=1.0,
)

# Comfy's repackaged files; the large Fun-Control is in its authors' repository only, under a name that says nothing
_T2V_14B_FILE = "wan2.1_t2v_14B_bf16.safetensors"
_FC_14B_FILE = "Wan2.1-Fun-14B-Control.safetensors"

WAN_CONFIGS: dict[str, TaskConfig] = {
    "t2v-1.3B": _official(_T2V_1_3B, "wan2.1_t2v_1.3B_bf16.safetensors", _ADAPTERS_1_3B),
    "t2v-14B": _official(_T2V_14B, _T2V_14B_FILE),
    "t2i-14B": _official(_T2V_14B, _T2V_14B_FILE, frames=1),
    "i2v-14B": _official(
        _I2V_14B, "wan2.1_i2v_480p_14B_bf16.safetensors", first_frame="needed", steps=40, flow_shift_480p=3.0
    ),
    # official `generate.py`: 50 steps and a shift of 16 for flf2v, where musubi-tuner has 5
    "flf2v-14B": _official(
        _FLF2V_14B,
        "wan2.1_flf2v_720p_14B_fp16.safetensors",
        first_frame="needed",
        size=(720, 1280),
        flow_shift=16.0,
        negative_prompt=f"镜头切换，{NEGATIVE_PROMPT}",
    ),
    "t2v-1.3B-FC": _official(
        _FC_1_3B, "wan2.1_fun_control_1.3B_bf16.safetensors", _ADAPTERS_1_3B, first_frame="optional"
    ),
    "t2v-14B-FC": _official(_FC_14B, _FC_14B_FILE, first_frame="optional"),
    "i2v-14B-FC": _official(_FC_14B, _FC_14B_FILE, first_frame="needed", steps=40, flow_shift_480p=3.0),
    "i2v-tiny": _I2V_TINY,
}
"""Every task users type at `--task`."""

TRAINABLE_TASKS = tuple(task for task, config in WAN_CONFIGS.items() if not config.needs_last_frame)
"""Tasks whose caches can be made and that can be trained: all but those that are shown a last frame."""
