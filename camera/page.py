"""A trajectory as one interactive HTML page that needs nothing else: no server, no network, no library.

The page shows the frusta in 3D (canvas 2D, plain JavaScript in page.js), plays them over time, looks through the
camera into a room, and reads out the pose of every frame. Everything is embedded, and a content security policy in the
page forbids it to load anything.
"""

import base64
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from camera.plot_views import frustum_depth, round_step, subject_of
from camera.track import CameraTrack
from common.files import atomic_path

_HERE = Path(__file__).parent
_UNITS = {"metric": "m", "relative": "units", "unknown": "units"}
_PLACE = re.compile(r"\{\{(title|data|script)\}\}")
_ROTATION_STEP = 1e-6
_RELATIVE_STEP = 1e-6
_TIME_STEP = 1e-4
_PICTURE_SIDE = 640
_JPEG_QUALITY = 80


def write_page(
    tracks: CameraTrack | Mapping[str, CameraTrack],
    path: str | Path,
    title: str,
    image: UInt8[np.ndarray, "H W 3"] | None = None,
) -> None:
    """Write the interactive page of one track, or of several laid over each other, each in its own first camera.

    The address of the page takes its state, such as `page.html#frame=40&view=camera&theme=dark`; the state is also in
    the attributes `data-frame`, `data-view` ... of its body, and an error of the script in `data-error`.

    Args:
        tracks: one track, or tracks by the name that the page shows for them; the first is coloured by time.
        path: the .html file to write; whole or not there.
        title: any text; it is escaped.
        image: RGB picture that is drawn on the first frustum, embedded with at most 640 pixels a side.
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"{path}: the page of a trajectory is a .html file")
    named = {"": tracks} if isinstance(tracks, CameraTrack) else dict(tracks)
    assert named, "a page shows at least one track"
    parts = {
        "title": html.escape(title),
        "data": _as_script(_content({name: track.rebased() for name, track in named.items()}, image)),
        "script": (_HERE / "page.js").read_text(encoding="utf-8"),
    }
    # in one pass, so that a title that looks like a place is not filled again
    page = _PLACE.sub(lambda place: parts[place[1]], (_HERE / "page.html").read_text(encoding="utf-8"))
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _as_script(content: Mapping[str, Any]) -> str:
    """JSON that no HTML parser can read as the end of its script element."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _content(tracks: Mapping[str, CameraTrack], image: UInt8[np.ndarray, "H W 3"] | None) -> dict[str, Any]:
    depth = frustum_depth(list(tracks.values()))
    return {
        "tracks": [_entry(name, track, depth) for name, track in tracks.items()],
        "depth": depth,
        "step": round_step(depth),
        "image": None if image is None else _data_url(image),
    }


def _entry(name: str, track: CameraTrack, depth: float) -> dict[str, Any]:
    """One track as plain lists; constant intrinsics are one row, and numbers have no more digits than one sees."""
    lens = track.intrinsics
    constant = bool((lens == lens[0]).all())
    subject = subject_of(track)
    return {
        "name": name,
        "unit": _UNITS[track.scale],
        "times": _rounded(track.times, _TIME_STEP),
        "centres": _rounded(track.c2w[:, :3, 3], _RELATIVE_STEP * depth),
        "rotations": _rounded(track.c2w[:, :3, :3].flatten(1), _ROTATION_STEP),
        "intrinsics": _rounded(lens[:1] if constant else lens, _ROTATION_STEP),
        "subject": None if subject is None else subject.tolist(),
    }


def _rounded(values: Tensor, step: float) -> list[Any]:
    """The values on multiples of a power of ten near `step`, which are short in decimal."""
    digits = int(np.ceil(-np.log10(step)))
    return torch.round(values, decimals=digits).tolist() if digits < 300 else values.tolist()


def _data_url(image: UInt8[np.ndarray, "H W 3"]) -> str:
    scale = min(1.0, _PICTURE_SIDE / max(image.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode("ascii")
