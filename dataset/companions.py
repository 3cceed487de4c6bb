"""The files that go with a medium, found in a folder by its stem: its trajectory, and its control video or image."""

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.media import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS
from dataset.config import DatasetEntry

CAMERA_SUFFIXES = (".txt", ".json", ".npz", ".npy", ".tum", "")
"""Of STEM in a camera_directory where there is no STEM.safetensors; without a suffix it is a folder."""

Listing = Mapping[str, Mapping[str, Path]]
"""What lies in a folder, by stem, then by suffix; a folder in it has its whole name as stem and the suffix ""."""

_NUMBERED = re.compile(r"(.+)_\d+", re.DOTALL)


def list_by_stem(folder: Path) -> Listing:
    """List a folder once, for all the media that are looked up in it; hidden files are left out."""
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    with os.scandir(folder) as places:
        for place in places:
            path = folder / place.name
            if place.name.startswith("."):
                continue
            if place.is_dir():
                found[place.name][""] = path
            elif path.suffix:
                found[path.stem][path.suffix] = path
    return dict(found)


def camera_of(medium: Path, entry: DatasetEntry, cameras: Listing) -> Path | None:
    """The trajectory of a medium, None where there is none. The medium's caption file is not taken for one.

    Raises:
        ValueError: there are several, none of them STEM.safetensors.
    """
    lying = cameras.get(medium.stem, {})
    if ".safetensors" in lying:
        return lying[".safetensors"]
    found = [lying[suffix] for suffix in CAMERA_SUFFIXES if suffix in lying]
    if entry.caption_extension is not None:
        caption = medium.with_name(f"{medium.stem}{entry.caption_extension}")
        found = [path for path in found if path.name != caption.name or path.resolve() != caption.resolve()]
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ValueError(
            f"{entry.where}: {entry.camera_directory} has several cameras for {medium.name}: {names}; keep one"
        )
    return found[0] if found else None


def controls_of(media: Sequence[Path], entry: DatasetEntry, controls: Listing) -> list[Path | None]:
    """The control of every medium, None where there is none.

    Of a video, in musubi-tuner's order: the video of the same name, the folder STEM, the video STEM of another
    suffix; then an image STEM, which is ours. Of an image: the image STEM, or STEM_N where that is no medium's.

    Raises:
        ValueError: an image has several.
    """
    if entry.media == "video":
        suffixes = (*_spellings(VIDEO_EXTENSIONS), *_spellings(IMAGE_EXTENSIONS))
        return [
            next((lying[suffix] for suffix in (medium.suffix, "", *suffixes) if suffix in lying), None)
            for medium in media
            for lying in [controls.get(medium.stem, {})]
        ]
    stems = {medium.stem for medium in media}
    images: dict[str, list[Path]] = defaultdict(list)
    for stem, lying in sorted(controls.items()):
        numbered = _NUMBERED.fullmatch(stem)
        owner = numbered[1] if numbered and stem not in stems else stem
        images[owner] += [path for suffix, path in lying.items() if suffix in _spellings(IMAGE_EXTENSIONS)]
    return [_only(images[medium.stem], medium, entry) for medium in media]


def _only(images: Sequence[Path], medium: Path, entry: DatasetEntry) -> Path | None:
    if len(images) > 1:
        names = ", ".join(path.name for path in images)
        raise ValueError(
            f"{entry.where}: {entry.control_directory} has several control images for {medium.name}: {names}; several "
            "per item are for Qwen-Image and Flux models and not supported here: keep one"
        )
    return images[0] if images else None


def _spellings(extensions: tuple[str, ...]) -> tuple[str, ...]:
    return (*extensions, *(extension.upper() for extension in extensions))
