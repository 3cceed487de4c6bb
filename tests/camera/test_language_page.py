"""The page of the language says everything, shows everything, and what it says works."""

import re
from pathlib import Path

import pytest

from camera.language import CameraTextError, parse
from camera.lint import KINDS
from camera.presets import PRESETS, preset_from_text
from camera.trajectory import compile
from camera.words import DIRECTIONS, EASES, OPTIONAL_TAGS, ROTATIONS, SPEEDS, TAGS, ZOOMS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "trajectory-language.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, flags=re.DOTALL)
WORDS = {"direction": (*DIRECTIONS, "rightup30"), "rotate": ROTATIONS, "zoom": ZOOMS, "ease": EASES}


def blocks(kind):
    return [text for name, text in BLOCKS if name == kind]


def picture(tag, word):
    return "stay" if word == "stay" else f"{tag}-{word}"


@pytest.mark.parametrize(("tag", "word"), [(tag, word) for tag, words in WORDS.items() for word in words])
def test_every_word_has_a_row_with_its_picture(tag, word):
    section = PAGE.split(f"\n## {tag}\n")[1].split("\n## ")[0]
    (row,) = [line for line in section.splitlines() if re.match(rf"\| `{word}`[ ,]", line)]
    assert f"](images/language/{picture(tag, word)}.png)" in row


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_a_row_with_its_options_and_picture(name):
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |")]
    assert f"](images/language/preset-{name}.png)" in row
    assert all(option in row for option in PRESETS[name].options)
    assert "\\|".join(PRESETS[name].sides) in row


def test_every_tag_and_speed_and_lint_kind_is_on_the_page():
    assert all(f"| `<{tag}>` |" in PAGE for tag in (*TAGS, *OPTIONAL_TAGS))
    assert all(f"`{name}` {value:g}" in PAGE for name, value in SPEEDS.items())
    table = PAGE.split("## The linter")[1].split("## Presets")[0]
    assert all(f"`{kind}`" in table for kind in KINDS)


def test_every_picture_is_there_small_and_shown():
    shown = set(re.findall(r"\]\((images/language/[\w.-]+)\)", PAGE))
    files = {str(path.relative_to(DOCS)): path.stat().st_size for path in (DOCS / "images/language").iterdir()}
    assert shown == set(files)
    assert max(files.values()) < 25 * 1024 and sum(files.values()) < 1.2 * 2**20


def test_the_examples_parse_and_compile():
    assert len(blocks("camera")) >= 2
    for text in blocks("camera"):
        assert len(compile(parse(text), 81, 16.0)) == 81
    for line in blocks("preset")[0].splitlines():
        assert preset_from_text(line)


def test_the_first_example_moves_as_the_page_says():
    track = compile(parse(blocks("camera")[0]), 81, 16.0)
    assert float(track.c2w[32, 2, 3]) == pytest.approx(0.2006)
    assert float(track.intrinsics[80, 0] / track.intrinsics[0, 0]) == pytest.approx(1.3)


def test_the_wrong_example_has_the_mistakes_of_the_page():
    (wrong,), (told,) = blocks("error"), blocks("text")
    with pytest.raises(CameraTextError) as caught:
        parse(wrong)
    actual, shown = str(caught.value).splitlines(), told.strip().splitlines()
    assert len(actual) == len(shown)
    for line, excerpt in zip(actual, shown, strict=True):
        assert line.startswith(excerpt.removesuffix("..."))
