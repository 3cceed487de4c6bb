"""Points of pairs of pictures from a world's true depth and cameras: what a perfect DUSt3R would say, or a noisy one.

The noise is that by which the official aligner was measured (docs/benchmarks.md): every pair has errors of its own in
scale, focal length, rotation and low-frequency depth, pixels have noise, and some are outliers of low confidence.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from camera.intrinsics import Size
from camera.poses import invert, turn
from camera.track import CameraTrack
from Dust3rP.pairs import PairPoints, PictureCrop
from tools.procedural_world.batch import pack
from tools.procedural_world.raycaster import cast, pixel_rays
from tools.procedural_world.rooms import World

_SURE, _UNSURE = 6.0, 1.05
_BUMPS = (3, 4)
"""Rows and columns of the random grid whose cubic interpolation is an error of depth."""
_OUTLIER_DEPTH = 0.5


@dataclass(frozen=True)
class PairNoise:
    """How wrong every pair is; all are standard deviations unless said otherwise, 0 for none."""

    pixel: float = 0.0
    """Of each point in every direction, as a share of its depth."""
    depth: float = 0.0
    """Of the low-frequency error of depth, as a share."""
    focal: float = 0.0
    """Of the pair's focal length, as a share; both pictures have the same."""
    turn_deg: float = 0.0
    """Root mean square angle by which the second picture's points are turned about the first camera."""
    scale: float = 0.0
    """Of the logarithm of the pair's scale."""
    outliers: float = 0.0
    """Share of the pixels that are anywhere, at low confidence."""
    movers: float = 0.0
    """Share of the picture, a rectangle, whose second points stay where the first picture saw them, confidently."""


GUIDE_NOISE = PairNoise(pixel=0.005, depth=0.03, focal=0.02, turn_deg=1.0, scale=0.3, outliers=0.05)
"""The guide's."""
PERFECT = PairNoise()


class RenderedPairs:
    """A `Dust3rP.pairs.PairSource` of a world seen along a path. The same pair is the same whenever it is asked for.

    Args:
        world: what is seen.
        track: the true camera, relative to frame 0.
        size: (height, width) of the pictures; they are the whole source picture.
        noise: of the pairs.
        seed: of the noise.
    """

    def __init__(self, world: World, track: CameraTrack, size: Size, noise: PairNoise = PERFECT, seed: int = 0) -> None:
        self.size, self.noise, self.seed, self.track = size, noise, seed, track
        self.crop = PictureCrop(size, (0, 0), size)
        # rays of the renderer pass the centres of pixels
        self.middle_px = ((size[1] - 1) / 2, (size[0] - 1) / 2)
        self.c2w = track.c2w
        worlds, last = pack([world]), max(1, len(track) - 1)
        c2w, intrinsics = track.c2w.float(), track.intrinsics.float()
        depths = [cast(worlds, c2w[k, None], intrinsics[k, None], *size, k / last).depth for k in range(len(track))]
        self.depth = torch.cat(depths).double()
        self.rays = pixel_rays(track.intrinsics, *size).permute(0, 2, 3, 1)

    def __len__(self) -> int:
        return len(self.depth)

    def points(self, pairs: Sequence[tuple[int, int]], stride: int = 1) -> PairPoints:
        """See `PairSource.points`."""
        made = [self._pair(i, j, stride) for i, j in pairs]
        return PairPoints(*(torch.stack(parts).float() for parts in zip(*made, strict=True)))

    def _pair(self, i: int, j: int, stride: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Points of both pictures and their confidences."""
        noise = self.noise
        random = torch.Generator().manual_seed(hash((self.seed, i, j, stride)) % 2**63)
        lens = 1 + noise.focal * torch.randn((), generator=random, dtype=torch.float64)
        first, second = (self._seen(frame, lens, stride, random) for frame in (i, j))
        axis = functional.normalize(torch.randn(3, generator=random, dtype=torch.float64), dim=0)
        angle = math.radians(noise.turn_deg) * torch.randn((), generator=random, dtype=torch.float64)
        relative = invert(self.c2w[i]) @ self.c2w[j]
        turned = turn(axis * angle)
        second = (second @ relative[:3, :3].mT + relative[:3, 3]) @ turned.mT
        second = self._without_motion(first, second)
        scale = torch.exp(noise.scale * torch.randn((), generator=random, dtype=torch.float64))
        results = [self._spoilt(points * scale, random) for points in (first, second)]
        return results[0][0], results[1][0], results[0][1], results[1][1]

    def _seen(self, frame: int, lens: Tensor, stride: int, random: torch.Generator) -> Tensor:
        """Points [H, W, 3] of a picture in its own camera, with the pair's lens and an error of depth."""
        depth, rays = self.depth[frame, ::stride, ::stride], self.rays[frame, ::stride, ::stride]
        bumps = torch.randn(1, 1, *_BUMPS, generator=random, dtype=torch.float64)
        error = functional.interpolate(bumps, depth.shape, mode="bicubic", align_corners=True)[0, 0]
        depth = depth * (1 + self.noise.depth * error / error.square().mean().sqrt())
        return depth[..., None] * torch.cat((rays[..., :2] / lens, rays[..., 2:]), dim=-1)

    def _without_motion(self, first: Tensor, second: Tensor) -> Tensor:
        """The pair as a network gives it that takes a mover for still: its points are where they were at first."""
        height, width = second.shape[:2]
        rows, columns = (round(side * math.sqrt(self.noise.movers)) for side in (height, width))
        part = (slice(height - rows, height), slice((width - columns) // 2, (width + columns) // 2))
        second = second.clone()
        second[part] = first[part]
        return second

    def _spoilt(self, points: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """The points with noise and outliers, and their confidences."""
        depth = points[..., 2:].abs()
        kind = {"generator": random, "dtype": torch.float64}
        points = points + self.noise.pixel * depth * torch.randn(points.shape, **kind)
        sure = 1 + (_SURE - 1) * torch.rand(points.shape[:2], **kind).clamp_min(0.1)
        wrong = torch.rand(points.shape[:2], **kind) < self.noise.outliers
        astray = points + _OUTLIER_DEPTH * depth * torch.randn(points.shape, **kind)
        return torch.where(wrong[..., None], astray, points), torch.where(wrong, _UNSURE, sure)
