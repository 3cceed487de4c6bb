"""What a file of weights is: network, task, style of names, types. From names and shapes alone; no data is read."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from common.precision import dtype_name
from common.tensor_headers import Header, TensorEntry, read_header
from wan.config import WAN_CONFIGS, CLIPConfig, DiTConfig, T5Config, VAEConfig
from wan.fp8 import FP8_DTYPES
from wan.keys import dit_to_official
from wan.keys_encoders import clip_to_ours, t5_to_ours, vae_to_ours

FLAGS = {
    "dit": "--dit",
    "vae": "--vae",
    "t5": "--t5",
    "clip": "--clip",
    "lora": "--lora_weight",
    "adapter": "--camera_adapter",
}
"""At which flag each kind of file is passed."""

UNKNOWN = "unknown"
FORK_STYLE = "fork"
"""Style of the OmniCam-Wan fork's files."""


class _Signature(NamedTuple):
    """A name that tells a kind of file."""

    pattern: str
    network: str
    style: str
    words: str


# the most particular first
_SIGNATURES = tuple(
    _Signature(*row)
    for row in (
        (r"(model\.diffusion_model\.)?myadapter\.", "dit", FORK_STYLE,
         "a Wan2.1 DiT saved by the OmniCam-Wan fork, with its own camera layers"),
        (r"model\.diffusion_model\.blocks\.0\.self_attn\.q\.weight", "dit", "comfy", "a Wan2.1 DiT in Comfy's names"),
        (r"blocks\.0\.self_attn\.q\.weight", "dit", "official", "a Wan2.1 DiT"),
        (r"condition_embedder\.time_proj\.weight", "dit", "diffusers", "a Wan2.1 DiT in diffusers' names"),
        (r".*\.hada_w1_a", "lora", "loha", "a LoHa (LyCORIS)"),
        (r".*\.lokr_w[12]", "lora", "lokr", "a LoKr (LyCORIS)"),
        (r"lora_unet_", "lora", "musubi", "a LoRA in musubi-tuner's names"),
        (r"diffusion_model\..*\.lora_(A|B|down|up)\.", "lora", "comfy", "a LoRA in Comfy's names"),
        (r".*\.lora_(A|B|down|up)\.", "lora", "diffusers", "a LoRA in diffusers' or peft's names"),
        (r"ray_embedding\.0\.weight", "adapter", "ours", "a camera adapter"),
        (r"fine\.rays\.weight", "adapter", "ours", "a camera adapter"),
        (r"(model\.)?encoder\.downsamples\.", "vae", "official", "the Wan2.1 VAE"),
        (r"encoder\.down_blocks\.", "vae", "diffusers", "a VAE in diffusers' names"),
        (r"visual\.transformer\.0\.attn\.to_qkv\.weight", "clip", "official", "the CLIP encoder"),
        (r"vision_model\.|embeddings\.class_embedding$", "clip", "transformers",
         "a CLIP image encoder in transformers' names"),
        (r"encoder\.block\.0\.layer\.0\.SelfAttention\.", "t5", "transformers",
         "a T5 text encoder in transformers' names"),
        (r"blocks\.0\.pos_embedding\.embedding\.weight", "t5", "official", "the umT5 text encoder"),
        (r"dec_blocks\.0\.", "dust3r", "official", "DUSt3R"),
        (r"c2w$", "camera cache", "ours", "a camera cache"),
        (r"extrinsics$", "camera cache", "fork", "a camera cache of the fork"),
        (r"latents_\d", "latent cache", "musubi", "a latent cache"),
        (r"latent$", "latent", "musubi", "a generated latent"),
        (r"varlen_t5_", "text cache", "musubi", "a text cache"),
    )
)  # fmt: skip

ADAPTER_FORMAT = "omnicam-adapter"
"""The metadata entry `format` of our adapter files (`wan.adapters.files`)."""

_OUR_ADAPTER = _Signature("", "adapter", "ours", "a camera adapter")

