"""The lens of a picture or a video, from the points that DUSt3R sees in it."""

from collections.abc import Callable

import torch
from jaxtyping import Float64
from torch import Tensor

from Dust3rP.estimate import Lens, VideoFrames
from Dust3rP.focal import focal_confidence, implausible, shared_focal
from Dust3rP.measuring import measure_focals, pair_scores, to_pixels
from Dust3rP.pairs import PairSource

_PIXELS = 2304
"""About as many pixels of a picture are used: 512 x 288 at stride 8."""
_PICTURES = 17
"""Of a longer video about as many pictures are asked for their focal length."""
_ALONE = 0.5
"""Confidence of a focal length that one picture gives alone, at most."""


def estimate_intrinsics(
    images: VideoFrames, open_pairs: Callable[[VideoFrames], PairSource], shared: bool = True
) -> Lens:
    """The intrinsics of one picture (paired with itself) or of the pictures of a video.

    Args:
        images: one picture or more.
        open_pairs: gives the points of pairs of them (`Dust3rP.features.NetworkPairs` behind a loaded network).
        shared: one lens for all; else one for each picture.

    Raises:
        ValueError: no picture shows its focal length.
    """
    source = open_pairs(images)
    return lens_of(source, shared)


def lens_of(source: PairSource, shared: bool = True) -> Lens:
    """The intrinsics of the pictures of a source, as `estimate_intrinsics`."""
    count = len(source)
    stride = pixel_stride(source.size)
    chosen = list(range(count)) if not shared else _spread(count)
    pairs = [(0, 0)] if count == 1 else [pair for k in chosen for pair in _with_neighbours(k, count)]
    pixels = to_pixels(source.points(pairs, stride))
    middle_px = strided_middle(source, stride)
    focals, scores = measure_focals(pixels, middle_px), pair_scores(pixels)
    together = shared_focal(focals, scores)
    confidence = _confidence(float(pixels.weights_i.mean()), together.spread, len(pairs))
    remark = implausible(together.focal_px * stride, source.size)
    remarks = (remark,) if remark else ()
    if shared:
        return Lens(source_intrinsics(source, together.focal_px * stride), confidence if not remark else 0.0, remarks)
    firsts = torch.tensor([i for i, _ in pairs], device=focals.device)
    own = [shared_focal(focals[firsts == k], scores[firsts == k]).focal_px * stride for k in range(count)]
    return Lens(torch.stack([source_intrinsics(source, one) for one in own]), confidence, remarks)


def source_intrinsics(
    source: PairSource, focal_px: float, middle_px: tuple[float, float] | None = None
) -> Float64[Tensor, "4"]:
    """Normalised intrinsics of the source picture.

    Args:
        source: of the network's pictures.
        focal_px: in pixels of these, unstrided.
        middle_px: their optical axis in whole-pixel coordinates; the middle where None.
    """
    height, width = source.size
    x, y = (0.0, 0.0) if middle_px is None else (a - b for a, b in zip(middle_px, source.middle_px, strict=True))
    lens = [focal_px / width, focal_px / height, 0.5 + x / width, 0.5 + y / height]
    return source.crop.to_source(torch.tensor(lens, dtype=torch.float64))


def network_lens(source: PairSource, intrinsics: Float64[Tensor, "4"]) -> tuple[float, tuple[float, float]]:
    """Focal length (px) and optical axis (`middle_px`) in the network's pictures, of intrinsics of the source.

    The network's pictures have square pixels but for rounding: the focal length is the mean of both directions.
    """
    height, width = source.size
    fx, fy, cx, cy = source.crop.of_source(intrinsics).tolist()
    axis = (source.middle_px[0] + (cx - 0.5) * width, source.middle_px[1] + (cy - 0.5) * height)
    return (fx * width + fy * height) / 2, axis


def pixel_stride(size: tuple[int, int], pixels: int = _PIXELS) -> int:
    """The stride at which a picture of `size` (height, width) has about `pixels` pixels."""
    return max(1, round((size[0] * size[1] / pixels) ** 0.5))


def strided_middle(source: PairSource, stride: int) -> tuple[float, float]:
    """`PairSource.middle_px` in coordinates of the strided pixels."""
    return source.middle_px[0] / stride, source.middle_px[1] / stride


def _spread(count: int) -> list[int]:
    """Up to _PICTURES indices, evenly spread."""
    return sorted({round(k * (count - 1) / max(1, _PICTURES - 1)) for k in range(_PICTURES)})


def _with_neighbours(frame: int, count: int) -> list[tuple[int, int]]:
    """Pairs of a frame with others at about a sixteenth of the video's length before and after it."""
    step = max(1, count // _PICTURES)
    return [(frame, other) for other in (frame - step, frame + step) if 0 <= other < count]


def _confidence(weight: float, spread: float, pairs: int) -> float:
    """0 to 1: how sure the network is, and how well the pictures agree; one alone cannot disagree."""
    sure = 1 - float(torch.exp(torch.tensor(-weight)))
    return sure * (_ALONE if pairs == 1 else focal_confidence(spread))
