"""An OmniCam data set from what its repository holds: videos, captions and poses, brought into the final structure.

    NAME/videos/ safetensors/ cache/ metadata.jsonl dataset.toml      (README of Yangxiaoda1/OmniCam-Wan2)

What the repositories hold in detail could not be verified, so nothing is relied on but this: videos, in folders or
archives; lists with a video and a caption (jsonl of the fork: video_path, caption; absolute paths of another machine
are matched by their ends), or a text beside each video. The camera is in the caption: as tags, or as
`#trajectory {path}` (also `#trajectory:{path}`, inferdemo/scirpt there), a pose file, whose path is matched by its end
too. Scripts that lie beside the data are not run and not copied.
"""

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath

from camera.captions import split_trajectory
from camera.formats import SourceVideo, Unstated, load_trajectory
from camera.intrinsics import default_intrinsics
from camera.language import has_camera, parse
from common.files import atomic_path
from common.media import VIDEO_EXTENSIONS, VideoInfo, probe_video
from dataset.fingerprint import file_fingerprint, text_fingerprint
from tools.preparation.archives import summary_of, visible_files
from tools.preparation.cameras import check_pose_count, is_done, save_camera
from tools.preparation.captions import Captioned, read_listing, read_text_file
from tools.preparation.options import Common
from tools.preparation.output import METADATA, WITHOUT_CAMERA, Prepared

_LISTS = (".jsonl", ".json", ".csv")


@dataclass(frozen=True)
class Found:
    """What lies in the folders of a data set."""

    files: dict[str, list[Path]]
    """Every file by its name."""
    roots: tuple[Path, ...]
    """The folders."""

    def videos(self) -> list[Path]:
        """All videos, in the order of their paths."""
        return sorted(path for paths in self.files.values() for path in paths if _is_video(path))

    def match(self, written: str, what: str) -> Path:
        """The file that a path of another machine means: the one whose path agrees with the most of its end.

        Raises:
            FileNotFoundError: no file of that name.
            ValueError: several agree equally.
        """
        parts = PurePosixPath(written.replace("\\", "/")).parts
        named = self.files.get(parts[-1] if parts else "", [])
        if not named:
            raise FileNotFoundError(f"{what} {written} is not there, nor anything called {parts[-1] if parts else ''}")
        agreeing = {path: _common_end(path.parts, parts) for path in named}
        best = max(agreeing.values())
        chosen = [path for path, count in agreeing.items() if count == best]
        if len(chosen) > 1:
            raise ValueError(f"{what} {written} may be {chosen[0]} or {chosen[1]}")
        return chosen[0]


@dataclass(frozen=True)
class Told:
    """What is known of the data set."""

    found: Found
    convention: str
    """Of pose files that do not say it; those that captions of the fork name are RealCam-Vid's, opencv_w2c
    (`camera.formats.fork`)."""


def look_through(roots: Iterable[Path]) -> Found:
    """All files of a data set's folders but hidden ones."""
    places, files = tuple(roots), {}
    for root in places:
        for path in visible_files(root):
            files.setdefault(path.name, []).append(path)
    return Found(files, places)


def list_captions(found: Found) -> list[Captioned]:
    """The videos and captions of all lists, or of the texts beside the videos where there is no list.

    Raises:
        ValueError: a list is damaged, or there are neither lists nor texts; tells what was found instead.
    """
    listings = sorted(path for paths in found.files.values() for path in paths if path.name == METADATA)
    if not listings:
        candidates = sorted(path for paths in found.files.values() for path in paths if path.suffix.lower() in _LISTS)
        listings = [path for path in candidates if path.suffix.lower() == ".jsonl"] or candidates
    lines = [line for path in listings for line in read_listing(path)]
    if not listings:
        texts = ((video, video.with_suffix(".txt")) for video in found.videos())
        lines = [Captioned(str(video), read_text_file(text), str(text)) for video, text in texts if text.is_file()]
    if not lines:
        raise ValueError(
            f"{' and '.join(map(str, found.roots))}: expected videos, and {METADATA} with video_path and caption, "
            f"another {', '.join(_LISTS)}, or a .txt beside each video; found {summary_of(found.roots)}"
        )
    return list({(line.video, line.caption): line for line in lines}.values())


def prepare_line(line: Captioned, told: Told, common: Common) -> list[Prepared]:
    """Put one video into its place, and its poses into our format.

    Args:
        line: its video and caption.
        told: of the data set.
        common: of the tool; its folder is that of the data set.

    Raises:
        FileNotFoundError: the video or its pose file is not there.
        ValueError: it, its tags or its poses cannot be used.
    """
    source = told.found.match(line.video, "video")
    if not _is_video(source):
        raise ValueError(f"{line.where}: {source} is no video ({', '.join(VIDEO_EXTENSIONS)})")
    info = probe_video(source)
    name = name_of(source, told.found.roots)
    caption, trajectory = split_trajectory(line.caption)
    record: dict[str, str | float] = {"video_path": (Path("videos") / name).as_posix(), "caption": caption}
    poses = None if trajectory is None else told.found.match(trajectory, "pose file")
    if poses is None and has_camera(caption):
        parse(caption)
    if poses is None:
        kept = common.dry_run or place(source, common.folder / "videos" / name)
        jsonl = METADATA if has_camera(caption) else WITHOUT_CAMERA
        return [Prepared(record, jsonl, kept and not common.dry_run)]
    camera = Path("safetensors") / name.with_suffix(".safetensors")
    record["camera_file"] = camera.as_posix()
    if common.dry_run:
        return [Prepared(record)]
    kept = place(source, common.folder / "videos" / name)
    kept &= _write_poses(poses, common.folder / camera, info, caption, told.convention)
    return [Prepared(record, kept=kept)]


def name_of(source: Path, roots: Iterable[Path]) -> Path:
    """Where a video goes below videos/: its path in the data set, without the folders up to one called videos."""
    root = next(root for root in roots if source.is_relative_to(root))
    parts = source.relative_to(root).parts
    folders = [index for index, part in enumerate(parts[:-1]) if part == "videos"]
    return Path(*parts[folders[0] + 1 :]) if folders else Path(*parts)


def place(source: Path, target: Path) -> bool:
    """Give a file another name (a hard link, or a copy on another disk); tells whether it was there.

    Raises:
        ValueError: another file has that name.
    """
    if target.exists():
        if target.samefile(source) or file_fingerprint(target) == file_fingerprint(source):
            return True
        raise ValueError(f"{source}: {target} is another video of that name; remove it, or rename one")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk, or one without links
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
    return False


def _write_poses(poses: Path, target: Path, info: VideoInfo, caption: str, convention: str) -> bool:
    fingerprint = text_fingerprint(file_fingerprint(poses), f"{info.fps:g} {convention}", caption)
    if is_done(target, fingerprint):
        return True
    video = SourceVideo(info.fps, (info.height, info.width), default_intrinsics(info.width / info.height))
    try:
        track = load_trajectory(poses, video=video)
    except Unstated as error:
        if error.argument != "convention":
            raise
        track = load_trajectory(poses, convention, video=video)
    check_pose_count(len(track), info.frames, str(poses))
    save_camera(target, track.rebased(), caption, fingerprint)
    return False


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_EXTENSIONS


def _common_end(path: tuple[str, ...], written: tuple[str, ...]) -> int:
    """How many parts agree, counted from the end."""
    length = min(len(path), len(written))
    pairs = zip(path[::-1][:length], written[::-1][:length], strict=True)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
