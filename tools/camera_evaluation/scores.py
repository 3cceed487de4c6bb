"""How well one video obeyed its command: errors of the pose, gain, direction, timing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from camera.metrics import rotation_error, static_score, translation_error
from camera.protocols import CAMI2V_ABS
from camera.segments import SegmentCheck, check_segments
from camera.track import CameraTrack
from tools.camera_evaluation.held_out import HeldOutClip
from tools.camera_evaluation.measuring import MeasuredRow

RELATIVE = replace(CAMI2V_ABS, name="relative", reduction="mean", angle="deg", frames=None)
"""Translations of all frames after the first over the longest commanded one: both paths are in scene units."""

METRICS = {
    "rotation_last_deg": "rotation error of the last frame, degrees",
    "rotation_mean_deg": "rotation error, mean over frames, degrees",
    "translation_last": "translation error of the last frame, share of the commanded travel",
    "translation_mean": "translation error, mean over frames, share of the commanded travel",
    "gain": "measured motion projected on the commanded, radians and subject distances together; 1 as told",
    "rotation_gain": "the same of the rotation",
    "translation_gain": "the same of the translation",
    "main_sign": "share of moves whose largest component went the right way",
    "all_signs": "share of the components above 30 % of the largest that went the right way",
    "static_deg": "residual motion of cameras that were told to stand, degrees",
    "failed_last": "share of clips whose last frame was not tracked",
    "failed_frames": "share of frames that were not tracked",
    "start_frames": "error of the time at which a move of a program starts, frames without sign",
    "stop_frames": "the same of its stop",
    "psnr_db": "PSNR against the rendered truth, dB",
    "psnr_seen_db": "the same of the pixels whose surface frame 0 shows, dB",
}
"""What is measured of every clip."""


@dataclass(frozen=True)
class ClipScore:
    """One video against one command."""

    clip: HeldOutClip
    values: dict[str, float]
    """By METRICS; NaN where the command leaves a value undefined. Of several moves in a clip, their mean."""
    checks: tuple[SegmentCheck, ...]
    onsets_commanded: int
    """Starts and stops that the command of a program has within the clip."""
    onsets_measured: int
    """Those of them that the video has too."""


def score_row(clips: Sequence[HeldOutClip], commands: Sequence[CameraTrack], row: MeasuredRow) -> list[ClipScore]:
    """Judge every video of a row against its command."""
    return [
        _score(clip, command, row, index) for index, (clip, command) in enumerate(zip(clips, commands, strict=True))
    ]


def _score(clip: HeldOutClip, command: CameraTrack, row: MeasuredRow, index: int) -> ClipScore:
    measured = replace(command, c2w=row.c2w[index])
    still = clip.kind == "hold"
    checks = () if still else tuple(check_segments(clip.moves, command, measured))
    timed = clip.kind == "program"
    told = check_segments(clip.moves, command, command) if timed else ()
    onsets = [_onsets(some) for some in (told, checks if timed else ())]
    ends = torch.tensor([0, -1])
    found = row.found[index]
    values = {
        "rotation_last_deg": rotation_error(measured.c2w[ends], command.c2w[ends], "mean_deg"),
        "rotation_mean_deg": rotation_error(measured.c2w, command.c2w, "mean_deg"),
        "translation_last": translation_error(measured.c2w[ends], command.c2w[ends], RELATIVE),
        "translation_mean": translation_error(measured.c2w, command.c2w, RELATIVE),
        "gain": _mean([check.joint_gain for check in checks]),
        "rotation_gain": _mean([check.rotation_gain for check in checks]),
        "translation_gain": _mean([check.translation_gain for check in checks]),
        "main_sign": _mean([float(check.signs[_main(check)]) for check in checks if check.signs]),
        "all_signs": _mean([check.sign_accuracy for check in checks]),
        "static_deg": static_score(measured.c2w) if still else math.nan,
        "failed_last": float(not found[-1]),
        "failed_frames": float((~found[1:]).double().mean()),
        "start_frames": _mean([abs(check.start_error) for check in checks]) if timed else math.nan,
        "stop_frames": _mean([abs(check.stop_error) for check in checks]) if timed else math.nan,
        "psnr_db": float(row.psnr[index]),
        "psnr_seen_db": float(row.psnr_seen[index]),
    }
    assert values.keys() == METRICS.keys()
    return ClipScore(clip, values, checks, *map(len, onsets))


def _main(check: SegmentCheck) -> str:
    """The largest commanded component, degrees as radians and distances as they are."""

    def strength(name: str) -> float:
        return abs(check.commanded[name]) * (1.0 if name in ("x", "y", "z") else math.radians(1))

    return max(check.signs, key=strength)


def _onsets(checks: Sequence[SegmentCheck]) -> list[float]:
    """Errors of all starts and stops that could be measured."""
    errors = [error for check in checks for error in (check.start_error, check.stop_error)]
    return [error for error in errors if not math.isnan(error)]


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
