"""Object phrases: what is found in a caption, and what is left when some of them go."""

import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camera.language import parse, split_caption
from tests.dataset.helpers import make_video
from tools.caption_check.cleaning import cleaned_lines
from tools.caption_check.phrases import cut_scene, key_of, phrases_of, strip_phrases
from tools.caption_check.work import load_groups, subject_of

TAGS = (
    "<starttime>1</starttime> <endtime>2</endtime> <speed>high</speed> <direction>forward</direction> "
    "<rotate>stay</rotate> <sep>"
)
CAKE = (
    "Object: A triangular piece of cake is placed on a white plate, and the white plate is on a black plate. ; "
    f"Camera: {TAGS}"
)


@pytest.mark.parametrize(
    "caption, phrases",
    [
        (CAKE, ["A triangular piece of cake", "a white plate", "a black plate"]),
        ("Object: A woman in a red dress.", ["A woman", "a red dress"]),
        ("A black and white dog runs in the park with a man.", ["A black and white dog runs", "the park", "a man"]),
        ("There are two cups next to it.", ["two cups"]),
        (
            "The video shows a built-in oven, a fridge, and three chairs on the left side of the table",
            ["a built-in oven", "a fridge", "three chairs", "the table"],
        ),
        ("A man who is wearing a hat stands in the background.", ["A man", "a hat"]),
        ("A 2.5 m tall tree and 1,000 leaves", ["A 2.5 m tall tree", "1,000 leaves"]),
        ("a bed, a butterfly; a shed", ["a bed", "a butterfly", "a shed"]),
        ("The cup. A cup! the Cup", ["The cup"]),
        ("一个女人站在街上，旁边有一只狗。", ["一个女人站在街上", "旁边有一只狗"]),
        # nothing but words that name nothing: the whole scene
        ("Object: it is there.", ["it is there."]),
        ("", []),
        ("Object: ... ; Camera: " + TAGS, []),
        ("Camera: " + TAGS, []),
    ],
)
def test_phrases_are_what_stands_between_the_joints(caption, phrases):
    assert phrases_of(caption) == phrases


@pytest.mark.parametrize(
    "caption, unwanted, left",
    [
        # what is said of a thing goes with it, what is said of others stays
        ("A cake on a plate, and a woman in a red dress.", "a woman", "A cake on a plate."),
        ("A cake on a plate, and a woman in a red dress.", "a red dress", "A cake on a plate, and a woman."),
        ("A cake on a plate, and a woman in a red dress.", "the plate", "A cake, and a woman in a red dress."),
        ("A cake on a plate, and a woman in a red dress.", "cake", "A woman in a red dress."),
        ("A dog in the park with a man who is wearing a hat. A cat.", "a man", "A dog in the park. A cat."),
        (
            "A dog with a man who is wearing a hat. There are two cups.",
            "a hat",
            "A dog with a man. There are two cups.",
        ),
        ("A dog. A man near a car. A cat.", "a man", "A dog. A cat."),
        ("red apples, pears and plums", "pears", "red apples and plums"),
        ("red apples, pears and plums", "red apples", "pears and plums"),
        (CAKE, "a black plate", CAKE.replace(" is on a black plate", "")),
        (CAKE, "white plate", f"Object: A triangular piece of cake. ; Camera: {TAGS}"),
        (CAKE, "a triangular piece of cake", f"Object: The white plate is on a black plate. ; Camera: {TAGS}"),
        ("Object: A woman on a chair. ; Camera: " + TAGS, "a woman", None),
        ("Object: it is there.", "it is there.", None),
        ("Object: it is there.", "a cup", "Object: it is there."),
        # what would be left begins as a camera text does
        ("a man, Camera: old", "a man", None),
    ],
)
def test_a_caption_without_a_phrase_is_still_a_caption(caption, unwanted, left):
    assert strip_phrases(caption, [unwanted]) == left


WORDS = st.sampled_from(
    ["a cup", "A man", "the red car", "it", "black", "and", "with", ",", ".", "is placed on", "in", "who wears", "; ",
     "Object:", "two dogs", "the background", " ", "Camera", "left", "built-in", "女人", "，", "There is", "&", "\n"]
)  # fmt: skip
SCENES = st.lists(WORDS, max_size=14).map(" ".join) | st.text(max_size=40)


@given(SCENES)
def test_joints_and_pieces_together_are_the_scene(text):
    scene = split_caption(text)[0]
    cut = cut_scene(scene)
    pairs = zip(cut.joints, (*cut.pieces, ""), strict=True)
    assert "".join(joint + piece for joint, piece in pairs) == scene
    assert all(piece.strip() for piece in cut.pieces)


@given(SCENES, st.data())
def test_the_camera_stays_and_the_words_are_a_part_of_the_old_ones(scene, data):
    caption = f"{scene} ; Camera: {TAGS}"
    phrases = phrases_of(caption)
    unwanted = data.draw(st.lists(st.sampled_from(phrases), unique=True)) if phrases else []
    left = strip_phrases(caption, unwanted)
    if not unwanted:
        assert left == caption
    if left is None:
        return
    assert split_caption(left)[1] == split_caption(caption)[1]
    if split_caption(caption)[1] == TAGS:
        assert parse(left) == parse(TAGS)
    assert not {key_of(phrase) for phrase in phrases_of(left)} & {key_of(phrase) for phrase in unwanted}
    old = iter(re.findall(r"\w+", caption.casefold()))
    assert all(word in old for word in re.findall(r"\w+", left.casefold()))


@pytest.mark.parametrize("unit", [" ", "on ", "- ", ",", "and the    ", "is ", "\n"])
def test_a_long_caption_of_nothing_takes_no_long_time(unit):
    """A row of spaces must not be tried from each of them on."""
    start = time.perf_counter()
    phrases_of(f"a{unit * 4000}b")
    assert time.perf_counter() - start < 2


def test_a_caption_that_names_its_pose_file_is_found_among_the_wrong_ones_and_keeps_the_name(tmp_path):
    make_video(tmp_path / "a.mp4")
    (tmp_path / "p.txt").write_text("")
    line = {"video_path": "a.mp4", "caption": "A red cup, a dog. #trajectory {p.txt}"}
    (tmp_path / "list.jsonl").write_text(json.dumps(line) + "\n")
    (group,) = load_groups(None, str(tmp_path / "list.jsonl"))
    judged = {subject_of(item.path, item.caption): ["a dog"] for item in group.items}
    (kept,) = cleaned_lines(group, judged.__getitem__, "strip")
    caption = json.loads(kept)["caption"]
    assert "dog" not in caption and "A red cup" in caption and "#trajectory {p.txt}" in caption
