import logging
import struct

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from camera.formats import save_trajectory
from camera.formats.colmap import FORMATS
from camera.formats.colmap_model import MODELS
from camera.formats.core import Request
from camera.formats.sample import Sample
from camera.track import CameraTrack
from tests.camera.formats.array_tracks import (
    C2W,
    SIZE,
    assert_known_lens,
    assert_known_path,
    assert_same,
    fuzz,
    load,
    mutated,
    mutations,
    tracks,
)

TEXT, BINARY = FORMATS
HALF = 0.7071067811865476
CAMERAS = "# Camera list\n1 PINHOLE 640 480 320 320 320 240\n"
# out of order, as COLMAP writes them; the names give the order
IMAGES = f"""# Image list with two lines of data per image:
#   IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME
7 {HALF} 0 -{HALF} 0 0 0 -1 1 a/frame10.png

2 1 0 0 0 0 0 0 1 a/frame1.png
10.5 20.5 -1 30 40 5
3 1 0 0 0 -1 0 0 1 a/frame2.png

"""


def write_text(folder, cameras=CAMERAS, images=IMAGES):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cameras.txt").write_text(cameras)
    (folder / "images.txt").write_text(images)
    return folder


def binary_image(number, pose, name, points=0, camera=1):
    head = struct.pack("<I7dI", number, *pose, camera) + name.encode() + b"\0"
    return head + struct.pack("<Q", points) + struct.pack("<ddq", 1.5, 2.5, -1) * points


