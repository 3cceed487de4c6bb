"""The clause of a caption that names a pose file."""

import pytest

from camera.captions import split_trajectory

CLAUSE = "Caption: The camera moves according to the #trajectory:{/home/me/OmniCam-Uni-4-RealCam/raw/%s.safetensors}."


@pytest.mark.parametrize(
    "caption, expected",
    [
        ("Object: a. ; Camera: x", ("Object: a. ; Camera: x", None)),
        ("Object:a room. ; " + CLAUSE % "b", ("Object:a room.", "/home/me/OmniCam-Uni-4-RealCam/raw/b.safetensors")),
        ("A room. #trajectory {b.pt}", ("A room.", "b.pt")),
        ("#trajectory{b c.txt} A room.", ("A room.", "b c.txt")),
        (CLAUSE % "b", ("", "/home/me/OmniCam-Uni-4-RealCam/raw/b.safetensors")),
    ],
)
def test_the_clause_with_the_path_is_cut_out(caption, expected):
    assert split_trajectory(caption) == expected
