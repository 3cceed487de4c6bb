"""How far an estimated camera path is from the true one, by the protocols of `camera.protocols`.

Paths are c2w [F,4,4], float64, OpenCV axes, frame by frame the same times; each is first made relative to its own
frame 0. A metric that the path leaves undefined (a translation error where the true camera only turns) is NaN, and
`evaluate` says why: the published codes divide by the true length and return a number that means nothing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from camera.alignment import Alignment, align, fitted_scale
from camera.poses import assemble, invert, relative_to, rotation_angle
from camera.protocols import PROTOCOLS, Protocol

MIN_TRAVEL = 1e-3
"""A camera whose centres stay within this share of the scene's depth does not translate, as far as metrics go."""
_ROUNDING_DEG = 1e-9

Path = Float[Tensor, "F 4 4"]
"""A camera path: c2w, one pose per frame; float32 is taken too and made float64."""
Estimate = Float[Tensor, "E 4 4"]
"""A path whose length is yet to be compared with the true one's."""


@dataclass(frozen=True)
class Report:
    """All metrics of one protocol for one pair of paths. Values of two protocols are never compared."""

    protocol: Protocol
    frames: int
    """Frames measured, after the protocol's sampling."""
    values: dict[str, float]
    """By the names of `Protocol.metrics`; NaN where undefined."""
    units: dict[str, str]
    """"rad", "deg", "unit" (that of the true path), "" (a number without unit)."""
    reasons: dict[str, str]
    """Why a value is NaN, or what to know about it; by name of the metric."""


def rotation_error(estimated: Estimate, true: Path, protocol: Protocol | str) -> float:
    """RotErr: sum or mean of the angles between the estimated and the true rotation, in the protocol's unit."""
    return _value("RotErr", estimated, true, protocol)


def translation_error(estimated: Estimate, true: Path, protocol: Protocol | str) -> float:
    """TransErr: sum or mean of |t_estimated - t_true| after the protocol's scaling; NaN when the truth stands still."""
    return _value("TransErr", estimated, true, protocol)


def cam_mc(estimated: Estimate, true: Path, protocol: Protocol | str) -> float:
    """CamMC: sum or mean of the Frobenius norms of [R|t]_estimated - [R|t]_true, scaled as TransErr; NaN as there."""
    return _value("CamMC", estimated, true, protocol)


def ate(estimated: Estimate, true: Path, protocol: Protocol | str) -> float:
    """ATE: root mean square distance of the centres after the protocol's alignment; unit of the true path."""
    return _value("ATE", estimated, true, protocol)


def rpe(estimated: Estimate, true: Path, protocol: Protocol | str) -> float:
    """RPE_t: root mean square translation of the error of the relative pose of frames i and i + delta, after alignment.

    The error of a pair is inverse(true relative pose) @ estimated relative pose (Sturm et al. 2012); all pairs count.
    """
    return _value("RPE_t", estimated, true, protocol)


def rpe_rotation(estimated: Estimate, true: Path, protocol: Protocol | str) -> float:
    """RPE_r: root mean square angle, in degrees, of the same errors as `rpe`."""
    return _value("RPE_r", estimated, true, protocol)


def auc(estimated: Estimate, true: Path, threshold_deg: int, protocol: Protocol | str = "auc") -> float:
    """AUC@threshold (3, 10 or 30 degrees), 0 to 1, higher is better: see `camera.protocols.AUC`."""
    return _value(f"AUC@{threshold_deg}", estimated, true, protocol)


def evaluate(estimated: Estimate, true: Path, protocol: Protocol | str) -> Report:
    """Every metric of the protocol, with units, and reasons where a value is undefined.

    Raises:
        ValueError: the paths differ in length, have fewer than 2 frames or are not finite; unknown protocol.
    """
    chosen = find_protocol(protocol)
    pair = _prepare(estimated, true, chosen)
    values, reasons = {}, {}
    for name in chosen.metrics:
        values[name], reason = _METRICS[name](pair)
        if reason:
            reasons[name] = reason
    units = {name: _unit(name, chosen) for name in chosen.metrics}
    return Report(chosen, len(pair.true), values, units, reasons)


