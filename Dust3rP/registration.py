"""Poses of the frames between the keyframes, from pairs with their nearest ones."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from Dust3rP.alignment import Alignment, in_world_unit
from Dust3rP.confidence import picture_confidence
from Dust3rP.depths import DepthViews, depth_scales
from Dust3rP.measuring import Measured, Pixels, measure_pairs, pair_scores, to_pixels
from Dust3rP.pairs import PairSource
from Dust3rP.pose_graph import Relative, optimise_poses
from Dust3rP.robust import weighted_median

NEAREST = 2
"""Keyframes that a frame is paired with, in both directions."""
_AT_ONCE = 256
"""Frames registered at once."""


class Registered(NamedTuple):
    """All F frames, in the world of the alignment."""

    c2w: Float[Tensor, "F 4 4"]
    confidence: Float[Tensor, "F"]
    """0 (do not use) to 1."""
    turn_noise: Float[Tensor, "F"]
    """Expected error of each rotation, a standard deviation of one component, radians."""
    way_noise: Float[Tensor, "F"]
    """The same of each centre, in the alignment's unit."""


def register(
    source: PairSource,
    keyframes: Sequence[int],
    alignment: Alignment,
    stride: int,
    middle_px: tuple[float, float],
) -> Registered:
    """Place every frame that is no keyframe.

    Args:
        source: of the pairs.
        keyframes: the frames that were aligned, in order.
        alignment: of the keyframes.
        stride: the alignment's, in pixels of the source's pictures.
        middle_px: the alignment's optical axis.
    """
    frames, like = len(source), alignment.c2w
    at = torch.tensor(keyframes, device=like.device)
    result = Registered(torch.eye(4).to(like).repeat(frames, 1, 1), *(like.new_zeros(frames) for _ in range(3)))
    own = (alignment.c2w, alignment.confidence, alignment.graph.turn_noise, alignment.graph.way_noise)
    for whole, part in zip(result, own, strict=True):
        whole[at] = part
    others = sorted(set(range(frames)) - set(keyframes))
    for start in range(0, len(others), _AT_ONCE):
        some = others[start : start + _AT_ONCE]
        placed = _place(source, some, keyframes, alignment, stride, middle_px)
        for whole, part in zip(result, placed, strict=True):
            whole[torch.tensor(some, device=like.device)] = part
    return result


def nearest_keyframes(frame: int, keyframes: Sequence[int], count: int = NEAREST) -> list[int]:
    """Places in `keyframes` of those nearest in time."""
    order = sorted(range(len(keyframes)), key=lambda place: (abs(keyframes[place] - frame), place))
    return sorted(order[:count])


def _place(
    source: PairSource,
    frames: Sequence[int],
    keyframes: Sequence[int],
    alignment: Alignment,
    stride: int,
    middle_px: tuple[float, float],
) -> Registered:
    """Poses of some frames. Pictures are numbered: keyframes first, then these."""
    first_new = len(keyframes)
    forward = [
        (place, first_new + k) for k, frame in enumerate(frames) for place in nearest_keyframes(frame, keyframes)
    ]
    pairs = [pair for i, j in forward for pair in ((i, j), (j, i))]
    numbers = [*keyframes, *frames]
    pixels = to_pixels(source.points([(numbers[i], numbers[j]) for i, j in pairs], stride))
    measured = measure_pairs(pairs, pixels, alignment.focal_px, middle_px)
    edges = _edges(pairs, pixels, measured, alignment)
    pictures = first_new + len(frames)
    start = _start(edges, alignment.c2w, pictures)
    free = torch.arange(first_new, pictures, device=start.device)
    typical = float(weighted_median(alignment.depth.flatten(), alignment.weights.flatten()))
    graph = optimise_poses(start, edges, typical, free)
    confidence = picture_confidence(graph, edges, measured, pixels, pictures)
    return Registered(*(values[first_new:] for values in (graph.c2w, confidence, graph.turn_noise, graph.way_noise)))


def _edges(pairs: Sequence[tuple[int, int]], pixels: Pixels, measured: Measured, alignment: Alignment) -> Relative:
    """Relative poses in the alignment's unit, by the depth that each pair gives its keyframe."""
    known, views = len(alignment.c2w), measured.views
    of_keyframes = (views.image < known).nonzero()[:, 0]
    sides = DepthViews(*(values[of_keyframes] for values in views))
    log_depth, weights = alignment.depth.flatten(1).log(), alignment.weights.flatten(1)
    log_scale = torch.zeros_like(measured.spread)
    log_scale[sides.pair] = depth_scales(sides, log_depth, weights)
    relative = in_world_unit(measured.relative, log_scale)
    scores = pair_scores(pixels) * measured.agreed * measured.usable
    first, second = (torch.tensor(ends, device=relative.device) for ends in zip(*pairs, strict=True))
    trust = scores / scores.mean().clamp_min(torch.finfo(scores.dtype).tiny)
    return Relative(first, second, relative[:, :3, :3], relative[:, :3, 3], trust)


def _start(edges: Relative, keyframes: Float[Tensor, "N 4 4"], pictures: int) -> Float[Tensor, "P 4 4"]:
    """Each new picture where its most trusted pair puts it."""
    poses = torch.cat((keyframes, keyframes[:1].repeat(pictures - len(keyframes), 1, 1)))
    for edge in edges.trust.argsort(stable=True).tolist():
        i, j = int(edges.first[edge]), int(edges.second[edge])
        rotation, way = edges.rotation[edge], edges.translation[edge]
        if i < len(keyframes):
            poses[j, :3, :3], poses[j, :3, 3] = poses[i, :3, :3] @ rotation, poses[i, :3, 3] + poses[i, :3, :3] @ way
        else:
            poses[i, :3, :3] = poses[j, :3, :3] @ rotation.mT
            poses[i, :3, 3] = poses[j, :3, 3] - poses[i, :3, :3] @ way
    return poses
