"""A folder of images, read as a video: one image per frame, in the order of their numbers."""

import os
import re
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from common.files import require_file
from common.media.images import IMAGE_EXTENSIONS, probe_image, read_image
from common.media.timeline import VideoInfo

_SETTLED_S = 2.0
"""File systems tell times of change by steps of up to this."""


def images_in(folder: str | Path) -> Iterator[os.DirEntry[str]]:
    """The images that lie in a folder, in no order, as they are found; hidden files are left out."""
    with os.scandir(folder) as places:
        for place in places:
            if place.name.lower().endswith(IMAGE_EXTENSIONS) and place.name[0] != "." and place.is_file():
                yield place


def folder_images(folder: str | Path) -> list[Path]:
    """The images of a folder, sorted as people count: frame2.png before frame10.png.

    A folder that nobody writes to is listed once for all the clips that are taken of it: 100,000 images take seconds.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: it holds no image, or two that differ in their suffix only.
    """
    place = require_file(folder, "folder of images")
    changed = place.stat().st_mtime
    settled = time.time() - changed > _SETTLED_S
    return list(_kept_images(place, changed) if settled else _sorted_images(place))


@lru_cache(maxsize=4)
def _kept_images(folder: Path, changed: float) -> list[Path]:
    """The images of a folder as it was at the time of its last change."""
    return _sorted_images(folder)


def _sorted_images(folder: Path) -> list[Path]:
    found = [folder / entry.name for entry in images_in(folder)]
    found.sort(key=lambda path: (_counting(path.stem), path.name))
    if not found:
        raise ValueError(f"{folder}: holds no images ({', '.join(IMAGE_EXTENSIONS)}) to make a video of")
    for one, two in pairwise(found):
        if one.stem == two.stem:
            raise ValueError(f"{folder}: {one.name} and {two.name} would be one frame; keep one of them")
    return found


def _counting(name: str) -> list[tuple[str, int]]:
    """A name as pairs of text and number, for sorting: numbers by their value."""
    return [(text, int(digits or 0)) for text, digits in re.findall(r"([^0-9]*)([0-9]*)", name)]


def probe_folder(folder: str | Path, fps: float) -> VideoInfo:
    """A folder of images as a video of `fps` frames per second, of the size of its first image.

    Raises:
        FileNotFoundError, ValueError: as `folder_images`, or the first image is unreadable.
    """
    images = folder_images(folder)
    return VideoInfo(*probe_image(images[0]), fps, len(images))


def pick_images(folder: str | Path, indices: Sequence[int]) -> Iterator[np.ndarray]:
    """The images [H, W, 3] with these numbers, counted from 0.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: there are not so many, one is unreadable, or not of the first one's size.
    """
    images = folder_images(folder)
    width, height = probe_image(images[0])
    for index in indices:
        if index >= len(images):
            raise ValueError(f"{folder}: ends before frame {index}; it holds {len(images)} images")
        picture = read_image(images[index])
        if picture.shape[:2] != (height, width):
            size = f"{picture.shape[1]}x{picture.shape[0]}"
            raise ValueError(f"{images[index]}: is {size}, and {images[0].name} {width}x{height}; make them alike")
        yield picture
