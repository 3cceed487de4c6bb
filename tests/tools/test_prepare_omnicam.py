"""The OmniCam sets, from folders such as their repositories may hold; no network is used."""

import inspect
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest

from camera.formats import save_trajectory
from camera.language import parse
from camera.track import CameraTrack
from common import cli
from dataset.cameras import check_cameras
from dataset.config import load_config
from dataset.sources import load_items
from tests.tools.preparation_sets import (
    TAGS,
    assert_same_path,
    grey_video,
    lines,
    listing,
    loaded,
    moving_track,
    snapshot,
)
from tests.tools.test_preparation_archives import split, tar
from tools.prepare_omnicam import main

ROOT = Path(__file__).resolve().parents[2]
SEP, UNI = "OmniCam-Sep-1-OpenSoraPlan", "OmniCam-Uni-4-RealCam"
CLAUSE = "Caption: The camera moves according to the #trajectory:{/home/me/OmniCam-Uni-4-RealCam/raw/%s.safetensors}."


@pytest.fixture
def sep(tmp_path):
    """Tags in the captions, paths of another machine, videos in an archive of two parts."""
    raw = tmp_path / "raw"
    for name in ("000/a", "000/b", "001/a"):
        grey_video(raw / "videos" / f"{name}.mp4", 8)
    grey_video(raw / "videos" / "001" / "plain.mp4", 4)
    files = {path.relative_to(raw).as_posix(): path.read_bytes() for path in raw.rglob("*.mp4")}
    split(tar(tmp_path / "local" / SEP / "videos.tar.gz", files), [".aa", ".ab"])
    records = [
        {"video_path": f"/data/{SEP}/videos/{name}.mp4", "caption": f"Object: {name}. ; Camera: {TAGS}"}
        for name in ("000/a", "000/b", "001/a", "001/gone")
    ]
    wrong = {"video_path": "/data/videos/000/b.mp4", "caption": "Camera: <speed>fast</speed>"}
    plain = {"video_path": "videos/001/plain.mp4", "caption": "No camera."}
    listing(tmp_path / "local" / SEP, [*records, wrong, plain])
    return tmp_path / "local"


@pytest.fixture
def uni(tmp_path):
    """Poses in files that captions name, lists by source, no archive."""
    folder = tmp_path / "local" / UNI
    for number, name in enumerate(("8bd5", "9ce6")):
        grey_video(folder / "DL3DV" / f"{name}.mp4", 8 + number)
        save_trajectory(moving_track(8, 8), folder / "tools" / "raw" / f"{name}.safetensors", "fork")
    records = [{"video_path": f"/x/{n}.mp4", "caption": f"Object:a room. ; {CLAUSE % n}"} for n in ("8bd5", "9ce6")]
    records.append({"video_path": "/x/8bd5.mp4", "caption": CLAUSE % "none"})
    listing(folder, records, "DL3DV-10K.jsonl")
    return tmp_path / "local"


def prepare(local: Path, out: Path, *names: str, flags: tuple[str, ...] = ()) -> int:
    return main([*names, "--local", str(local), "--output_dir", str(out), *flags])


def test_the_final_structure_with_tags(tmp_path, sep):
    before = snapshot(sep)
    assert prepare(sep, tmp_path / "data", SEP) == 0
    folder = tmp_path / "data" / SEP
    assert {path.name for path in folder.iterdir()} >= {"cache", "videos", "metadata.jsonl", "dataset.toml"}
    videos = [line["video_path"] for line in lines(folder / "metadata.jsonl")]
    assert videos == ["videos/000/a.mp4", "videos/000/b.mp4", "videos/001/a.mp4"]
    assert all((folder / video).read_bytes() == (tmp_path / "raw" / video).read_bytes() for video in videos)
    config = load_config(folder / "dataset.toml")
    assert config.datasets[0].resolution == (1024, 576) and config.datasets[0].target_frames == (21,)
    assert all(len(parse(line["caption"])) == 1 for line in lines(folder / "metadata.jsonl"))
    assert [line["caption"] for line in lines(folder / "without_camera.jsonl")] == ["No camera."]
    gone, wrong = lines(folder / "left-out.jsonl")
    assert "gone.mp4 is not there" in gone["reason"] and "speed" in wrong["reason"]
    assert snapshot(sep) == before


