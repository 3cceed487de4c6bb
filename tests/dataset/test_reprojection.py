"""A clip cut out of a real video file has the poses of its own frames: seen in the pictures, against the truth.

A room of `tools.procedural_world` gives pictures, depth and camera that are exact. What is followed from the first
frame of a clip to the others in the decoded pictures must lie where its depth and the clip's camera say.
"""

import json
import random

import cv2
import numpy as np
import pytest
import torch

from camera.intrinsics import default_intrinsics
from camera.language import parse
from camera.trajectory import compile as compile_moves
from common.media import write_video
from dataset.cameras import clip_track, item_track
from dataset.clips import decode_clips
from dataset.kinds import LatentCaching
from tests.common.video_files import encode
from tools.procedural_world.batch import pack
from tools.procedural_world.clips import ClipPlan, render_clip
from tools.procedural_world.raycaster import cast
from tools.procedural_world.rooms import build_world

SOURCE = 180, 240
BUCKET = 96, 144
SCALE, TOP = 0.6, 6
"""240x180 is scaled to 144x108 to cover 144x96; 6 rows are cut off above and below."""
SECONDS = 1.4
CAMERA = (
    "<starttime>0</starttime> <endtime>0.6</endtime> <speed>0.4</speed> <direction>right</direction> "
    "<rotate>stay</rotate> <sep> <starttime>0.6</starttime> <endtime>1.4</endtime> <speed>0.4</speed> "
    "<direction>leftup45</direction> <rotate>clockwise</rotate> <sep>"
)


@pytest.fixture(scope="module", params=[25, 30])
def filmed(request):
    fps = request.param
    moves = parse(CAMERA)
    track = compile_moves(moves, round(SECONDS * fps) + 1, fps, default_intrinsics(SOURCE[1] / SOURCE[0], 60.0))
    world = build_world(random.Random(8), track.c2w[:, :3, 3].numpy(), 60.0)
    plan = ClipPlan(tuple(moves), track, world)
    return fps, plan, render_clip(plan, *SOURCE).frames.numpy()


def clips_of(project, filmed, name, **entry):
    fps, plan, frames = filmed
    stamps = entry.pop("stamps", None)
    if stamps is None:
        write_video(project.root / name, frames, fps, crf=10)
    else:
        encode(project.root / name, frames[stamps], rate=fps, stamps=stamps, crf=10)
    plan.track.save(project.root / "camera.safetensors")
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in entry.items())
    project.write(
        f"[[datasets]]\nvideo_jsonl_file = 'meta.jsonl'\ncache_directory = 'cache'\nresolution = [152, 96]\n"
        f"frame_extraction = 'chunk'\ntarget_frames = [9]\n{lines}\n",
        {"video_path": name, "caption": "a room", "camera_file": "camera.safetensors"},
    )
    return [list(decode_clips(LatentCaching().jobs(item, []))) for item in project.groups[0].items]


def followed(first, other):
    """Corners [N, 2] of a picture that are found again in another one, and where; a pixel's centre is at + 0.5."""
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (first, other)]
    # of calm walls the faint corners, too: those that do not hold are sorted out below
    corners = cv2.goodFeaturesToTrack(grey[0], 300, 0.002, 3)
    there, found, _ = cv2.calcOpticalFlowPyrLK(*grey, corners, None, winSize=(11, 11))
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(*grey[::-1], there, None, winSize=(11, 11))
    steady = (np.abs(back - corners).max(axis=(1, 2)) < 0.2) & (found & found_back).astype(bool).ravel()
    return corners[steady, 0] + 0.5, there[steady, 0] + 0.5


def true_depth(filmed, mirrored, frame, pixels):
    """z-depth at pixels of a clip, by ray casting in the uncropped source picture."""
    _, plan, _ = filmed
    track = plan.track
    c2w = track.c2w[frame : frame + 1].float()
    depth = cast(pack([plan.world], "cpu"), c2w, track.intrinsics[frame : frame + 1].float(), *SOURCE).depth[0]
    x, y = pixels[:, 0] / SCALE, (pixels[:, 1] + TOP) / SCALE
    x = SOURCE[1] - x if mirrored else x
    return depth[torch.from_numpy(y).long(), torch.from_numpy(x).long()].double().numpy()


def reprojected(track, frame, pixels, depth):
    """Where points of a clip's first frame are in another one, by the clip's camera."""
    sides = np.array(BUCKET[::-1])
    first, other = track.intrinsics[0].double().numpy(), track.intrinsics[frame].double().numpy()
    rays = (pixels / sides - first[2:]) / first[:2]
    points = np.concatenate([rays, np.ones((len(rays), 1))], axis=1) * depth[:, None]
    c2w = track.c2w[frame].double().numpy()
    local = (points - c2w[:3, 3]) @ c2w[:3, :3]
    return (local[:, :2] / local[:, 2:] * other[:2] + other[2:]) * sides


def error_px(filmed, decoded, times, frame):
    """Median distance in pixels between where the picture has a point and where the camera has it."""
    clip = decoded.clip
    whole = item_track(clip.item, clip.info)
    track = clip_track(whole, times, (clip.info.height, clip.info.width), BUCKET)
    pixels, seen = followed(decoded.frames[0], decoded.frames[frame])
    assert len(pixels) > 80
    source_frame = round(clip.frame_times[0] * filmed[0])
    depth = true_depth(filmed, clip.item.mirrored, source_frame, pixels)
    return float(np.median(np.linalg.norm(reprojected(track, frame, pixels, depth) - seen, axis=1)))


@pytest.mark.parametrize("way", ["stated", "auto", "every", "variable"])
def test_points_lie_where_the_clips_own_camera_has_them(project, filmed, way):
    fps, _, frames = filmed
    entry = {"stated": {"source_fps": float(fps)}, "every": {}}.get(way, {"source_fps": "auto"})
    if way == "variable":
        entry["stamps"] = [index for index in range(len(frames)) if index % 7 != 3 and index not in {18, 19}]
    (decoded,) = clips_of(project, filmed, "a.mp4", **entry)
    assert len(decoded) >= 2
    shift_px = 0.0
    for clip in decoded:
        for frame in (2, 5, 8):
            error = error_px(filmed, clip, clip.clip.frame_times, frame)
            assert error < 0.5, (way, clip.clip.span, frame, error)
        shift_px = max(shift_px, *(np.linalg.norm(np.subtract(*followed(*clip.frames[[0, 8]])), axis=1)))
    assert shift_px > 3, "there is a motion to be right about"
    wrong_times = decoded[0].clip.frame_times
    assert error_px(filmed, decoded[-1], wrong_times, 8) > 1.0, "the poses of another offset would be noticed"


def test_a_mirrored_twin_has_the_mirrored_camera(project, filmed):
    plain, twin = clips_of(project, filmed, "a.mp4", source_fps="auto", horizontal_flip=True)
    for clip, other in zip(plain, twin, strict=True):
        assert other.clip.item.mirrored and other.clip.frame_times == clip.clip.frame_times
        assert np.abs(other.frames[:, :, ::-1].astype(int) - clip.frames).max() <= 1
        for frame in (4, 8):
            assert error_px(filmed, other, other.clip.frame_times, frame) < 0.5
