import argparse

import pytest

from common.arguments import add_lens, check_ranges, lens_choice_of, lens_of, model_path, tokenizer_path


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, [1.0, float("nan")]])
def test_numbers_out_of_range_name_their_flag(value):
    with pytest.raises(ValueError, match="--strength"):
        check_ranges(argparse.Namespace(strength=value), strength=0)


@pytest.mark.parametrize("value", [None, 0.0, 3.0, [], [1.0]])
def test_numbers_in_range_pass(value):
    check_ranges(argparse.Namespace(strength=value), strength=0)


def test_an_empty_path_is_refused_not_taken_for_the_default():
    with pytest.raises(ValueError, match="--vae is empty"):
        model_path("", "weights/README.md", "vae")
    with pytest.raises(ValueError, match="--tokenizer is empty"):
        tokenizer_path("", "weights/README.md")


def test_intrinsics_in_pixels_are_refused():
    with pytest.raises(ValueError, match="divide pixels by width and height"):
        lens_of(argparse.Namespace(intrinsics=[800.0, 800.0, 416.0, 240.0], fov_deg=60.0))


@pytest.mark.parametrize(
    ("words", "choice"),
    [
        ([], None),
        (["--fov_deg", "70"], 70.0),
        (["--intrinsics", "estimate"], "estimate"),
        (["--intrinsics", "default"], 60.0),
        (["--intrinsics", "0.9", "1.6", "0.5", "0.5"], (0.9, 1.6, 0.5, 0.5)),
        (["--intrinsics", "0.9,1.6,0.5,0.5"], (0.9, 1.6, 0.5, 0.5)),
        (["--intrinsics", "0.9, 1.6,", "0.5 0.5"], (0.9, 1.6, 0.5, 0.5)),
    ],
)
def test_a_lens_is_numbers_or_a_word(words, choice):
    parser = argparse.ArgumentParser()
    add_lens(parser, "60 degrees")
    assert lens_choice_of(parser.parse_args(words)) == choice


@pytest.mark.parametrize("words", ["guess", "1 2 3", "1 2 3 4 5", "1 1 0.5 half", "nan 1 0.5 0.5", "800 800 416 240"])
def test_other_lenses_name_the_flag(words):
    parser = argparse.ArgumentParser()
    add_lens(parser, "60 degrees")
    with pytest.raises(ValueError, match="--intrinsics"):
        lens_choice_of(parser.parse_args(["--intrinsics", *words.split()]))
