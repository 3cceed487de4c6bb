"""Several processes share the work, and any of them may be killed."""

import multiprocessing
import random
import shutil
import signal
import time
from multiprocessing import forkserver
from pathlib import Path

import pytest

from common.ranks import Ranks
from dataset.cache import read_header
from dataset.caching import form_batches, plan_caching
from dataset.kinds import LatentCaching
from tests.dataset import caching_child
from tests.dataset.helpers import I2V, camera_caption, make_video

CLIPS = 60
KILLS = 20
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def context():
    """Processes that start in a moment: they fork from one that has imported everything and has no threads."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["tests.dataset.caching_child"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        forkserver.ensure_running()
    return made


@pytest.fixture
def many(project):
    """Clips of two shapes and few captions, in batches of 3."""
    project.videos([camera_caption(scene=f"room {number % 7}") for number in range(3)], extra="batch_size = 3")
    lines = []
    for number in range(CLIPS):
        source = project.root / "videos" / f"v{number % 3}.mp4"
        target = project.root / "videos" / f"w{number}.mp4"
        shutil.copy(source, target)
        caption = camera_caption(scene=f"room {number % 7}")
        lines.append({"video_path": f"videos/{target.name}", "caption": caption})
    make_video(project.root / "videos" / "w5.mp4", width=48, height=64)
    project.write(project.toml.read_text(), *lines)
    return project


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def run(context, project, world):
    started = [context.Process(target=caching_child.cache_all, args=(project.toml, r, world)) for r in range(world)]
    for process in started:
        process.start()
    for process in started:
        process.join()
        assert process.exitcode == 0


def test_one_two_and_four_processes_write_the_same_bytes(context, many):
    results = []
    for world in (1, 2, 4):
        run(context, many, world)
        results.append(contents(many.root / "cache"))
        shutil.rmtree(many.root / "cache")
    assert len(results[0]) == 3 * CLIPS
    assert results[0] == results[1] == results[2]


def test_killed_processes_lose_nothing_finished_and_leave_no_bad_file(context, many):
    run(context, many, 1)
    cache = many.root / "cache"
    whole = contents(cache)
    shutil.rmtree(cache)
    cache.mkdir()
    draw = random.Random(7)
    finished = {}
    kills = 0
    while kills < KILLS:
        world = draw.choice((1, 2, 3))
        kills += world
        started = [
            context.Process(
                target=caching_child.cache_all,
                args=(many.toml, rank, world),
                kwargs={"dies_at": draw.randrange(1, 9)},
            )
            for rank in range(world)
        ]
        for process in started:
            process.start()
        for process in started:
            process.join()
            assert process.exitcode == -signal.SIGKILL
        assert list(cache.glob(".*")), "nobody died in the middle of writing"
        now = {path.name: path.stat().st_mtime_ns for path in cache.glob("[!.]*")}
        assert finished.items() <= now.items(), "a finished file was lost or made again"
        for name in now:
            read_header(cache / name)
        finished = now
    assert 0 < len(finished) < len(whole)
    run(context, many, 2)
    assert contents(cache) == whole
    assert finished.items() <= {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}.items()


def test_every_batch_has_one_owner_whatever_is_cached(many):
    kind = LatentCaching(I2V)
    plans = [plan_caching(many.groups, kind, skip_existing=True, ranks=Ranks(r, 4, r, 4)) for r in range(4)]
    owned = [job.target for plan in plans for job in plan.todo]
    assert len(owned) == len(set(owned)) == CLIPS
    batches = form_batches(kind, [job for plan in plans for job in plan.todo], None)
    assert {len(batch) for batch in batches} == {3, 2, 1}
    caching_child.cache_all(many.toml, 1, 4, kinds=("latent",))
    lost = plans[1].batches[2].jobs[1].target
    lost.unlink()
    (again,) = plan_caching(many.groups, kind, skip_existing=True, ranks=Ranks(1, 4, 1, 4)).batches
    assert again.jobs == plans[1].batches[2].jobs and again.missing == {lost}


def test_only_the_first_rank_prunes(many):
    caching_child.cache_all(many.toml, 0, 1, kinds=("latent",))
    cache = many.root / "cache"
    stale = cache / "w0_00003-005_0064x0048_wan.safetensors"
    shutil.copy(cache / "w0_00000-005_0064x0048_wan.safetensors", stale)
    caching_child.cache_all(many.toml, 1, 2, kinds=("latent",))
    assert stale.exists()
    caching_child.cache_all(many.toml, 0, 2, kinds=("latent",))
    assert not stale.exists()


def test_a_second_run_opens_no_medium_and_is_quick(many, monkeypatch):
    caching_child.cache_all(many.toml, 0, 1)

    def refuse(*_args, **_keywords):
        raise AssertionError("a medium was opened")

    for name in ("av.open", "PIL.Image.open", "dataset.kinds.probe_item", "dataset.kinds.decode"):
        monkeypatch.setattr(name, refuse)
    seconds = []
    for _ in range(5):
        # of this process alone: other programs may keep the machine busy
        begin = time.process_time()
        caching_child.cache_all(many.toml, 0, 1)
        seconds.append(time.process_time() - begin)
    # three kinds of cache, each in one second of one core per 1,000 items
    assert min(seconds) < 3 * CLIPS / 1000
