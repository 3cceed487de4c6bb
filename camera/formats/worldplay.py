"""HY-WorldPlay's pose JSON: one pose for each latent frame.

    {"0": {"extrinsic": [[..] x 4], "K": [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]}, "1": ...}

Despite its name `extrinsic` is camera-to-world, OpenCV axes: `pose_to_input` in `generate.py` (Tencent-Hunyuan/
HY-WorldPlay) reads it as c2w and inverts it. A camera that moved 1 to its right has 1 in row 0, column 3. K is in
pixels of a picture twice as wide and high as its principal point (the default is 1920x1080): the same function divides
fx by 2 cx and fy by 2 cy and puts the axis into the middle. N poses are 4 N - 3 video frames (ibid.), 24 a second
(`save_video`): the pose of latent k is that of frame 4 k.
"""

from pathlib import Path

import torch

from camera.formats.core import Format, RawTrack, Request, logger, to_pixels
from camera.formats.documents import entry, numbers, pose, read_json, table, write_json
from camera.formats.sample import Sample
from camera.intrinsics import Size
from camera.track import CameraTrack

FPS = 24.0
"""Frames per second of WorldPlay's videos."""
FRAME_STEP = 4
"""Video frames from one latent frame to the next."""
SIZE = (1080, 1920)
"""(height, width) that its default K belongs to."""
_CENTRE = 1e-6


def _recognise(sample: Sample) -> str | None:
    document = sample.json
    first = document.get("0") if isinstance(document, dict) else None
    if isinstance(first, dict) and "extrinsic" in first and "K" in first:
        return "keys 0, 1 ... with extrinsic and K"
    return None


def _read(path: Path, request: Request) -> RawTrack:
    document = table(read_json(path), str(path))
    if sorted(document) != sorted(map(str, range(len(document)))):
        raise ValueError(f"{path}: expected the keys '0', '1', ... without a gap and nothing else")
    if not document:
        raise ValueError(f"{path}: no pose")
    found, lenses = [], []
    for index in range(len(document)):
        where = f"{path}: {index}"
        latent = table(document[str(index)], where)
        found.append(pose(entry(latent, "extrinsic", where), f"{where}.extrinsic"))
        k_px = numbers(entry(latent, "K", where), (3,), 3, f"{where}.K")
        (fx, _, cx), (_, fy, cy) = k_px[0], k_px[1]
        if min(fx, fy, cx, cy) <= 0:
            raise ValueError(f"{where}.K: focal lengths and principal point must be above 0")
        lenses.append([fx / (2 * cx), fy / (2 * cy), 0.5, 0.5])
    return RawTrack(
        torch.stack(found),
        "opencv_c2w",
        intrinsics=torch.tensor(lenses, dtype=torch.float64),
        fps=FPS,
        frame_step=FRAME_STEP,
        scale="relative",
    )


def _write(track: CameraTrack, path: Path, size: Size | None) -> None:
    if not ((track.intrinsics[:, 2:] - 0.5).abs() <= _CENTRE).all():
        raise ValueError(f"{path}: WorldPlay puts the optical axis into the middle; this track's lies elsewhere")
    latents = _per_latent(track, path)
    height, width = SIZE
    pixels = to_pixels(latents.intrinsics, SIZE)
    document = {
        str(index): {"extrinsic": matrix, "K": [[fx, 0.0, width / 2], [0.0, fy, height / 2], [0.0, 0.0, 1.0]]}
        for index, (matrix, (fx, fy, _, _)) in enumerate(zip(latents.c2w.tolist(), pixels.tolist(), strict=True))
    }
    write_json(path, document)


def _per_latent(track: CameraTrack, path: Path) -> CameraTrack:
    """The track at the times of the latent frames, itself when it has one pose for each already."""
    step = FRAME_STEP / FPS
    start, end = float(track.times[0]), float(track.times[-1])
    count = int((end - start) / step + 1e-6) + 1
    wanted = start + torch.arange(count, dtype=torch.float64) * step
    if count == len(track) and torch.allclose(wanted, track.times, rtol=0, atol=1e-6):
        return track
    if count < 2:
        raise ValueError(f"{path}: {end - start:.3g} s are shorter than one step of {step:.3g} s of this format")
    logger.warning(
        "%s: written are %d poses, one for each latent frame (every %d frames at %g per second), of the %d",
        path, count, FRAME_STEP, FPS, len(track),
    )  # fmt: skip
    return track.at(wanted)


FORMATS = (
    Format(
        "hy_worldplay",
        "HY-WorldPlay pose JSON: c2w, OpenCV, K in pixels, one pose for each latent frame",
        _recognise,
        _read,
        _write,
    ),
)
"""The one format."""