def find_protocol(protocol: Protocol | str) -> Protocol:
    """The protocol itself, or the one of that name. Raises ValueError with the names there are."""
    if isinstance(protocol, Protocol):
        return protocol
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol '{protocol}': expected one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[protocol]


@dataclass(frozen=True, eq=False)
class _Pair:
    """Both paths, sampled, relative to frame 0 and with their depth scales."""

    estimated: Path
    true: Path
    protocol: Protocol

    @property
    def still(self) -> str:
        """Why translations of this pair mean nothing, or ""."""
        limit = MIN_TRAVEL * self.protocol.scene_depth
        travel = _reach(self.true)
        if travel >= limit:
            return ""
        return (
            f"the true camera does not travel: {travel:.2g} at most, below {MIN_TRAVEL:g} of the scene's depth "
            f"({self.protocol.scene_depth:g})"
        )


def _prepare(estimated: Estimate, true: Path, protocol: Protocol) -> _Pair:
    for name, path in (("estimated", estimated), ("true", true)):
        if path.ndim != 3 or path.shape[1:] != (4, 4) or len(path) < 2:
            raise ValueError(f"{name} path: expected c2w [F,4,4] of 2 frames or more, found {list(path.shape)}")
        if not path.isfinite().all():
            raise ValueError(f"{name} path: holds NaN or infinity")
    if len(estimated) != len(true):
        raise ValueError(
            f"the estimated path has {len(estimated)} frames, the true one {len(true)}: bring both to the same times "
            "first (CameraTrack.at)"
        )
    count = min(protocol.frames or len(true), len(true))
    picked = torch.linspace(0, len(true) - 1, count, dtype=torch.float64).round().long()
    return _Pair(
        _scaled(relative_to(estimated.double(), estimated[0].double())[picked], protocol.estimated_depth_scale),
        _scaled(relative_to(true.double(), true[0].double())[picked], protocol.true_depth_scale),
        protocol,
    )


def _value(name: str, estimated: Estimate, true: Path, protocol: Protocol | str) -> float:
    chosen = find_protocol(protocol)
    if name not in chosen.metrics:
        able = [other.name for other in PROTOCOLS.values() if name in other.metrics]
        raise ValueError(
            f"protocol {chosen.name} has no {name}: it defines {', '.join(chosen.metrics)}; "
            f"{name} belongs to {', '.join(able) or 'no protocol'}"
        )
    return _METRICS[name](_prepare(estimated, true, chosen))[0]


def _unit(name: str, protocol: Protocol) -> str:
    if name == "RotErr":
        return protocol.angle
    if name == "RPE_r":
        return "deg"
    if name == "CamMC" or name.startswith("AUC") or (name == "TransErr" and "max" in protocol.scaling):
        return ""
    return "unit"


def _scaled(path: Path, scale: float) -> Path:
    return assemble(path[:, :3, :3], path[:, :3, 3] * scale)


def _reach(path: Path) -> float:
    """The largest distance from frame 0's centre."""
    return float(path[:, :3, 3].norm(dim=1).max())


def _reduced(errors: Float64[Tensor, "F"], protocol: Protocol) -> float:
    """Sum over frames, or mean over those after frame 0, whose error is 0 by construction."""
    total = float(errors.sum())
    return total if protocol.reduction == "sum" else total / (len(errors) - 1)


