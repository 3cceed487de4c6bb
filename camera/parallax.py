"""What a camera move does to a picture, before any GPU time: the first frame on a plane or depth map, seen on the way.

The picture is taken as what the first camera of the track sees, with the first intrinsics; every later frame is
rendered with its own pose and intrinsics. What the first frame did not see is left as a neutral pattern: that is what
the video model has to invent. Depth is z-depth, along the optical axis of the first camera, in the track's unit; pixel
i has its centre at i + 0.5.
"""

import math
from collections.abc import Iterator

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, UInt8
from torch import Tensor

from camera.intrinsics import Size, k_px_of
from camera.poses import invert
from camera.track import CameraTrack
from camera.trajectory import START_DISTANCE

ROOM_FRONT = 0.65
"""Depth of the room's floor at the lower edge of the picture, as a share of the distance of its back wall."""
_PATTERN_CELL = 12
_PATTERN_GREYS = (104, 128)
_NEAREST = 1e-3
_MAX_GAP = 13
_SAME_SURFACE = 0.05
_REFINEMENTS = 2
_WIDEST = 2.0**31
_GRAZING = 0.2


def scene_distance(track: CameraTrack) -> float:
    """Distance at which a picture stands when nobody says: the planner's subject, else twice the path's extent.

    A camera that only turns shows the same at any distance; then it is 1.
    """
    if track.scale == "relative":
        return START_DISTANCE
    centres = track.c2w[:, :3, 3]
    extent = float((centres - centres[0]).norm(dim=1).max())
    return 2 * extent if extent > 1e-10 else 1.0


def picture_size(track: CameraTrack, height: int = 480) -> Size:
    """(height, width), both even, of frames that have square pixels under the track's first lens."""
    fx, fy = track.intrinsics[0, :2].tolist()
    return height, max(2, 2 * round(min(height * fy / fx, _WIDEST) / 2))


def room_depth(
    height: int, width: int, intrinsics: Float64[Tensor, "4"], distance: float
) -> Float32[np.ndarray, "H W"]:
    """Depth of the simplest room: a back wall at `distance`, and a floor that nears from it towards the viewer.

    The floor is level with the first camera and leaves the lower edge of the picture at ROOM_FRONT times `distance`.
    """
    _, fy, _, cy = intrinsics.tolist()
    slope = ((np.arange(height) + 0.5) / height - cy) / fy
    floor_height = ROOM_FRONT * distance * max((1 - cy) / fy, 1e-6)
    column = np.minimum(distance, floor_height / np.maximum(slope, 1e-9))
    return np.repeat(column[:, None], width, axis=1).astype(np.float32)


