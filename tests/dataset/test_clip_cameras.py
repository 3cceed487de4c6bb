"""Poses and pictures belong together: the pictures say which frame of the video they are, and the rays must be its own.

Frame i of these videos has the grey level 40 + 5·i, and the stand-in for the VAE stores the grey of each latent
frame's last video frame.
"""

import shutil
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from camera.language import parse
from camera.plucker import plucker_map
from camera.trajectory import compile as compile_moves
from tests.dataset.helpers import camera_caption, make_image
from tests.dataset.test_training_set import forget_our_metadata

LENS = (0.8660254, 0.8660254 * 4 / 3, 0.5, 0.5)
"""60 degrees over the width of 64 x 48."""
CAPTION = camera_caption("right", end=3)


def write_uneven(path, times, width=64, height=48):
    """A video whose frames are shown at these times (s)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for index, time in enumerate(times):
            level = np.full((height, width, 3), 40 + 5 * index, np.uint8)
            frame = av.VideoFrame.from_ndarray(level, format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def frames_shown(latents):
    """Which frames of the video the latent frames [16, f, h, w] end with."""
    return ((latents[0].float().mean((1, 2)) - 40) / 5).round().int().tolist()


def check(project, time_of, lens=LENS):
    """The rays of every latent frame are those of the frame it shows, seen from the clip's first; what was shown."""
    training_set = project.training_set()
    original = compile_moves(parse(CAPTION), 1000, 250.0, lens)
    shown = {}
    for number, clip in enumerate(training_set.clips):
        batch = training_set[(number,)]
        track = original.mirrored() if "~mirrored" in clip.name.stem else original
        numbers = frames_shown(batch["latents"][0])
        clip = track.at(sorted({float(time_of(index)) for index in numbers})).rebased()
        wanted = plucker_map(clip.c2w, clip.intrinsics, 6, 8).float()
        # the last four sub-frames of a latent frame are in its last six channels
        torch.testing.assert_close(batch["camera"].rays[0][:, 18:], wanted, rtol=0, atol=2e-3)
        shown[batch["item_keys"][0]] = numbers
    moved = float(original.at([0.0, float(time_of(1))]).c2w[1, :3, 3].norm())
    assert moved > 0.01, "a frame's move must be well above the tolerance"
    return shown


@pytest.mark.parametrize(
    ("entry", "shown"),
    [
        ("target_frames = [9]", {"v0_00000-009": [0, 4, 8]}),
        (
            "target_frames = [9]\nframe_extraction = 'chunk'",
            {"v0_00000-009": [0, 4, 8], "v0_00009-009": [9, 13, 17]},
        ),
        (
            "target_frames = [9]\nframe_extraction = 'slide'\nframe_stride = 7",
            {"v0_00000-009": [0, 4, 8], "v0_00007-009": [7, 11, 15], "v0_00014-009": [14, 18, 22]},
        ),
        (
            "target_frames = [5]\nframe_extraction = 'uniform'\nframe_sample = 3",
            {"v0_00000-005": [0, 4], "v0_00009-005": [9, 13], "v0_00019-005": [19, 23]},
        ),
        ("frame_extraction = 'full'\nmax_frames = 22", {"v0_00000-021": [0, 4, 8, 12, 16, 20]}),
        ("target_frames = [5]\nsource_fps = 32", {"v0_00000-005": [0, 8]}),
    ],
    ids=["head", "chunk", "slide", "uniform", "full", "thinned"],
)
@pytest.mark.parametrize("forget", [False, True], ids=["ours", "musubi"])
def test_every_extraction_at_a_constant_rate(project, entry, shown, forget):
    fps = 32 if "source_fps" in entry else 16
    project.videos([CAPTION], entry=entry, frames=24, fps=fps).cache_all()
    if forget:
        forget_our_metadata(project)
    assert check(project, lambda index: index / fps) == shown


def test_a_rate_that_the_jsonl_states_instead_of_the_file(project):
    """Written at 16, really 8: the poses are twice as far apart."""
    project.videos([CAPTION], frames=12, fps=16)
    record = {"video_path": "videos/v0.mp4", "caption": CAPTION, "fps": 8}
    project.write(project.toml.read_text(), record).cache_all()
    check(project, lambda index: index / 8)
    # and the caches are no longer right when the jsonl takes it back to another rate
    project.write(project.toml.read_text(), record | {"fps": 4})
    with pytest.raises(ValueError, match="latent caches of 1 of 1 items are out of date"):
        project.training_set()


def test_a_stated_rate_that_is_taken_back_makes_latents_and_cameras_out_of_date(project):
    project.videos([CAPTION], frames=12, fps=16)
    record = {"video_path": "videos/v0.mp4", "caption": CAPTION}
    project.write(project.toml.read_text(), record | {"fps": 8}).cache_all()
    project.write(project.toml.read_text(), record)
    with pytest.raises(ValueError, match="latent caches of 1 of 1 items are out of date"):
        project.training_set()
    assert project.cache_latents(skip_existing=True) == 1
    # its poses lie at the times of 8 per second still
    with pytest.raises(ValueError, match="camera caches of 1 of 1 items are of another version of the medium"):
        project.training_set()
    assert project.cache_cameras(skip_existing=True) == 1
    check(project, lambda index: index / 16)


