"""DUSt3R: two pictures to the points that their pixels show, both in the first one's camera.

Source: Wang et al., "DUSt3R: Geometric 3D Vision Made Easy" (CVPR 2024), figure 2. Written from published facts; no
code of the authors, which like their weights is under CC BY-NC-SA 4.0 (not for commercial use), is in here.
"""

import torch
from torch import Tensor, nn

from Dust3rP.config import Dust3RConfig
from Dust3rP.decoder import Decoders, Encoder, Features
from Dust3rP.heads import PointMap, make_head


class Dust3R(nn.Module):
    """One encoder, two decoders that look at each other, two heads."""

    def __init__(self, config: Dust3RConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoders = Decoders(config)
        self.head1 = make_head(config)
        self.head2 = make_head(config)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.decoders.embed.weight.device

    def forward(self, image1: Tensor, image2: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Points of both pictures in the camera of the first: x right, y down, z forward, in a unit of the pair's own.

        Args:
            image1: [B, 3, H, W] in [-1, 1]; sides are multiples of 16.
            image2: [B, 3, H2, W2] in [-1, 1]; may have another size.

        Returns:
            (points1 [B, H, W, 3], confidence1 [B, H, W], points2_in_1 [B, H2, W2, 3], confidence2 [B, H2, W2]), in
            float32 (float64 where the weights are); confidences are above 1.

        Raises:
            ValueError: a picture has another shape.
        """
        first, second = self.decode(self.encode(image1), self.encode(image2))
        return first.points, first.confidence, second.points, second.confidence

    def encode(self, images: Tensor) -> Features:
        """Features of pictures [B, 3, H, W] in [-1, 1]; they serve in every pair that the pictures are part of."""
        return self.encoder(images)

    def decode(self, features1: Features, features2: Features, stride: int = 1) -> tuple[PointMap, PointMap]:
        """Every `stride`-th pixel's point, from pixel 0 on, of both pictures of B pairs."""
        levels1, levels2 = self.decoders(features1, features2)
        return self.head1(levels1, features1.grid, stride), self.head2(levels2, features2.grid, stride)
