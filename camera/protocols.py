"""What a camera metric means in each published evaluation: one `Protocol` per way to normalise, align and add up.

A value belongs to its protocol. Values of different protocols differ in unit, in the number of frames they add up and
in what they divide by, so they are never compared; docs/metrics.md has the table.
"""

import math
from dataclasses import dataclass

from camera.alignment import ALIGNMENTS

POSE_METRICS = ("RotErr", "TransErr", "CamMC")
PATH_METRICS = ("ATE", "RPE_t", "RPE_r")
AUC_METRICS = ("AUC@3", "AUC@10", "AUC@30")
SCALINGS = ("none", "own_max", "true_max", "fitted")


@dataclass(frozen=True)
class Protocol:
    """One way to measure. Both paths are first made relative to their own frame 0. Change a field by `replace`."""

    name: str
    metrics: tuple[str, ...]
    """The metrics that this protocol defines; others are refused."""
    reduction: str = "mean"
    """RotErr, TransErr and CamMC: "sum" over all frames, or "mean" over the frames after frame 0 (which is 0)."""
    angle: str = "deg"
    """Unit of RotErr: "rad" or "deg"."""
    frames: int | None = None
    """Number of frames sampled evenly, first and last included; None for all; shorter clips are taken whole."""
    scaling: str = "none"
    """Translations for TransErr and CamMC. none: as given. own_max: each path divided by its own largest |t|.
    true_max: both divided by the largest |t| of the true path. fitted: the estimate times its least-squares scale."""
    estimated_depth_scale: float = 1.0
    """Multiplies the translations of the estimate before all else: its units to the units of `scene_depth`."""
    true_depth_scale: float = 1.0
    """The same for the true path."""
    alignment: str = "none"
    """ATE and RPE: one of camera.alignment.ALIGNMENTS."""
    rpe_delta: int = 1
    """RPE: distance of the two frames of a pair, in frames (after sampling)."""
    signed_direction: bool = True
    """AUC: False counts a translation in the opposite direction as right, as VGGT's code does."""
    scene_depth: float = 1.0
    """Distance to the scene in the unit of the scaled true path; a path shorter than 0.001 of it does not move."""

    def __post_init__(self) -> None:
        checks = {
            f"reduction '{self.reduction}': expected sum or mean": self.reduction in ("sum", "mean"),
            f"angle '{self.angle}': expected rad or deg": self.angle in ("rad", "deg"),
            f"frames {self.frames}: expected 2 or more, or None for all": self.frames is None or self.frames >= 2,
            f"scaling '{self.scaling}': expected one of {', '.join(SCALINGS)}": self.scaling in SCALINGS,
            f"alignment '{self.alignment}': expected one of {', '.join(ALIGNMENTS)}": self.alignment in ALIGNMENTS,
            f"rpe_delta {self.rpe_delta}: expected 1 or more": self.rpe_delta >= 1,
        }
        for name in ("scene_depth", "estimated_depth_scale", "true_depth_scale"):
            value = getattr(self, name)
            checks[f"{name} {value}: expected a finite number above 0"] = math.isfinite(value) and value > 0
        for message, right in checks.items():
            if not right:
                raise ValueError(f"protocol {self.name}: {message}")


CAMI2V_REL = Protocol("cami2v_rel", POSE_METRICS, "sum", "rad", frames=16, scaling="own_max")
"""CamI2V (arXiv 2410.15957): sums over 16 frames, radians; each path divided by its own largest |t|.

Source: ZGCTroy/CamI2V evaluation/glomap_evaluation.py (`metric`, columns RotErr, TransErr_rel, CamMC_rel) and
evaluation/utils/common.py (`relative_pose`, `normalize_t`). Its clips have 16 frames; longer ones are sampled at 16
even times, as UCPE (arXiv 2512.07237) does. We divide by the largest |t| itself, CamI2V by it + 1e-9.
"""
CAMI2V_ABS = Protocol("cami2v_abs", ("TransErr", "CamMC"), "sum", "rad", frames=16, scaling="true_max")
"""CamI2V, columns TransErr_abs and CamMC_abs: both paths times their depth scale, then divided by the true largest |t|.

A depth scale is the median of metric depth / reconstructed depth at the points seen in frame 0 (the same file,
`run_glomap`); CamI2V's true path here is the one re-estimated from the true video. Give both by
`replace(CAMI2V_ABS, estimated_depth_scale=..., true_depth_scale=...)`.
"""
CAMERACTRL = Protocol("cameractrl", ("RotErr", "TransErr"), "sum", "rad", frames=16, scaling="fitted")
"""CameraCtrl (arXiv 2404.02101): sums over 16 frames, radians; the estimate gets the scale that fits the truth best.

Its evaluation code is not published (hehao13/CameraCtrl issues #6, #26, #30), so how it fits is not known; ours is
the least-squares scale of the centres relative to frame 0, never below 0.
"""
MEAN_DEG = Protocol("mean_deg", POSE_METRICS, scaling="own_max")
"""As WorldSlider and SANA-WM (arXiv 2605.15178) print it: mean over all frames, degrees, translations scale-free.

Neither states which frames the mean runs over; ours are all after frame 0. Each path is divided by its largest |t|.
"""
METRIC = Protocol("metric", (*POSE_METRICS, *PATH_METRICS))
"""Both paths in one known unit, nothing scaled or aligned: mean over all frames, degrees, the unit of the poses."""
ATE_SE3 = Protocol("se3", PATH_METRICS, alignment="se3")
"""ATE and RPE (Sturm et al. 2012, "A benchmark for the evaluation of RGB-D SLAM systems") after rigid alignment.

As `evo_ape -a` and `evo_rpe -a --all_pairs` (MichaelGrupp/evo evo/core/metrics.py); for estimates of known scale.
"""
ATE_SIM3 = Protocol("sim3", PATH_METRICS, alignment="sim3")
"""ATE and RPE after rotation, translation and scale, as `evo_ape -as`: for estimates of unknown scale."""
ATE_SCALE = Protocol("scale", PATH_METRICS, alignment="scale")
"""ATE and RPE after Umeyama's scale alone, as `evo_ape -s`, both paths starting at the same pose."""
AUC = Protocol("auc", AUC_METRICS)
"""Area under the accuracy curve of all pairs of frames; a pair's error is the larger of its two angles, in degrees.

The angles are that of the relative rotation and that between the directions of the relative translation.
AUC@T = mean over k = 1 ... T of the share of pairs with an error below k degrees: facebookresearch/vggt
evaluation/test_co3d.py (`calculate_auc_np`), 1-degree bins. A pair that the true camera does not travel between has
no direction and is judged by its rotation; one that only the estimate does not travel has an error of 90 degrees.
"""
AUC_VGGT = Protocol("auc_vggt", AUC_METRICS, signed_direction=False)
"""AUC with VGGT's direction error, min(angle, 180 - angle): blind to a camera that moves the opposite way."""

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (CAMI2V_REL, CAMI2V_ABS, CAMERACTRL, MEAN_DEG, METRIC, ATE_SE3, ATE_SIM3, ATE_SCALE, AUC, AUC_VGGT)
}
"""All protocols by name."""
