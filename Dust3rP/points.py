"""A sparse scene with the camera's path as a point cloud that every viewer opens: PLY, binary little endian.

Format: G. Turk, "The PLY polygon file format", Stanford 1994. Axes are those of the first camera (OpenCV: x right,
y down, z forward).
"""

from pathlib import Path

import numpy as np
import torch

from camera.poses import interpolate_poses
from common.files import atomic_path
from Dust3rP.estimate import Estimate

_VERTEX = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])
_PATH_SAMPLES = 1000
_CORNERS = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
_FRUSTA, _FRUSTUM_SAMPLES, _FRUSTUM_SHARE = 12, 24, 0.06
_START_RGB, _END_RGB = (40, 90, 255), (255, 60, 40)


def write_ply(estimate: Estimate, path: str | Path) -> None:
    """Write the points of an estimate, its path from blue (start) to red (end), and the edges of some of its pictures.

    Args:
        estimate: any; without points it is the path alone.
        path: the .ply file; whole or not there.
    """
    xyz, rgb = _path(estimate)
    vertices = np.zeros(len(estimate.points) + len(xyz), _VERTEX)
    vertices["xyz"] = np.concatenate((estimate.points.numpy(), xyz))
    vertices["rgb"] = np.concatenate((estimate.colours.numpy(), rgb))
    names = [f"property float {axis}" for axis in "xyz"] + [
        f"property uchar {name}" for name in ("red", "green", "blue")
    ]
    header = ["ply", "format binary_little_endian 1.0", "comment axes of the first camera: x right, y down, z forward"]
    header += [f"element vertex {len(vertices)}", *names, "end_header"]
    with atomic_path(path) as temporary:
        temporary.write_bytes("".join(line + "\n" for line in header).encode() + vertices.tobytes())


def _path(estimate: Estimate) -> tuple[np.ndarray, np.ndarray]:
    """Points [P, 3] along the way and along the edges of frusta, and their colours [P, 3] by time."""
    track = estimate.track
    shares = torch.linspace(0, 1, _PATH_SAMPLES, dtype=torch.float64)
    times = torch.lerp(track.times[0], track.times[-1], shares)
    way = interpolate_poses(track.c2w, track.times, times)[:, :3, 3]
    length = float(way.diff(dim=0).norm(dim=1).sum()) or 1.0
    chosen = torch.linspace(0, len(track) - 1, min(_FRUSTA, len(track))).round().long()
    frusta = [_frustum(track.c2w[frame], track.intrinsics[frame], _FRUSTUM_SHARE * length) for frame in chosen.tolist()]
    when = [(track.times[chosen] - track.times[0]) / (track.times[-1] - track.times[0]).clamp(min=1e-9)]
    late = torch.cat((shares, *(each.repeat_interleave(len(frusta[0])) for each in when)))
    colours = torch.lerp(torch.tensor(_START_RGB).double(), torch.tensor(_END_RGB).double(), late[:, None])
    return torch.cat((way, *frusta)).float().numpy(), colours.round().to(torch.uint8).numpy()


def _frustum(c2w: torch.Tensor, intrinsics: torch.Tensor, depth: float) -> torch.Tensor:
    """Points [P, 3] on the edges of what one camera sees, `depth` deep."""
    focal, centre = intrinsics.split(2)
    rays = torch.cat(((torch.tensor(_CORNERS, dtype=torch.float64) - centre) / focal, torch.ones(4, 1)), dim=1) * depth
    share = torch.linspace(0, 1, _FRUSTUM_SAMPLES, dtype=torch.float64)[:, None, None]
    edges = torch.cat((share * rays, torch.lerp(rays, rays.roll(-1, 0), share))).flatten(0, 1)
    return edges @ c2w[:3, :3].mT + c2w[:3, 3]
