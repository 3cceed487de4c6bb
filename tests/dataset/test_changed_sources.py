"""Media that share a name, camera files that change, folders of images: what a cache says it was made from."""

import logging
import shutil
from pathlib import Path

import pytest

import dataset.fingerprint
from camera.language import parse
from camera.trajectory import compile as compile_moves
from common.weights import read_metadata, read_tensors, write_tensors
from dataset.cache import read_header
from dataset.fingerprint import file_fingerprint, folder_fingerprint
from dataset.keys import source_key
from tests.dataset.helpers import camera_caption, make_image, make_video

TOML = "[general]\nresolution = [64, 48]\n[[datasets]]\nvideo_jsonl_file = '{}'\ncache_directory = 'cache'\n"


def one_name_in_two_folders(project):
    """x/a.mp4 and y/a.mp4 with all their caches; returns what two data sets of one of them would list."""
    records = []
    for seed, folder in enumerate("xy"):
        make_video(project.root / folder / "a.mp4", seed=seed, frames=9 + seed)
        records.append({"video_path": f"{folder}/a.mp4", "caption": camera_caption()})
    project.write(TOML.format("meta.jsonl") + "target_frames = [5]\n", *records)
    return records


def cache_missing(project, **options):
    made = (project.cache_latents, project.cache_text, project.cache_cameras)
    return [cache(skip_existing=True, **options) for cache in made]


def test_a_cache_of_another_medium_of_the_same_name_is_not_deleted(project, caplog):
    _, second = one_name_in_two_folders(project)
    project.cache_all()
    first = {name for name in project.caches() if read_metadata(project.root / "cache" / name)["source_key"] ==
             source_key(project.root / "x" / "a.mp4", project.root)}  # fmt: skip
    assert len(project.caches()) == 6 and len(first) == 3
    project.write(project.toml.read_text(), second)
    with caplog.at_level(logging.WARNING, "omnicam"):
        assert cache_missing(project) == [1, 1, 1]
    # what y/a.mp4 was called before is deleted, what was made of x/a.mp4 is not
    own = {"a_00000-005_0064x0048_wan.safetensors", "a_wan_te.safetensors", "a_wan_camera.safetensors"}
    assert set(project.caches()) == first | own
    assert all(name in caplog.text for name in first)
    # a cache that does not say its key is known by its name alone
    for name in first:
        path = project.root / "cache" / name
        said = {key: value for key, value in read_metadata(path).items() if key != "source_key"}
        write_tensors(path, read_tensors(path), said)
    cache_missing(project)
    assert set(project.caches()) == own


def test_the_key_of_a_medium_is_where_it_lies_in_the_data_set(project, monkeypatch, tmp_path):
    base = project.root
    key = source_key(base / "x" / "a.mp4", base)
    assert key == source_key(base / "y" / ".." / "x" / "a.mp4", base) != source_key(base / "y" / "a.mp4", base)
    monkeypatch.chdir(base)
    assert source_key(Path("x/a.mp4"), Path()) == key
    assert source_key(tmp_path / "moved" / "x" / "a.mp4", tmp_path / "moved") == key


def test_the_empty_caption_is_of_no_medium(project):
    project.videos([camera_caption()], extra="caption_dropout_rate = 0.5")
    project.cache_text()
    assert "source_key" not in read_header(project.root / "cache" / "~empty_wan_te.safetensors").metadata
    assert "source_key" in read_header(project.root / "cache" / "v0_wan_te.safetensors").metadata


def test_caches_of_another_medium_of_the_same_name_are_not_trained_on(project):
    first, second = one_name_in_two_folders(project)
    project.write(project.toml.read_text(), first).cache_all()
    assert len(project.training_set()) == 1
    project.write(project.toml.read_text(), second)
    with pytest.raises(ValueError, match=r"latent caches of 1 of 1 items are out of date"):
        project.training_set()
    assert cache_missing(project) == [1, 0, 1], "the caption is the same"
    assert len(project.training_set()) == 1


def test_a_list_that_was_put_elsewhere_still_finds_its_caches(project):
    project.videos([camera_caption()]).cache_all()
    (project.root / "lists").mkdir()
    record = {"video_path": "../videos/v0.mp4", "caption": camera_caption()}
    project.write(TOML.format("lists/meta.jsonl") + "target_frames = [5]\n", record, jsonl="lists/meta.jsonl")
    assert len(project.training_set()) == 1
    assert cache_missing(project) == [0, 0, 0]
    shutil.rmtree(project.root / "videos")
    assert len(project.training_set()) == 1


def test_training_sees_that_a_camera_file_has_changed_while_it_is_there(project):
    make_video(project.root / "videos" / "v0.mp4")
    camera = project.root / "path.safetensors"
    compile_moves(parse(camera_caption("up")), 9, 16.0).save(camera)
    record = {"video_path": "videos/v0.mp4", "caption": "a room", "camera_file": "path.safetensors"}
    project.write(TOML.format("meta.jsonl") + "target_frames = [5]\n", record).cache_all()
    assert len(project.training_set()) == 1
    compile_moves(parse(camera_caption("down")), 9, 16.0).save(camera)
    with pytest.raises(ValueError, match=r"camera_encoder_outputs\.py .*\n +camera caches of 1 of 1 items are out of"):
        project.training_set()
    assert cache_missing(project) == [0, 0, 1]
    assert len(project.training_set()) == 1
    camera.unlink()
    assert len(project.training_set()) == 1


@pytest.fixture
def pictures(tmp_path):
    for number in range(40):
        make_image(tmp_path / "pictures" / f"{number:02d}.png", 16 + number, 16)
    return tmp_path / "pictures"


def test_a_folder_of_images_is_known_by_its_images(pictures):
    before = folder_fingerprint(pictures)
    (pictures / "notes.txt").write_text("x")
    (pictures / ".05.png").write_bytes(b"x")
    assert folder_fingerprint(pictures) == before
    copied = shutil.copytree(pictures, pictures.with_name("copy"))
    assert folder_fingerprint(copied) == before
    found = {before}
    for change in (
        lambda: make_image(copied / "07.png", 100, 50),
        lambda: (copied / "08.png").rename(copied / "99.png"),
        lambda: (copied / "09.png").unlink(),
        # of the same size, but first
        lambda: (copied / "00.png").write_bytes((copied / "00.png").read_bytes()[:-1] + b"x"),
    ):
        change()
        found.add(folder_fingerprint(copied))
    assert len(found) == 5


@pytest.mark.parametrize("count", range(6))
def test_every_image_of_a_few_counts_to_the_byte(pictures, count):
    for path in sorted(pictures.iterdir())[count:]:
        path.unlink()
    found = {folder_fingerprint(pictures)}
    for path in sorted(pictures.iterdir())[:4]:
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        found.add(folder_fingerprint(pictures))
    # of five, one is not looked into
    assert len(found) == 1 + min(count, 4) - (count == 5)


def test_of_many_images_four_are_opened(pictures, monkeypatch):
    opened = []
    monkeypatch.setattr(dataset.fingerprint, "file_fingerprint", lambda path: opened.append(path) or "")
    folder_fingerprint(pictures)
    assert [path.name for path in opened] == ["00.png", "13.png", "26.png", "39.png"]
    assert file_fingerprint(opened[0]) != file_fingerprint(opened[1])
