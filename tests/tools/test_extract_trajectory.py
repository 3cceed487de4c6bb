"""The tool as a user starts it, with a backend that answers what it is told."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import Dust3rP.backends
import wan_generate_video
from camera.formats import load_trajectory
from camera.language import Move, parse, split_caption
from camera.track import CameraTrack
from camera.trajectory import compile
from common import cli
from common.media import write_image, write_video
from common.weights import read_metadata
from Dust3rP.estimate import Estimate
from tools import extract_trajectory, run_demo

ROOT = Path(__file__).resolve().parents[2]
MOVES = [Move(0, 1, 1.0, "right")]
SIZE = (48, 64)


class Backend:
    """Answers the planned orbit in a unit of a third, with points at depth 3 * 2; notes what it was asked."""

    name = "colmap"

    def __init__(self, confidence: float = 0.9) -> None:
        self.confidence, self.asked = confidence, []

    def estimate(self, video, intrinsics=None):
        self.asked.append((video, intrinsics))
        track = compile(MOVES, 17, 16.0).at(video.times).scaled(3.0)
        depths = torch.tensor([[0.1 * x, 0.0, 6.0] for x in range(-9, 10)])
        colours = torch.full((19, 3), 200, dtype=torch.uint8)
        own = torch.ones(len(track), dtype=torch.float64)
        return Estimate(track, "colmap", self.confidence, own, depths, colours, ("colmap answered",))


@pytest.fixture
def backend(monkeypatch):
    chosen = Backend()
    monkeypatch.setattr(Dust3rP.backends, "open_backend", lambda name, **_: chosen)
    return chosen


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "walk.mp4"
    frames = np.random.default_rng(0).integers(0, 255, (17, *SIZE, 3), dtype=np.uint8)
    write_video(path, frames, 16.0)
    return path


def run(*words):
    return cli.run(lambda: extract_trajectory.main([str(word) for word in words]))


def test_every_result_at_once(backend, video, tmp_path, capsys):
    files = {name: tmp_path / name for name in ("a.safetensors", "a.txt", "a.json", "a.png", "a.ply")}
    code = run(
        video, "--describe", "--plot", files["a.png"], "--ply", files["a.ply"],
        *(word for name in ("a.safetensors", "a.txt", "a.json") for word in ("--output", files[name])),
    )  # fmt: skip
    assert code == 0 and all(path.stat().st_size > 100 for path in files.values())
    captured = capsys.readouterr()
    # the description alone is on standard output
    assert [(move.direction, move.rotate) for move in parse(split_caption(captured.out)[1] or "")] == [
        ("right", "stay")
    ]
    assert "colmap answered" in captured.err and "left over:" in captured.err
    # in distances of what the first frame shows: the points lie at 6, the planned path was scaled by 3
    track = CameraTrack.load(files["a.safetensors"])
    true = compile(MOVES, 17, 16.0).c2w[:, :3, 3]
    assert torch.allclose(track.c2w[:, :3, 3], true / 2, atol=1e-5) and track.scale == "relative"
    metadata = read_metadata(files["a.safetensors"])
    assert (metadata["source"], metadata["backend"], metadata["confidence"]) == ("estimated", "colmap", "0.9000")
    assert torch.allclose(load_trajectory(files["a.txt"]).rebased().c2w, track.c2w, atol=1e-4)


def test_one_length_makes_it_metric(backend, video, tmp_path):
    assert run(video, "--output", tmp_path / "a.safetensors", "--length", 5) == 0
    track = CameraTrack.load(tmp_path / "a.safetensors")
    assert track.scale == "metric"
    assert float(track.c2w[:, :3, 3].diff(dim=0).norm(dim=1).sum()) == pytest.approx(5, rel=1e-4)
    assert run(video, "--output", tmp_path / "b.safetensors", "--length", 5, "--between", 0, 8) == 0
    track = CameraTrack.load(tmp_path / "b.safetensors")
    assert float((track.c2w[8, :3, 3] - track.c2w[0, :3, 3]).norm()) == pytest.approx(5, rel=1e-4)


def test_a_part_and_a_stated_lens_reach_the_backend(backend, video, tmp_path):
    assert run(video, "--describe", "--start", 0.25, "--end", 0.75, "--every", 2, "--fov_deg", 90) == 0
    ((frames, lens),) = backend.asked
    assert frames.times.tolist() == [0.25, 0.375, 0.5, 0.625, 0.75] and frames.frames.shape == (5, *SIZE, 3)
    assert lens == pytest.approx([0.5, 0.5 * 64 / 48, 0.5, 0.5])
    assert run(video, "--describe") == 0 and backend.asked[1][1] is None


def test_a_bucket_cuts_the_lens(backend, video, tmp_path):
    for name, size in (("whole", ()), ("square", ("--size", 48, 48))):
        assert run(video, "--output", tmp_path / f"{name}.safetensors", *size) == 0
    whole, square = (CameraTrack.load(tmp_path / f"{name}.safetensors").intrinsics for name in ("whole", "square"))
    assert torch.allclose(square[:, 0], whole[:, 0] * 64 / 48) and torch.allclose(square[:, 1], whole[:, 1])


def test_the_truth_is_compared_with(backend, video, tmp_path, capsys):
    compile(MOVES, 17, 16.0).save(tmp_path / "true.safetensors")
    assert run(video, "--truth", tmp_path / "true.safetensors") == 0
    said = capsys.readouterr().out
    rotation, _, position, _ = _numbers(said)
    assert rotation < 0.01 and position < 0.01


def _numbers(said: str) -> list[float]:
    """Rotation error, its largest, position error, its largest."""
    return [float(number) for number in re.findall(r"\d+\.\d\d", said.split(", against")[0])]


def test_smoothing_takes_the_trembling_away(backend, video, tmp_path, monkeypatch):
    planned = backend.estimate

    def trembling(given, intrinsics=None):
        found = planned(given, intrinsics)
        c2w = found.track.c2w.clone()
        c2w[1:-1:2, 1, 3] += 0.05
        return replace(found, track=replace(found.track, c2w=c2w))

    monkeypatch.setattr(backend, "estimate", trembling)
    assert run(video, "--output", tmp_path / "rough.safetensors") == 0
    assert run(video, "--output", tmp_path / "smooth.safetensors", "--smooth", 0.1) == 0
    rough, smooth = (CameraTrack.load(tmp_path / f"{name}.safetensors").c2w[:, 1, 3] for name in ("rough", "smooth"))
    assert smooth.diff().abs().sum() < 0.3 * rough.diff().abs().sum()


def test_an_unsure_answer_is_a_warning(video, monkeypatch, capsys):
    monkeypatch.setattr(Dust3rP.backends, "open_backend", lambda name, **_: Backend(0.2))
    assert run(video, "--describe") == 0
    assert "confidence 0.20" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere.mp4", "--describe"], "nowhere.mp4 does not exist"),
        (["VIDEO"], "nothing is asked for"),
        (["VIDEO", "--describe", "--between", "0", "3"], "--between says what --length METRES is"),
        (["VIDEO", "--describe", "--length", "2", "--between", "0", "99"], "numbers 0 to 16"),
        (["VIDEO", "--describe", "--length", "-2"], "--length -2.0: expected a number above 0"),
        (["VIDEO", "--plot", "a.jpg"], "ends in .png"),
        (["VIDEO", "--ply", "a.obj"], "ends in .ply"),
        (["VIDEO", "--describe", "--every", "0"], "--every 0"),
        (["VIDEO", "--describe", "--start", "9"], "it lasts 1.00 s"),
        (["VIDEO", "--output", "a.xyz"], "does not say which format"),
        (["VIDEO", "--describe", "--fov_deg", "200"], "between 0 and 180 degrees"),
        (["VIDEO", "--truth", "none.txt"], "none.txt does not exist"),
    ],
)
def test_mistakes_end_with_one_line(backend, video, words, told, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert run(*(str(video) if word == "VIDEO" else word for word in words)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and told in error


def test_a_folder_of_pictures_is_a_video(backend, tmp_path):
    for index in range(5):
        write_image(tmp_path / f"{index}.png", np.full((*SIZE, 3), 50 * index, np.uint8))
    assert run(tmp_path, "--describe", "--fps", 10) == 0
    assert backend.asked[0][0].times.tolist() == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_help_needs_no_torch():
    code = (
        "import runpy, sys; sys.argv = ['tool', '--help']\n"
        "try: runpy.run_path('tools/extract_trajectory.py', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'numpy', 'cv2'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--pose_backend" in done.stdout


def test_the_demos_commands_are_ones_that_the_scripts_take(monkeypatch):
    args = run_demo.build_parser().parse_args([])
    monkeypatch.setattr(run_demo.importlib.util, "find_spec", lambda name: object())
    titles, commands = zip(*run_demo.steps(args), strict=True)
    (extract,) = [command for command in commands if command[0] == "tools/extract_trajectory.py"]
    given = extract_trajectory.build_parser().parse_args(extract[1:])
    room, generate = (command for command in commands if "--camera_file" in command)
    assert room[room.index("--camera_file") + 1] == commands[2][2]  # what is measured is what was commanded
    assert wan_generate_video.build_parser().parse_args(generate[1:]).camera_file == given.output[0]
    assert given.truth and given.describe and "compare" in titles[commands.index(extract)]
    monkeypatch.setattr(run_demo.importlib.util, "find_spec", lambda name: None)
    assert sum("--camera_file" in command for _, command in run_demo.steps(args)) == 1
