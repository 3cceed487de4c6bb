"""Cameras out of pictures: DUSt3R's network, its alignment, and structure from motion, behind one interface.

    Dust3rP.load_dust3r(path, device=..., dtype=...) -> Dust3R
    Dust3rP.alignment.align(pairs, points_i, points_j, confidence_i, confidence_j, ...) -> Alignment
    Dust3rP.estimate_intrinsics(images) -> Lens
    Dust3rP.estimate_trajectory(video) -> CameraTrack

Names are imported when they are used, so that `--help` of a script needs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from Dust3rP import alignment
    from Dust3rP.backends import open_backend
    from Dust3rP.loading import load_dust3r
    from Dust3rP.model import Dust3R
    from Dust3rP.videos import estimate_intrinsics, estimate_trajectory

_PLACES = {
    "Dust3R": "Dust3rP.model",
    "estimate_intrinsics": "Dust3rP.videos",
    "estimate_trajectory": "Dust3rP.videos",
    "load_dust3r": "Dust3rP.loading",
    "open_backend": "Dust3rP.backends",
}

__all__ = ["Dust3R", "alignment", "estimate_intrinsics", "estimate_trajectory", "load_dust3r", "open_backend"]


def __getattr__(name: str) -> Any:
    """A public name, from where it is written (PEP 562)."""
    if name == "alignment":
        return importlib.import_module("Dust3rP.alignment")
    if name not in _PLACES:
        raise AttributeError(f"module 'Dust3rP' has no attribute '{name}'")
    return getattr(importlib.import_module(_PLACES[name]), name)
