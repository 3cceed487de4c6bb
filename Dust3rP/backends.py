"""Who lifts trajectories, by the name that users type."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from Dust3rP.colmap import ColmapBackend
from Dust3rP.dust3r import Dust3rBackend, network_pairs
from Dust3rP.estimate import Estimate, Lens, TrajectoryBackend, VideoFrames

NAMES = ("auto", "dust3r", "colmap")
SURE = 0.3
"""Confidence below which `auto` asks the second backend too."""

_NO_WEIGHTS = (
    "pose backend 'dust3r' needs the weights of DUSt3R, which are for non-commercial use (CC BY-NC-SA 4.0): "
    "python tools/download_weights.py --only dust3r, or name the file by --dust3r PATH"
)
Answer = TypeVar("Answer", Estimate, Lens)


def open_backend(
    name: str, *, weights: Path | None, device: torch.device | str, dtype: torch.dtype
) -> TrajectoryBackend:
    """The backend of that name; a network is loaded at its first use.

    Args:
        name: one of NAMES. "auto" is colmap where there is texture and parallax, else dust3r.
        weights: DUSt3R's, where they are.
        device: of the network; colmap runs on the CPU.
        dtype: of the network.

    Raises:
        ValueError: an unknown name, or what the backend needs is missing: says what to install or fetch.
    """
    if name not in NAMES:
        raise ValueError(f"pose backend '{name}': expected one of {', '.join(NAMES)}")
    if name == "colmap":
        return ColmapBackend()
    second = None if weights is None else Dust3rBackend(network_pairs(weights, device, dtype))
    if name == "dust3r":
        if second is None:
            raise ValueError(_NO_WEIGHTS)
        return second
    try:
        first = ColmapBackend()
    except ValueError as error:
        if second is None:
            raise ValueError(f"{error}. Or: {_NO_WEIGHTS}") from None
        return second
    return AutoBackend(first, second)


class AutoBackend:
    """One backend after the other, until one is sure; says who answered and what the other said."""

    name = "auto"

    def __init__(self, first: TrajectoryBackend, second: TrajectoryBackend | None) -> None:
        """`second` is None where its weights are not there."""
        self._first, self._second = first, second

    def estimate(self, video: VideoFrames, intrinsics: Sequence[float] | None = None) -> Estimate:
        """The trajectory of a video, as in `estimate.TrajectoryBackend`."""
        return self._ask(lambda backend: backend.estimate(video, intrinsics))

    def intrinsics(self, pictures: VideoFrames, shared: bool = True) -> Lens:
        """The lens of one picture or more, as in `estimate.TrajectoryBackend`."""
        return self._ask(lambda backend: backend.intrinsics(pictures, shared))

    def _ask(self, question: Callable[[TrajectoryBackend], Answer]) -> Answer:
        answer, reason = _answer(question, self._first)
        if answer is not None:
            if answer.confidence >= SURE:
                return _told(answer, f"{self._first.name} answered, confidence {answer.confidence:.2f}")
            reason = f"not sure, confidence {answer.confidence:.2f}"
        reason = f"{self._first.name}: {reason}"
        if self._second is None:
            if answer is None:
                raise ValueError(f"{reason}. {_NO_WEIGHTS}")
            return _told(answer, f"{reason}; nobody else could be asked: {_NO_WEIGHTS}")
        other, other_reason = _answer(question, self._second)
        if other is None and answer is None:
            raise ValueError(f"{reason}; {self._second.name}: {other_reason}")
        if other is None or (answer is not None and answer.confidence > other.confidence):
            assert answer is not None
            said = other_reason if other is None else f"even less sure, confidence {other.confidence:.2f}"
            return _told(answer, f"{reason}; {self._second.name}: {said}")
        return _told(other, f"{self._second.name} answered, confidence {other.confidence:.2f} ({reason})")


def _answer(question: Callable[[TrajectoryBackend], Answer], backend: TrajectoryBackend) -> tuple[Answer | None, str]:
    """What a backend says, or why it cannot."""
    try:
        return question(backend), ""
    except ValueError as error:
        return None, str(error)


def _told(answer: Answer, remark: str) -> Answer:
    return replace(answer, remarks=(remark, *answer.remarks))
