import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camera.language import (
    DIRECTIONS,
    MAX_SPEED,
    ROTATIONS,
    SPEEDS,
    TAGS,
    CameraTextError,
    Move,
    format,
    has_camera,
    parse,
    split_caption,
)
from camera.words import EASES, OPTIONAL_TAGS, TRUCKS, ZOOMS

FUZZ_CASES = int(os.environ.get("OMNICAM_FUZZ", "100"))
SCENE = "Object: A triangular piece of cake is placed on a white plate, and the white plate is on a black plate."
CAMERA = (
    "<starttime>1</starttime> <endtime>2</endtime> <speed>high</speed> <direction>forward</direction> "
    "<rotate>stay</rotate> <sep> <starttime>2</starttime> <endtime>3</endtime> <speed>low</speed> "
    "<direction>right</direction> <rotate>stay</rotate> <sep> <starttime>3</starttime> <endtime>4</endtime> "
    "<speed>high</speed> <direction>leftdown30</direction> <rotate>stay</rotate> <sep>"
)
README_PROMPT = f"{SCENE} ; Camera: {CAMERA}"
README_MOVES = [Move(1, 2, 1.0, "forward"), Move(2, 3, 0.5, "right"), Move(3, 4, 1.0, "leftdown30")]


def segment(start="0", end="1", speed="high", direction="left", rotate="stay"):
    return (
        f"<starttime>{start}</starttime> <endtime>{end}</endtime> <speed>{speed}</speed> "
        f"<direction>{direction}</direction> <rotate>{rotate}</rotate>"
    )


def places(text):
    with pytest.raises(CameraTextError) as caught:
        parse(text)
    return [(mistake.segment, mistake.tag) for mistake in caught.value.mistakes]


def test_the_readme_prompt_reads_as_its_three_moves():
    assert parse(README_PROMPT) == README_MOVES
    assert parse(CAMERA) == README_MOVES
    assert format(README_MOVES) == CAMERA


def test_order_of_tags_and_white_space_and_the_last_separator_are_free():
    tags = re.findall(r"<(\w+)>(.*?)</\w+>", segment())
    reversed_tags = "".join(f"< {tag} >\n {value}\t</ {tag} >" for tag, value in reversed(tags))
    assert parse(f"\n{reversed_tags}<sep>{segment()}") == parse(f"{segment()} < sep > {segment()} <sep> ")


@pytest.mark.parametrize(
    ("text", "multiplier"), [("low", 0.5), ("medium", 0.75), ("high", 1.0), ("1.6", 1.6), (".4", 0.4)]
)
def test_speeds(text, multiplier):
    assert parse(segment(speed=text))[0].speed == multiplier


@pytest.mark.parametrize(
    "direction", [*DIRECTIONS, "leftup30", "rightup45", "leftdown60", "rightdown1", "leftup89", "rightup22.5"]
)
def test_directions(direction):
    assert parse(segment(direction=direction))[0].direction == direction


@pytest.mark.parametrize("zoom", [*ZOOMS, "in30", "out7.5", "in2000"])
@pytest.mark.parametrize("ease", EASES)
def test_the_optional_tags(zoom, ease):
    (move,) = parse(f"<ease> {ease} </ease> {segment()} <zoom>{zoom}</zoom>")
    assert (move.zoom, move.ease) == (zoom, ease)


def test_the_optional_tags_are_written_when_they_are_not_the_default():
    (plain,), (full,) = parse(segment()), parse(segment() + "<zoom>out5</zoom><ease>inout</ease>")
    assert (plain.zoom, plain.ease) == ("stay", "linear") == tuple(OPTIONAL_TAGS.values())
    assert format([plain]) == segment() + " <sep>"
    assert format([full]) == segment() + " <zoom>out5</zoom> <ease>inout</ease> <sep>"


@pytest.mark.parametrize("tag", ["zoom", "ease"])
def test_an_optional_tag_alone_makes_a_camera_text(tag):
    assert has_camera(f"A cake <{tag}>in</{tag}>")
    assert (1, "speed") in places(f"<{tag}>in</{tag}>")


