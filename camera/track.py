"""A camera over time, and its file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from camera.intrinsics import Size, after_resize_crop
from camera.poses import assemble, interpolate_poses, nearest_rotation, neighbours, relative_to
from common.weights import read_metadata, read_tensors, write_tensors

FORMAT_VERSION = "1"
CONVENTION = "opencv_c2w"
SCALES = ("metric", "relative", "unknown")
_OWN_METADATA = ("format_version", "convention", "scale")
_SHAPES = {"times": (), "c2w": (4, 4), "intrinsics": (4,)}
_ORTHONORMAL = 1e-3


@dataclass(frozen=True, eq=False)
class CameraTrack:
    """The camera of a video or clip: one pose, one set of intrinsics and one time per frame.

    Raises ValueError on construction when the shapes disagree, a number is not finite, a rotation is not one
    (to 1e-3), a focal length is not positive or the times do not increase.
    """

    c2w: Float64[Tensor, "F 4 4"]
    """Camera-to-world, OpenCV axes (x right, y down, z forward)."""
    intrinsics: Float64[Tensor, "F 4"]
    """Normalised (fx/W, fy/H, cx/W, cy/H)."""
    times: Float64[Tensor, "F"]
    """Seconds of the video."""
    scale: str = "relative"
    """Unit of the translations: metric (metres), relative (the planner's: about one subject distance), unknown."""

    def __post_init__(self) -> None:
        _check_tensors({"c2w": self.c2w, "intrinsics": self.intrinsics, "times": self.times})
        self._check_values()

    def _check_values(self) -> None:
        rotation = self.c2w[:, :3, :3]
        identity = torch.eye(4, dtype=torch.float64, device=self.c2w.device)
        skew = (rotation.mT @ rotation - identity[:3, :3]).abs().amax(dim=(1, 2))
        x, y, z = rotation.unbind(-1)
        # a triple product: torch's batched determinant costs milliseconds here
        bad = (skew > _ORTHONORMAL) | ((torch.linalg.cross(x, y) * z).sum(-1) < 0)
        bad |= (self.c2w[:, 3] - identity[3]).abs().amax(dim=1) > _ORTHONORMAL
        if bad.any():
            raise ValueError(
                f"c2w: frame {int(bad.nonzero()[0])} is no rigid pose (a rotation of determinant +1, last row 0 0 0 1)"
            )
        if not (self.intrinsics[:, :2] > 0).all():
            raise ValueError("intrinsics: focal lengths must be above 0")
        if not (self.times.diff() > 0).all():
            raise ValueError("times: must increase from frame to frame")
        if self.scale not in SCALES:
            raise ValueError(f"scale: found '{self.scale}', expected one of {', '.join(SCALES)}")

    def __len__(self) -> int:
        return len(self.times)

    def at(self, times: Float[Tensor, "N"] | Sequence[float]) -> "CameraTrack":
        """The camera at other times (s, increasing): SLERP + linear; before the first and after the last it stands."""
        wanted = torch.as_tensor(times, dtype=torch.float64, device=self.times.device)
        before, after, fraction = neighbours(self.times, wanted)
        intrinsics = torch.lerp(self.intrinsics[before], self.intrinsics[after], fraction[:, None])
        return replace(self, c2w=interpolate_poses(self.c2w, self.times, wanted), intrinsics=intrinsics, times=wanted)

    def rebased(self) -> "CameraTrack":
        """The same path in the camera of its first frame, whose pose becomes the identity. Times stay."""
        return replace(self, c2w=relative_to(self.c2w, self.c2w[0]))

    def cropped(self, source_size: Size, target_size: Size) -> "CameraTrack":
        """The camera of the frames after "scale to cover, crop the centre"; sizes are (height, width)."""
        return replace(self, intrinsics=after_resize_crop(self.intrinsics, source_size, target_size))

    def save(self, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
        """Write the track, atomically, as .safetensors: c2w, intrinsics, times in float32, and its metadata.

        Args:
            path: by convention STEM_wan_camera.safetensors in a cache.
            metadata: strings to keep beside the track's own (source, caption, fingerprint ...).
        """
        extra = dict(metadata or {})
        assert not set(extra) & set(_OWN_METADATA), f"the track itself writes {_OWN_METADATA}"
        own = {"format_version": FORMAT_VERSION, "convention": CONVENTION, "scale": self.scale}
        tensors = {"c2w": self.c2w, "intrinsics": self.intrinsics, "times": self.times}
        write_tensors(path, {key: tensor.float() for key, tensor in tensors.items()}, {**extra, **own})

    @classmethod
    def load(cls, path: str | Path) -> "CameraTrack":
        """Read a track that `save` wrote; float32 rotations are brought back onto the rotations.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a camera file of ours; names the file, the key and what to do.
        """
        tensors, metadata = read_tensors(path), read_metadata(path)
        _check_kind(path, tensors, metadata)
        doubled = {key: tensors[key].double() for key in _SHAPES}
        try:
            _check_tensors(doubled)
            read = cls(**doubled, scale=metadata.get("scale", "unknown"))
        except ValueError as error:
            raise ValueError(f"{path}: not a usable camera track. {error}") from None
        rotation, translation = read.c2w[:, :3, :3], read.c2w[:, :3, 3]
        return replace(read, c2w=assemble(nearest_rotation(rotation), translation))


def _check_tensors(tensors: Mapping[str, Tensor]) -> None:
    frames = tensors["times"].shape[:1]
    for name, shape in _SHAPES.items():
        tensor = tensors[name]
        if tensor.ndim != 1 + len(shape) or tensor.shape != (*frames, *shape) or tensor.numel() == 0:
            expected = ", ".join(map(str, ("F", *shape)))
            raise ValueError(f"{name}: expected [{expected}], one F >= 1 for all keys, found {list(tensor.shape)}")
        if tensor.dtype != torch.float64:
            raise ValueError(f"{name}: expected float64, found {tensor.dtype}")
        if not tensor.isfinite().all():
            raise ValueError(f"{name}: holds NaN or infinity")


def _check_kind(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Refuse, with what it is and what to do, a file that does not hold a track of this version and convention."""
    if "extrinsics" in tensors and "c2w" not in tensors:
        raise ValueError(
            f"{path}: a camera cache of the OmniCam-Wan fork (keys intrinsics, extrinsics). It does not say in which "
            "axes its poses are and it has no times, so it is not used; write the cache again from the captions "
            "with wan_cache_camera_encoder_outputs.py"
        )
    missing = [key for key in _SHAPES if key not in tensors]
    if missing:
        found = ", ".join(sorted(tensors)[:5]) or "none"
        raise ValueError(f"{path}: not a camera track: no key {', '.join(missing)} (keys found: {found})")
    expected = {"format_version": FORMAT_VERSION, "convention": CONVENTION}
    for key, value in expected.items():
        if metadata.get(key) != value:
            raise ValueError(f"{path}: metadata {key} is {metadata.get(key)!r}, expected {value!r}; write it again")
