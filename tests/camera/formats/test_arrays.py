import logging
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from camera.formats import save_trajectory
from camera.formats.arrays import FORMATS
from camera.formats.core import Request
from camera.formats.sample import Sample
from camera.track import CameraTrack
from tests.camera.formats.array_tracks import (
    C2W,
    K_PX,
    LENS_PX,
    SIZE,
    W2C,
    assert_known_lens,
    assert_known_path,
    assert_same,
    fuzz,
    load,
    mutated,
    mutations,
    tracks,
)

BY_NAME = {format.name: format for format in FORMATS}
HALF = 0.7071067811865476


def npz(path, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    large = any(np.asarray(array).nbytes > 10**5 for array in arrays.values())
    (np.savez_compressed if large else np.savez)(path, **arrays)
    return path


def npys(folder, **arrays):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def vipe(folder):
    npz(folder / "intrinsics" / "clip.npz", data=np.array([LENS_PX] * 3, np.float32), inds=np.arange(3))
    (folder / "intrinsics" / "clip_camera.txt").write_text("0: PINHOLE\n1: PINHOLE\n2: PINHOLE\n")
    return npz(folder / "pose" / "clip.npz", data=np.array(C2W, np.float32), inds=np.arange(3))


def monst3r(folder):
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["0.0 0 0 0 1 0 0 0", "1.0 1 0 0 1 0 0 0", f"2.0 1 0 0 {HALF} 0 {HALF} 0"]
    (folder / "pred_traj.txt").write_text("\n".join(lines) + "\n")
    row = " ".join(f"{number:.6f}" for number in np.array(K_PX).ravel())
    (folder / "pred_intrinsics.txt").write_text(f"{row}\n" * 3)
    np.save(folder / "frame_0000.npy", np.zeros(SIZE, np.float32))
    return folder


# what each project would write for the camera that goes and turns right, with the size where it has one
KNOWN = {
    "vggt": lambda place: npz(
        place.with_suffix(".npz"),
        extrinsic=np.array(W2C, np.float32)[:, :3],
        intrinsic=np.array([K_PX] * 3, np.float32),
        depth=np.zeros((3, *SIZE, 1), np.float16),
    ),
    "dust3r": lambda place: npz(
        place.with_suffix(".npz"),
        poses=np.array(C2W, np.float32),
        focals=np.full((3, 1), 320, np.float32),
        principal_points=np.array([[320, 240]] * 3, np.float32),
        imgs=np.zeros((3, *SIZE, 3), np.uint8),
    ),
    "sana": lambda place: npz(
        place.with_suffix(".npz"), c2w=np.array(C2W), intrinsics=np.array([K_PX] * 3), fps=16, num_frames=3
    ),
    "vipe": vipe,
    "monst3r": monst3r,
    "lingbot": lambda place: npys(
        place, poses=np.array(C2W), intrinsics=np.array([[416, 320, 416, 240]] * 3, np.float32)
    ),
    "numpy": lambda place: npys(place, a=np.array(C2W)) / "a.npy",
}
ASKED = {"sana": {"size": SIZE}, "vipe": {"size": SIZE}, "numpy": {"convention": "opencv_c2w"}}


@pytest.mark.parametrize("name", KNOWN)
def test_the_camera_moves_and_turns_right(tmp_path, name):
    path = KNOWN[name](tmp_path / "clip")
    track = load(BY_NAME[name], path, **{"fps": 16.0, **ASKED.get(name, {})})
    assert_known_path(track)
    if name == "lingbot":
        # 416 of 832 pixels and 320 of 480: 90 degrees across
        assert track.intrinsics[0].tolist() == pytest.approx([0.5, 2 / 3, 0.5, 0.5])
    elif name != "numpy":
        assert_known_lens(track)
    assert track.times.tolist() == [0, 1 / 16, 2 / 16]
    assert track.scale == ("metric" if name in ("sana", "vipe") else "unknown")
    assert [format.name for format in FORMATS if format.recognise(Sample(path))] == [name]


@pytest.mark.parametrize("name", ["vggt", "sana"])
def test_pixels_need_a_size(tmp_path, name):
    c2w, k = np.array(C2W), np.array([K_PX] * 3)
    arrays = {"extrinsic": c2w[:, :3], "intrinsic": k, "c2w": c2w, "intrinsics": k, "fps": 16}
    path = npz(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=r"pixels.*fx 320, cx 320, cy 240.*--size"):
        load(BY_NAME[name], path)
    assert_known_lens(load(BY_NAME[name], path, size=SIZE))


def test_vggt_tells_the_size_by_its_pictures_or_keeps_a_batch(tmp_path):
    path = npz(
        tmp_path / "a.npz",
        extrinsic=np.array(W2C)[None, :, :3],
        intrinsic=np.array([K_PX] * 3)[None],
        images=np.zeros((3, 3, *SIZE), np.float16),
    )
    track = load(BY_NAME["vggt"], path)
    assert_known_path(track)
    assert_known_lens(track)


def test_dust3r_in_other_words(tmp_path, caplog):
    folder = npys(tmp_path / "scene", im_poses=np.array(C2W), focals=np.array([320.0]))
    assert "im_poses and focals" in BY_NAME["dust3r"].recognise(Sample(folder))
    with pytest.raises(ValueError, match=r"no principal points and no pictures.*--size"):
        load(BY_NAME["dust3r"], folder)
    with caplog.at_level(logging.WARNING, "omnicam"):
        track = load(BY_NAME["dust3r"], folder, size=SIZE)
    assert_known_path(track)
    assert_known_lens(track)
    assert "middle of the picture" in caplog.text


def test_missing_frames_of_vipe_keep_their_time(tmp_path, caplog):
    poses = vipe(tmp_path)
    npz(poses, data=np.array(C2W, np.float32), inds=np.array([4, 5, 9]))
    lens = np.array([[300 + i, 300, 320, 240, 0.1] for i in range(10)], np.float32)
    npz(tmp_path / "intrinsics" / "clip.npz", data=lens, inds=np.arange(10))
    (tmp_path / "intrinsics" / "clip_camera.txt").write_text("0: MEI\n")
    with caplog.at_level(logging.WARNING, "omnicam"):
        track = load(BY_NAME["vipe"], tmp_path, fps=10.0, size=SIZE)
    assert track.times.tolist() == pytest.approx([0, 0.1, 0.5])
    assert (track.intrinsics[:, 0] * 640).tolist() == pytest.approx([304, 305, 309])
    assert "some frames have no pose" in caplog.text and "distortion of its camera (MEI)" in caplog.text


def test_vipe_without_intrinsics_of_other_frames_or_a_panorama(tmp_path):
    poses = vipe(tmp_path)
    (tmp_path / "intrinsics" / "clip_camera.txt").write_text("0: PANORAMA\n")
    with pytest.raises(ValueError, match="panorama, which is no pinhole"):
        load(BY_NAME["vipe"], poses)
    npz(tmp_path / "intrinsics" / "clip.npz", data=np.array([LENS_PX] * 2), inds=np.arange(2))
    with pytest.raises(ValueError, match="no intrinsics for frame 2"):
        load(BY_NAME["vipe"], poses)
    (tmp_path / "intrinsics" / "clip.npz").unlink()
    assert_known_path(load(BY_NAME["vipe"], poses))
    npz(tmp_path / "pose" / "second.npz", data=np.array(C2W), inds=np.arange(3))
    with pytest.raises(ValueError, match=r"expected one file in pose/, found 2 \(clip.npz, second.npz\)"):
        load(BY_NAME["vipe"], tmp_path)


def test_lingbot_intrinsics_of_another_size_are_asked_for(tmp_path, caplog):
    folder = npys(tmp_path / "a", poses=np.array(C2W), intrinsics=np.array([[960.0, 960, 960, 540]] * 5))
    with pytest.raises(ValueError, match=r"cx 960, cy 540.*--size"):
        load(BY_NAME["lingbot"], folder)
    with caplog.at_level(logging.WARNING, "omnicam"):
        track = load(BY_NAME["lingbot"], folder, size=(1080, 1920))
    assert track.intrinsics[0].tolist() == pytest.approx([0.5, 960 / 1080, 0.5, 0.5])
    assert "5 intrinsics for 3 poses" in caplog.text


def test_bare_matrices_ask_for_their_convention(tmp_path):
    w2c, c2w = npys(tmp_path, w2c=np.array(W2C)[:, :3], c2w=np.array(C2W)) / "w2c.npy", tmp_path / "c2w.npy"
    with pytest.raises(ValueError, match=r"w2c\.npy does not say.*read as opencv_c2w, the centre moves.*--convention"):
        load(BY_NAME["numpy"], w2c)
    assert_known_path(load(BY_NAME["numpy"], w2c, convention="opencv_w2c"))
    assert_known_path(load(BY_NAME["numpy"], c2w, convention="opencv_c2w"))
    both = npz(tmp_path / "both.npz", a=np.array(C2W), b=np.array(C2W))
    with pytest.raises(ValueError, match=r"expected one array .*found 2 \(arrays: a, b\)"):
        load(BY_NAME["numpy"], both)
    one = npz(tmp_path / "one.npz", a=np.asfortranarray(np.array(C2W, ">f4")), weights=np.ones(3))
    assert_known_path(load(BY_NAME["numpy"], one, convention="opencv_c2w"))


SAME = {"vggt": {}, "dust3r": {"square_for": SIZE}, "sana": {"scale": "metric"}, "lingbot": {}, "numpy": {}}


@pytest.mark.parametrize("name", SAME)
@given(st.data())
def test_written_and_read_it_is_the_same(tmp_path_factory, name, data):
    track = data.draw(tracks(**SAME[name]))
    format = BY_NAME[name]
    suffix = {"lingbot": "", "numpy": ".npy"}.get(name, ".npz")
    path = tmp_path_factory.getbasetemp() / f"same_{name}{suffix}"
    format.write(track, path, SIZE if format.needs_size else None)
    assert format.recognise(Sample(path))
    size = {"size": SIZE} if format.needs_size else {"size": (480, 832)}
    convention = {"convention": "opencv_c2w"} if name == "numpy" else {}
    read = load(format, path, fps=16.0, **size, **convention)
    assert_same(read, track, format.precision, lens=name != "numpy")
    assert name == "numpy" or read.scale == track.scale


def test_what_they_cannot_hold_is_refused_or_told(tmp_path, caplog):
    lens = torch.tensor([[0.5, 0.8, 0.5, 0.5]], dtype=torch.float64).expand(3, 4).clone()
    track = CameraTrack(torch.tensor(C2W).double(), lens, torch.tensor([1, 1.25, 1.5]).double(), "relative")
    with pytest.raises(ValueError, match="one focal length a frame; frame 0 has 320 across and 384 pixels down"):
        save_trajectory(track, tmp_path / "a.npz", "dust3r", SIZE)
    with pytest.raises(ValueError, match=r"end the name in \.npz"):
        save_trajectory(track, tmp_path / "a.npy", "vggt", SIZE)
    with pytest.raises(ValueError, match=r"end the name in \.npy"):
        save_trajectory(track, tmp_path / "a.npz", "numpy")
    with pytest.raises(ValueError, match="as of 480x832 pixels; leave size"):
        save_trajectory(track, tmp_path / "a", "lingbot", SIZE)
    uneven = CameraTrack(track.c2w, lens, track.times**2)
    for name in ("vggt", "sana", "numpy"):
        with pytest.raises(ValueError, match="are not even"):
            save_trajectory(uneven, tmp_path / "a.npz", name, SIZE)
    assert not list(tmp_path.iterdir())
    with caplog.at_level(logging.WARNING, "omnicam"):
        save_trajectory(track, tmp_path / "a.npy", "numpy")
    for words in ("--fps 4", "times start at 1 s", "the lens is lost", "the track is relative"):
        assert words in caplog.text


EYES = np.broadcast_to(np.eye(4), (3, 4, 4))
KS = np.array([K_PX] * 3)


@pytest.mark.parametrize(
    "name, arrays, words",
    [
        ("vggt", {"extrinsic": EYES[:1, :3], "intrinsic": KS[:1]}, "1 pose; a trajectory has 2"),
        ("vggt", {"extrinsic": EYES[:, :3], "intrinsic": KS[:2]}, "intrinsic: 2 rows for 3 poses"),
        ("vggt", {"extrinsic": EYES[:, :2], "intrinsic": KS}, r"member extrinsic: has shape \[3, 2, 4\]"),
        ("vggt", {"extrinsic": EYES[:, :3] * np.nan, "intrinsic": KS}, "pose 0 .*NaN"),
        ("vggt", {"extrinsic": EYES[:, :3], "intrinsic": KS.transpose(0, 2, 1)}, "member intrinsic: matrix 0 .* is no"),
        ("vggt", {"extrinsic": EYES[:, :3], "intrinsic": KS * np.nan}, "intrinsics: holds NaN"),
        ("vggt", {"extrinsic": EYES[:, :3].astype(object), "intrinsic": KS}, "member extrinsic: holds pickled Python"),
        ("vggt", {"extrinsic": EYES[:, :3].astype(complex), "intrinsic": KS}, "dtype <c16; expected real numbers"),
        ("vggt", {"extrinsic": EYES[:, :3].astype(str), "intrinsic": KS}, "expected real numbers"),
        ("vggt", {"extrinsic": np.zeros(3, [("a", "f4")]), "intrinsic": KS}, "dtype record"),
        ("vggt", {"extrinsic": EYES[:, :3]}, r"has no member intrinsic \(members: extrinsic\.npy\)"),
        ("dust3r", {"focals": np.ones(3)}, "has no array poses, im_poses, cams2world"),
        ("dust3r", {"poses": EYES, "focals": np.ones((3, 2))}, "member focals: has shape"),
        ("dust3r", {"poses": EYES, "focals": -np.ones(3), "pp": np.ones((3, 2))}, "focal lengths must be above 0"),
        ("sana", {"c2w": EYES, "intrinsics": KS, "fps": 0}, "member fps: 0"),
        ("sana", {"c2w": EYES, "intrinsics": KS, "fps": 16, "num_frames": 4}, "num_frames: 4, but c2w has 3"),
        ("sana", {"c2w": EYES * -1, "intrinsics": KS, "fps": 16}, "mirror image"),
        ("vipe", {"data": EYES, "inds": np.array([0, 0, 1])}, "inds: expected 3 increasing"),
        ("numpy", {"a": np.zeros(3)}, r"found 0 \(arrays: a\)"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, arrays, words):
    with pytest.raises(ValueError, match=words) as caught:
        load(BY_NAME[name], npz(tmp_path / "broken.npz", **arrays), size=SIZE, convention="opencv_c2w")
    assert "broken.npz" in str(caught.value)


@pytest.mark.parametrize(
    "file, text, words",
    [
        ("pred_traj.txt", "0 0 0 0 1 0 0\n", "line 1: expected 8 numbers, found 7"),
        ("pred_traj.txt", "0 0 0 0 1 0 0 x\n", "line 1: expected 8 numbers, found '0 0"),
        ("pred_traj.txt", "0 0 0 0 0.5 0 0 0\n1 0 0 0 1 0 0 0", "row 1: its quaternion has length 0.5"),
        ("pred_traj.txt", "0 0 0 0 1 0 0 0\n3 0 0 0 1 0 0 0", "row 2: expected the next frame's number, found 3"),
        ("pred_traj.txt", "", "0 poses"),
        ("pred_intrinsics.txt", "1 0 0 0 1 0 0 0 1\n" * 2, "2 rows for 3 poses"),
    ],
)
def test_a_damaged_monst3r_folder_is_named(tmp_path, file, text, words):
    folder = monst3r(tmp_path / "broken")
    (folder / file).write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        load(BY_NAME["monst3r"], folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("name", KNOWN)
def test_no_file_is_an_error_of_its_own(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        BY_NAME[name].read(tmp_path / ("nowhere" if name in ("lingbot", "monst3r") else "nowhere.npz"), Request())


FUZZED = {}


@fuzz
@given(st.sampled_from(sorted(KNOWN)), mutations(), st.integers(0, 20))
def test_damage_raises_nothing_but_our_errors(tmp_path_factory, name, change, which):
    root = tmp_path_factory.getbasetemp() / "fuzz" / name
    if name not in FUZZED:
        FUZZED[name] = KNOWN[name](root / "clip")
    path = FUZZED[name]
    files = sorted(item for item in root.rglob("*") if item.is_file() and item.stat().st_size < 10**5)
    file = files[which % len(files)]
    content = file.read_bytes()
    file.write_bytes(mutated(content, [change]))
    for format in FORMATS:
        format.recognise(Sample(path))
    try:
        load(BY_NAME[name], path, **{"size": SIZE, **ASKED.get(name, {})})
    except (ValueError, OSError) as error:
        assert str(root) in str(error)
    finally:
        file.write_bytes(content)


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    header = (
        b"\x93NUMPY\x01\x00\x76\x00"
        + b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000, 4, 4), }".ljust(117)
    )
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", header + b"\n" + bytes(2**24))
    with pytest.raises(ValueError, match=r"bomb\.npz, member a: claims shape \[10000000, 4, 4\], 1,280,000,000 bytes"):
        load(BY_NAME["numpy"], tmp_path / "bomb.npz", convention="opencv_c2w")
