"""A camera over time, and its file."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from camera.intrinsics import Size, after_flip, after_quarter_turns, after_resize_crop
from camera.poses import assemble, interpolate_poses, mirror, nearest_rotation, relative_to, turn
from camera.smoothing import smooth_poses
from camera.splines import neighbours
from common.weights import read_metadata, read_tensors, write_tensors

FORMAT_VERSION = "1"
CONVENTION = "opencv_c2w"
SCALES = ("metric", "relative", "unknown")
_OWN_METADATA = ("format_version", "convention", "scale")
_SHAPES = {"times": (), "c2w": (4, 4), "intrinsics": (4,)}
_ORTHONORMAL = 1e-3
# of a frame: how far the last one may lie after the end of the track, since 80 / 16 * 16 is not always 80
_FRAME_ROUNDING = 1e-6


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

    def at(
        self, times: Float[Tensor, "N"] | Sequence[float], path: str = "linear", outside: str = "hold"
    ) -> "CameraTrack":
        """The camera at other times (s, increasing).

        Args:
            times: seconds.
            path: between frames, one of `camera.poses.PATHS`: SLERP + "linear", SLERP + "cubic", or "screw".
                Intrinsics are always linear.
            outside: before the first and after the last frame, the camera stands ("hold") or goes on
                ("extrapolate"); its intrinsics stay in both cases.

        Raises:
            ValueError: an unknown word, or times that do not increase.
        """
        wanted = torch.as_tensor(times, dtype=torch.float64, device=self.times.device)
        before, after, fraction = neighbours(self.times, wanted)
        intrinsics = torch.lerp(self.intrinsics[before], self.intrinsics[after], fraction.clamp(0, 1)[:, None])
        poses = interpolate_poses(self.c2w, self.times, wanted, path, outside)
        return replace(self, c2w=poses, intrinsics=intrinsics, times=wanted)

    def resampled(self, fps: float | None = None, frames: int | None = None, path: str = "linear") -> "CameraTrack":
        """The same path in even steps of time from the first frame on.

        Args:
            fps: frames per second; the last frame is the last that the track reaches.
            frames: their number, spread from the first to the last time. One of the two is given.
            path: as in `at`.

        Raises:
            ValueError: both or none is given, or it is not above 0.
        """
        if (fps is None) == (frames is None):
            raise ValueError(f"fps {fps}, frames {frames}: expected one of the two")
        first, last = self.times[0], self.times[-1]
        if frames is not None:
            if frames < 1:
                raise ValueError(f"frames {frames}: expected 1 or more")
            share = torch.linspace(0, 1, frames, dtype=torch.float64, device=self.times.device)
            return self.at(torch.lerp(first, last, share), path)
        if fps is None or not 0 < fps < math.inf:
            raise ValueError(f"fps {fps}: expected a number above 0")
        count = math.floor(float(last - first) * fps + _FRAME_ROUNDING) + 1
        return self.at(first + torch.arange(count, dtype=torch.float64, device=self.times.device) / fps, path)

    def rebased(self, frame: int = 0) -> "CameraTrack":
        """The same path in the camera of one of its frames, whose pose becomes the identity. Times stay.

        Args:
            frame: its index, negative from the end.
        """
        if not -len(self) <= frame < len(self):
            raise ValueError(f"frame {frame}: the track has {len(self)} frames")
        return replace(self, c2w=relative_to(self.c2w, self.c2w[frame]))

    def smoothed(self, seconds: float, method: str = "gaussian") -> "CameraTrack":
        """The path without its trembling; first and last pose stay. See `camera.smoothing.smooth_poses`."""
        return replace(self, c2w=smooth_poses(self.c2w, self.times, seconds, method))

    def scaled(self, factor: float) -> "CameraTrack":
        """The same path with all translations `factor` times as large (above 0). Its unit stays."""
        if not 0 < factor < math.inf:
            raise ValueError(f"factor {factor}: expected a number above 0")
        return replace(self, c2w=assemble(self.c2w[:, :3, :3], self.c2w[:, :3, 3] * factor))

    def in_metres(self, length: float, metres: float) -> "CameraTrack":
        """The same path in metres, given one distance both in the track's unit and in metres (above 0)."""
        if not (0 < length < math.inf and 0 < metres < math.inf):
            raise ValueError(f"length {length} and metres {metres}: expected numbers above 0")
        return replace(self.scaled(metres / length), scale="metric")

    def cut(self, start: int = 0, stop: int | None = None) -> "CameraTrack":
        """Frames `start` up to `stop` (exclusive; None for the end), as they are: poses and times stay."""
        stop = len(self) if stop is None else stop
        if not 0 <= start < stop <= len(self):
            raise ValueError(f"frames {start} to {stop}: the track has {len(self)} frames, and 1 or more must stay")
        part = slice(start, stop)
        return replace(self, c2w=self.c2w[part], intrinsics=self.intrinsics[part], times=self.times[part])

    def reversed(self) -> "CameraTrack":
        """The video played backward: from the last pose to the first, within the same times."""
        times = (self.times[0] + self.times[-1]) - self.times.flip(0)
        return replace(self, c2w=self.c2w.flip(0), intrinsics=self.intrinsics.flip(0), times=times)

    def followed_by(self, other: "CameraTrack") -> "CameraTrack":
        """This path, and then the other one from where this one ends: F1 + F2 - 1 frames.

        The last frame of this track and the first of the other are one; the other is moved to its pose and time.

        Raises:
            ValueError: their translations are in different units.
        """
        if self.scale != other.scale:
            raise ValueError(
                f"a track of scale '{self.scale}' followed by one of scale '{other.scale}': expected the same unit"
            )
        moved = self.c2w[-1] @ relative_to(other.c2w[1:], other.c2w[0])
        times = self.times[-1] + (other.times[1:] - other.times[0])
        return replace(
            self,
            c2w=torch.cat((self.c2w, moved)),
            intrinsics=torch.cat((self.intrinsics, other.intrinsics[1:])),
            times=torch.cat((self.times, times)),
        )

    def mirrored(self) -> "CameraTrack":
        """The camera of the horizontally flipped video: a move to the right becomes one to the left."""
        return replace(self, c2w=mirror(self.c2w), intrinsics=after_flip(self.intrinsics))

    def quarter_turned(self, turns: int) -> "CameraTrack":
        """The camera of the video turned clockwise by `turns` times 90 degrees (a phone held upright).

        The camera's axes turn with its picture, the world stays: `rebased` makes frame 0 the identity again.
        """
        turned = turn(torch.tensor([0.0, 0.0, -math.pi / 2 * (turns % 4)], dtype=torch.float64)).round()
        axes = assemble(turned, torch.zeros(3, dtype=torch.float64)).to(self.c2w.device)
        return replace(self, c2w=self.c2w @ axes, intrinsics=after_quarter_turns(self.intrinsics, turns))

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