def _normalised(pair: _Pair) -> tuple[Path, Path]:
    """The estimate and the truth as `Protocol.scaling` wants them; the truth is known to travel."""
    estimated, true = pair.estimated, pair.true
    if pair.protocol.scaling == "own_max":
        reach = _reach(estimated)
        return _scaled(estimated, 1 / reach if reach > 0 else 1.0), _scaled(true, 1 / _reach(true))
    if pair.protocol.scaling == "true_max":
        return _scaled(estimated, 1 / _reach(true)), _scaled(true, 1 / _reach(true))
    if pair.protocol.scaling == "fitted":
        return _scaled(estimated, fitted_scale(estimated[:, :3, 3], true[:, :3, 3])), true
    return estimated, true


def _rotation_error(pair: _Pair) -> tuple[float, str]:
    angles = rotation_angle(pair.true[:, :3, :3].mT @ pair.estimated[:, :3, :3])
    return _reduced(angles if pair.protocol.angle == "rad" else angles.rad2deg(), pair.protocol), ""


def _translation_error(pair: _Pair) -> tuple[float, str]:
    return _frame_distance(pair, slice(3, 4))


def _cam_mc(pair: _Pair) -> tuple[float, str]:
    return _frame_distance(pair, slice(0, 4))


def _frame_distance(pair: _Pair, columns: slice) -> tuple[float, str]:
    """Frobenius norms of the difference in some columns of [R|t]."""
    if pair.still:
        return math.nan, pair.still
    estimated, true = _normalised(pair)
    difference = (estimated - true)[:, :3, columns]
    return _reduced(difference.flatten(1).norm(dim=1), pair.protocol), ""


def _aligned(pair: _Pair) -> tuple[Path, Alignment]:
    alignment = align(pair.estimated, pair.true, pair.protocol.alignment)
    return alignment.apply(pair.estimated), alignment


def _rms(errors: Float64[Tensor, "N"]) -> float:
    return float(errors.square().mean().sqrt())


def _ate(pair: _Pair) -> tuple[float, str]:
    if pair.still:
        return math.nan, pair.still
    aligned, alignment = _aligned(pair)
    return _rms((aligned - pair.true)[:, :3, 3].norm(dim=1)), alignment.degenerate


def _rpe_translation(pair: _Pair) -> tuple[float, str]:
    if pair.still:
        return math.nan, pair.still
    errors, reason = _pair_errors(pair)
    return _rms(errors[:, :3, 3].norm(dim=1)) if len(errors) else math.nan, reason


def _rpe_rotation(pair: _Pair) -> tuple[float, str]:
    errors, reason = _pair_errors(pair)
    return _rms(rotation_angle(errors[:, :3, :3]).rad2deg()) if len(errors) else math.nan, reason


def _pair_errors(pair: _Pair) -> tuple[Float64[Tensor, "P 4 4"], str]:
    """Errors of the relative poses at `rpe_delta`, and why there are none."""
    delta = pair.protocol.rpe_delta
    estimated, _ = _aligned(pair)
    steps = [invert(path[:-delta]) @ path[delta:] for path in (pair.true, estimated)]
    short = f"{len(pair.true)} frames have no pair {delta} apart" if not len(steps[0]) else ""
    return invert(steps[0]) @ steps[1], short


def _auc(pair: _Pair, threshold: int) -> tuple[float, str]:
    first, second = torch.combinations(torch.arange(len(pair.true))).unbind(1)
    true, estimated = (invert(path[first]) @ path[second] for path in (pair.true, pair.estimated))
    turn_deg = rotation_angle(true[:, :3, :3].mT @ estimated[:, :3, :3]).rad2deg()
    direction_deg = _direction_error_deg(estimated[:, :3, 3], true[:, :3, 3], pair.protocol.signed_direction)
    travels = true[:, :3, 3].norm(dim=1) >= MIN_TRAVEL * pair.protocol.scene_depth
    errors = torch.where(travels, torch.maximum(turn_deg, direction_deg), turn_deg)
    # an error e is below k for k = floor(e) + 1 ... threshold; rounding may not bring a whole degree below itself
    share = float(((threshold - (errors + _ROUNDING_DEG).floor()).clamp(min=0) / threshold).mean())
    return share, f"{pair.still}: judged by the rotation alone" if pair.still else ""