def test_poses_named_by_captions_become_camera_files(tmp_path, uni):
    before = snapshot(uni)
    assert prepare(uni, tmp_path / "data", UNI) == 0
    folder = tmp_path / "data" / UNI
    first, second = loaded(folder)
    assert first.caption == "Object:a room."
    assert first.camera_file.relative_to(folder) == Path("safetensors/DL3DV/8bd5.safetensors")
    for item in (first, second):
        assert_same_path(CameraTrack.load(item.camera_file), moving_track(8, 8))
    check_cameras(load_items(load_config(folder / "dataset.toml")))
    (left,) = lines(folder / "left-out.jsonl")
    assert "pose file /home/me" in left["reason"] and "none.safetensors" in left["reason"]
    assert first.path.samefile(uni / UNI / "DL3DV" / "8bd5.mp4")  # a second name, no second copy
    assert snapshot(uni) == before


def test_all_that_is_there_twice_and_again_after_damage(tmp_path, sep, uni):
    prepare(sep, tmp_path / "data", SEP, UNI)
    first = {k: v for k, v in snapshot(tmp_path / "data").items() if not k.endswith((".jsonl", ".toml"))}
    prepare(sep, tmp_path / "data", SEP, UNI)
    again = snapshot(tmp_path / "data")
    assert all(again[path] == state for path, state in first.items())
    camera = tmp_path / "data" / UNI / "safetensors" / "DL3DV" / "8bd5.safetensors"
    camera.unlink()
    prepare(sep, tmp_path / "data", UNI)
    assert len(CameraTrack.load(camera)) == 8


def test_poses_of_another_length_are_refused(tmp_path, uni):
    save_trajectory(moving_track(6, 8), uni / UNI / "tools" / "raw" / "9ce6.safetensors", "fork")
    prepare(uni, tmp_path / "data", UNI)
    reasons = [each["reason"] for each in lines(tmp_path / "data" / UNI / "left-out.jsonl")]
    assert any("6 poses for a video of 9 frames" in reason for reason in reasons)


def test_texts_beside_videos_and_another_list(tmp_path):
    folder = tmp_path / "plain"
    grey_video(folder / "a.mp4", 5)
    (folder / "a.txt").write_text(f"Camera: {TAGS}", encoding="utf-8")
    prepare(folder, tmp_path / "one", SEP)
    assert loaded(tmp_path / "one" / SEP)[0].caption == f"Camera: {TAGS}"
    (folder / "list.csv").write_text(f'file_name,text\na.mp4,"Camera: {TAGS}"\n')
    prepare(folder, tmp_path / "two", SEP)
    assert loaded(tmp_path / "two" / SEP)[0].caption == f"Camera: {TAGS}"
    (folder / "list.csv").write_text("name,words\na.mp4,b\n")
    with pytest.raises(ValueError, match=r"list\.csv line 2: expected a text in one of video_path.* name, words"):
        prepare(folder, tmp_path / "three", SEP)


def test_what_was_found_is_told_when_it_is_not_what_was_expected(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(3):
        (tmp_path / "in" / f"{number}.parquet").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"expected videos, and metadata\.jsonl .* found 3 \.parquet"):
        prepare(tmp_path / "in", tmp_path / "data", SEP)
    with pytest.raises(FileNotFoundError, match=rf"nothing of {SEP} is there; use --download or --local"):
        main([SEP, "--output_dir", str(tmp_path / "data")])
    with pytest.raises(ValueError, match="OmniCam-5: no such set; expected all, or some of"):
        main(["OmniCam-5"])


