"""The camera files of the OmniCam-Wan fork: safetensors with `intrinsics` [4] and `extrinsics` [T,4,4].

Neither axes nor times are in the file, and its two writers differ (Yangxiaoda1/OmniCam-Wan2,
wan_cache_camera_encoder_outputs.py): from a caption with tags, `generate_traj_txt` writes world-to-camera in PyTorch3D
axes at 8 poses a second; for a caption with `#trajectory {file}` the file of RealCam-Vid is passed through, which is
world-to-camera in OpenCV axes (ZGCTroy/RealCam-Vid, README). So the user has to say which. Older files hold
`extrinsics` [1,T,12], 9 numbers of the rotation, row by row, and 3 of the translation. Intrinsics are normalised.
"""

from pathlib import Path

from jaxtyping import Float64
from torch import Tensor

from camera.conventions import from_opencv_c2w
from camera.formats.core import Format, RawTrack, Request
from camera.formats.losses import one_lens
from camera.formats.sample import Sample
from camera.intrinsics import Size
from camera.poses import assemble
from camera.track import CameraTrack
from common.weights import read_tensors, write_tensors

PLANNER_CONVENTION = "pytorch3d_w2c"
PLANNER_FPS = 8.0
_KEYS = {"intrinsics", "extrinsics"}
_ASIDE = 1e-4


def _recognise(sample: Sample) -> str | None:
    if set(sample.names) >= _KEYS and sample.path.suffix == ".safetensors" and "c2w" not in sample.names:
        return "keys intrinsics and extrinsics, as in the caches of the OmniCam-Wan fork"
    return None


def read_fork(path: Path, request: Request) -> RawTrack:
    """Read a camera file of the fork; its convention stays open unless the request states it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, or other keys or shapes; names file and key.
    """
    tensors = read_tensors(path)
    missing = sorted(_KEYS - set(tensors))
    if missing:
        found = ", ".join(sorted(tensors)[:5]) or "none"
        raise ValueError(f"{path}: not a camera file of the OmniCam-Wan fork: no key {', '.join(missing)} ({found})")
    matrices = _matrices(tensors["extrinsics"], path)
    intrinsics = tensors["intrinsics"]
    if intrinsics.numel() != 4 or not intrinsics.is_floating_point():
        raise ValueError(f"{path}: intrinsics: expected [4] (fx/W, fy/H, cx/W, cy/H), found {list(intrinsics.shape)}")
    planned = request.convention == PLANNER_CONVENTION
    return RawTrack(
        matrices,
        convention=None,
        candidates=(PLANNER_CONVENTION, "opencv_w2c"),
        evidence=_evidence(matrices),
        intrinsics=intrinsics.double().reshape(1, 4).expand(len(matrices), 4).clone(),
        fps=PLANNER_FPS if planned else None,
        scale="relative" if planned else "unknown",
        notes=("the fork's planner wrote 8 poses a second",) if planned and request.fps is None else (),
    )


def write_fork(track: CameraTrack, path: Path, size: Size | None) -> None:
    """Write a track as the fork's `#trajectory` files are: w2c in OpenCV axes, one lens, float32.

    Raises:
        ValueError: the lens changes.
    """
    lens = one_lens(track, path)
    w2c = from_opencv_c2w(track.c2w, "opencv_w2c")
    write_tensors(path, {"intrinsics": lens.float(), "extrinsics": w2c.float()})


def _matrices(extrinsics: Tensor, path: Path) -> Float64[Tensor, "T 4 4"]:
    shape = extrinsics.shape
    if extrinsics.is_floating_point() and len(shape) == 3 and shape[1:] == (4, 4):
        return extrinsics.double()
    if extrinsics.is_floating_point() and len(shape) == 3 and shape[0] == 1 and shape[2] == 12:
        rows = extrinsics[0].double()
        return assemble(rows[:, :9].unflatten(-1, (3, 3)), rows[:, 9:])
    raise ValueError(
        f"{path}: extrinsics: expected floats [T, 4, 4] or [1, T, 12], found {extrinsics.dtype} {list(shape)}"
    )


def _evidence(w2c: Float64[Tensor, "T 4 4"]) -> str:
    """What the translations say: those of the fork's planner have no x, since it only orbits, nears and leaves.

    An orbit that looks at its centre sees the centre always at the same place, so its w2c translation is constant.
    """
    translation = w2c[:, :3, 3]
    if not len(translation) or not translation.isfinite().all():
        return ""
    aside, reach = float(translation[:, 0].abs().max()), float(translation.abs().max())
    if aside >= _ASIDE * reach:
        return f"the translations have an x, up to {aside:.3g}, which files of the fork's planner do not have"
    still = bool((translation - translation[0]).abs().max() < _ASIDE * reach)
    what = "the translation is constant" if still else "no translation has an x"
    return f"{what}, as in files of the fork's planner ({PLANNER_CONVENTION})"


FORMATS = (
    Format(
        "fork",
        "OmniCam-Wan fork (.safetensors): w2c, PyTorch3D or OpenCV axes by --convention; one normalised lens",
        _recognise,
        read_fork,
        write_fork,
        precision=3e-6,
        lens="constant",
        holds_times=False,
        scale="unknown",
    ),
)