def write_binary(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cameras.bin").write_bytes(struct.pack("<QIiQQ4d", 1, 1, 1, 640, 480, 320, 320, 320, 240))
    parts = [
        binary_image(7, (HALF, 0, -HALF, 0, 0, 0, -1), "frame10.png"),
        binary_image(2, (1, 0, 0, 0, 0, 0, 0), "frame1.png", points=3),
        binary_image(3, (1, 0, 0, 0, -1, 0, 0), "frame2.png"),
    ]
    (folder / "images.bin").write_bytes(struct.pack("<Q", 3) + b"".join(parts))
    return folder


@pytest.mark.parametrize("write", [write_text, write_binary])
@pytest.mark.parametrize("below", ["", "sparse/0"])
def test_the_camera_moves_and_turns_right(tmp_path, write, below):
    write(tmp_path / below)
    format = TEXT if write is write_text else BINARY
    track = load(format, tmp_path, fps=16.0)
    assert_known_path(track)
    assert_known_lens(track)
    assert track.times.tolist() == [0, 1 / 16, 2 / 16] and track.scale == "unknown"
    assert "of COLMAP" in format.recognise(Sample(tmp_path))
    other = BINARY if format is TEXT else TEXT
    assert other.recognise(Sample(tmp_path)) is None


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_camera_model_gives_its_lens(tmp_path, caplog, name):
    model = MODELS[name]
    lens = {0: (640, 480), 1: (300, 310, 230), 2: (300, 305, 310, 230)}[model.focals]
    parameters = [*lens, *[0.01] * (model.parameters - len(lens))]
    cameras = f"1 {name} 640 480 {' '.join(map(str, parameters))}\n"
    write_text(tmp_path, cameras)
    (tmp_path / "images.bin").write_bytes((write_binary(tmp_path / "b") / "images.bin").read_bytes())
    (tmp_path / "cameras.bin").write_bytes(
        struct.pack("<QIiQQ", 1, 1, model.number, 640, 480) + struct.pack(f"<{len(parameters)}d", *parameters)
    )
    for format in FORMATS:
        if model.focals == 0:
            with pytest.raises(ValueError, match=f"a camera {name}, which has no focal length"):
                load(format, tmp_path)
            continue
        caplog.clear()
        with caplog.at_level(logging.WARNING, "omnicam"):
            track = load(format, tmp_path, fps=16.0)
        fy = 300 if model.focals == 1 else 305
        assert track.intrinsics[0].tolist() == pytest.approx([300 / 640, fy / 480, 310 / 640, 230 / 480])
        assert ("distortion" in caplog.text) == (name not in ("PINHOLE", "SIMPLE_PINHOLE"))


def test_each_image_has_its_own_camera_and_size(tmp_path, caplog):
    cameras = "1 PINHOLE 640 480 320 320 320 240\n2 SIMPLE_PINHOLE 1000 500 1000 500 250\n"
    images = "1 1 0 0 0 0 0 0 1 left/1.png\n\n2 1 0 0 0 0 0 1 2 right/2.png\n"
    with caplog.at_level(logging.WARNING, "omnicam"):
        track = load(TEXT, write_text(tmp_path, cameras, images))
    assert track.intrinsics.tolist() == [[0.5, 320 / 480, 0.5, 0.5], [1, 2, 0.5, 0.5]]
    # the world's origin is seen 1 ahead: the camera went back
    assert track.c2w[1, :3, 3].tolist() == [0, 0, -1]
    assert "2 folders" in caplog.text
    with pytest.raises(ValueError, match="its images have 2 sizes"):
        load(TEXT, tmp_path, size=(480, 640))


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
@given(tracks())
def test_written_and_read_it_is_the_same(tmp_path_factory, format, track):
    folder = tmp_path_factory.mktemp("model") / "sparse" / "0"
    format.write(track, folder, SIZE)
    assert format.recognise(Sample(folder.parents[1]))
    assert_same(load(format, folder.parents[1], fps=16.0), track, format.precision)


def test_what_it_cannot_hold_is_refused_or_told(tmp_path, caplog):
    lens = torch.tensor([[0.5, 2 / 3, 0.5, 0.5]], dtype=torch.float64).expand(3, 4).clone()
    track = CameraTrack(torch.tensor(C2W).double(), lens, torch.tensor([0, 0.25, 0.5]).double(), "metric")
    with pytest.raises(ValueError, match=r"pass size=\(height, width\)"):
        save_trajectory(track, tmp_path / "m", "colmap", None)
    with caplog.at_level(logging.WARNING, "omnicam"):
        save_trajectory(track, tmp_path / "m", "colmap", SIZE)
    assert "--fps 4" in caplog.text and "the track is metric" in caplog.text
    assert_known_path(load(TEXT, tmp_path / "m"))
    last = (tmp_path / "m" / "images.txt").read_text().split("\n")[-3].split()
    assert [float(number) for number in last[1:8]] == pytest.approx([HALF, 0, -HALF, 0, 0, 0, -1])
    with pytest.raises(ValueError, match=r"holds a model as \.txt"):
        save_trajectory(track, tmp_path / "m", "colmap_bin", SIZE)


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin"])
def test_a_binary_file_cut_at_any_byte_is_refused(tmp_path, name):
    write_binary(tmp_path)
    content = (tmp_path / name).read_bytes()
    for length in range(len(content)):
        (tmp_path / name).write_bytes(content[:length])
        with pytest.raises(ValueError, match=rf"{name}(, byte \d+)?: "):
            load(BINARY, tmp_path)


@pytest.mark.parametrize(
    "name, offset, piece, words",
    [
        ("images.bin", 0, struct.pack("<Q", 10**15), "is cut off"),
        ("images.bin", 0, struct.pack("<Q", 2), "bytes more than its count says"),
        ("images.bin", 8 + 64, b"\xff", "name is not UTF-8"),
        ("images.bin", 8 + 4, struct.pack("<d", 2.0), "quaternion has length"),
        ("images.bin", 8 + 4, struct.pack("<d", float("nan")), "quaternion has length nan"),
        ("images.bin", 8 + 36, struct.pack("<d", float("inf")), "holds NaN or infinity"),
        ("images.bin", 8 + 60, struct.pack("<I", 9), "has camera 9, which cameras does not list"),
        ("images.bin", 8 + 64 + 12, struct.pack("<Q", 2**60), "claims 1152921504606846976 points"),
        ("cameras.bin", 12, struct.pack("<i", 99), "model 99, which is unknown"),
        ("cameras.bin", 16, struct.pack("<Q", 0), "is 0 x 480 pixels"),
        ("cameras.bin", 32, struct.pack("<d", float("nan")), "parameter that is not finite"),
        ("cameras.bin", 32, struct.pack("<d", -1.0), "focal lengths must be above 0"),
    ],
)
def test_a_damaged_binary_file_is_named(tmp_path, name, offset, piece, words):
    write_binary(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[:offset] + piece + content[offset + len(piece) :])
    with pytest.raises(ValueError, match=words) as caught:
        load(BINARY, tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    "cameras, images, words",
    [
        ("", IMAGES, "has camera 1, which cameras does not list"),
        ("1 PINHOLE 640\n", IMAGES, "cameras.txt, line 1: expected CAMERA_ID MODEL"),
        ("#\n1 PINHOLE 640 480 1 2 3\n", IMAGES, "cameras.txt, line 2: PINHOLE has 4 parameters, found 3"),
        ("1 PINHOLE 640 480 1 2 3 x\n", IMAGES, "cameras.txt, line 1: 'x' is no number"),
        ("1 PINHOLE 640.5 480 1 2 3 4\n", IMAGES, "cameras.txt, line 1: '640.5' is no whole number"),
        (CAMERAS * 2, IMAGES, "1 cameras have the number of another"),
        (CAMERAS, "1 1 0 0 0 0 0 0 1\n\n", "images.txt, line 1: expected 10 fields"),
        (CAMERAS, "1 1 0 0 0 0 0 zero 1 a.png\n\n", "images.txt, line 1: 'zero' is no number"),
        (
            CAMERAS,
            "1 1 0 0 0 0 0 0 1 a.png\n2 1 0 0 0 0 0 0 1 b.png\n",
            "images.txt, line 2: expected the image's points",
        ),
        (CAMERAS, "1 1 0 0 0 0 0 0 1 a.png\n\n2 1 0 0 0 0 0 0 1 a.png\n", "two images have the name a.png"),
        (CAMERAS, "1 1 0 0 0 0 0 0 1 a.png\n\n", "1 pose; a trajectory has 2"),
        (CAMERAS, "", "0 poses"),
    ],
)
def test_a_damaged_text_file_is_named(tmp_path, cameras, images, words):
    with pytest.raises(ValueError, match=words) as caught:
        load(TEXT, write_text(tmp_path, cameras, images))
    assert str(tmp_path) in str(caught.value)


def test_no_model_and_no_text(tmp_path):
    with pytest.raises(FileNotFoundError, match="no model of COLMAP"):
        TEXT.read(tmp_path, Request())
    write_text(tmp_path)
    (tmp_path / "images.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"images\.txt, line 1 or after: is not UTF-8"):
        TEXT.read(tmp_path, Request())


def test_pycolmap_reads_and_writes_the_same(tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    lens = torch.tensor([[0.5, 2 / 3, 0.5, 0.5]], dtype=torch.float64).expand(3, 4).clone()
    track = CameraTrack(torch.tensor(C2W).double(), lens, torch.arange(3).double() / 16)
    for format in FORMATS:
        format.write(track, tmp_path / format.name, SIZE)
        model = pycolmap.Reconstruction(str(tmp_path / format.name))
        images = sorted(model.images.values(), key=lambda image: image.name)
        centres = torch.tensor([image.projection_center().tolist() for image in images])
        torch.testing.assert_close(centres.double(), track.c2w[:, :3, 3], rtol=0, atol=1e-9)
        (tmp_path / f"{format.name}_back").mkdir()
        write = model.write_text if format is TEXT else model.write_binary
        write(str(tmp_path / f"{format.name}_back"))
        back = load(format, tmp_path / f"{format.name}_back")
        assert_known_path(back)
        assert_known_lens(back)


@fuzz
@given(st.sampled_from(("cameras", "images")), st.sampled_from((TEXT, BINARY)), mutations())
def test_damage_raises_nothing_but_our_errors(tmp_path_factory, name, format, change):
    folder = tmp_path_factory.getbasetemp() / format.name
    suffix = "txt" if format is TEXT else "bin"
    (write_text if format is TEXT else write_binary)(folder)
    file = folder / f"{name}.{suffix}"
    file.write_bytes(mutated(file.read_bytes(), [change]))
    format.recognise(Sample(folder))
    try:
        load(format, folder)
    except (ValueError, OSError) as error:
        assert str(folder) in str(error)
