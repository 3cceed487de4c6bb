"""The planner's rig: where the camera of a timeline stands and looks, integrated exactly.

Orientation = L(azimuth, elevation) O and centre = P - distance * (third column of L), with
L = R_y(-azimuth) R_x(-elevation), O the camera's own turns and P the point that the rig looks at.
"""

import numpy as np
from jaxtyping import Float64

from camera.rates import ORBIT, START_DISTANCE, TRUCK, TURN
from camera.timeline import Timeline, amounts, cells, intensities, joints, refined

Coordinates = tuple[
    Float64[np.ndarray, "T"], Float64[np.ndarray, "T"], Float64[np.ndarray, "T"], Float64[np.ndarray, "T"]
]
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
# of the phase per part: 8 nodes then integrate its sine and cosine to the last digit
_MOST_PHASE = 1.0
# of the turn per step, and steps per joint interval: see tests/camera/test_rig.py for the error they leave
_MOST_TURN, _LEAST_STEPS = 0.02, 256
_GAUSS = 0.5 - np.sqrt(3) / 6


def coordinates(line: Timeline, times: Float64[np.ndarray, "T"]) -> Coordinates:
    """Azimuth (rad, positive to the right), elevation (rad, positive up), distance (units) and focal factor."""
    azimuth, elevation, distance, *_, zoom = (amounts(line, times) @ line.rates).T
    return azimuth, elevation, START_DISTANCE + distance, 1 + zoom


def look_at(
    azimuth: Float64[np.ndarray, "*batch"], elevation: Float64[np.ndarray, "*batch"]
) -> Float64[np.ndarray, "*batch 3 3"]:
    """L = R_y(-azimuth) R_x(-elevation): columns are the rig's right, down and forward."""
    sin_a, cos_a, sin_e, cos_e = np.sin(azimuth), np.cos(azimuth), np.sin(elevation), np.cos(elevation)
    zero = np.zeros_like(sin_a)
    rows = (cos_a, sin_a * sin_e, -sin_a * cos_e, zero, cos_e, sin_e, sin_a, -cos_a * sin_e, cos_a * cos_e)
    return np.stack(rows, axis=-1).reshape(*sin_a.shape, 3, 3)


def rig_poses(line: Timeline, times: Float64[np.ndarray, "T"]) -> Float64[np.ndarray, "T 4 4"]:
    """Camera-to-world at `times` (s, increasing), in the camera of time 0."""
    azimuth, elevation, distance, _ = coordinates(line, times)
    looking = look_at(azimuth, elevation)
    centre = -distance[:, None] * looking[:, :, 2]
    centre[:, 2] += START_DISTANCE
    c2w = np.zeros((len(times), 4, 4))
    c2w[:, :3, :3] = looking @ own_turns(line, times) if line.rates[:, TURN].any() else looking
    c2w[:, :3, 3] = centre + carried(line, times) if line.rates[:, TRUCK].any() else centre
    c2w[:, 3, 3] = 1
    return c2w


def carried(line: Timeline, times: Float64[np.ndarray, "T"]) -> Float64[np.ndarray, "T 3"]:
    """Way of the point that the rig looks at, from time 0: the integral of L(t) times the truck rates.

    Gauss-Legendre between all joints and times, in parts so short that the result is exact to rounding.
    """
    until = np.union1d(joints(line, float(times[-1])), times)
    edges = cells(line, until, np.abs(line.rates[:, ORBIT][:, :2]).sum(axis=1), _MOST_PHASE)
    half = np.diff(edges) / 2
    nodes = ((edges[:-1] + half)[:, None] + half[:, None] * _NODES).ravel()
    azimuth, elevation, *_ = coordinates(line, nodes)
    velocity = intensities(line, nodes) @ line.rates[:, TRUCK]
    moving = (look_at(azimuth, elevation)[:, :, :2] @ velocity[:, :, None]).reshape(-1, len(_NODES), 3)
    steps = np.einsum("eni,n,e->ei", moving, _WEIGHTS, half)
    way = np.concatenate((np.zeros((1, 3)), np.cumsum(steps, axis=0)))
    return way[np.searchsorted(edges, times)]


