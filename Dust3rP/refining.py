"""Bundle adjustment of a pycolmap model: everything at once, robustly, and the focal length where it can be told.

Points followed along the border between a near and a far thing slide without end, and there are many of them. So the
loss is Cauchy's, ever narrower, and points that do not fit are left out from step to step.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

LOSS_PX = (1.0, 0.5, 0.25, 0.12, 0.06)
"""Widths of Cauchy's loss, one adjustment after the other ..."""
_FIXED = 2
"""So many of them are with the focal length held: enough to settle, too few to drop what speaks against it."""
_NARROWEST = 0.5
"""... but none below this share of the median error, which in filmed pictures is noise."""
_TRIM = 2.5
_FOCAL_START, _FOCAL_PROBE = 1.5, 1.25
LEAST_EVIDENCE = 0.02
"""Share by which the fit must get worse with a focal length a quarter off, for the length found to be believed."""


def refined(colmap: Any, model: Any, known: bool) -> tuple[Any, float]:
    """The model adjusted, and the evidence for its focal length.

    Args:
        colmap: the module pycolmap.
        model: a pycolmap.Reconstruction of one camera; it is changed.
        known: the focal length is certain.

    Returns:
        The model, and by which share the pictures fit worse when the focal length is a quarter longer or shorter:
        infinity for a known one. Below LEAST_EVIDENCE the length that the model began with is kept.
    """
    width_px = _narrowed(colmap, model, LOSS_PX[:_FIXED], False)
    if model.num_points3D() == 0:
        return model, 0.0
    model, evidence = (model, np.inf) if known else _with_focal(colmap, model, width_px)
    _narrowed(colmap, model, (width_px, *LOSS_PX[_FIXED:]), not known and evidence >= LEAST_EVIDENCE)
    return model, evidence


def _narrowed(colmap: Any, model: Any, losses_px: Sequence[float], refine_focal: bool) -> float:
    """Adjust the model with one loss after the other, dropping what does not fit; returns the last one's width."""
    used_px = losses_px[0]
    for loss_px in losses_px:
        if loss_px < used_px and loss_px < _NARROWEST * float(np.median(observations(model)[3])):
            break
        _adjust(colmap, model, loss_px, refine_focal)
        _drop_sliding(model, loss_px)
        used_px = loss_px
        if model.num_points3D() == 0:
            break
    return used_px


def _with_focal(colmap: Any, model: Any, width_px: float) -> tuple[Any, float]:
    """The model with the focal length that the pictures ask for, and their evidence; as it was without evidence.

    Started from the best of a few lengths: from a wrong one the adjustment may run off to a telephoto lens.
    """
    starts = [_refocused(colmap, model, factor, width_px) for factor in (1.0, _FOCAL_START, 1 / _FOCAL_START)]
    best = min(starts, key=lambda each: _cost(each, width_px))
    _adjust(colmap, best, width_px, True)
    probes = [_refocused(colmap, best, factor, width_px) for factor in (_FOCAL_PROBE, 1 / _FOCAL_PROBE)]
    cost = _cost(best, width_px)
    evidence = max(0.0, min(_cost(probe, width_px) for probe in probes) / cost - 1) if cost > 0 else 0.0
    return (best, evidence) if evidence >= LEAST_EVIDENCE else (model, evidence)


def _refocused(colmap: Any, model: Any, factor: float, width_px: float) -> Any:
    """A copy with another focal length, everything else adjusted to it."""
    other = colmap.Reconstruction(model)
    for camera in other.cameras.values():
        camera.focal_length = camera.focal_length * factor
    _adjust(colmap, other, width_px, False)
    return other


def _adjust(colmap: Any, model: Any, loss_px: float, refine_focal: bool) -> None:
    """Bundle adjustment of everything, with Cauchy's loss of that width."""
    options = colmap.BundleAdjustmentOptions()
    options.refine_focal_length, options.refine_extra_params, options.print_summary = refine_focal, False, False
    options.ceres.loss_function_type, options.ceres.loss_function_scale = colmap.LossFunctionType.CAUCHY, loss_px
    options.ceres.solver_options.function_tolerance = 1e-6
    options.ceres.solver_options.num_threads = 1
    colmap.bundle_adjustment(model, options)


def _drop_sliding(model: Any, loss_px: float) -> None:
    """Leave out points that do not fit, but never the better half."""
    model.update_point_3d_errors()
    errors = {number: point.error for number, point in model.points3D.items()}
    if not errors:
        return
    limit = max(_TRIM * loss_px, float(np.median(list(errors.values()))))
    for number, error in errors.items():
        if error > limit:
            model.delete_point3D(number)


def _cost(model: Any, width_px: float) -> float:
    errors = observations(model)[3]
    return float(np.log1p(np.square(errors / width_px)).mean())


def observations(model: Any) -> tuple[list[int], list[int], list[int], np.ndarray, np.ndarray]:
    """Picture, number of the point, feature, error (pixels) and place of everything that is seen."""
    pictures, numbers, keys, errors, places = [], [], [], [], []
    for image in model.images.values():
        if not image.has_pose:
            continue
        seen = list(image.get_observation_point2D_idxs())
        features = [image.points2D[key] for key in seen]
        at = np.array([feature.xy for feature in features], dtype=np.float64).reshape(-1, 2)
        points = np.array([model.points3D[each.point3D_id].xyz for each in features], dtype=np.float64).reshape(-1, 3)
        inside = image.cam_from_world().matrix() @ np.concatenate((points, np.ones((len(points), 1))), axis=1).T
        focal, cx, cy = image.camera.params
        projected = focal * inside[:2].T / inside[2:].T + (cx, cy)
        pictures += [int(Path(image.name).stem)] * len(seen)
        numbers += [each.point3D_id for each in features]
        keys += seen
        errors.append(np.linalg.norm(projected - at, axis=1))
        places.append(at)
    return (
        pictures,
        numbers,
        keys,
        np.concatenate(errors or [np.zeros(0)]),
        np.concatenate(places or [np.zeros((0, 2))]),
    )
