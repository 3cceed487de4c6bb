"""Items held out to validate on: whole items, by name alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset.held_out import hold_out
from dataset.training_set import TrainingSet
from tests.dataset.named_set import make_clips, make_entry


def make_set(stems: list[str], **changes: object) -> TrainingSet:
    entry = make_entry("a", **changes)
    clips = make_clips(entry, [0] * len(stems))
    from dataclasses import replace

    return TrainingSet([replace(c, name=replace(c.name, stem=s)) for c, s in zip(clips, stems, strict=True)])


def stems_of(training_set: TrainingSet) -> set[str]:
    return {clip.name.stem for clip in training_set.clips}


@settings(max_examples=50, deadline=None)
@given(count=st.integers(2, 40), share=st.floats(0.01, 0.99), seed=st.integers(0, 1000))
def test_every_clip_goes_one_way_and_items_stay_whole(count: int, share: float, seed: int) -> None:
    media = [f"clip{number}" for number in range(count)]
    whole = make_set([stem for name in media for stem in (name, name, f"{name}~mirrored")])
    training, held_out = hold_out(whole, share, seed)
    assert len(training.clips) + len(held_out.clips) == len(whole.clips)
    assert not stems_of(training) & stems_of(held_out)
    assert {stem.removesuffix("~mirrored") for stem in stems_of(held_out)} <= stems_of(held_out)
    assert abs(len(held_out.clips) / 3 - share * count) <= 1


def test_the_seed_chooses_and_names_decide() -> None:
    names = [f"clip{number}" for number in range(30)]
    one = stems_of(hold_out(make_set(names), 0.2, 0)[1])
    assert one == stems_of(hold_out(make_set(names[::-1]), 0.2, 0)[1])
    assert one != stems_of(hold_out(make_set(names), 0.2, 1)[1])


def test_held_out_clips_come_once_and_with_their_captions() -> None:
    held_out = hold_out(make_set(["a", "b", "c"], num_repeats=3, dropout=0.9), 0.4, 0)[1]
    indices = [index for batch in held_out.batch_order(0, 0) for index in batch]
    assert sorted(indices) == list(range(len(held_out.clips)))


def test_one_item_cannot_be_split() -> None:
    with pytest.raises(ValueError, match=r"--validation_split 0\.5: the data set has 1 item"):
        hold_out(make_set(["a", "a~mirrored"]), 0.5, 0)