def own_turns(line: Timeline, times: Float64[np.ndarray, "T"]) -> Float64[np.ndarray, "T 3 3"]:
    """Rotation O of the camera about its own axes: dO/dt = O [w(t)]x.

    Each step's rotation vector is the integral of w plus the first commutator, (sqrt(3)/12) h^2 w1 x w2 with w at the
    step's two Gauss points: the Magnus expansion of order 4 (Iserles, Norsett 1999), mirrored since O stands on the
    left. It is exact, in one step, where the axis of w does not change: one axis only, or even rates.
    """
    edges = _turn_edges(line, float(times[-1]))
    at_edges = _running_product(_quaternion(_magnus(line, edges[:-1], edges[1:])))
    cell = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, len(edges) - 1)
    partial = _quaternion(_magnus(line, edges[cell], times))
    return _matrix(_product(at_edges[cell], partial))


def _turn_edges(line: Timeline, last: float) -> Float64[np.ndarray, "E"]:
    """Joints, and steps between them where eased turns about several axes overlap."""
    edges = joints(line, last)
    speed = np.abs(line.rates[:, TURN])
    middles = (edges[:-1] + edges[1:]) / 2
    active = (line.starts < middles[:, None]) & (middles[:, None] < line.ends)
    axes = (active.astype(np.float64) @ speed > 0).sum(axis=1)
    eased = (active & (line.ease[:, 1] != 0) & speed.any(axis=1)).any(axis=1)
    steps = np.where((axes > 1) & eased, _LEAST_STEPS, 1)
    if (steps == 1).all():
        return edges
    angle = np.diff(amounts(line, edges) @ speed.sum(axis=1))
    return refined(edges, np.where(steps > 1, np.clip(np.ceil(angle / _MOST_TURN), steps, 2**16), 1).astype(np.int64))


def _magnus(
    line: Timeline, begins: Float64[np.ndarray, "S"], ends: Float64[np.ndarray, "S"]
) -> Float64[np.ndarray, "S 3"]:
    """Rotation vectors (rad) of steps that hold no joint inside."""
    turn = line.rates[:, TURN]
    vector = (amounts(line, ends) - amounts(line, begins)) @ turn
    if not line.is_eased:
        return vector
    span = ends - begins
    first = intensities(line, begins + _GAUSS * span) @ turn
    second = intensities(line, ends - _GAUSS * span) @ turn
    return vector + np.sqrt(3) / 12 * (span * span)[:, None] * np.cross(first, second)


def _quaternion(vector: Float64[np.ndarray, "S 3"]) -> Float64[np.ndarray, "S 4"]:
    """Unit quaternions (w, x, y, z) of rotation vectors."""
    half = np.sqrt((vector * vector).sum(axis=1, keepdims=True)) / 2
    # sinc is 1 at 0 without a division; numpy's sinc(a) is sin(pi a) / (pi a)
    return np.concatenate((np.cos(half), vector / 2 * np.sinc(half / np.pi)), axis=1)


def _product(left: Float64[np.ndarray, "S 4"], right: Float64[np.ndarray, "S 4"]) -> Float64[np.ndarray, "S 4"]:
    """Hamilton products."""
    a, b, c, d = left.T
    w, x, y, z = right.T
    parts = (
        *(a * w - b * x - c * y - d * z, a * x + b * w + c * z - d * y),
        *(a * y - b * z + c * w + d * x, a * z + b * y - c * x + d * w),
    )
    return np.stack(parts, axis=1)


def _running_product(steps: Float64[np.ndarray, "S 4"]) -> Float64[np.ndarray, "S+1 4"]:
    """1, s0, s0 s1, s0 s1 s2 ... by doubling: after round k each entry is the product of up to 2^k steps."""
    result = np.concatenate((np.array([[1.0, 0.0, 0.0, 0.0]]), steps))
    reach = 1
    while reach < len(result):
        result[reach:] = _product(result[:-reach].copy(), result[reach:])
        reach *= 2
    return result / np.sqrt((result * result).sum(axis=1, keepdims=True))


def _matrix(quaternion: Float64[np.ndarray, "T 4"]) -> Float64[np.ndarray, "T 3 3"]:
    w, x, y, z = quaternion.T
    entries = (
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.stack(entries, axis=-1).reshape(-1, 3, 3)
