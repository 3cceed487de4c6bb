"""What comes in an epoch, in which batches, and with which captions: a matter of seed and epoch alone."""

from collections import Counter
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset.training_set import TrainingSet
from tests.dataset.helpers import camera_caption
from tests.dataset.named_set import make_clips, make_entry
from training.order import Layout

DATA_SETS = st.lists(
    st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=12), st.integers(1, 4), st.integers(1, 3)),
    min_size=1,
    max_size=3,
)


def make_set(data_sets: list[tuple[list[int], int, int]], dropout: float = 0.0) -> TrainingSet:
    clips = []
    for number, (shapes, batch_size, repeats) in enumerate(data_sets):
        clips += make_clips(make_entry(f"set{number}", batch_size, repeats, dropout), shapes)
    return TrainingSet(clips)


@given(DATA_SETS, st.integers(0, 2**40), st.integers(0, 50), st.sampled_from([0.0, 0.5]))
def test_an_epoch_holds_every_clip_num_repeats_times_in_batches_of_one_bucket(data_sets, seed, epoch, dropout):
    training_set = make_set(data_sets, dropout)
    clips = training_set.clips
    order = training_set.batch_order(seed, epoch)
    assert len(order) == len(training_set)
    counts = Counter(index % len(clips) for batch in order for index in batch)
    assert counts == {number: clip.entry.num_repeats for number, clip in enumerate(clips)}
    smaller = Counter()
    for batch in order:
        (bucket,) = {(clips[i % len(clips)].entry, clips[i % len(clips)].shape) for i in batch}
        assert 1 <= len(batch) <= bucket[0].batch_size
        smaller[bucket] += len(batch) < bucket[0].batch_size
    assert max(smaller.values()) <= 1


@given(DATA_SETS, st.integers(1, 3), st.integers(1, 3), st.integers(0, 9))
def test_ranks_share_an_epoch_without_doubles_or_gaps_and_step_together(data_sets, ranks, accumulation, seed):
    order = make_set(data_sets).batch_order(seed, 1)
    layouts = [Layout(ranks, accumulation, rank) for rank in range(ranks)]
    starts = range(0, len(order), layouts[0].stride)
    taken = [[layout.positions(start, len(order)) for start in starts] for layout in layouts]
    assert len({len(steps) for steps in taken}) == 1
    assert sorted(p for steps in taken for positions in steps for p in positions) == list(range(len(order)))
    # a rank has at most `accumulation` batches fewer than another, all of them in the last step
    sizes = [sum(map(len, steps)) for steps in taken]
    assert max(sizes) - min(sizes) <= accumulation
    assert all(len(positions) == accumulation for steps in taken for positions in steps[:-1])


@given(DATA_SETS, st.integers(1, 40), st.integers(1, 3), st.integers(1, 3))
def test_what_is_left_of_an_epoch_does_not_depend_on_who_takes_it(data_sets, done, before, after):
    """A state saved by some ranks goes on with others: what is done is a beginning of the one order."""
    order = make_set(data_sets).batch_order(3, 2)
    position = min(len(order), before * done)
    taken = [
        place
        for rank in range(after)
        for start in range(position, len(order), after)
        for place in Layout(after, 1, rank).positions(start, len(order))
    ]
    assert sorted(taken) == list(range(position, len(order)))


def test_data_sets_are_mixed():
    training_set = make_set([([0] * 200, 2, 1), ([0] * 200, 2, 1)])
    order = training_set.batch_order(0, 0)
    runs = [len(list(run)) for _, run in groupby(order, lambda batch: training_set.clips[batch[0]].entry.where)]
    # 100 batches each: about 100 runs if they are mixed, 2 if one comes after the other
    assert 70 < len(runs) < 130 and max(runs) < 15


def test_orders_of_epochs_and_seeds_have_nothing_in_common():
    training_set = make_set([([0] * 300, 1, 1)])
    one = training_set.batch_order(0, 0)
    for other in (training_set.batch_order(0, 1), training_set.batch_order(1, 0)):
        # of two random orders about one place in 300 agrees by chance
        assert sum(a == b for a, b in zip(one, other, strict=True)) < 10


def dropped(training_set: TrainingSet, seed: int, epoch: int) -> Counter[str]:
    size = len(training_set.clips)
    numbers = [index for batch in training_set.batch_order(seed, epoch) for index in batch]
    keys = {number: str(training_set.clips[number].latents) for number in range(size)}
    return Counter(keys[number % size] for number in numbers if number >= size)


def test_captions_are_dropped_at_the_rate_and_differently_in_every_epoch_and_repeat():
    training_set = make_set([([0] * 2000, 4, 2)], dropout=0.1)
    counts = [sum(dropped(training_set, seed, epoch).values()) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    # 4000 draws: 400 are expected, with a deviation of 19
    assert all(400 - 5 * 19 < count < 400 + 5 * 19 for count in counts)
    first, second = dropped(training_set, 0, 0), dropped(training_set, 0, 1)
    assert first == dropped(training_set, 0, 0) and first != second
    # of 2000 clips drawn twice, about 20 lose both captions, if the two draws are independent
    assert 2 <= sum(count == 2 for count in first.values()) <= 50
    assert not dropped(make_set([([0] * 500, 1, 1)], dropout=0.0), 0, 0)
    assert sum(dropped(make_set([([0] * 50, 1, 1)], dropout=1.0), 0, 0).values()) == 50


@given(st.integers(1, 5), st.lists(st.integers(0, 2), max_size=6), st.integers(0, 99), st.integers(0, 9))
def test_whether_a_caption_is_dropped_is_the_items_own_affair(batch_size, others, seed, epoch):
    """Not of the batch it comes in, nor of the shapes and number of other items."""
    alone = make_set([([0] * 20, 1, 1)], dropout=0.4)
    clips = list(alone.clips[5:]) + make_clips(make_entry("other", batch_size, 2, 0.7), others)
    among = TrainingSet(clips)
    ours = {str(clip.latents) for clip in alone.clips[5:]}
    assert ours & set(dropped(alone, seed, epoch)) == ours & set(dropped(among, seed, epoch))


def test_a_clip_without_its_caption_has_the_empty_text_and_all_else(project):
    project.videos([camera_caption()] * 2, entry="target_frames = [5]\ncaption_dropout_rate = 0.5").cache_all()
    assert "~empty_wan_te.safetensors" in project.caches()
    training_set = project.training_set()
    full, empty = training_set[(1,)], training_set[(1 + len(training_set.clips),)]
    assert len(full["t5"][0]) == len(camera_caption().split()) and len(empty["t5"][0]) == 1
    assert full["item_keys"] == empty["item_keys"]
    assert full["latents"].equal(empty["latents"]) and full["clip"].equal(empty["clip"])


def test_the_empty_text_is_asked_for_where_captions_are_dropped(project):
    project.videos([camera_caption()], entry="target_frames = [5]").cache_all()
    project.toml.write_text(project.toml.read_text() + "caption_dropout_rate = 0.1\n")
    with pytest.raises(ValueError, match=r"text caches of 1 .*~empty_wan_te\.safetensors for caption_dropout_rate"):
        project.training_set()
    assert project.cache_text(skip_existing=True) == 1
    assert len(project.training_set()) == 1
