import json
import math

import pytest
import torch
from hypothesis import given, settings

from camera.formats import load_trajectory, recognise, save_trajectory
from tests.camera.formats.tracks import close, lens, moved, random_track, random_tracks


def write(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def identity(x=0.0, y=0.0, z=0.0):
    return [[1.0, 0.0, 0.0, x], [0.0, 1.0, 0.0, y], [0.0, 0.0, 1.0, z], [0.0, 0.0, 0.0, 1.0]]


# -- ReCamMaster: rows are forward, right, up and the centre in centimetres

STANDS = "[1 0 0 0] [0 1 0 0] [0 0 1 0] [3390 1380 240 1] "
RIGHT = "[1 0 0 0] [0 1 0 0] [0 0 1 0] [3390 1480 240 1] "
RAISED = "[1 0 0 0] [0 1 0 0] [0 0 1 0] [3390 1380 340 1] "
AHEAD = "[1 0 0 0] [0 1 0 0] [0 0 1 0] [3490 1380 240 1] "
# yaw of 90 degrees to the right: forward is now +y, right is -x
TURNED = "[0 1 0 0] [-1 0 0 0] [0 0 1 0] [3390 1380 240 1] "


@pytest.mark.parametrize(
    ("pose", "centre", "axis"),
    [
        (RIGHT, (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
        (RAISED, (0.0, -1.0, 0.0), (0.0, 0.0, 1.0)),
        (AHEAD, (0.0, 0.0, 1.0), (0.0, 0.0, 1.0)),
        (TURNED, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0)),
    ],
)
def test_recammaster_moves_in_metres_of_opencv(tmp_path, pose, centre, axis):
    file = write(tmp_path / "camera_extrinsics.json", {"frame0": {"cam01": STANDS}, "frame1": {"cam01": pose}})
    assert recognise(file).name == "recammaster"
    track = load_trajectory(file, fps=15)
    assert track.scale == "metric"
    second = track.rebased().c2w[1]
    close(second[:3, 3], centre)
    close(second[:3, 2], axis)


def test_recammaster_relative_poses_are_those_of_its_own_recipe(tmp_path):
    track = random_track(3, 4, even_fps=15.0)
    file = tmp_path / "camera_extrinsics.json"
    save_trajectory(track, file, "recammaster")
    rows = [
        value["cam01"].replace("[", " ").replace("]", " ").split() for value in json.loads(file.read_text()).values()
    ]
    matrices = torch.tensor([[float(word) for word in row] for row in rows], dtype=torch.float64).reshape(4, 4, 4)
    # the recipe of inference_recammaster.py, in words: transpose, columns 1 2 0 3, negate column 1, metres
    recipe = matrices.mT[:, :, [1, 2, 0, 3]]
    recipe[:, :3, 1] *= -1
    recipe[:, :3, 3] /= 100
    close(torch.linalg.inv(recipe[:1]) @ recipe, track.rebased().c2w, atol=1e-8)


def test_recammaster_asks_which_camera(tmp_path):
    cameras = {f"frame{i}": {"cam01": STANDS, "cam02": pose} for i, pose in enumerate((STANDS, RIGHT))}
    file = write(tmp_path / "camera_extrinsics.json", cameras)
    with pytest.raises(ValueError, match=r"2 cameras \(cam01, cam02\); name one behind the path: .*json#cam01"):
        load_trajectory(file)
    close(load_trajectory(f"{file}#cam02").rebased().c2w[1, :3, 3], [1.0, 0.0, 0.0])
    close(load_trajectory(f"{file}#cam01").rebased().c2w[1, :3, 3], [0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="no camera 'cam03'; it has cam01, cam02"):
        load_trajectory(f"{file}#cam03")
    with pytest.raises(FileNotFoundError):
        load_trajectory(f"{tmp_path}/none.json#cam01")


def test_recammaster_lens_by_the_folder_of_multicamvideo(tmp_path, caplog):
    document = {"frame0": {"cam01": STANDS}, "frame1": {"cam01": RIGHT}}
    file = write(tmp_path / "f24_aperture5" / "scene1" / "cameras" / "camera_extrinsics.json", document)
    close(load_trajectory(file).intrinsics, lens(24 / 23.76, 24 / 23.76, 0.5, 0.5))
    assert "lens of 24 mm" in caplog.text
    other = write(tmp_path / "camera_extrinsics.json", document)
    # 60 degrees, square pixels of a 16:9 picture
    close(load_trajectory(other).intrinsics[0, 0], 0.5 / math.tan(math.radians(30)))


# -- nerfstudio


def test_nerfstudio_moves_forward_when_z_falls(tmp_path):
    shared = {"fl_x": 500, "fl_y": 600, "cx": 320, "cy": 200, "w": 640, "h": 480}
    frames = [{"file_path": f"images/{i}.png", "transform_matrix": identity(z=-i)} for i in range(2)]
    file = write(tmp_path / "transforms.json", {**shared, "frames": frames})
    assert recognise(file).name == "nerfstudio"
    track = load_trajectory(file, fps=10)
    close(track.rebased().c2w, moved((0, 0, 0), (0, 0, 1)))
    close(track.intrinsics, lens(500 / 640, 600 / 480, 0.5, 200 / 480))
    assert torch.equal(load_trajectory(file, fps=10, format="dl3dv").c2w, track.c2w)


def test_nerfstudio_frames_override_and_the_field_of_view_is_full(tmp_path):
    # 90 degrees across: the focal length is half the width; the second frame is zoomed to twice that
    frames = [{"transform_matrix": identity()}, {"transform_matrix": identity(x=1)[:3], "fl_x": 640, "fl_y": 640}]
    document = {"camera_angle_x": math.pi / 2, "w": 640, "h": 480, "frames": frames}
    track = load_trajectory(write(tmp_path / "a.json", document), fps=10)
    close(track.intrinsics[0], [0.5, 320 / 480, 0.5, 0.5])
    close(track.intrinsics[1], [1.0, 640 / 480, 0.5, 0.5])
    close(track.rebased().c2w[1, :3, 3], [1.0, 0.0, 0.0])


def test_nerfstudio_sizes_of_frames_may_differ(tmp_path):
    frames = [{"transform_matrix": identity(), "w": 10 * s, "h": 5 * s, "fl_x": 10 * s, "cx": 5} for s in (1, 2)]
    track = load_trajectory(write(tmp_path / "a.json", {"frames": frames}), fps=10)
    close(track.intrinsics, [[1.0, 2.0, 0.5, 0.5], [1.0, 2.0, 0.25, 0.5]])


def test_nerfstudio_without_a_size_asks(tmp_path):
    document = {"camera_angle_x": 1.0, "frames": [{"transform_matrix": identity()}] * 2}
    file = write(tmp_path / "a.json", document)
    with pytest.raises(ValueError, match=r"frames\[0\].*no w and h.*--size HEIGHT WIDTH"):
        load_trajectory(file)
    close(load_trajectory(file, size=(100, 200)).intrinsics[0, 0], 0.5 / math.tan(0.5))


def test_nerfstudio_undoes_the_applied_transform(tmp_path):
    # nerfstudio's own: x and y of the world change places, z turns round; and everything was halved
    applied = [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]]
    document = {
        "applied_transform": applied,
        "applied_scale": 0.5,
        "frames": [{"transform_matrix": identity(x=x)} for x in (0.0, 1.0)],
    }
    track = load_trajectory(write(tmp_path / "a.json", document), fps=10)
    # saved x is the original y, and 1 there was 2
    close(track.c2w[1, :3, 3], [0.0, 2.0, 0.0])
    # a quarter turn of the world about z and 3 along its new x: saved (0, 0, 0) was (0, 3, 0), saved x is minus y
    turned = {**document, "applied_transform": [[0, -1, 0, 3], [1, 0, 0, 0], [0, 0, 1, 0]]}
    track = load_trajectory(write(tmp_path / "c.json", turned), fps=10)
    close(track.c2w[:, :3, 3], [[0.0, 3.0, 0.0], [0.0, 1.0, 0.0]])
    with pytest.raises(ValueError, match="applied_transform is no rotation"):
        load_trajectory(write(tmp_path / "b.json", {**document, "applied_transform": [[2, 0, 0, 0]] * 3}))


def test_nerfstudio_tells_what_it_does_not_use(tmp_path, caplog):
    frames = [{"file_path": f"{i}.png", "transform_matrix": identity()} for i in (2, 1)]
    document = {"fl_x": 9, "w": 10, "h": 10, "k1": 0.1, "camera_model": "OPENCV_FISHEYE", "frames": frames}
    load_trajectory(write(tmp_path / "a.json", document), fps=10)
    assert "distortion (k1 ... p2) is not used" in caplog.text
    assert "fisheye" in caplog.text and "not in the order of their file names" in caplog.text


# -- HY-WorldPlay


def test_worldplay_has_a_pose_for_each_latent_frame(tmp_path):
    k_px = [[969.6969696969696, 0, 960.0], [0, 969.6969696969696, 540.0], [0, 0, 1]]
    document = {str(i): {"extrinsic": identity(x=0.08 * i), "K": k_px} for i in range(11)}
    file = write(tmp_path / "pose.json", document)
    assert recognise(file).name == "hy_worldplay"
    track = load_trajectory(file)
    # despite its name the matrix is camera-to-world
    close(track.c2w[10, :3, 3], [0.8, 0.0, 0.0])
    # latent k is video frame 4 k of 24 a second
    close(track.times[:3], [0.0, 4 / 24, 8 / 24])
    close(track.intrinsics[0], [969.6969696969696 / 1920, 969.6969696969696 / 1080, 0.5, 0.5])


def test_worldplay_is_written_at_its_own_pace(tmp_path, caplog):
    track = random_track(5, 13, even_fps=12.0, centred=True)
    save_trajectory(track, tmp_path / "pose.json", "hy_worldplay")
    assert "7 poses, one for each latent frame (every 4 frames at 24 per second), of the 13" in caplog.text
    close(load_trajectory(tmp_path / "pose.json").c2w, track.c2w[::2])
    with pytest.raises(ValueError, match="optical axis into the middle"):
        save_trajectory(random_track(5, 13, even_fps=6.0), tmp_path / "b.json", "hy_worldplay")


@settings(max_examples=15)
@given(track=random_tracks(even_fps=6.0, centred=True))
def test_worldplay_round_trip(tmp_path_factory, track):
    file = tmp_path_factory.mktemp("r") / "a.json"
    save_trajectory(track, file, "hy_worldplay")
    again = load_trajectory(file)
    close(again.c2w, track.c2w)
    close(again.intrinsics, track.intrinsics)
    close(again.times, track.times)


@settings(max_examples=15)
@given(track=random_tracks(even_fps=24.0))
def test_nerfstudio_and_recammaster_round_trip(tmp_path_factory, track):
    folder = tmp_path_factory.mktemp("r")
    for name in ("nerfstudio", "recammaster"):
        file = folder / f"{name}.json"
        save_trajectory(track, file, name, size=(720, 1280))
        assert recognise(file).name == name
        again = load_trajectory(file, fps=24)
        close(again.c2w, track.c2w)
        close(again.times, track.times)
        if name == "nerfstudio":
            close(again.intrinsics, track.intrinsics)


def test_one_lens_is_written_once(tmp_path):
    save_trajectory(random_track(2, 3, zoom=False, even_fps=24.0), tmp_path / "a.json", "nerfstudio", size=(7, 9))
    document = json.loads((tmp_path / "a.json").read_text())
    assert "fl_x" in document and all("fl_x" not in frame for frame in document["frames"])


# -- damage

FRAMES = '"frames": [{"transform_matrix": [[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]}, {"transform_matrix": %s}]'
GOOD = "[[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]"


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (
            '[[1,0,0,"0"],[0,1,0,0],[0,0,1,0]]',
            r"frames\[1\]\.transform_matrix\[0\]\[3\]: str 0, expected a finite number",
        ),
        ("[[1,0,0,true],[0,1,0,0],[0,0,1,0]]", r"frames\[1\]\.transform_matrix\[0\]\[3\]: bool True"),
        ("[[1,0,0,null],[0,1,0,0],[0,0,1,0]]", r"frames\[1\]\.transform_matrix\[0\]\[3\]: NoneType None"),
        ("[[1,0,0,NaN],[0,1,0,0],[0,0,1,0]]", r"NaN is no number of JSON"),
        ("[[1,0,0,1e999],[0,1,0,0],[0,0,1,0]]", r"transform_matrix\[0\]\[3\]: float inf"),
        (f"[[1,0,0,{'9' * 400}],[0,1,0,0],[0,0,1,0]]", r"transform_matrix\[0\]\[3\]: int 9{60}\.\.\."),
        ("[[1,0,0],[0,1,0],[0,0,1]]", r"frames\[1\]\.transform_matrix\[0\]: 3 numbers, expected 4"),
        ("[[1,0,0,0],[0,1,0,0]]", r"frames\[1\]\.transform_matrix: 2 rows, expected 3 or 4"),
        ('"eye"', r"frames\[1\]\.transform_matrix: str eye, expected a list"),
        ("[[1,0,0,0],[0,1,0,0],[0,0,-1,0]]", r"pose 1 \(from 0\) is a mirror image"),
        ("[[1,0.1,0,0],[0,1,0,0],[0,0,1,0]]", r"pose 1 \(from 0\) is no rigid pose"),
        (
            "[[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,2]]",
            r"pose 1 \(from 0\) is no rigid pose.*last row from 0 0 0 1 by 1",
        ),
        (f'{GOOD}, "transform_matrix": {GOOD}', r"key 'transform_matrix' twice in one object"),
    ],
)
def test_damaged_matrices_are_named(tmp_path, matrix, message):
    file = write(tmp_path / "damaged.json", "{" + FRAMES % matrix + "}")
    with pytest.raises(ValueError, match=message) as caught:
        load_trajectory(file, format="nerfstudio")
    assert str(file) in str(caught.value) and len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    ("text", "format", "message"),
    [
        ('{"frames": [', None, r"of no format that we know \(.*line 1, column 13: no JSON"),
        ("[" * 100_000, None, r"nested too deeply"),
        ('{"frames": []}', "nerfstudio", r"frames: empty"),
        ('{"frames": 1}', "nerfstudio", r"frames: int 1, expected a list"),
        ("{}", "nerfstudio", r"no key 'frames' \(keys found: none\)"),
        ("3", "nerfstudio", r"int 3, expected an object"),
        ('{"frames": [{"transform_matrix": 3}, 4]}', None, r"frames\[1\]: int 4, expected an object"),
        ('{"w": 0, "h": 4, "fl_x": 1, %s}' % (FRAMES % GOOD), None, r"w 0, h 4: expected pixels"),
        ('{"w": 1e308, "h": 4, "fl_x": 1, %s}' % (FRAMES % GOOD), None, r"w 1e\+308, h 4: expected pixels"),
        ('{"w": 4, "h": 4, "camera_angle_x": 4, %s}' % (FRAMES % GOOD), None, r"camera_angle_x 4: expected radians"),
        ('{"w": 4, "h": 4, "fl_x": -1, %s}' % (FRAMES % GOOD), None, r"focal lengths must be above 0"),
        ('{"applied_scale": 0, %s}' % (FRAMES % GOOD), None, r"applied_scale 0: expected a number above 0"),
        (
            '{"frame0": {"cam01": "[1 0 0 0]"}, "frame1": {}}',
            None,
            r"frame0\.cam01: expected four rows of four numbers",
        ),
        (
            '{"frame0": {"cam01": "@"}, "frame2": {}}'.replace("@", STANDS),
            None,
            r"keys frame0, frame1, \.\.\. without a gap",
        ),
        (
            '{"frame0": {"cam01": "@"}, "frame1": {}}'.replace("@", STANDS),
            None,
            r"frame1: no key 'cam01' \(keys found: none\)",
        ),
        (
            '{"frame0": {"cam01": "@"}, "frame1": {"cam01": 3}}'.replace("@", STANDS),
            None,
            r"frame1\.cam01: int, expected a text",
        ),
        (
            '{"0": {"extrinsic": @, "K": [[1,0,1],[0,1,1],[0,0,1]]}, "2": {}}'.replace("@", GOOD),
            None,
            r"'0', '1', \.\.\. without a gap",
        ),
        (
            '{"0": {"extrinsic": @, "K": [[1,0,0],[0,1,1],[0,0,1]]}}'.replace("@", GOOD),
            None,
            r"0\.K: focal lengths and principal",
        ),
        (
            '{"0": {"extrinsic": @, "K": [[1,0,1],[0,1,1],[0,0,1]]}, "1": {}}'.replace("@", GOOD),
            None,
            r"1: no key 'extrinsic'",
        ),
        ("[[1]]", "matrices", r"\[0\]: 1 rows, expected 3 or 4"),
        ("[]", "matrices", r"0 poses; a trajectory has 2 or more"),
    ],
)
def test_damaged_documents_are_named(tmp_path, text, format, message):
    file = write(tmp_path / "damaged.json", text)
    with pytest.raises(ValueError, match=message) as caught:
        load_trajectory(file, format=format)
    assert str(file) in str(caught.value)


def test_a_long_line_and_a_mark_do_not_hide_a_document(tmp_path):
    frames = [{"transform_matrix": identity(x=i)} for i in range(2000)]
    file = tmp_path / "a.json"
    file.write_bytes(b"\xef\xbb\xbf \r\n" + json.dumps({"frames": frames}).encode())
    assert file.stat().st_size > 2**16
    assert len(load_trajectory(file, fps=10)) == 2000
