"""Action strings: keys and how long they are held, as typed into LingBot-World and HY-WorldPlay, in a text file.

LingBot-World, `w-10,a-10,iw-15,none-5` (Robbyant/lingbot-world README; `parse_action_string_segments` and
`generate_and_save_trajectory` in `wan/utils/wasd_ijkl_to_c2ws.py`): keys pressed together, then video frames. Each
frame first turns, then moves: j and l yaw by -2 and +2 degrees about the world's y, i and k pitch up and down by 2
degrees about the camera's x within +-85; w, s, d, a move 0.05 along the camera's forward and right axes laid into
the horizontal plane. 16 frames a second.

HY-WorldPlay, `w-3, right-1` (Tencent-Hunyuan/HY-WorldPlay `parse_pose_string` in `generate.py`,
`generate_camera_trajectory_local`): one action, then latent frames of 4 video frames. w, s, d, a move 0.08 along the
camera's own axes; left, right, up, down turn it by 3 degrees about its own axes. 24 frames a second, and a lens of
969.697 pixels for 1920x1080.

Both begin with the identity, so N steps are N + 1 poses; both are OpenCV axes and a unit of their own. A string of
w, a, s, d alone can be either, and we ask. There is no way back from poses to keys.
"""

import math
import re
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from camera.formats.core import Format, RawTrack, Request
from camera.formats.sample import Sample
from camera.formats.text import read_text
from camera.formats.worldplay import FPS as WORLDPLAY_FPS
from camera.formats.worldplay import FRAME_STEP, SIZE
from camera.poses import assemble, turn

_SEGMENT = re.compile(r"([a-z]+)-(\d{1,6})")
_LINGBOT_KEYS = re.compile(r"none|[wasdijkl]{1,8}")
_WORLDPLAY_ACTIONS = ("w", "s", "a", "d", "up", "down", "left", "right")
_LONGEST = 20_000
_LINGBOT_MOVE, _LINGBOT_TURN, _LINGBOT_PITCH_LIMIT, _LINGBOT_FPS = 0.05, math.radians(2), math.radians(85), 16.0
_WORLDPLAY_MOVE, _WORLDPLAY_TURN, _WORLDPLAY_FOCAL_PX = 0.08, math.radians(3), 969.6969696969696


def _segments(text: str) -> list[tuple[str, int]] | None:
    """(keys, count) of each part between commas; None when one is not of that form."""
    matches = [_SEGMENT.fullmatch(part.strip()) for part in text.strip().split(",")]
    return [(match[1], int(match[2])) for match in matches if match] if all(matches) else None


def _allowed(keys: str, name: str) -> bool:
    return _LINGBOT_KEYS.fullmatch(keys) is not None if name == "lingbot_actions" else keys in _WORLDPLAY_ACTIONS


def _recognise(sample: Sample, name: str) -> str | None:
    segments = _segments(sample.text) if sample.text and len(sample.text) < 2**14 else None
    if segments is None or not all(_allowed(keys, name) for keys, _ in segments):
        return None
    keys = sorted({keys for keys, _ in segments})
    return f"keys and numbers of {'frames' if name == 'lingbot_actions' else 'latent frames'} ({', '.join(keys[:6])})"


def _steps(path: Path, name: str) -> list[str]:
    """The keys of each step, one after the other."""
    text = read_text(path)
    steps: list[str] = []
    for index, part in enumerate(text.strip().split(","), 1):
        match = _SEGMENT.fullmatch(part.strip())
        where = f"{path}: part {index} {part.strip()[:40]!r}"
        if match is None or not _allowed(match[1], name):
            form = "w a s d i j k l together, or none" if name == "lingbot_actions" else ", ".join(_WORLDPLAY_ACTIONS)
            raise ValueError(f"{where}: expected KEYS-COUNT, COUNT a whole number, KEYS: {form}")
        if not 0 < int(match[2]) <= _LONGEST - len(steps):
            raise ValueError(f"{where}: expected 1 or more steps, up to {_LONGEST} in all")
        steps += [match[1]] * int(match[2])
    return steps


