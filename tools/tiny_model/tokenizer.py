"""The tokenizer of i2v-tiny: a small byte-level BPE, learnt on captions made of word lists and camera tags."""

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from camera.language import TAGS
from common.files import atomic_path
from tools.procedural_world.materials import COLORS, PATTERNS

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
"""Numbers 0, 1 and 2, as in umT5."""

_CAPTIONS = 4000
_THINGS = (
    "box", "sphere", "ball", "cube", "column", "pedestal", "shelf", "bench", "table", "chair", "lamp", "picture",
    "cup of coffee", "saucer", "spoon", "plate", "cake", "room", "street", "tree", "field", "rabbit", "bicycle", "car",
    "man", "woman", "window", "door", "house", "flower", "book", "bottle", "cloud", "mountain", "river", "animal",
)  # fmt: skip
_PLACES = ("on the left", "on the right", "in the middle", "on the floor", "on the wall", "in the background")
_VERBS = ("stands", "lies", "is placed", "rests", "hangs", "moves", "sits", "walks", "is seen", "drives past")
_DIRECTIONS = ("stay", "forward", "backward", "left", "right", "up", "down")
_TURNS = ("stay", "stay", "stay", "left", "right", "up", "down", "clockwise", "counterclockwise")


def _captions(seed: int) -> Iterator[str]:
    rng = random.Random(seed)
    for _ in range(_CAPTIONS):
        first, second = rng.sample(_THINGS, 2)
        colours = [rng.choice(tuple(COLORS)) for _ in range(4)]
        patterns = [rng.choice(PATTERNS) for _ in range(3)]
        scene = (
            f"Object: A {patterns[0]} {colours[0]} {first} {rng.choice(_VERBS)} {rng.choice(_PLACES)} in a room with "
            f"{patterns[1]} {colours[1]} and {colours[2]} walls and a {patterns[2]} floor, "
            f"with a {colours[3]} {second}."
        )
        yield f"{scene} ; Camera: {' '.join(_segment(rng) for _ in range(rng.randint(1, 3)))}"


def _segment(rng: random.Random) -> str:
    start = round(rng.uniform(0, 4), rng.choice((0, 1, 2)))
    end = round(start + rng.uniform(0.5, 2), rng.choice((1, 2)))
    diagonal = f"{rng.choice(('left', 'right'))}{rng.choice(('up', 'down'))}{rng.choice((30, 45, 60))}"
    direction = rng.choice((*_DIRECTIONS, diagonal))
    speed = rng.choice(("low", "medium", "high", f"{rng.uniform(0.3, 1.5):.2f}"))
    return (
        f"<starttime>{start:g}</starttime> <endtime>{end:g}</endtime> <speed>{speed}</speed> "
        f"<direction>{direction}</direction> <rotate>{rng.choice(_TURNS)}</rotate> <sep>"
    )


def write_tokenizer(path: str | Path, vocab_size: int, seed: int = 0) -> None:
    """Learn the tokenizer and write its `tokenizer.json`; the same for the same seed.

    Every byte is a token, so any text of any language can be written in it, if not briefly.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 2 * len(TAGS) - 1,
        special_tokens=[PAD, END, UNKNOWN],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    words = itertools.chain(_THINGS, _PLACES, _VERBS, COLORS, PATTERNS)
    tokenizer.train_from_iterator([*_captions(seed), *words], trainer)
    # a tag is one token, or three segments would not fit into the text
    tokenizer.add_tokens([*(mark for tag in TAGS for mark in (f"<{tag}>", f"</{tag}>")), "<sep>"])
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, 1)])
    with atomic_path(path) as temporary:
        tokenizer.save(str(temporary), pretty=False)
