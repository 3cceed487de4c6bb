"""Global alignment: from pairs of pictures to the poses, depths and the one focal length of all of them.

DUSt3R (arXiv 2312.14132, section 3.4) descends a sum of distances over every pixel's depth and every pose. Here each
pair is first reduced to what it measures (`measuring`): the second camera's pose by resection, and depths. Scales and
depths then agree by `depths`, poses by `pose_graph`; both are small systems that converge in a few steps. Errors along
rays, a network's largest, so never reach the poses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from camera.poses import assemble, relative_to
from Dust3rP.confidence import picture_confidence
from Dust3rP.depths import join_depths
from Dust3rP.focal import SharedFocal, pixel_offsets, shared_focal
from Dust3rP.measuring import Measured, Pixels, measure_focals, measure_pairs, pair_scores, to_pixels
from Dust3rP.pairs import PairPoints
from Dust3rP.pose_graph import PoseGraph, Relative, optimise_poses
from Dust3rP.robust import weighted_median
from Dust3rP.similarity import fit_similarity
from Dust3rP.spanning_tree import spanning_poses

_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Alignment:
    """Cameras and points of N pictures, float64; the world is the camera of picture 0, the unit the pairs' mean."""

    c2w: Float[Tensor, "N 4 4"]
    """Camera-to-world, OpenCV axes."""
    focal_px: float
    """Of all pictures, in pixels of the points given (px / stride where they are strided)."""
    focal_spread: float
    """Standard deviation of the pairs' own focal lengths, as a share."""
    confidence: Float[Tensor, "N"]
    """0 (do not use) to 1, of each picture."""
    depth: Float[Tensor, "N H W"]
    """z-depth in each picture's own camera."""
    weights: Float[Tensor, "N H W"]
    """How much was said of each pixel's depth, and agreed: 0 for nothing."""
    points: Float[Tensor, "N H W 3"]
    """In the world."""
    initial_loss: float
    """Mean distance of the pairs' points from the aligned ones, as a share of the scene's depth, weighted by
    ln(confidence), after the spanning tree; 0 is perfect."""
    loss: float
    """The same of the result."""
    converged: bool
    """The optimisation settled within its steps."""
    graph: PoseGraph
    """Of the poses: how the pairs disagree."""


def align(
    pairs: Sequence[tuple[int, int]],
    points_i: Float[Tensor, "E H W 3"],
    points_j: Float[Tensor, "E H W 3"],
    confidence_i: Float[Tensor, "E H W"],
    confidence_j: Float[Tensor, "E H W"],
    *,
    middle_px: tuple[float, float] | None = None,
    focal_px: float | None = None,
) -> Alignment:
    """Align all pictures.

    Args:
        pairs: pictures (i, j) of every pair, numbers from 0 to N - 1, in any order and direction.
        points_i, points_j: of both pictures in camera i.
        confidence_i, confidence_j: above 1.
        middle_px: (x, y) of the optical axis where pixel u, v is at the integers u, v; (W / 2, H / 2) where None.
        focal_px: where it is known; else it is estimated, one for all.

    Raises:
        ValueError: nothing can be aligned: no picture shows its focal length, or pairs do not connect all pictures.
    """
    height, width = confidence_i.shape[1:]
    middle_px = middle_px or (width / 2, height / 2)
    pixels = to_pixels(PairPoints(points_i, points_j, confidence_i, confidence_j))
    scores = pair_scores(pixels)
    focal = SharedFocal(focal_px, 0.0) if focal_px else shared_focal(measure_focals(pixels, middle_px), scores)
    measured = measure_pairs(pairs, pixels, focal.focal_px, middle_px)
    return _aligned(pairs, pixels, measured, focal, middle_px)


def _aligned(
    pairs: Sequence[tuple[int, int]],
    pixels: Pixels,
    measured: Measured,
    focal: SharedFocal,
    middle_px: tuple[float, float],
) -> Alignment:
    pictures = 1 + max(max(pair) for pair in pairs)
    joined = join_depths(measured.views, pictures, len(pairs))
    scores = pair_scores(pixels) * measured.agreed * measured.usable
    relative = in_world_unit(measured.relative, joined.log_scale)
    start = spanning_poses(pairs, relative, scores, pictures)
    typical = float(weighted_median(joined.log_depth.flatten(), joined.weights.flatten()).exp())
    first, second = (torch.tensor(ends, device=start.device) for ends in zip(*pairs, strict=True))
    edges = Relative(first, second, relative[:, :3, :3], relative[:, :3, 3], scores / scores.mean())
    graph = optimise_poses(start, edges, typical)
    offsets = pixel_offsets(pixels.height, pixels.width, middle_px, joined.log_depth).flatten(0, 1)
    rays = torch.nn.functional.pad(offsets / focal.focal_px, (0, 1), value=1.0)
    in_camera = joined.log_depth.exp()[..., None] * rays
    before, after = (_loss(c2w, in_camera, edges, pixels, typical) for c2w in (start, graph.c2w))
    poses = graph.c2w if after <= before else start
    c2w = relative_to(poses, poses[0])
    world = in_camera @ c2w[:, :3, :3].mT + c2w[:, None, :3, 3]
    shape = (pictures, pixels.height, pixels.width)
    return Alignment(
        c2w, focal.focal_px, focal.spread, picture_confidence(graph, edges, measured, pixels, pictures),
        joined.log_depth.exp().view(shape), joined.weights.view(shape), world.view(*shape, 3),
        before, min(before, after), graph.converged, graph,
    )  # fmt: skip


def in_world_unit(relative: Float[Tensor, "E 4 4"], log_scale: Float[Tensor, "E"]) -> Float[Tensor, "E 4 4"]:
    """Relative poses whose translations are brought to the common unit."""
    return assemble(relative[:, :3, :3], relative[:, :3, 3] * log_scale.exp()[:, None])


def _loss(
    c2w: Float[Tensor, "N 4 4"], in_camera: Float[Tensor, "N M 3"], edges: Relative, pixels: Pixels, typical: float
) -> float:
    """DUSt3R's objective with the best similarity for each pair, divided by the scene's depth."""
    world = in_camera @ c2w[:, :3, :3].mT + c2w[:, None, :3, 3]
    total, weight = 0.0, 0.0
    for part in torch.arange(len(edges.first)).split(_AT_ONCE):
        target = torch.cat((world[edges.first[part]], world[edges.second[part]]), dim=1)
        source = torch.cat((pixels.points_i[part], pixels.points_j[part]), dim=1)
        weights = torch.cat((pixels.weights_i[part], pixels.weights_j[part]), dim=1)
        error = (fit_similarity(source, target, weights).apply(source) - target).norm(dim=-1)
        total, weight = total + float((weights * error).sum()), weight + float(weights.sum())
    return total / (weight * typical)
