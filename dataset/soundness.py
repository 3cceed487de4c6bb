"""Whether a cache holds what its kind must hold: shapes, precisions, and metadata that can be read.

Files come from other programs and hands, too, and a wrong one is to be named before it is trained on or taken for done.
"""

import math
from collections.abc import Iterable, Mapping

from dataset.cache import LATENT_CHANNELS, CacheHeader

_RANKS = {**dict.fromkeys(LATENT_CHANNELS, 4), "clip": 2, "t5": 2}
_FLOATS = {"BF16", "F16", "F32", "F64"}
_MOST_FRAMES = 10_000_000
"""Of a medium: a week at 16 per second."""


def fault_of(header: CacheHeader) -> str:
    """What is wrong with the shapes or the metadata of a latent, text or camera cache; empty when nothing is."""
    fault = _fault_of_shapes(header) or _fault_of_metadata(header)
    return f"{header.path}: {fault}; cache it again" if fault else ""


def odd_precisions(header: CacheHeader) -> list[str]:
    """The tensors of a latent or text cache whose numbers are none that an encoder gives, such as whole numbers."""
    return [name for name in _RANKS if name in header.dtypes and header.dtypes[name] not in _FLOATS]


def has_widths(header: CacheHeader, widths: Mapping[str, int]) -> bool:
    """Whether the features (t5, clip) that a cache holds are as wide as those of the encoders in question."""
    return all(header.shapes[name][-1:] == (width,) for name, width in widths.items() if name in header.shapes)


def _fault_of_shapes(header: CacheHeader) -> str:
    grid = header.shapes.get("latents", ())[1:]
    for name, rank in _RANKS.items():
        shape = header.shapes.get(name)
        if shape is None:
            continue
        if len(shape) != rank or 0 in shape:
            return f"{name} has the shape {list(shape)}, expected {rank} axes, none empty"
        if name in LATENT_CHANNELS and (shape[0] != LATENT_CHANNELS[name] or shape[1:] != grid):
            return f"{name} has the shape {list(shape)}, expected {[LATENT_CHANNELS[name], *grid]}"
    return ""


def _fault_of_metadata(header: CacheHeader) -> str:
    try:
        # properties that read what the metadata say of the medium and the times
        info, times = header.source_info, header.frame_times
    except (ValueError, TypeError, OverflowError) as error:
        return f"metadata of the medium or the frame times cannot be read ({error})"
    if info is not None:
        frames = 1 <= info.frames <= _MOST_FRAMES and (info.times is None or len(info.times) == info.frames)
        sizes = min(info.width, info.height) >= 1 and 0 < info.fps < math.inf
        if not (frames and sizes and _are_seconds(info.times or ())):
            return "metadata of the medium: expected its size, frame rate and frames, and a time for each frame"
    if times is not None and not (_are_seconds(times) and len(times) == _frames_of(header)):
        return f"metadata frame_times: expected {_frames_of(header)} numbers, one for each frame"
    return ""


def _frames_of(header: CacheHeader) -> int:
    """Video frames of a latent cache."""
    return 4 * header.shapes["latents"][1] - 3 if "latents" in header.shapes else 0


def _are_seconds(times: Iterable[object]) -> bool:
    return all(isinstance(time, int | float) and not isinstance(time, bool) and math.isfinite(time) for time in times)