def test_ambiguous_paths_are_not_guessed(tmp_path):
    for folder in ("x", "y"):
        grey_video(tmp_path / "in" / folder / "a.mp4", 3)
    listing(tmp_path / "in", [{"video_path": "/z/a.mp4", "caption": TAGS}, {"video_path": "/y/a.mp4", "caption": TAGS}])
    prepare(tmp_path / "in", tmp_path / "data", SEP)
    assert [item.path.parent.name for item in loaded(tmp_path / "data" / SEP)] == ["y"]
    assert "may be" in lines(tmp_path / "data" / SEP / "left-out.jsonl")[0]["reason"]


class FakeHub(SimpleNamespace):
    """As much of huggingface_hub as is used: a repository in a folder, whose download stops when it is told to."""

    def __init__(self, repository: Path, stops: bool = False) -> None:
        errors = SimpleNamespace(HfHubHTTPError=FileNotFoundError)
        super().__init__(repository=repository, stops=stops, asked=[], errors=errors)

    def HfApi(self):
        return self

    def dataset_info(self, repo, files_metadata):
        self.asked.append(repo)
        files = [path for path in self.repository.rglob("*") if path.is_file()]
        named = [(path.relative_to(self.repository).as_posix(), path.stat().st_size) for path in files]
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name, size=size) for name, size in named])

    def snapshot_download(self, repo, repo_type, local_dir):
        assert repo_type == "dataset"
        if self.stops:
            raise OSError("429 Too Many Requests")
        shutil.copytree(self.repository, local_dir, dirs_exist_ok=True)


def test_download_only_when_asked_and_again_after_a_break(tmp_path, sep, monkeypatch):
    hub = FakeHub(sep / SEP, stops=True)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    words = [SEP, "--download", "--output_dir", str(tmp_path / "data")]
    assert main([*words, "--dry_run"]) == 0
    assert hub.asked == [f"yangxiaoda/{SEP}"] and not (tmp_path / "data").exists()
    with pytest.raises(ConnectionError, match=r"429 Too Many Requests.*What came is kept"):
        main(words)
    hub.stops = False
    assert main(words) == 0
    assert len(lines(tmp_path / "data" / SEP / "metadata.jsonl")) == 3
    prepare(sep, tmp_path / "other", SEP)
    assert len(hub.asked) == 3


def test_what_is_called_of_huggingface_hub_exists():
    hub = pytest.importorskip("huggingface_hub")
    assert "files_metadata" in inspect.signature(hub.HfApi.dataset_info).parameters
    assert {"repo_type", "local_dir"} <= set(inspect.signature(hub.snapshot_download).parameters)


def test_a_hub_that_cannot_be_reached_is_told_in_one_line(tmp_path):
    pytest.importorskip("huggingface_hub")
    words = [ROOT / "tools" / "prepare_omnicam.py", SEP, "--download", "--dry_run", "--output_dir", tmp_path]
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "no_proxy": "*"}
    result = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == cli.EXIT_USER_ERROR
    assert f"error: https://huggingface.co/datasets/yangxiaoda/{SEP}: " in result.stderr
    assert "Traceback" not in result.stderr


def test_no_download_without_room_or_without_the_package(tmp_path, sep, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", FakeHub(sep / SEP))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 100))
    words = [SEP, "--download", "--output_dir", str(tmp_path / "data")]
    with pytest.raises(OSError, match="kB are free, and what is to come of"):
        main(words)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match="pip install huggingface_hub"):
        main(words)


def test_a_dry_run_of_archives_says_what_it_can(tmp_path, sep):
    assert prepare(sep, tmp_path / "data", SEP, flags=("--dry_run",)) == 0
    assert not (tmp_path / "data").exists()
    assert cli.run(lambda: prepare(sep, tmp_path / "data", SEP, flags=("--strict",))) == cli.EXIT_USER_ERROR
