"""Where every picture stands, from the strongest pairs that connect them all."""

import heapq
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from camera.poses import invert


def spanning_poses(
    pairs: Sequence[tuple[int, int]], relative: Float[Tensor, "E 4 4"], scores: Float[Tensor, "E"], pictures: int
) -> Float[Tensor, "N 4 4"]:
    """Poses c2w of all pictures along the spanning tree of the largest scores (Prim 1957), picture 0 the identity.

    A tree of pairs that all go by the pair itself, in either direction: a picture that is never the first of a pair
    needs nothing else, and none is ever left at the identity for want of an answer.

    Args:
        pairs: pictures (i, j), in any order and direction.
        relative: of each pair, camera j in camera i, all in one unit.
        scores: of each pair; those of 0 or less are not used.
        pictures: their number N.

    Raises:
        ValueError: the pairs do not connect all pictures; names those that are out of reach.
    """
    neighbours: list[list[tuple[float, int, int]]] = [[] for _ in range(pictures)]
    for edge, ((i, j), score) in enumerate(zip(pairs, scores.tolist(), strict=True)):
        if score > 0 and i != j:
            neighbours[i].append((-score, edge, j))
            neighbours[j].append((-score, edge, i))
    backward = invert(relative)
    poses: dict[int, Tensor] = {0: torch.eye(4, dtype=relative.dtype, device=relative.device)}
    waiting = [(*one, 0) for one in neighbours[0]]
    heapq.heapify(waiting)
    while waiting:
        _, edge, picture, parent = heapq.heappop(waiting)
        if picture in poses:
            continue
        forward = pairs[edge][0] == parent
        poses[picture] = poses[parent] @ (relative[edge] if forward else backward[edge])
        for one in neighbours[picture]:
            heapq.heappush(waiting, (*one, picture))
    lost = [picture for picture in range(pictures) if picture not in poses]
    if lost:
        raise ValueError(
            f"picture {lost[0]} (and {len(lost) - 1} more) of {pictures} has no usable pair with the others: nothing "
            "that the pictures have in common was found; the video may have a cut in it"
        )
    return torch.stack([poses[picture] for picture in range(pictures)])
