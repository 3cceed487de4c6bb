"""Names of cache files. musubi-tuner's, built from parts and read back from the right.

    STEM_WWWWxHHHH_wan.safetensors              latents of an image (its original size)
    STEM_PPPPP-FFF_WWWWxHHHH_wan.safetensors    latents of a clip (start, frames, size in the bucket)
    STEM_wan_te.safetensors                     text
    STEM_wan_camera.safetensors                 camera (ours)
    ~empty_wan_te.safetensors                   text of the empty caption (ours), for caption_dropout_rate

STEM is the item's key (`dataset.sources.MediaItem.key`): the medium's file name without its suffix, which may hold
anything, underscores too, and after it "~" and what tells it from others (`STEM~0a1b2c3d`, `STEM~mirrored`).
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from dataset.config import Media

EMPTY_TEXT_KEY = "~empty"
"""The key under which the encoding of the empty caption is cached, for caption dropout; no medium has it."""

_TEXT_END = "_wan_te.safetensors"
_CAMERA_END = "_wan_camera.safetensors"
_SIZE = r"_(?P<width>\d{4,})x(?P<height>\d{4,})_wan\.safetensors"
_IMAGE = re.compile(r"(?P<stem>.+)" + _SIZE, re.DOTALL)
_CLIP = re.compile(r"(?P<stem>.+)_(?P<start>\d{5,})-(?P<frames>\d{3,})" + _SIZE, re.DOTALL)


@dataclass(frozen=True)
class LatentName:
    """What the name of a latent cache says."""

    stem: str
    width: int
    """Pixels: of the original for an image, of the bucket for a clip."""
    height: int
    start: int = 0
    """First frame of the clip among the kept frames of the video; 0 for an image."""
    frames: int | None = None
    """Video frames of the clip; None for an image."""

    def file_name(self) -> str:
        """The name of the file."""
        return f"{self.clip_key()}_{self.width:04d}x{self.height:04d}_wan.safetensors"

    def clip_key(self) -> str:
        """The medium's stem, with start and length for a clip; unique within a data set."""
        return self.stem if self.frames is None else f"{self.stem}_{self.start:05d}-{self.frames:03d}"


def parse_latent_name(name: str, media: Media) -> LatentName | None:
    """Read a file name as the latent cache of an image or a clip; None when it is none."""
    match = (_CLIP if media == "video" else _IMAGE).fullmatch(name)
    if match is None or name.startswith("."):
        return None
    parts = match.groupdict()
    size = int(parts["width"]), int(parts["height"])
    if media == "image":
        return LatentName(parts["stem"], *size)
    return LatentName(parts["stem"], *size, int(parts["start"]), int(parts["frames"]))


def text_name(stem: str) -> str:
    """Name of the text cache of a medium."""
    return stem + _TEXT_END


def camera_name(stem: str) -> str:
    """Name of the camera cache of a medium."""
    return stem + _CAMERA_END


def is_text_name(name: str) -> bool:
    """True for the name of a text cache."""
    return _ends(name, _TEXT_END)


def is_camera_name(name: str) -> bool:
    """True for the name of a camera cache."""
    return _ends(name, _CAMERA_END)


def _ends(name: str, end: str) -> bool:
    return name.endswith(end) and len(name) > len(end) and not name.startswith(".")


def list_names(folder: Path) -> list[str]:
    """Names in a folder, sorted; none when it does not exist."""
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def latents_by_stem(folder: Path, media: Media) -> dict[str, list[LatentName]]:
    """The latent caches that lie in a folder, by the stem of their medium."""
    found: dict[str, list[LatentName]] = defaultdict(list)
    for name in list_names(folder):
        parsed = parse_latent_name(name, media)
        if parsed is not None:
            found[parsed.stem].append(parsed)
    return dict(found)