def _presses(steps: list[str], plus: str, minus: str) -> Float64[Tensor, "steps"]:
    """+1, -1 or 0 for each step."""
    return torch.tensor([(plus in keys) - (minus in keys) for keys in steps], dtype=torch.float64)


def _from_start(steps: Float64[Tensor, "steps *rest"]) -> Float64[Tensor, "F *rest"]:
    """Running sums, with the start at zero before the first step."""
    return torch.cat((torch.zeros_like(steps[:1]), steps.cumsum(dim=0)))


def _about(axis: int, angle: Float64[Tensor, "F"]) -> Float64[Tensor, "F 3 3"]:
    return turn(torch.eye(3, dtype=torch.float64)[axis] * angle[:, None])


def _read_lingbot(path: Path, request: Request) -> RawTrack:
    steps = _steps(path, "lingbot_actions")
    presses = [set() if keys == "none" else set(keys) for keys in steps]
    pitches, pitch = [0.0], 0.0
    for keys in presses:
        wanted = pitch + _LINGBOT_TURN * (("i" in keys) - ("k" in keys))
        # beyond the limit the key does nothing, as theirs
        pitch = wanted if abs(wanted) <= _LINGBOT_PITCH_LIMIT else pitch
        pitches.append(pitch)
    held = ["".join(keys) for keys in presses]
    yaw = _from_start(_presses(held, "l", "j") * _LINGBOT_TURN)
    forward = _presses(held, "w", "s") * _LINGBOT_MOVE
    right = _presses(held, "d", "a") * _LINGBOT_MOVE
    rotation = _about(1, yaw) @ _about(0, torch.tensor(pitches, dtype=torch.float64))
    # each step moves after its turn; laid flat, forward is the yaw's z axis and right its x axis
    flat = _about(1, yaw)[1:]
    centre = _from_start(flat[:, :, 2] * forward[:, None] + flat[:, :, 0] * right[:, None])
    return RawTrack(assemble(rotation, centre), "opencv_c2w", fps=_LINGBOT_FPS, scale="relative")


def _read_worldplay(path: Path, request: Request) -> RawTrack:
    steps = [[action] for action in _steps(path, "worldplay_actions")]
    pitch, yaw, right, forward = (
        torch.tensor([(plus in each) - (minus in each) for each in steps], dtype=torch.float64)
        for plus, minus in (("up", "down"), ("right", "left"), ("d", "a"), ("w", "s"))
    )
    turns = _about(1, yaw * _WORLDPLAY_TURN) @ _about(0, pitch * _WORLDPLAY_TURN)
    rotations = [torch.eye(3, dtype=torch.float64)]
    for each in turns:
        rotations.append(rotations[-1] @ each)
    rotation = torch.stack(rotations)
    local = torch.stack((right, torch.zeros_like(right), forward), dim=1) * _WORLDPLAY_MOVE
    centre = _from_start((rotation[1:] @ local[:, :, None])[..., 0])
    height, width = SIZE
    lens = torch.tensor([_WORLDPLAY_FOCAL_PX / width, _WORLDPLAY_FOCAL_PX / height, 0.5, 0.5], dtype=torch.float64)
    return RawTrack(
        assemble(rotation, centre),
        "opencv_c2w",
        intrinsics=lens.expand(len(rotation), 4).clone(),
        fps=WORLDPLAY_FPS,
        frame_step=FRAME_STEP,
        scale="relative",
    )


FORMATS = (
    Format(
        "lingbot_actions",
        "LingBot-World action string (w-10,iw-15): keys and video frames",
        lambda sample: _recognise(sample, "lingbot_actions"),
        _read_lingbot,
        None,
    ),
    Format(
        "worldplay_actions",
        "HY-WorldPlay action string (w-3, right-1): an action and latent frames",
        lambda sample: _recognise(sample, "worldplay_actions"),
        _read_worldplay,
        None,
    ),
)
"""Both kinds of string."""
