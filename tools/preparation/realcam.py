"""RealCam-Vid: the clips of its .npz, which is never unpickled, matched with the videos that are there.

`tools.convert_realcam` reads the .npz and writes a clip's camera file; here the videos are looked for, and the clips
listed by the set that they come from. How the videos are packed on the hub could not be verified: `video_path` of a
clip is looked for below each folder that is given or unpacked, and what is missing is told by its path.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from camera.formats.realcam import parse_clip
from tools.convert_realcam import Settings, camera_name, convert
from tools.preparation.options import Common
from tools.preparation.output import Prepared, relative_path

_VIDEOS = "videos"
"""A folder of the data set that says nothing of a clip's source."""


@dataclass(frozen=True)
class Told:
    """Where the videos are, and how cameras are made."""

    roots: tuple[Path, ...]
    settings: Settings


def prepare_clip(entry: tuple[int, Any], told: Told, common: Common, taken: set[str]) -> list[Prepared]:
    """Write the camera file of one clip, and list it.

    Args:
        entry: number and record of the clip.
        told: where things are.
        common: of the tool.
        taken: names of camera files of this run, to which this one is added.

    Raises:
        FileNotFoundError: its video is not there.
        ValueError: the clip cannot be used; names the key.
    """
    index, record = entry
    clip = parse_clip(record, f"{told.settings.source}, clip {index}")
    camera_name(clip.video_path, index)  # refuses a path that leads out of the folder
    root = next((root for root in told.roots if (root / clip.video_path).is_file()), None)
    if root is None:
        raise FileNotFoundError(f"{clip.video_path} is not there, below {' or '.join(map(str, told.roots))}")
    jsonl = f"{source_of(clip.video_path)}.jsonl"
    video = relative_path(root / clip.video_path, common.folder)
    if common.dry_run:
        return [Prepared({"video_path": video, "caption": ""}, jsonl)]
    line, kept = convert(record, index, replace(told.settings, video_root=root), taken)
    rate = {} if told.settings.fps is None else {"fps": told.settings.fps}
    return [Prepared({**line, "video_path": video, **rate}, jsonl, kept)]


def source_of(video_path: str) -> str:
    """The set that a clip comes from: the first folder of its path that is not called videos."""
    folders = [part for part in PurePosixPath(video_path).parent.parts if part != _VIDEOS]
    return folders[0] if folders else _VIDEOS


def example_path(entries: Sequence[tuple[int, Any]]) -> str:
    """Where a clip's video should lie, for a message."""
    paths = (record.get("video_path") for _, record in entries if isinstance(record, dict))
    named = next((path for path in paths if isinstance(path, str)), None)
    return "at their video_path" if named is None else f"such as {named}"


def clip_name(entry: tuple[int, Any]) -> str:
    """What a clip is called in the list of those that were left out."""
    index, record = entry
    path = record.get("video_path") if isinstance(record, dict) else None
    return f"clip {index}" + (f" ({path})" if isinstance(path, str) else "")
