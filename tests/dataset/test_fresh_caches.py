"""Which caches --skip_existing leaves alone, and which it makes again."""

import json
import logging

import pytest

import dataset.kinds
from common.weights import read_metadata, read_tensors, write_tensors
from dataset.cache import read_header
from dataset.kinds import LatentCaching
from tests.dataset.helpers import I2V, camera_caption, encode_latents, make_video


@pytest.fixture
def count_reads(monkeypatch):
    """How often pictures were decoded and media opened."""
    calls = {"decode": 0, "probe_item": 0}
    for name in calls:
        original = getattr(dataset.kinds, name)

        def counted(argument, name=name, original=original):
            calls[name] += 1
            return original(argument)

        monkeypatch.setattr(dataset.kinds, name, counted)
    return calls


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interrupted_caching_resumes(project, error, caplog):
    project.videos(["x"] * 5)
    seen = []

    def break_off(clips):
        if len(seen) == 2:
            raise error
        seen.append(clips[0].clip.item.key)
        return encode_latents(clips)

    with caplog.at_level(logging.WARNING, "omnicam"), pytest.raises(error):
        project.cache_latents(break_off)
    assert "stopped after 2 of 5" in caplog.text
    assert len(list((project.root / "cache").iterdir())) == 2
    done = {path: path.stat().st_mtime_ns for path in (project.root / "cache").iterdir()}
    seen.clear()

    def rest(clips):
        seen.extend(decoded.clip.item.key for decoded in clips)
        return encode_latents(clips)

    assert project.cache_latents(rest, skip_existing=True) == 3
    assert seen == ["v2", "v3", "v4"]
    assert {path: path.stat().st_mtime_ns for path in done} == done


def test_a_finished_cache_is_neither_opened_nor_decoded(project, count_reads):
    project.videos(["x"] * 3)
    project.cache_latents()
    assert count_reads == {"decode": 3, "probe_item": 3}
    assert project.cache_latents(skip_existing=True) == 0
    assert count_reads == {"decode": 3, "probe_item": 3}
    assert project.cache_latents() == 3


def test_what_has_changed_is_made_again(project):
    project.videos([camera_caption(), camera_caption("left")])
    kind = LatentCaching(I2V, {"vae": "v1"})
    project.cache_latents(kind=kind)
    project.cache_text()
    project.cache_cameras()
    assert project.cache_latents(kind=kind, skip_existing=True) == 0
    assert project.cache_text(skip_existing=True) == project.cache_cameras(skip_existing=True) == 0

    assert project.cache_latents(kind=LatentCaching(I2V, {"vae": "v2"}), skip_existing=True) == 2
    assert project.cache_cameras(skip_existing=True, lens=50.0) == 2
    records = [json.loads(line) for line in (project.root / "meta.jsonl").read_text().splitlines()]
    records[0]["caption"] = camera_caption("right")
    project.write(project.toml.read_text(), *records)
    assert project.cache_text(skip_existing=True) == 1
    assert project.cache_cameras(skip_existing=True, lens=50.0) == 1
    make_video(project.root / "videos" / "v1.mp4", frames=7, seed=9)
    assert project.cache_latents(kind=LatentCaching(I2V, {"vae": "v2"}), skip_existing=True) == 1
    assert project.cache_cameras(skip_existing=True, lens=50.0) == 1


def test_caches_without_the_image_condition_are_not_enough_for_it(project):
    project.videos(["x"])
    project.cache_latents(
        lambda clips: [{"latents": r["latents"]} for r in encode_latents(clips)], kind=LatentCaching()
    )
    assert project.cache_latents(skip_existing=True) == 1


def test_a_cache_of_musubi_is_taken_as_it_is(project):
    project.videos(["x"])
    project.cache_latents()
    file = project.root / "cache" / project.caches()[0]
    kept = {"architecture", "width", "height", "format_version", "frame_count"}
    metadata = {key: value for key, value in read_metadata(file).items() if key in kept}
    write_tensors(file, read_tensors(file), metadata)
    assert project.cache_latents(skip_existing=True, kind=LatentCaching(I2V, {"vae": "v1"})) == 0


def test_what_training_takes_for_foreign_is_made_again(project):
    """Else it could be neither trained on nor cached: --skip_existing would leave it."""
    project.videos([camera_caption()]).cache_all()
    for name in project.caches():
        file = project.root / "cache" / name
        write_tensors(file, read_tensors(file), read_metadata(file) | {"format_version": "9.0"})
    with pytest.raises(ValueError, match="are of another program or version"):
        project.training_set()
    made = [project.cache_latents, project.cache_text, project.cache_cameras]
    assert [cache(skip_existing=True) for cache in made] == [1, 1, 1]
    assert len(project.training_set()) == 1


def test_a_damaged_cache_is_made_again(project, caplog):
    project.videos(["x"])
    project.cache_latents()
    file = project.root / "cache" / project.caches()[0]
    file.write_bytes(file.read_bytes()[:50])
    with caplog.at_level(logging.WARNING, "omnicam"):
        assert project.cache_latents(skip_existing=True) == 1
    assert file.name in caplog.text
    read_header(file)