@pytest.mark.parametrize(
    ("tag", "wrong", "hint"),
    [
        ("direction", "lefft", "left"),
        ("direction", "Forward", "forward"),
        ("direction", "truck-left", "truckleft"),
        ("direction", "lefttup30", "leftup30"),
        ("direction", "leftup95", ""),
        ("direction", "xyz", ""),
        ("rotate", "clockwize15", "clockwise15"),
        ("rotate", "counterclock", "counterclockwise"),
        ("rotate", "left400", ""),
        ("speed", "hihg", "high"),
        ("speed", "999", ""),
        ("zoom", "IN 30", "in30"),
        ("ease", "in-out", "inout"),
        ("ease", "inuot", "inout"),
        ("starttime", "one", ""),
    ],
)
def test_a_wrong_value_comes_with_the_nearest_word(tag, wrong, hint):
    text = segment() + "<zoom>in</zoom> <ease>in</ease>"
    with pytest.raises(CameraTextError) as caught:
        parse(re.sub(rf"(<{tag}>)[^<]*", lambda match: match[1] + wrong, text))
    assert caught.value.mistakes[0].hint == hint
    assert (f"did you mean {hint}?" in str(caught.value)) == bool(hint)


def test_a_misspelt_tag_comes_with_the_nearest_tag():
    with pytest.raises(CameraTextError, match=r"<sped>: found an unknown tag .did you mean <speed>"):
        parse(segment().replace("speed", "sped"))


@pytest.mark.parametrize("rotate", [*ROTATIONS, "left15", "down7.5", "clockwise360", "counterclockwise.5"])
def test_rotations(rotate):
    assert parse(segment(rotate=rotate))[0].rotate == rotate


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        *(("starttime", value) for value in ("-1", "soon", "", "nan", "inf", "1e999", "1_0", "٣", "0x1", "1 2")),
        *(("endtime", value) for value in ("-1", "0", "later", "-inf", "1,5")),
        *(("speed", value) for value in ("fast", "0", "-1", "nan", "101", "High", "")),
        *(
            ("direction", value)
            for value in (
                "fwd",
                "truck",
                "truckup",
                "pedestalleft",
                "truckleft5",
                "leftup",
                "leftup0",
                "leftup90",
                "upleft30",
                "left30",
                "Forward",
                "",
            )
        ),
        *(("rotate", value) for value in ("none", "left0", "left-5", "left361", "stay5", "roll", "")),
    ],
)
def test_a_wrong_value_is_named(tag, value):
    text = re.sub(rf"(<{tag}>)[^<]*", lambda match: match[1] + value, segment())
    with pytest.raises(CameraTextError) as caught:
        parse(f"{segment()} <sep> {text}")
    (mistake,) = caught.value.mistakes
    assert (mistake.segment, mistake.tag) == (2, tag)
    assert value in mistake.found and mistake.allowed
    assert f"segment 2, <{tag}>" in str(caught.value)


@pytest.mark.parametrize("tag", ["starttime", "endtime", "speed", "direction", "rotate"])
def test_a_missing_and_a_doubled_tag_are_named(tag):
    element = re.search(rf"<{tag}>[^<]*</{tag}>", segment())[0]
    assert places(segment().replace(element, "")) == [(1, tag)]
    assert places(segment() + element) == [(1, tag)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (segment() + " slowly", [(1, "")]),
        (segment().replace(" <speed>", " and <speed>"), [(1, "")]),
        (segment() + "\0", [(1, "")]),
        (segment() + "<lens>in</lens>", [(1, "lens")]),
        (segment() + "<zoom>in</zoom> <zoom>out</zoom>", [(1, "zoom")]),
        (segment() + "<ease>in", [(1, "")]),
        (segment().replace("</direction>", "</speed>"), [(1, ""), (1, "direction")]),
        (segment().replace("</rotate>", ""), [(1, ""), (1, "rotate")]),
        (f"{segment()} <sep> <sep> {segment()}", [(2, "")]),
        (f"<sep> {segment()}", [(1, "")]),
        (f"A cake {segment()}", [(1, "")]),
        ("", [(0, "")]),
        ("<sep>", [(0, "")]),
        ("A cake", [(0, "")]),
        ("A cake ; Camera:", [(0, "")]),
        (
            "A cake ; Camera: forward",
            [(1, ""), *((1, tag) for tag in ("starttime", "endtime", "speed", "direction", "rotate"))],
        ),
    ],
)
def test_a_text_out_of_form_is_refused(text, expected):
    assert places(text) == expected


def test_tags_before_the_marker_are_not_lost():
    assert (1, "") in places(f"{segment()} ; Camera: {segment()}")


def test_all_mistakes_are_told_at_once_in_order():
    text = " <sep> ".join(
        [
            segment(speed="fast", rotate="spin"),
            segment(),
            segment(start="2", end="1"),
            segment(direction="in") + "<focus>in</focus>",
            segment() + "<ease>slow</ease> <zoom>0</zoom>",
        ]
    )
    first = [(1, "speed"), (1, "rotate"), (3, "endtime"), (4, "focus"), (4, "direction")]
    assert places(text) == [*first, (5, "zoom"), (5, "ease")]
    with pytest.raises(
        CameraTextError, match=r"7 mistakes:\n  segment 1, <speed>: found 'fast'; allowed: low, medium, high"
    ):
        parse(text)