# layers beyond Wan2.1's own, by which relatives of it are told: (name, whose)
_RELATIVES = (
    (r"vace_blocks\.|vace_patch_embedding\.", "VACE"),
    (r"control_adapter\.", "a Fun-Camera model"),
    (r"ref_conv\.", "Fun-Control 1.1 with reference images"),
    (r"blocks\.\d+\.cam_encoder\.", "ReCamMaster"),
)

# names and metadata by which others keep the scales of fp8 weights (ComfyUI, QUANTIZATION.md and its older form)
_SCALES = re.compile(r"(.*\.)?(scaled_fp8|scale_weight|scale_input|weight_scale(_2)?|input_scale|comfy_quant)$")
_SCALES_METADATA = "_quantization_metadata"


class DiTShape(NamedTuple):
    """What tells one DiT from another."""

    dim: int
    blocks: int
    ffn_dim: int
    in_dim: int
    text_dim: int
    image_dim: int | None
    image_pos_tokens: int

    def __str__(self) -> str:
        image = f"image tokens of width {self.image_dim}" if self.image_dim else "no image cross-attention"
        both = " for first and last frame" if self.image_pos_tokens else ""
        return (
            f"a DiT of dim {self.dim}, ffn_dim {self.ffn_dim}, {self.blocks} blocks, in_dim {self.in_dim}, text_dim "
            f"{self.text_dim}, {image}{both}"
        )


@dataclass(frozen=True)
class Contents:
    """What a file is."""

    network: str
    """dit, vae, t5, clip, lora, adapter, dust3r, latent cache, text cache, camera cache, latent, or unknown."""
    style: str
    """Whose names its tensors have: official, comfy, diffusers, transformers, fork, musubi, ours, loha, lokr."""
    words: str
    """Both in words."""
    tasks: tuple[str, ...]
    """Values of --task that it fits by its shapes; empty where it fits none, or the kind belongs to no task."""
    dtypes: Mapping[str, int]
    """{type: parameters in it}."""
    scale_key: str | None
    """A name that shows that its fp8 weights have scales of another program; None where there is none."""

    @property
    def parameters(self) -> int:
        """Numbers in all its tensors."""
        return sum(self.dtypes.values())

    @property
    def is_fp8(self) -> bool:
        """Whether any of its tensors is of a one-byte floating-point type."""
        return any(dtype_name(dtype) in self.dtypes for dtype in FP8_DTYPES)

    def __str__(self) -> str:
        return f"{self.words} ({tasks_in_words(self.tasks)})" if self.tasks else self.words


def recognise(source: str | Path | Header) -> Contents:
    """Tell what a file of tensors is, from its header.

    Raises:
        FileNotFoundError, ValueError: the file cannot be opened; see `common.tensor_headers.read_header`.
    """
    header = source if isinstance(source, Header) else read_header(source)
    dtypes: dict[str, int] = {}
    for entry in header.entries.values():
        name = dtype_name(entry.dtype)
        dtypes[name] = dtypes.get(name, 0) + entry.shape.numel()
    found = _signature(header.entries) if header.metadata.get("format") != ADAPTER_FORMAT else _OUR_ADAPTER
    network = found.network if found is not None else UNKNOWN
    scale_key = next((key for key in header.entries if _SCALES.match(key)), None)
    if scale_key is None and _SCALES_METADATA in header.metadata:
        scale_key = f"metadata {_SCALES_METADATA}"
    return Contents(
        network=network,
        style=found.style if found is not None else UNKNOWN,
        words=_words(header.entries, found),
        tasks=_tasks(network, header),
        dtypes=dtypes,
        scale_key=scale_key,
    )


def tasks_in_words(tasks: Iterable[str]) -> str:
    """ "task X", "tasks X, Y", or "every official task"."""
    named = list(tasks)
    official = [task for task in WAN_CONFIGS if task != "i2v-tiny"]
    if len(named) > 1 and set(official) <= set(named):
        return "every official task"
    return f"task{'s' if len(named) > 1 else ''} {', '.join(named)}"


