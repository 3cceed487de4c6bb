"""Camera files of other projects, as the camera of a video: a camera that goes 0.1 to its right in each frame."""

import json
import logging

import numpy as np
import pytest
import torch

from camera.formats import save_trajectory
from camera.track import CameraTrack
from common.weights import write_tensors
from dataset.cache import read_camera
from dataset.cameras import camera_fingerprint, clip_track
from tests.dataset.helpers import make_image, make_video

FRAMES, FPS, STEP, START = 5, 16, 0.1, 5.0
CENTRES = [START + STEP * index for index in range(FRAMES)]
W2C = "1 0 0 {} 0 1 0 0 0 0 1 0"
ENTRY = "video_jsonl_file = 'meta.jsonl'\ncache_directory = 'cache'\ntarget_frames = [5]\n"
TOML = f"[general]\nresolution = [64, 48]\n[[datasets]]\n{ENTRY}"
HALF = 96.0
"""Focal length in pixels of a picture of 192 x 96, twice the video's: 90 degrees across."""


def realestate10k(root):
    rows = [f"{62500 * index} 0.5 1 0.5 0.5 0 0 {W2C.format(-x)}" for index, x in enumerate(CENTRES)]
    (root / "c.txt").write_text("\n".join(["https://x", *rows]))
    return "c.txt"


def transforms(root):
    frames = [{"transform_matrix": [[1, 0, 0, x], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]} for x in CENTRES]
    lens = {"w": 192, "h": 96, "fl_x": HALF, "fl_y": HALF, "cx": 96, "cy": 48}
    (root / "transforms.json").write_text(json.dumps({**lens, "frames": frames}))
    return "transforms.json"


def colmap(root):
    folder = root / "model" / "sparse" / "0"
    folder.mkdir(parents=True)
    (folder / "cameras.txt").write_text(f"7 PINHOLE 192 96 {HALF} {HALF} 96 48\n")
    lines = [f"{index + 1} 1 0 0 0 {-x} 0 0 7 {index}.png\n\n" for index, x in enumerate(CENTRES)]
    (folder / "images.txt").write_text("".join(lines))
    return "model"


def tum(root):
    rows = [f"{1305031102 + index / FPS} {x} 0 0 0 0 0 1" for index, x in enumerate(CENTRES)]
    (root / "c.tum").write_text("\n".join(rows))
    return "c.tum"


def frame_numbers(root):
    (root / "c.txt").write_text("\n".join(f"{index} {x} 0 0 1 0 0 0" for index, x in enumerate(CENTRES)))
    return "c.txt"


def pixels(root, focal=48, centre="48 24"):
    (root / "c.txt").write_text("\n".join(f"{focal} {focal} {centre} 0 0 {W2C.format(-x)}" for x in CENTRES))
    return "c.txt"


def unreal(root):
    # rows are the camera's forward, right and up axis and its centre, centimetres; cam02 goes to the left
    rows = "[1 0 0 0] [0 1 0 0] [0 0 1 0] [0 {} 0 1] "
    frames = {f"frame{i}": {"cam01": rows.format(100 * x), "cam02": rows.format(-x)} for i, x in enumerate(CENTRES)}
    (root / "camera_extrinsics.json").write_text(json.dumps(frames))
    return "camera_extrinsics.json#cam01"


def ours(root):
    c2w = torch.eye(4, dtype=torch.float64).repeat(FRAMES, 1, 1)
    c2w[:, 0, 3] = torch.tensor(CENTRES, dtype=torch.float64)
    lens = torch.tensor([[0.5, 1, 0.5, 0.5]], dtype=torch.float64).repeat(FRAMES, 1)
    return CameraTrack(c2w, lens, torch.arange(FRAMES, dtype=torch.float64) / FPS)


def lingbot(root):
    save_trajectory(ours(root), root / "folder", "lingbot")
    return "folder"


def cached(project, name, lens=90.0):
    """The camera cache of a video of 96 x 48 with this camera file; without a lens in it, 90 degrees across."""
    make_video(project.root / "a.mp4", frames=FRAMES, width=96, height=48, fps=FPS)
    project.write(TOML, {"video_path": "a.mp4", "caption": "x", "camera_file": name})
    project.cache_cameras(lens=lens)
    return read_camera(project.root / "cache" / "a_wan_camera.safetensors")


