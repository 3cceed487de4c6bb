"""The OmniCam data sets of the hub: names, repositories, and what their dataset.toml begins with.

Names and addresses: README of Yangxiaoda1/OmniCam-Wan2. Sizes and lengths: dataset-toml/OmniCam-Sep.toml (1024x576, 21
frames) and OmniCam-Uni.toml there, of whose three sources the shortest clips are 77 frames.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class OmniCamSet:
    """One data set."""

    name: str
    """Of the repository, and of its folder here."""
    resolution: tuple[int, int]
    """(width, height) that it is trained at."""
    target_frames: int
    """Frames that it is trained with."""

    @property
    def repo(self) -> str:
        """OWNER/NAME on the hub."""
        return f"yangxiaoda/{self.name}"


SETS = {
    each.name: each
    for each in (
        OmniCamSet("OmniCam-Sep-1-OpenSoraPlan", (1024, 576), 21),
        OmniCamSet("OmniCam-Sep-2-Simple", (1024, 576), 21),
        OmniCamSet("OmniCam-Sep-3-ImageNet", (1024, 576), 21),
        OmniCamSet("OmniCam-Sep-3-CO3D", (1024, 576), 21),
        OmniCamSet("OmniCam-Uni-4-RealCam", (960, 544), 77),
    )
}
"""By name."""