def _direction_error_deg(
    estimated: Float64[Tensor, "P 3"], true: Float64[Tensor, "P 3"], signed: bool
) -> Float64[Tensor, "P"]:
    """Angle between translations, 0 to 180 degrees (to 90 unsigned); 90 where the estimate has none."""
    along, across = (estimated * true).sum(dim=1), torch.linalg.cross(estimated, true).norm(dim=1)
    angle = torch.atan2(across, along if signed else along.abs()).rad2deg()
    return torch.where(estimated.norm(dim=1) > 0, angle, 90.0)


_METRICS: dict[str, Callable[[_Pair], tuple[float, str]]] = {
    "RotErr": _rotation_error,
    "TransErr": _translation_error,
    "CamMC": _cam_mc,
    "ATE": _ate,
    "RPE_t": _rpe_translation,
    "RPE_r": _rpe_rotation,
    "AUC@3": lambda pair: _auc(pair, 3),
    "AUC@10": lambda pair: _auc(pair, 10),
    "AUC@30": lambda pair: _auc(pair, 30),
}


def static_score(measured: Path, scene_depth: float = 1.0) -> float:
    """Residual motion, in degrees, of a camera that was told to stand still; 0 is perfect.

    Mean over the frames after frame 0 of (angle of the rotation + atan(|t| / scene_depth)), both relative to frame 0:
    the largest angle by which a point at that depth can have moved in the picture. Ours (no published protocol).

    Args:
        measured: estimated c2w, 2 frames or more.
        scene_depth: distance to the scene, above 0, in the unit of the path.
    """
    if not (math.isfinite(scene_depth) and scene_depth > 0):
        raise ValueError(f"scene_depth {scene_depth}: expected a finite number above 0")
    pair = _prepare(measured, measured, PROTOCOLS["metric"])
    turned = rotation_angle(pair.true[:, :3, :3])
    shifted = torch.atan(pair.true[:, :3, 3].norm(dim=1) / scene_depth)
    return _reduced((turned + shifted).rad2deg(), pair.protocol)


def jerk(c2w: Path, times: Float64[Tensor, "T"]) -> float:
    """Root mean square third derivative of the centre, unit / s^3; NaN below 4 frames.

    Six times the third divided difference of every four frames in a row, which is exact for cubic paths at any times.

    Args:
        c2w: the path; the world does not matter.
        times: seconds, increasing, one per frame.
    """
    if len(times) != len(c2w) or not (times.diff() > 0).all():
        raise ValueError(f"times: expected {len(c2w)} increasing seconds, one per frame, found {len(times)}")
    if len(c2w) < 4:
        return math.nan
    differences = c2w[:, :3, 3].double()
    for order in (1, 2, 3):
        differences = differences.diff(dim=0) / (times[order:] - times[:-order])[:, None]
    return _rms(6 * differences.norm(dim=1))


def fov_error(estimated: Float64[Tensor, "E 4"], true: Float64[Tensor, "F 4"]) -> float:
    """Mean absolute error, in degrees, of the horizontal field of view over all frames: the metric for zooms.

    Args:
        estimated: normalised intrinsics (fx/W, fy/H, cx/W, cy/H), as camera.track has them.
        true: the same, as many frames.
    """
    if estimated.shape != true.shape:
        raise ValueError(f"intrinsics: {len(estimated)} estimated and {len(true)} true frames, expected as many")
    return float((horizontal_fov_deg(estimated) - horizontal_fov_deg(true)).abs().mean())


def horizontal_fov_deg(intrinsics: Float64[Tensor, "F 4"]) -> Float64[Tensor, "F"]:
    """Angle between the rays of the left and the right edge, in degrees, for any principal point."""
    fx, cx = intrinsics[:, 0], intrinsics[:, 2]
    return (torch.atan(cx / fx) + torch.atan((1 - cx) / fx)).rad2deg()