KINDS = [realestate10k, transforms, colmap, tum, frame_numbers, pixels, unreal, lingbot]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_camera_went_right(project, kind):
    header, track = cached(project, kind(project.root))
    assert header.metadata["source"] == "file"
    expected = torch.eye(4, dtype=torch.float64).repeat(FRAMES, 1, 1)
    expected[:, 0, 3] = STEP * torch.arange(FRAMES, dtype=torch.float64)
    torch.testing.assert_close(track.c2w, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(track.times, torch.arange(FRAMES).double() / FPS, rtol=0, atol=1e-6)
    torch.testing.assert_close(track.intrinsics, ours(None).intrinsics, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", [realestate10k, transforms, colmap, tum], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(("clip_size", "shrunk"), [((48, 64), 1), ((24, 32), 2)])
def test_a_known_point_is_seen_where_the_crop_puts_it(project, kind, clip_size, shrunk):
    _, track = cached(project, kind(project.root))
    clip = clip_track(track, [index / FPS for index in range(FRAMES)], (48, 96), clip_size)
    point = torch.tensor([0.3, 0.2, 1.0, 1.0], dtype=torch.float64)
    seen = (torch.linalg.inv(clip.c2w) @ point)[:, :3]
    height, width = clip_size
    across = width * (clip.intrinsics[:, 0] * seen[:, 0] / seen[:, 2] + clip.intrinsics[:, 2])
    down = height * (clip.intrinsics[:, 1] * seen[:, 1] / seen[:, 2] + clip.intrinsics[:, 3])
    # in the video at 48 + 48 * 0.3 = 62.4; 16 pixels are cut off on the left; it goes 4.8 to the left in each frame
    wanted = (62.4 - 16 - 4.8 * torch.arange(FRAMES, dtype=torch.float64)) / shrunk
    torch.testing.assert_close(across, wanted, rtol=0, atol=1e-4)
    torch.testing.assert_close(down, torch.full_like(down, (24 + 48 * 0.2) / shrunk), rtol=0, atol=1e-4)


def test_the_clips_rays_are_those_of_our_own_file(project):
    wanted = {}
    for kind in (realestate10k, transforms, colmap, tum):
        make_video(project.root / "a.mp4", frames=FRAMES, width=96, height=48, fps=FPS)
        project.write(TOML, {"video_path": "a.mp4", "caption": "x", "camera_file": kind(project.root)})
        project.cache_latents()
        project.cache_text()
        project.cache_cameras(lens=90.0)
        wanted[kind.__name__] = project.training_set()[(0,)]["camera"].rays[0]
    ours(None).save(project.root / "own.safetensors")
    project.write(TOML, {"video_path": "a.mp4", "caption": "x", "camera_file": "own.safetensors"}).cache_all()
    own = project.training_set()[(0,)]["camera"].rays[0]
    for rays in wanted.values():
        torch.testing.assert_close(rays, own, rtol=0, atol=1e-5)


def test_what_the_video_cannot_say_is_refused_with_the_command(project):
    np.save(project.root / "bare poses.npy", np.broadcast_to(np.eye(4), (FRAMES, 4, 4)))
    with pytest.raises(ValueError, match=r"meta\.jsonl line 1: a\.mp4: .*does not say in which convention") as caught:
        cached(project, "bare poses.npy")
    assert f"camera.py convert '{project.root}/bare poses.npy' OUT.safetensors --convention NAME" in str(caught.value)
    # pixels of the small picture that a network saw are not the video's
    with pytest.raises(ValueError, match=r"of its video does not fit them.* OUT\.safetensors --from_size HEIGHT WIDTH"):
        cached(project, pixels(project.root, focal=250, centre="256 128"))
    w2c = torch.eye(4).repeat(FRAMES, 1, 1)
    write_tensors(project.root / "fork.safetensors", {"extrinsics": w2c, "intrinsics": torch.full((4,), 0.5)})
    with pytest.raises(ValueError, match=r"OUT\.safetensors --convention NAME, with --fps 16 if"):
        cached(project, "fork.safetensors")
    (project.root / "c.txt").write_text("w-3,a-1")
    with pytest.raises(ValueError, match=r"several formats: lingbot_actions.* OUT\.safetensors --from FORMAT"):
        cached(project, "c.txt")
    (project.root / "c.txt").write_text("no poses")
    with pytest.raises(ValueError, match=r"line 1: a\.mp4: .*c\.txt is of no format that we know") as caught:
        cached(project, "c.txt")
    assert "camera.py convert" not in str(caught.value)


def test_a_file_that_is_shorter_than_the_video_is_told(project, caplog):
    rows = [f"{62500 * index} 0.5 1 0.5 0.5 0 0 {W2C.format(-index)}" for index in range(2)]
    (project.root / "c.txt").write_text("\n".join(["", *rows]))
    with caplog.at_level(logging.WARNING, "omnicam"):
        _, track = cached(project, "c.txt")
    assert "c.txt: covers 0.00 to 0.06 s of a.mp4" in caplog.text and len(track) == 2


def test_a_changed_folder_or_another_camera_of_a_file_makes_the_cache_anew(project):
    name = colmap(project.root)
    cached(project, name)
    assert project.cache_cameras(skip_existing=True, lens=90.0) == 0
    images = project.root / "model" / "sparse" / "0" / "images.txt"
    images.write_text(images.read_text().replace("-5.0", "-4.9"))
    assert project.cache_cameras(skip_existing=True, lens=90.0) == 1
    file = project.root / unreal(project.root)
    assert camera_fingerprint(file) != camera_fingerprint(file.with_name("camera_extrinsics.json#cam02"))
    with pytest.raises(FileNotFoundError, match=r"line 1: camera_file 'none\.json#cam01' is not there"):
        cached(project, "none.json#cam01")


def test_an_image_needs_no_more_than_one_pose(project):
    one = ours(None)
    CameraTrack(one.c2w[1:2], one.intrinsics[:1], one.times[:1]).save(project.root / "one.safetensors")
    make_image(project.root / "a.png", 96, 48)
    toml = TOML.replace("video_jsonl", "image_jsonl").replace("target_frames = [5]\n", "")
    project.write(toml, {"image_path": "a.png", "caption": "x", "camera_file": "one.safetensors"}).cache_cameras()
    _, track = read_camera(project.root / "cache" / "a_wan_camera.safetensors")
    assert torch.equal(track.c2w, torch.eye(4, dtype=torch.float64)[None])
    assert track.intrinsics[0].tolist() == [0.5, 1, 0.5, 0.5]


def test_camera_directory_holds_files_and_folders_by_stem(project):
    for name in ("a.mp4", "b.mp4", "c.v2.mp4", "d.mp4"):
        make_video(project.root / "videos" / name, frames=2)
        (project.root / "videos" / name).with_suffix(".txt").write_text("x")
    cameras = project.root / "cameras"
    (cameras / "c.v2").mkdir(parents=True)
    for name in ("a.txt", "b.npz", "b.safetensors", "c.v2.unknown"):
        (cameras / name).write_bytes(b"")
    toml = "[[datasets]]\nvideo_directory = 'videos'\ncaption_extension = '.txt'\ncamera_directory = "
    project.write(f"{toml}'cameras'\n")
    found = {item.key: item.camera_file for item in project.groups[0].items}
    # our own file goes before the others, so that a converted one is used
    wanted = {"a": cameras / "a.txt", "b": cameras / "b.safetensors", "c.v2": cameras / "c.v2", "d": None}
    assert found == wanted
    (cameras / "a.json").write_bytes(b"")
    with pytest.raises(ValueError, match=r"cameras has several cameras for a\.mp4: a\.txt, a\.json; keep one"):
        _ = project.groups
    # captions that lie in the same folder are no cameras
    project.write(f"{toml}'videos'\n")
    assert {item.camera_file for item in project.groups[0].items} == {None}
