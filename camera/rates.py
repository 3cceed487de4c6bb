"""What the words of the trajectory language do: rates of the rig, per second.

The rig: a camera at distance r from a point, at azimuth a and elevation e round it, which it looks at; `rotate` turns
the camera about its own axes on top. Every value is tabled in docs/trajectory-language.md.
"""

import math

from camera.language import Move
from camera.words import split_diagonal, split_turn, split_zoom

START_DISTANCE = 1.003
"""Distance of the subject in the planner's unit; the radius of the anchor camera of the OmniCam-Wan fork."""
MIN_DISTANCE = 0.05
"""The camera may not come nearer than this to the point it looks at."""
MIN_FOCAL = 0.05
"""The focal length may not fall below this share of the starting one."""
AZIMUTH_DEG_PER_S = 20.0
ELEVATION_DEG_PER_S = 15.0
TURN_DEG_PER_S = 20.0
APPROACH_PER_S = 0.2 * START_DISTANCE
TRUCK_PER_S = 0.2 * START_DISTANCE
ZOOM_PER_S = 0.2
"""Share of the starting focal length: forward and zoom out at one speed keep the size of the subject."""

COLUMNS = 9
"""Of a row of rates; the slices below are its parts."""
ORBIT = slice(0, 3)
"""Azimuth (rad/s, positive to the right), elevation (rad/s, positive up), distance (units/s)."""
TRUCK = slice(3, 5)
"""To the right and down along the rig's axes (units/s); the point that the camera looks at goes along."""
TURN = slice(5, 8)
"""About the camera's own x (up), y (right) and z (clockwise) axis (rad/s)."""
ZOOM = 8
"""Focal length (share of the starting one, per second)."""

_ORBIT_RATES = {
    "forward": (0.0, 0.0, -APPROACH_PER_S),
    "backward": (0.0, 0.0, APPROACH_PER_S),
    "left": (-AZIMUTH_DEG_PER_S, 0.0, 0.0),
    "right": (AZIMUTH_DEG_PER_S, 0.0, 0.0),
    "up": (0.0, ELEVATION_DEG_PER_S, 0.0),
    "down": (0.0, -ELEVATION_DEG_PER_S, 0.0),
}
_TRUCK_RATES = {
    "truckleft": (-TRUCK_PER_S, 0.0),
    "truckright": (TRUCK_PER_S, 0.0),
    "pedestalup": (0.0, -TRUCK_PER_S),
    "pedestaldown": (0.0, TRUCK_PER_S),
}
_SIGN = {"left": -1, "right": 1, "down": -1, "up": 1, "in": 1, "out": -1}
# the camera's own axis (x right, y down, z forward) about which each turn is right-handed
_TURN_AXES = {
    "left": (0.0, -1.0, 0.0),
    "right": (0.0, 1.0, 0.0),
    "up": (1.0, 0.0, 0.0),
    "down": (-1.0, 0.0, 0.0),
    "clockwise": (0.0, 0.0, 1.0),
    "counterclockwise": (0.0, 0.0, -1.0),
}


def rates_of(move: Move) -> tuple[float, ...]:
    """The COLUMNS rates of a move, as if it were not eased: its displacement over its duration."""
    azimuth, elevation, distance = _orbit_rates(move.direction)
    right, down = _TRUCK_RATES.get(move.direction, (0.0, 0.0))
    path = (math.radians(azimuth), math.radians(elevation), distance, right, down)
    return (*(rate * move.speed for rate in path), *_turn_rates(move), _zoom_rate(move))


def _orbit_rates(direction: str) -> tuple[float, float, float]:
    """Azimuth (deg/s), elevation (deg/s) and distance (units/s) at speed 1."""
    diagonal = split_diagonal(direction)
    if diagonal is None:
        return _ORBIT_RATES.get(direction, (0.0, 0.0, 0.0))
    side, height, angle_deg = diagonal
    sideways, upwards = math.sin(math.radians(angle_deg)), math.cos(math.radians(angle_deg))
    return _SIGN[side] * sideways * AZIMUTH_DEG_PER_S, _SIGN[height] * upwards * ELEVATION_DEG_PER_S, 0.0


def _turn_rates(move: Move) -> tuple[float, float, float]:
    """Angular velocity (rad/s) about the camera's own x, y and z axis. A stated angle per second is not sped up."""
    split = split_turn(move.rotate)
    if split is None:
        return 0.0, 0.0, 0.0
    axis, stated = split
    rate = math.radians(TURN_DEG_PER_S * move.speed if stated is None else stated)
    x, y, z = _TURN_AXES[axis]
    return x * rate, y * rate, z * rate


def _zoom_rate(move: Move) -> float:
    """Share of the starting focal length per second. A stated percentage is not sped up."""
    split = split_zoom(move.zoom)
    if split is None:
        return 0.0
    word, stated = split
    return _SIGN[word] * (ZOOM_PER_S * move.speed if stated is None else stated / 100)