def shape_of_config(config: DiTConfig) -> DiTShape:
    """The telling sizes of a DiT that is to be built."""
    return DiTShape(
        dim=config.dim,
        blocks=config.num_layers,
        ffn_dim=config.ffn_dim,
        in_dim=config.in_dim,
        text_dim=config.text_dim,
        image_dim=config.image_dim,
        image_pos_tokens=config.image_pos_tokens,
    )


def shape_of_dit(entries: Mapping[str, TensorEntry]) -> DiTShape | None:
    """The telling sizes of a DiT file, under official names; None where its telling tensors are not there."""
    needed = ("patch_embedding.weight", "blocks.0.ffn.0.weight", "text_embedding.0.weight")
    if any(key not in entries or len(entries[key].shape) < 2 for key in needed):
        return None
    patch, ffn, text = (entries[key].shape for key in needed)
    image, positions = entries.get("img_emb.proj.0.weight"), entries.get("img_emb.emb_pos")
    return DiTShape(
        dim=patch[0],
        blocks=len({key.split(".")[1] for key in entries if key.startswith("blocks.")}),
        ffn_dim=ffn[0],
        in_dim=patch[1],
        text_dim=text[-1],
        image_dim=None if image is None else image.shape.numel(),
        image_pos_tokens=positions.shape[1] if positions is not None and len(positions.shape) > 1 else 0,
    )


def _signature(names: Iterable[str]) -> _Signature | None:
    listed = list(names)
    return next((row for row in _SIGNATURES if any(re.match(row.pattern, name) for name in listed)), None)


def _words(entries: Mapping[str, TensorEntry], found: _Signature | None) -> str:
    if found is None:
        some = ", ".join(sorted(entries)[:3])
        return f"nothing this project knows ({len(entries)} tensors: {some}{', ...' if len(entries) > 3 else ''})"
    if found.network != "dit":
        return found.words
    more = next((whose for pattern, whose in _RELATIVES if any(re.search(pattern, name) for name in entries)), None)
    return found.words if more is None else f"{found.words} with layers of {more}, which this project has not"


def _tasks(network: str, header: Header) -> tuple[str, ...]:
    """Tasks whose network of this kind has the file's telling sizes."""
    entries = header.entries
    if network == "adapter":
        task = header.metadata.get("base_task", "")
        return (task,) if task in WAN_CONFIGS else ()
    if network == "dit":
        shape = shape_of_dit(dit_to_official(entries))
        return tuple(task for task, config in WAN_CONFIGS.items() if shape_of_config(config.dit) == shape)
    fits = {
        "vae": lambda config: _is_vae(entries, config.vae),
        "t5": lambda config: _is_t5(entries, config.t5),
        "clip": lambda config: config.clip is not None and _is_clip(entries, config.clip),
    }.get(network)
    return () if fits is None else tuple(task for task, config in WAN_CONFIGS.items() if fits(config))


def _is_vae(entries: Mapping[str, TensorEntry], config: VAEConfig) -> bool:
    first, last = (vae_to_ours(entries, config).get(name) for name in ("encoder.conv1.weight", "conv2.weight"))
    pixels = 3 * config.patch**2
    return (
        first is not None
        and last is not None
        and (first.shape[:2], last.shape[:1]) == ((config.widths[0], pixels), (config.z_dim,))
    )


def _is_t5(entries: Mapping[str, TensorEntry], config: T5Config) -> bool:
    ours = t5_to_ours(entries, config)
    embedding = ours.get("encoder.embed_tokens.weight")
    blocks = {key.split(".")[2] for key in ours if key.startswith("encoder.block.")}
    return embedding is not None and (*embedding.shape, len(blocks)) == (
        config.vocab_size,
        config.dim,
        config.num_layers,
    )


def _is_clip(entries: Mapping[str, TensorEntry], config: CLIPConfig) -> bool:
    ours = clip_to_ours(entries, config)
    positions = ours.get("vision_model.embeddings.position_embedding.weight")
    blocks = {key.split(".")[3] for key in ours if key.startswith("vision_model.encoder.layers.")}
    return positions is not None and (*positions.shape, len(blocks)) == (
        config.tokens,
        config.dim,
        config.num_layers - 1,
    )