def plane_frames(
    image: UInt8[np.ndarray, "H W 3"], track: CameraTrack, distance: float
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """The frames of a track that sees `image` on a plane, `distance` in front of and facing the first camera.

    Each is the homography K (R + t n^T / distance) K_0^-1 of the plane (Hartley and Zisserman, "Multiple View Geometry
    in Computer Vision", section 13.1, with n = (0, 0, 1) in the first camera).

    Args:
        image: RGB, what the first camera sees.
        track: poses and intrinsics of the frames.
        distance: in the track's unit, above 0.
    """
    _check(distance)
    height, width = image.shape[:2]
    pattern, poses = _pattern(height, width), invert(track.rebased().c2w)
    opaque = np.dstack((image, np.full((height, width), 255, np.uint8)))
    first = torch.linalg.inv(_pixel_matrices(track.intrinsics[:1], height, width)[0])
    for w2c, pixels in zip(poses, _pixel_matrices(track.intrinsics, height, width), strict=True):
        plane = w2c[:3, :3].clone()
        plane[:, 2] += w2c[:3, 3] / distance
        if _depth_of_centre(w2c) > (1 - _NEAREST) * distance:  # nobody has seen the plane from behind
            yield pattern.copy()
            continue
        homography = (pixels @ plane @ first).numpy()
        warped = cv2.warpPerspective(opaque, homography, (width, height), flags=cv2.INTER_LINEAR)
        warped[_behind(w2c, pixels, (height, width))] = 0
        yield _over(warped, pattern)


def depth_frames(
    image: UInt8[np.ndarray, "H W 3"], track: CameraTrack, depth: Float32[np.ndarray, "H W"]
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """The frames of a track that sees `image` on a depth map.

    Depths are warped forward into a z-buffer, and the gaps that stretched surfaces have there are closed; then every
    pixel looks up its colour where its point lies in `image`, after its depth was refined there. Surfaces seen from
    behind are left out.

    Args:
        image: RGB, what the first camera sees.
        track: poses and intrinsics of the frames.
        depth: z-depth of every pixel, in the track's unit, above 0.
    """
    height, width = image.shape[:2]
    assert depth.shape == (height, width), (depth.shape, image.shape)
    _check(float(depth.min()))
    pattern, poses = _pattern(height, width), track.rebased().c2w.float()
    lenses = _pixel_matrices(track.intrinsics, height, width).float()
    points = _rays(lenses[0], height, width) * torch.from_numpy(depth)
    normals = _normals(points)
    for c2w, lens in zip(poses, lenses, strict=True):
        near = _z_buffer(points, normals, c2w, lens)
        source, seen = _refined(near, depth, c2w, lens, lenses[0])
        colours = cv2.remap(image, source[0], source[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        yield np.where(seen[..., None], colours, pattern)


def _check(distance: float) -> None:
    if not (math.isfinite(distance) and distance > 0):
        raise ValueError(f"distance {distance}: expected a number above 0, in the unit of the track")


def _pattern(height: int, width: int) -> UInt8[np.ndarray, "H W 3"]:
    """Grey squares: what nobody has seen yet."""
    cells = (np.arange(height)[:, None] // _PATTERN_CELL + np.arange(width)[None, :] // _PATTERN_CELL) % 2
    return np.repeat(np.array(_PATTERN_GREYS, np.uint8)[cells][..., None], 3, axis=2)


def _pixel_matrices(intrinsics: Float64[Tensor, "F 4"], height: int, width: int) -> Float64[Tensor, "F 3 3"]:
    """K_px that gives the index of a pixel: its centre, at i + 0.5 of the continuous picture, is at i."""
    matrices = k_px_of(intrinsics, (height, width))
    matrices[:, :2, 2] -= 0.5
    return matrices


def _depth_of_centre(w2c: Float64[Tensor, "4 4"]) -> float:
    """How far along the first camera's axis a camera stands."""
    return float(invert(w2c)[2, 3])


def _behind(w2c: Float64[Tensor, "4 4"], pixels: Float64[Tensor, "3 3"], size: Size) -> Bool[np.ndarray, "H W"]:
    """Pixels whose ray goes away from the plane, or along it: the homography alone does not know.

    The ray's speed along the first camera's axis is linear in the pixel; so is its sign.
    """
    a, b, c = (w2c[:3, :3].T @ torch.linalg.inv(pixels))[2].tolist()
    return a * np.arange(size[1])[None, :] + b * np.arange(size[0])[:, None] + c <= 0


def _over(warped: UInt8[np.ndarray, "H W 4"], pattern: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """RGB times alpha, and alpha, laid over the pattern."""
    alpha = warped[..., 3:].astype(np.uint16)
    return (warped[..., :3] + (pattern * (255 - alpha) + 127) // 255).astype(np.uint8)


def _rays(lens: Float32[Tensor, "3 3"], height: int, width: int) -> Float32[Tensor, "3 H W"]:
    """Points at depth 1 of all pixels, in the camera of `lens`."""
    x = (torch.arange(width, dtype=torch.float32) - lens[0, 2]) / lens[0, 0]
    y = (torch.arange(height, dtype=torch.float32) - lens[1, 2]) / lens[1, 1]
    return torch.stack((x.expand(height, -1), y[:, None].expand(-1, width), torch.ones(height, width)))


def _moved(pose: Float32[Tensor, "4 4"], points: Float32[Tensor, "3 H W"]) -> Float32[Tensor, "3 H W"]:
    return (pose[:3, :3] @ points.flatten(1) + pose[:3, 3:]).view_as(points)


def _normals(points: Float32[Tensor, "3 H W"]) -> Float32[Tensor, "3 H W"]:
    """Directions square to the surface, of any length, on the side that the first camera saw."""
    normal = torch.linalg.cross(_along(points, 2), _along(points, 1), dim=0)
    return torch.where((normal * points).sum(dim=0) > 0, -normal, normal)


def _along(points: Float32[Tensor, "3 H W"], axis: int) -> Float32[Tensor, "3 H W"]:
    """Step to a neighbour along an axis: of the two, the one that is nearer in depth, so on the same surface."""
    step = points.diff(dim=axis)
    last = step.narrow(axis, step.shape[axis] - 1, 1)
    onward, back = torch.cat((step, last), dim=axis), torch.cat((step.narrow(axis, 0, 1), step), dim=axis)
    return torch.where(onward[2].abs() <= back[2].abs(), onward, back)


def _z_buffer(
    points: Float32[Tensor, "3 H W"],
    normals: Float32[Tensor, "3 H W"],
    c2w: Float32[Tensor, "4 4"],
    lens: Float32[Tensor, "3 3"],
) -> Float32[np.ndarray, "H W"]:
    """1 / depth of the nearest point that each pixel of a frame sees, 0 where it sees none."""
    _, height, width = points.shape
    x, y, z = _moved(invert(c2w), points)
    nearest = _NEAREST * float(points[2].min())
    facing = (normals * (points - c2w[:3, 3, None, None])).sum(dim=0) < 0
    inverse = 1 / z.clamp(min=nearest)
    u, v = lens[0, 0] * x * inverse + lens[0, 2], lens[1, 1] * y * inverse + lens[1, 2]
    inside = facing & (z > nearest) & (u > -0.5) & (u < width - 0.5) & (v > -0.5) & (v < height - 0.5)
    place = ((v + 0.5).floor() * width + (u + 0.5).floor())[inside].long()
    buffer = torch.zeros(height * width).scatter_reduce_(0, place, inverse[inside], "amax").view(height, width).numpy()
    gap = _widest_gap(u, v, points[2], inside)
    # a gap, or a farther point seen through one, has nearer points on both sides
    closed = cv2.morphologyEx(buffer, cv2.MORPH_CLOSE, np.ones((gap, gap), np.uint8))
    return np.where(closed > buffer * (1 + _SAME_SURFACE), closed, buffer)


def _widest_gap(
    u: Float32[Tensor, "H W"], v: Float32[Tensor, "H W"], depth: Float32[Tensor, "H W"], inside: Bool[Tensor, "H W"]
) -> int:
    """Odd number of pixels that closes the gaps between neighbours of one surface, but for the widest 1 %."""
    spacing = [torch.ones(1)]
    for axis, following in ((0, np.s_[1:]), (1, np.s_[:, 1:])):
        step = torch.maximum(u.diff(dim=axis).abs(), v.diff(dim=axis).abs())
        smooth = depth.diff(dim=axis).abs() < _SAME_SURFACE * depth[following]
        spacing.append(step[smooth & inside[following]])
    found = torch.cat(spacing)
    widest = float(found.kthvalue(math.ceil(0.99 * len(found))).values)
    return min(2 * math.ceil(max(widest, 1.001) / 2) + 1, _MAX_GAP)


def _refined(
    near: Float32[np.ndarray, "H W"],
    depth: Float32[np.ndarray, "H W"],
    c2w: Float32[Tensor, "4 4"],
    lens: Float32[Tensor, "3 3"],
    first_lens: Float32[Tensor, "3 3"],
) -> tuple[Float32[np.ndarray, "2 H W"], Bool[np.ndarray, "H W"]]:
    """Where in the picture each pixel's point lies, and whether there is one.

    The z-buffer knows depths at rounded places. Looking the depth up again where the point lies in the first camera,
    and taking that point's depth in this frame, makes them exact; a depth that jumps to another surface is not taken.
    """
    height, width = near.shape
    seen, z = near > 0, torch.from_numpy(np.where(near > 0, 1 / np.maximum(near, 1e-30), 1.0))
    rays = _rays(lens, height, width)
    slope, offset = c2w[2, :3], c2w[2, 3]
    along = (slope[:, None, None] * rays).sum(dim=0)
    along = torch.where(along.abs() < _GRAZING, _GRAZING, along)
    for _ in range(_REFINEMENTS):
        source = _source(_moved(c2w, rays * z), first_lens)
        there = torch.from_numpy(
            cv2.remap(depth, source[0], source[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        )
        # the depth along this pixel's ray at which the first camera's depth is `there`
        better = z + (there - (along * z + offset)) / along
        z = torch.where((better / z - 1).abs() < _SAME_SURFACE, better, z)
    source = _source(_moved(c2w, rays * z), first_lens)
    inside = (source[0] > -1) & (source[0] < width) & (source[1] > -1) & (source[1] < height)
    return source, seen & inside


def _source(points: Float[Tensor, "3 H W"], lens: Float32[Tensor, "3 3"]) -> Float32[np.ndarray, "2 H W"]:
    """Indices (x, y) of the pixels in which the first camera sees points."""
    x, y, z = points
    inverse = 1 / z.clamp(min=1e-6)
    return torch.stack((lens[0, 0] * x * inverse + lens[0, 2], lens[1, 1] * y * inverse + lens[1, 2])).numpy()
