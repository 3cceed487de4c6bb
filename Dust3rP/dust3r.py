"""The backend with DUSt3R: its network for the points of pairs of pictures, our alignment for everything after it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from Dust3rP.estimate import Estimate, Lens, VideoFrames
from Dust3rP.intrinsics import estimate_intrinsics
from Dust3rP.lifting import lift
from Dust3rP.pairs import PairSource

OpenPairs = Callable[[VideoFrames], PairSource]
"""From pictures to the points of any pairs of them."""


class Dust3rBackend:
    """`estimate.TrajectoryBackend` on the points of pairs of pictures, whoever computes them."""

    name = "dust3r"

    def __init__(self, open_pairs: OpenPairs) -> None:
        self._open_pairs = open_pairs

    def estimate(self, video: VideoFrames, intrinsics: Sequence[float] | None = None) -> Estimate:
        """The trajectory of a video, as in `estimate.TrajectoryBackend`."""
        if len(video) < 2:
            raise ValueError(f"{video.name}: 1 frame shows no movement; give 2 frames or more")
        return lift(self._open_pairs(video), video, intrinsics, backend=self.name)

    def intrinsics(self, pictures: VideoFrames, shared: bool = True) -> Lens:
        """The lens of one picture or more, as in `estimate.TrajectoryBackend`."""
        return estimate_intrinsics(pictures, self._open_pairs, shared)


def network_pairs(weights: Path, device: torch.device | str, dtype: torch.dtype) -> OpenPairs:
    """The network in a file of weights as a source of pairs; loaded when the first pictures come, and once."""
    loaded: list = []

    def open_pairs(video: VideoFrames) -> PairSource:
        from Dust3rP.features import NetworkPairs
        from Dust3rP.loading import load_dust3r

        if not loaded:
            loaded.append(load_dust3r(weights, device=device, dtype=dtype))
        return NetworkPairs(loaded[0], video)

    return open_pairs
