"""A flipped video's caption: the mirrored text compiles to the mirrored track."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from camera.intrinsics import after_flip
from camera.language import Move, format, mirror_caption, parse, split_caption
from camera.trajectory import compile
from camera.words import DIRECTIONS, EASES, ROTATIONS, ZOOMS

SIDES = st.sampled_from(["left", "right"])
DIAGONALS = st.builds("{}{}{}".format, SIDES, st.sampled_from(["up", "down"]), st.integers(1, 89))
TURNS = st.builds("{}{}".format, st.sampled_from(ROTATIONS[:-1]), st.integers(1, 90))
LENS = torch.tensor([0.8, 1.3, 0.45, 0.52], dtype=torch.float64)


@st.composite
def programs(draw):
    moves, time = [], 0.0
    for _ in range(draw(st.integers(1, 3))):
        end = time + draw(st.floats(0.2, 1.5))
        direction = draw(st.sampled_from(DIRECTIONS) | DIAGONALS)
        rotate = draw(st.sampled_from(ROTATIONS) | TURNS)
        rest = draw(st.sampled_from(ZOOMS)), draw(st.sampled_from(EASES))
        moves.append(Move(time, end, draw(st.floats(0.1, 2.0)), direction, rotate, *rest))
        time = end
    return moves


@given(programs())
def test_the_mirrored_text_is_the_mirrored_track(moves):
    caption = f"Object: a chair on the left ; Camera: {format(moves)}"
    mirrored = mirror_caption(caption)
    assert mirror_caption(mirrored) == caption
    assert split_caption(mirrored)[0] == split_caption(caption)[0]
    track = compile(moves, 33, 16.0, LENS).mirrored()
    found = compile(parse(mirrored), 33, 16.0, after_flip(LENS))
    assert torch.allclose(found.c2w, track.c2w, atol=1e-12)
    assert torch.allclose(found.intrinsics, track.intrinsics, atol=1e-12)


@given(
    st.lists(st.sampled_from([*"<>/ ;", "Camera:", "direction", "rotate", "left", "clockwise", "counter"])).map("".join)
)
def test_any_text_mirrored_twice_is_itself(text):
    assert mirror_caption(mirror_caption(text)) == text


@pytest.mark.parametrize(
    ("value", "mirrored"),
    [
        ("<direction>leftup30</direction>", "<direction>rightup30</direction>"),
        ("<direction> truckright </direction>", "<direction> truckleft </direction>"),
        ("<rotate>clockwise15</rotate>", "<rotate>counterclockwise15</rotate>"),
        ("<rotate>counterclockwise</rotate>", "<rotate>clockwise</rotate>"),
        ("< rotate >left7.5</ rotate >", "< rotate >right7.5</ rotate >"),
        ("<direction>up</direction> <rotate>down</rotate>", "<direction>up</direction> <rotate>down</rotate>"),
        ("<direction>lefft</direction>", "<direction>lefft</direction>"),
        ("a man on the right turns left", "a man on the right turns left"),
    ],
)
def test_only_the_sides_of_the_tags_change(value, mirrored):
    assert mirror_caption(value) == mirrored