@pytest.mark.parametrize(
    ("caption", "scene", "camera"),
    [
        (README_PROMPT, SCENE, CAMERA),
        ("A cake.", "A cake.", None),
        (" A cake ; Camera: ", "A cake", ""),
        ("Camera: x", "", "x"),
        ("A Leica Camera: the best one", "A Leica Camera: the best one", None),
        ("A cake Camera: <speed>", "A cake", "<speed>"),
        ("A cake <speed>low</speed>", "", "A cake <speed>low</speed>"),
        ("", "", None),
    ],
)
def test_a_caption_is_scene_and_camera(caption, scene, camera):
    assert split_caption(caption) == (scene, camera)
    assert has_camera(caption) == (camera is not None)


@pytest.mark.parametrize(
    "fields",
    [
        (1, 1, 1.0, "left"),
        (-1, 1, 1.0, "left"),
        (0, float("nan"), 1.0, "left"),
        (0, float("inf"), 1.0, "left"),
        (0, 1, 0.0, "left"),
        (0, 1, MAX_SPEED * 1.01, "left"),
        (0, 1, 1.0, "leftup0"),
        (0, 1, 1.0, "left", "spin"),
        (0, 1, 1.0, "left", "stay", "in0"),
        (0, 1, 1.0, "left", "stay", "out2000.1"),
        (0, 1, 1.0, "left", "stay", "stay5"),
        (0, 1, 1.0, "left", "stay", "stay", "smooth"),
    ],
)
def test_a_move_outside_the_language_cannot_be_made(fields):
    with pytest.raises(ValueError, match=r"^move with .*; allowed: "):
        Move(*fields)


def test_no_moves_cannot_be_written():
    with pytest.raises(ValueError, match="no moves"):
        format([])


times = st.floats(0, 1e6)
spans = st.tuples(times, times).filter(lambda span: span[0] != span[1]).map(sorted)
angles = st.floats(1, 89).map(lambda angle: f"{angle:.6f}") | st.integers(1, 89).map(str)
rates = st.just("") | st.floats(0.001, 360).map(lambda rate: f"{rate:.4f}")
diagonals = st.tuples(st.sampled_from(["left", "right"]), st.sampled_from(["up", "down"]), angles).map("".join)
turns = st.tuples(st.sampled_from(ROTATIONS[:-1]), rates).map("".join) | st.just("stay")
zooms = st.tuples(st.sampled_from(ZOOMS[:-1]), rates).map("".join) | st.just("stay")
eases = st.sampled_from(EASES)
directions = st.sampled_from(DIRECTIONS) | diagonals


def moves_of(spans, speeds, directions=directions, turns=turns, zooms=zooms):
    return st.builds(lambda span, *rest: Move(*span, *rest), spans, speeds, directions, turns, zooms, eases)


speeds = st.sampled_from(list(SPEEDS.values())) | st.floats(0, MAX_SPEED, exclude_min=True)
all_moves = moves_of(spans, speeds)
orbits = moves_of(spans, speeds, directions.filter(lambda direction: direction not in TRUCKS))


@given(st.lists(all_moves, min_size=1, max_size=4))
def test_what_is_written_reads_back_exactly(moves):
    assert parse(format(moves)) == moves
    assert format(parse(format(moves))) == format(moves)


pieces = st.sampled_from(
    [
        "<zoom>",
        "</zoom>",
        "<ease>inout</ease>",
        "<sep",
        "leftup",
        "in3",
        "truckleft",
        "٣",
        "<starttime>",
        "</starttime>",
        "<speed>",
        "</speed>",
        "<sep>",
        "Camera:",
        ";",
        "high",
        "1",
        "1e9",
        "-",
        "<",
        ">",
        "</",
        "\0",
        segment(),
    ]
)


names = st.sampled_from([*TAGS, *OPTIONAL_TAGS, "focus", "Speed"])
values = st.sampled_from(["", " ", "high", "left", "leftup30", "in", "1", "2", "1e400", "-0", "0.5.", "stay5", "&lt;"])
elements = st.tuples(names, values | st.text(max_size=4)).map(lambda pair: f"<{pair[0]}>{pair[1]}</{pair[0]}>")


@settings(max_examples=FUZZ_CASES)
@given(st.text() | st.lists(pieces | elements | st.text(max_size=3), max_size=12).map("".join))
def test_any_text_is_read_or_refused_by_our_error(text):
    try:
        moves = parse(text)
    except CameraTextError as error:
        assert error.mistakes
    else:
        assert parse(format(moves)) == moves
