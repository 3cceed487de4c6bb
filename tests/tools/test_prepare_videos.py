import json

import numpy as np
import pytest

from camera.formats import save_trajectory
from camera.track import CameraTrack
from dataset.cameras import check_cameras
from dataset.config import load_config
from dataset.sources import load_items
from tests.tools.preparation_sets import TAGS, assert_same_path, grey_video, lines, loaded, moving_track, snapshot
from tools.prepare_videos import main


@pytest.fixture
def source(tmp_path):
    """One video with tags, one with a camera file, one with neither, one broken, one without a caption."""
    folder = tmp_path / "source"
    for name, caption in (("tags", f"A room. ; Camera: {TAGS}"), ("sub/posed", "A hall."), ("still", "A wall.")):
        grey_video(folder / f"{name}.mp4", 9)
        (folder / f"{name}.txt").write_text(caption, encoding="utf-8")
    grey_video(folder / "mute.mp4", 5)
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "broken.txt").write_text("Nothing.")
    save_trajectory(moving_track(9, 8), tmp_path / "cameras" / "posed.txt", "realestate10k")
    return folder


def prepare(source, out, *flags):
    return main([str(source), "--output_dir", str(out), "--cameras", str(source.parent / "cameras"), *flags])


def test_a_folder_becomes_a_data_set_that_the_cache_scripts_read(tmp_path, source, capsys):
    before = snapshot(source)
    assert prepare(source, tmp_path / "out") == 0
    posed, tags = loaded(tmp_path / "out")
    assert (posed.path.name, tags.path.name) == ("posed.mp4", "tags.mp4")
    assert posed.path.samefile(source / "sub" / "posed.mp4")
    assert_same_path(CameraTrack.load(posed.camera_file), moving_track(9, 8))
    check_cameras(load_items(load_config(tmp_path / "out" / "dataset.toml")))
    assert [line["caption"] for line in lines(tmp_path / "out" / "without_camera.jsonl")] == ["A wall."]
    reasons = {each["item"].rpartition("/")[2]: each["reason"] for each in lines(tmp_path / "out" / "left-out.jsonl")}
    assert set(reasons) == {"broken.mp4", "mute.mp4"} and "no caption in mute.txt" in reasons["mute.mp4"]
    assert capsys.readouterr().out.count("--dataset_config") == 3
    assert snapshot(source) == before


def test_a_second_run_changes_nothing_and_a_new_camera_moves_a_video(tmp_path, source):
    out = tmp_path / "out"
    prepare(source, out)
    first = snapshot(out / "safetensors")
    listed = (out / "metadata.jsonl").read_bytes()
    prepare(source, out)
    assert snapshot(out / "safetensors") == first and (out / "metadata.jsonl").read_bytes() == listed
    save_trajectory(moving_track(9, 8), tmp_path / "cameras" / "still.txt", "realestate10k")
    prepare(source, out)
    assert len(loaded(out)) == 3 and not (out / "without_camera.jsonl").exists()


def test_a_damaged_camera_file_is_written_again(tmp_path, source):
    prepare(source, tmp_path / "out")
    camera = tmp_path / "out" / "safetensors" / "sub" / "posed.safetensors"
    camera.write_bytes(camera.read_bytes()[:60])
    prepare(source, tmp_path / "out")
    assert_same_path(CameraTrack.load(camera), moving_track(9, 8))


def test_dry_run_and_strict(tmp_path, source):
    assert prepare(source, tmp_path / "out", "--dry_run") == 0
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="broken"):
        prepare(source, tmp_path / "out", "--strict")


def test_captions_from_a_list_and_one_for_all(tmp_path, source):
    book = tmp_path / "captions.json"
    book.write_text(json.dumps({"videos/mute.mp4": [f"Camera: {TAGS}"]}))
    prepare(source, tmp_path / "out", "--captions", str(book), "--fps", "4")
    found = {item.path.stem: item for item in loaded(tmp_path / "out")}
    assert found["mute"].caption == f"Camera: {TAGS}"
    assert {line["fps"] for line in lines(tmp_path / "out" / "metadata.jsonl")} == {4.0}
    for line in ('{"video": "a.mp4"}', "[1]", "{"):
        (tmp_path / "bad.jsonl").write_text(line)
        with pytest.raises(ValueError, match=r"bad\.jsonl line 1"):
            prepare(source, tmp_path / "out", "--captions", str(tmp_path / "bad.jsonl"))


def test_a_camera_that_does_not_say_its_convention_is_asked_about(tmp_path, source):
    np.save(tmp_path / "cameras" / "still.npy", moving_track(9, 8).c2w.numpy())
    prepare(source, tmp_path / "out")
    reasons = " ".join(each["reason"] for each in lines(tmp_path / "out" / "left-out.jsonl"))
    assert "does not say in which convention" in reasons and "Here: --convention NAME" in reasons
    prepare(source, tmp_path / "out", "--convention", "opencv_c2w")
    still = next(item for item in loaded(tmp_path / "out") if item.path.stem == "still")
    assert_same_path(CameraTrack.load(still.camera_file), moving_track(9, 8))


def test_a_dataset_file_that_was_changed_is_kept(tmp_path, source, caplog):
    prepare(source, tmp_path / "out")
    config = tmp_path / "out" / "dataset.toml"
    config.write_text(config.read_text() + "num_repeats = 3\n")
    prepare(source, tmp_path / "out")
    assert config.read_text().endswith("num_repeats = 3\n")


@pytest.mark.parametrize(
    "flags, words",
    [
        (("--fps", "0"), "--fps 0"),
        (("--resolution", "8", "16"), "--resolution 8"),
        (("--cameras", "none"), "--cameras none: does not exist"),
    ],
)
def test_flags_are_checked(tmp_path, source, flags, words):
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        main([str(source), "--output_dir", str(tmp_path / "out"), *flags])
    with pytest.raises(ValueError, match="is a file"):
        main([str(source), "--output_dir", str(source / "tags.mp4")])


def test_nothing_usable_is_an_error_and_leaves_the_earlier_list(tmp_path, source):
    prepare(source, tmp_path / "out")
    listed = (tmp_path / "out" / "metadata.jsonl").read_bytes()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"with 0 videos: nothing of it could be used\. Expected videos"):
        prepare(tmp_path / "empty", tmp_path / "out")
    assert (tmp_path / "out" / "metadata.jsonl").read_bytes() == listed