def test_a_camera_file_that_is_exchanged_or_taken_away_makes_the_camera_out_of_date(project):
    project.videos([CAPTION], frames=12, fps=16)
    for name, direction in (("one", "left"), ("two", "up")):
        compile_moves(parse(camera_caption(direction)), 12, 16.0).save(project.root / f"{name}.safetensors")
    record = {"video_path": "videos/v0.mp4", "caption": CAPTION}
    named = [record | {"camera_file": f"{name}.safetensors"} for name in ("one", "two")]
    project.write(project.toml.read_text(), named[0]).cache_all()
    assert len(project.training_set()) == 1
    for now in (named[1], record, named[0]):
        project.write(project.toml.read_text(), now)
        with pytest.raises(ValueError, match="camera caches of 1 of 1 items are out of date"):
            project.training_set()
        assert project.cache_cameras(skip_existing=True) == 1
        assert len(project.training_set()) == 1


@pytest.mark.parametrize("kept", [True, False], ids=["there", "gone"])
def test_a_folder_of_images_whose_data_set_has_another_rate(project, kept):
    for index in range(12):
        make_image(project.root / "take" / f"{index}.png")
    toml = "[[datasets]]\nvideo_jsonl_file = 'meta.jsonl'\ncache_directory = 'cache'\nresolution = [64, 48]\n"
    toml += "target_frames = [5]\nsource_fps = 12\n"
    project.write(toml, {"video_path": "take", "caption": CAPTION}).cache_all()
    if not kept:
        shutil.rmtree(project.root / "take")
    assert len(project.training_set()) == 1
    # all frames of 8 per second stay too, so only their times tell
    project.write(toml.replace("12\n", "8\n"))
    with pytest.raises(ValueError, match="latent caches of 1 of 1 items are out of date"):
        project.training_set()


@pytest.mark.parametrize("forget", [False, True], ids=["ours", "musubi"])
@pytest.mark.parametrize(
    ("source_fps", "shown"),
    [
        # without a rate every frame is taken, at whatever time it is shown
        ("", {"v0_00000-005": [0, 4], "v0_00005-005": [5, 9], "v0_00010-005": [10, 14], "v0_00015-005": [15, 19]}),
        # 30 per second in the first 0.4 s lose about every second frame, 12 per second afterwards lose none
        ("source_fps = 'auto'", {"v0_00000-005": [0, 8], "v0_00005-005": [10, 15]}),
    ],
)
def test_a_variable_rate(project, source_fps, shown, forget):
    times = [*(i / 30 for i in range(12)), *(0.4 + i / 12 for i in range(8))]
    project.videos([CAPTION], entry=f"target_frames = [5]\nframe_extraction = 'chunk'\n{source_fps}")
    write_uneven(project.root / "videos" / "v0.mp4", times)
    project.cache_all()
    if forget:
        forget_our_metadata(project)
    assert check(project, lambda index: round(times[index], 3)) == shown


def test_a_pose_for_every_frame_of_a_variable_rate_lies_at_its_frames(project):
    """A file of poses without times: the n-th belongs to the n-th frame, whenever that is shown."""
    times = [*(i / 30 for i in range(12)), *(0.4 + i / 12 for i in range(8))]
    project.videos([CAPTION], entry="target_frames = [5]\nframe_extraction = 'chunk'")
    write_uneven(project.root / "videos" / "v0.mp4", times)
    track = compile_moves(parse(CAPTION), 1000, 250.0, LENS).at([round(time, 3) for time in times])
    rows = [" ".join(map(str, matrix[:3].flatten().tolist())) for matrix in track.c2w]
    (project.root / "poses.txt").write_text("\n".join(["# opencv_c2w", *rows]))
    record = {"video_path": "videos/v0.mp4", "caption": "x", "camera_file": "poses.txt"}
    project.write(project.toml.read_text(), record).cache_all()
    assert len(check(project, lambda index: round(times[index], 3))) == 4


@pytest.mark.parametrize("forget", [False, True], ids=["ours", "musubi"])
def test_a_mirrored_item_with_an_off_centre_lens_after_a_crop(project, forget):
    """96 x 48 pixels, of which the middle 64 x 48 are kept; the mirrored twin looks through the mirrored lens."""
    entry = "target_frames = [5]\nframe_extraction = 'chunk'\nhorizontal_flip = true"
    project.videos([CAPTION], entry=entry, frames=12, width=96)
    project.cache_latents()
    project.cache_text()
    project.cache_cameras(lens=(0.6, 1.2, 0.4, 0.5))
    if forget:
        forget_our_metadata(project)
    # from the left edge of the picture, 0.4 · 96 pixels, to that of the crop, 16 pixels further right
    cropped = (0.6 * 96 / 64, 1.2, (0.4 * 96 - 16) / 64, 0.5)
    shown = check(project, lambda index: index / 16, cropped)
    assert shown == {
        "v0_00000-005": [0, 4], "v0_00005-005": [5, 9],
        "v0~mirrored_00000-005": [0, 4], "v0~mirrored_00005-005": [5, 9],
    }  # fmt: skip
    batches = [project.training_set()[(number,)]["camera"].rays for number in (0, 2)]
    assert (batches[0] - batches[1]).abs().max() > 0.05


def test_an_image_has_a_camera_that_stands_and_looks_through_its_crop(project):
    make_image(project.root / "a.png", width=128, height=48)
    toml = (
        "[general]\nresolution = [64, 48]\n[[datasets]]\nimage_jsonl_file = 'meta.jsonl'\ncache_directory = 'cache'\n"
    )
    project.write(toml, {"image_path": "a.png", "caption": CAPTION}).cache_all()
    wanted = plucker_map(
        torch.eye(4).double()[None], torch.tensor([[2 * 0.8660254, 0.8660254 * 128 / 48, 0.5, 0.5]]), 6, 8
    )
    camera = project.training_set()[(0,)]["camera"].rays[0]
    # one latent frame, which stands for the picture four times
    torch.testing.assert_close(camera.unflatten(1, (4, 6))[0], wanted.float().expand(4, -1, -1, -1), rtol=0, atol=1e-5)
