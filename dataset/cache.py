"""Cache files: keys, metadata, reading and writing. The format is described in docs/cache-format.md.

Keys and the first metadata strings are musubi-tuner's. Ours are added beside them and may be missing from a file
that musubi-tuner wrote.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from camera.track import CONVENTION, CameraTrack
from camera.track import FORMAT_VERSION as CAMERA_VERSION
from common.files import require_file
from common.media import VideoInfo
from common.precision import dtype_name
from common.weights import write_tensors

ARCHITECTURE = "wan"
FORMAT_VERSION = "1.0.1"
LATENT_STRIDE = 8
"""Pixels per latent cell, in height and in width."""
LATENT_TENSORS = ("latents", "latents_image", "latents_control", "clip")
"""What a latent cache may hold: [16, f, h, w], [20, f, h, w], [16, f, h, w], [tokens, dim]."""
LATENT_CHANNELS = {"latents": 16, "latents_image": 20, "latents_control": 16}
"""Channels of the tensors of a latent cache that lie on its grid."""
ENCODING_VERSION = "1"
"""Grows when the same medium and weights would give other numbers, so that older caches are made again."""

_DTYPE = re.compile(r"_(bfloat16|float16|float32|float64|float8_\w+|u?int\d+|bool)$")
_GRID = re.compile(r"_\d+x\d+x\d+$")
_PRECISIONS = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class CacheHeader:
    """What a cache file holds, without its tensors."""

    path: Path
    keys: Mapping[str, str]
    """Key in the file, by plain name: latents, latents_image, clip, t5 ..."""
    shapes: Mapping[str, tuple[int, ...]]
    """Shape by plain name."""
    dtypes: Mapping[str, str]
    """Precision by plain name, as safetensors says it: BF16, F32 ..."""
    metadata: Mapping[str, str]
    """All metadata strings."""

    @cached_property
    def source_info(self) -> VideoInfo | None:
        """Size, rate and frame count of the medium it was made from; None in a file of musubi-tuner."""
        names = ("source_width", "source_height", "source_fps", "source_frames")
        if any(name not in self.metadata for name in names):
            return None
        width, height, fps, frames = (float(self.metadata[name]) for name in names)
        times = self.metadata.get("source_times")
        return VideoInfo(int(width), int(height), fps, int(frames), None if times is None else tuple(json.loads(times)))

    @cached_property
    def frame_times(self) -> tuple[float, ...] | None:
        """Seconds of the video at which the clip's frames lie; None in a file of musubi-tuner."""
        text = self.metadata.get("frame_times")
        return None if text is None else tuple(json.loads(text))


def is_foreign(header: CacheHeader) -> bool:
    """True for a latent or text cache of another architecture, of a version with other rules, or of other numbers.

    What it does not say is not held against it. Of a format version, the first number tells other rules.
    """
    said = header.metadata
    version = said.get("format_version", FORMAT_VERSION).partition(".")[0]
    ours = (ARCHITECTURE, FORMAT_VERSION.partition(".")[0], ENCODING_VERSION)
    return (said.get("architecture", ARCHITECTURE), version, said.get("encoding_version", ENCODING_VERSION)) != ours


def is_camera_cache(header: CacheHeader) -> bool:
    """True for a camera cache of our version and convention; the fork's are none."""
    said = header.metadata
    return "c2w" in header.keys and (said.get("format_version"), said.get("convention")) == (CAMERA_VERSION, CONVENTION)


def plain_name(key: str) -> str:
    """The name behind a key of a file: "latents_image_9x12x20_bfloat16" -> "latents_image"."""
    name = _DTYPE.sub("", key.removeprefix("varlen_"))
    return _GRID.sub("", name) if name.startswith("latents") else name


def source_metadata(source: Path, fingerprint: str, info: VideoInfo) -> dict[str, str]:
    """The strings by which a cache remembers its medium."""
    return {
        **({} if info.times is None else {"source_times": json.dumps(info.times)}),
        "source": source.name,
        "source_fingerprint": fingerprint,
        "source_width": str(info.width),
        "source_height": str(info.height),
        "source_fps": repr(float(info.fps)),
        "source_frames": str(info.frames),
    }


def read_header(path: str | Path) -> CacheHeader:
    """Keys, shapes and metadata of a cache.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no whole safetensors file.
    """
    file = require_file(path, "cache")
    try:
        with safe_open(file, framework="pt") as opened:
            keys = _plain_keys(opened.keys())
            slices = {name: opened.get_slice(key) for name, key in keys.items()}
            shapes = {name: tuple(piece.get_shape()) for name, piece in slices.items()}
            dtypes = {name: str(piece.get_dtype()) for name, piece in slices.items()}
            return CacheHeader(file, keys, shapes, dtypes, dict(opened.metadata() or {}))
    except SafetensorError as error:
        raise ValueError(f"{file}: not a whole cache file ({error}); remove it and cache again") from None


