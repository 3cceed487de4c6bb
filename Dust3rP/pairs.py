"""What the alignment is given of pairs of pictures, whoever computes it: DUSt3R's network, or a renderer in tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from jaxtyping import Float, Float32
from torch import Tensor

from camera.intrinsics import Size, after_crop


class PairPoints(NamedTuple):
    """What two pictures of each pair show, pixel by pixel, in the camera of the first (OpenCV axes).

    Every pair has a scale of its own. H, W: pixels of the network's pictures, every `stride`-th of them.
    """

    points_i: Float32[Tensor, "E H W 3"]
    """Points of picture i in camera i."""
    points_j: Float32[Tensor, "E H W 3"]
    """Points of picture j in camera i."""
    confidence_i: Float32[Tensor, "E H W"]
    """Of points_i, above 1 (DUSt3R's 1 + exp)."""
    confidence_j: Float32[Tensor, "E H W"]
    """Of points_j, above 1."""


@dataclass(frozen=True)
class PictureCrop:
    """How the network's pictures follow from the source's: scaled, then a rectangle cut out. Sizes (height, width)."""

    scaled_size: Size
    """The whole source picture after scaling; its sides are rounded, so x and y have scales of their own."""
    corner: tuple[int, int]
    """(top, left) pixel of the rectangle in the scaled picture."""
    size: Size
    """The rectangle: the network's picture."""

    def of_source(self, intrinsics: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
        """Normalised intrinsics of the network's picture from those of the source picture."""
        return after_crop(intrinsics, self.scaled_size, self.corner, self.size)

    def to_source(self, intrinsics: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
        """The inverse of `of_source`."""
        top, left = self.corner
        return after_crop(intrinsics, self.size, (-top, -left), self.scaled_size)


class PairSource(Protocol):
    """Points of any pairs of the F pictures of a video; pictures are encoded once, pairs decoded when asked for."""

    @property
    def size(self) -> Size:
        """(height, width) of the pictures that the network saw."""
        ...

    @property
    def middle_px(self) -> tuple[float, float]:
        """(x, y) of the picture's middle where pixel u, v is at the integers u, v.

        DUSt3R learnt points with the optical axis at (W/2, H/2) of such coordinates; a renderer whose rays pass the
        centres of pixels has ((W-1)/2, (H-1)/2).
        """
        ...

    @property
    def crop(self) -> PictureCrop:
        """How those pictures follow from the source's."""
        ...

    def __len__(self) -> int:
        """Number of pictures F."""
        ...

    def points(self, pairs: Sequence[tuple[int, int]], stride: int = 1) -> PairPoints:
        """Points of E ordered pairs (i, j) of indices of pictures, i != j except for a single picture.

        Args:
            pairs: the pairs, E >= 1.
            stride: every stride-th pixel of rows and columns, from pixel 0 on.
        """
        ...
