"""The network as a source of point maps for the alignment: every picture encoded once, pairs decoded when asked for."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from camera.intrinsics import Size
from common.progress import progress
from Dust3rP.decoder import Features
from Dust3rP.estimate import VideoFrames
from Dust3rP.images import crop_pictures, picture_crop, to_input
from Dust3rP.model import Dust3R
from Dust3rP.pairs import PairPoints, PictureCrop

# pixels of the pictures, or of the first pictures of the pairs, that are worked on at once: 32 of 512x288 on a GPU,
# where the largest map of a head takes 75 MB each; two on a CPU, so that the bar moves
_PIXELS_AT_ONCE = {"cuda": 32 * 512 * 288, "cpu": 2 * 512 * 288}


class NetworkPairs:
    """Point maps of pairs of a video's pictures (`Dust3rP.pairs.PairSource`).

    Features stay on the network's device: 1.2 MB a picture of 512x288 in bfloat16, twice that in float32.

    Args:
        network: a DUSt3R.
        video: its pictures; one is enough.
        resolution: 512 or 224; None is the network's own.

    Raises:
        ValueError: the pictures are too narrow for the network.
    """

    def __init__(self, network: Dust3R, video: VideoFrames, resolution: int | None = None) -> None:
        self.network = network
        try:
            self._crop = picture_crop(
                (video.frames.shape[1], video.frames.shape[2]),
                network.config.resolution if resolution is None else resolution,
            )
        except ValueError as error:
            raise ValueError(f"{video.name}: {error}") from None
        self._tokens, self._grid = self._encode(video)

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._tokens)

    @property
    def size(self) -> Size:
        """(height, width) of the pictures that the network saw."""
        return self._crop.size

    @property
    def middle_px(self) -> tuple[float, float]:
        """(x, y) of the optical axis where pixels are at integers: W/2, H/2, which DUSt3R was taught."""
        height, width = self.size
        return width / 2, height / 2

    @property
    def crop(self) -> PictureCrop:
        """How those pictures follow from the video's."""
        return self._crop

    @torch.no_grad()
    def points(self, pairs: Sequence[tuple[int, int]], stride: int = 1) -> PairPoints:
        """Point maps of E ordered pairs of indices of pictures, float32 on the network's device.

        Decoded in pieces; beside them only what is returned is kept: 32 bytes a pair and pixel.

        Args:
            pairs: (i, j), E >= 1; i = j for a single picture.
            stride: every `stride`-th pixel of rows and columns, from pixel 0 on; the others are not computed.
        """
        assert pairs and stride >= 1, "at least one pair, and a stride of 1 or more"
        assert all(0 <= n < len(self) for pair in pairs for n in pair), "an index of no picture"
        parts = []
        for start, stop in self._pieces(len(pairs), "decoding pairs", "pair"):
            first, second = (
                Features(self._tokens[list(numbers)], self._grid) for numbers in zip(*pairs[start:stop], strict=True)
            )
            (points_i, confidence_i), (points_j, confidence_j) = self.network.decode(first, second, stride)
            parts.append((points_i, points_j, confidence_i, confidence_j))
        return PairPoints(*(torch.cat(maps).float() for maps in zip(*parts, strict=True)))

    @torch.no_grad()
    def _encode(self, video: VideoFrames) -> tuple[Tensor, tuple[int, int]]:
        """Tokens [F, L, C] of all pictures, and their grid."""
        parts, grid = [], (0, 0)
        for start, stop in self._pieces(len(video), "encoding pictures", "picture"):
            pictures = crop_pictures(video.frames[start:stop], self._crop)
            tokens, grid = self.network.encode(to_input(pictures, self.network.device))
            parts.append(tokens)
        return torch.cat(parts), grid

    def _pieces(self, count: int, desc: str, unit: str) -> Iterator[tuple[int, int]]:
        """Runs [start, stop) of `count` that are worked on at once, under a progress bar where that takes long."""
        height, width = self.size
        device = self.network.device.type
        step = max(1, _PIXELS_AT_ONCE.get(device, _PIXELS_AT_ONCE["cpu"]) // (height * width))
        with progress(count, desc, unit=unit, disable=device != "cpu" or count <= step) as bar:
            for start in range(0, count, step):
                stop = min(start + step, count)
                yield start, stop
                bar.update(stop - start)