def _plain_keys(keys: list[str]) -> dict[str, str]:
    """Keys by plain name; of one name in several precisions (an old text cache) the finest is taken."""
    return {plain_name(key): key for key in sorted(keys, key=_precision)}


def _precision(key: str) -> int:
    dtype = _DTYPE.search(key)
    return _PRECISIONS.index(dtype[1]) if dtype and dtype[1] in _PRECISIONS else -1


def read_cache(path: str | Path, names: Sequence[str]) -> tuple[CacheHeader, dict[str, Tensor]]:
    """The header of a latent or text cache, and the tensors asked for, by plain name.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no whole safetensors file, a tensor is not in it, or holds NaN or infinity; names both.
    """
    header = read_header(path)
    absent = [name for name in names if name not in header.keys]
    if absent:
        raise ValueError(f"{header.path}: holds no {', '.join(absent)}; found {', '.join(header.keys) or 'nothing'}")
    with safe_open(header.path, framework="pt") as opened:
        tensors = {name: opened.get_tensor(header.keys[name]) for name in names}
    refuse_not_finite(header.path, tensors, "remove the file and cache again")
    return header, tensors


def refuse_not_finite(path: Path, tensors: Mapping[str, Tensor], remedy: str) -> None:
    """Raise ValueError, naming file and tensor, when a number is NaN or infinite."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not _all_finite(tensor):
            raise ValueError(f"{path}: the tensor {name!r} holds NaN or infinity; {remedy}")


def _all_finite(tensor: Tensor) -> bool:
    """Whether no number is NaN or infinite."""
    # a sum is much faster than isfinite, and finite only if every number is; it may overflow where all are
    return bool(tensor.sum(dtype=torch.float32).isfinite()) or bool(tensor.isfinite().all())


def write_latents(
    path: Path,
    tensors: Mapping[str, Tensor],
    *,
    width: int,
    height: int,
    frame_count: int | None,
    extra: Mapping[str, str],
) -> None:
    """Write a latent cache, atomically.

    Args:
        path: named by `dataset.names.LatentName`.
        tensors: latents [16, f, h, w]; for image-to-video latents_image [20, f, h, w] and clip [tokens, dim]; of an
            item with control latents_control [16, f, h, w].
        width, height: the size in the file's name.
        frame_count: video frames of a clip, None for an image.
        extra: our metadata.

    Raises:
        ValueError: a tensor holds NaN or infinity; names file and tensor, and nothing is written.
    """
    assert "latents" in tensors and set(tensors) <= set(LATENT_TENSORS), sorted(tensors)
    refuse_not_finite(path, tensors, "the encoder or its input is at fault; nothing was written")
    # musubi-tuner writes the latents' dtype into the name of every tensor of the file
    dtype = dtype_name(tensors["latents"].dtype)
    keyed = {}
    for name, tensor in tensors.items():
        grid = "_{}x{}x{}".format(*tensor.shape[-3:]) if name.startswith("latents") else ""
        keyed[f"{name}{grid}_{dtype}"] = tensor
    metadata = {
        "architecture": ARCHITECTURE,
        "width": str(width),
        "height": str(height),
        "format_version": FORMAT_VERSION,
        **({} if frame_count is None else {"frame_count": str(frame_count)}),
    }
    write_tensors(path, keyed, {**extra, **metadata})


def write_text(path: Path, t5: Tensor, caption: str, extra: Mapping[str, str]) -> None:
    """Write a text cache, atomically.

    Args:
        path: named by `dataset.names.text_name`.
        t5: [L, dim], without padding.
        caption: the text it was made from.
        extra: our metadata.

    Raises:
        ValueError: a number is NaN or infinite; nothing is written.
    """
    assert t5.ndim == 2, t5.shape
    refuse_not_finite(path, {"t5": t5}, "the encoder is at fault; nothing was written")
    metadata = {"architecture": ARCHITECTURE, "caption1": caption, "format_version": FORMAT_VERSION}
    write_tensors(path, {f"varlen_t5_{dtype_name(t5.dtype)}": t5}, {**extra, **metadata})


def read_camera(path: str | Path) -> tuple[CacheHeader, CameraTrack]:
    """A camera cache: its header, and the track of the whole video.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not a camera track, or holds NaN; names the file.
    """
    return read_header(path), CameraTrack.load(path)
