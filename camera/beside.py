"""Pictures of a clip with its camera drawn beside them, so that a person sees whether the two belong together.

Dots lie on a grid in the first frame and go where the camera says: each should stay on the thing that it starts on.
Beside the frames is the first one, moved by the camera alone. Both take the picture for a plane
(`camera.agreement`), so things far before or behind it drift; turning is exact.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import UInt8

from camera.agreement import Agreement, agreement_of, plane_points
from camera.parallax import plane_frames
from camera.plot import draw_trajectory
from camera.track import CameraTrack
from common.media import contact_sheet

_COLUMNS, _ROWS = 5, 4
_SHOWN = 6
_PANEL_WIDTH = 300
_LEAST_HEIGHT = 320
_STRIP = 22
_PLOT_ASPECT = 1.25
_FARTHEST = 1e4

_Frames = UInt8[np.ndarray, "F _ _ 3"]
_Picture = UInt8[np.ndarray, "_ _ 3"]


def clip_sheet(frames: _Frames, track: CameraTrack | None, title: str, agreement: Agreement | None = None) -> _Picture:
    """One picture of a clip: some frames in a row; with a camera also the first one moved by it, and its plot.

    Args:
        frames: RGB, one per frame of the track.
        track: the clip's own camera, with its crop; None where none is known.
        title: over the plot.
        agreement: of the frames with the track, where it was found out already.
    """
    picked = sorted({round(place) for place in np.linspace(0, len(frames) - 1, _SHOWN)})
    if track is None:
        return contact_sheet([_scaled(frames[index], _PANEL_WIDTH) for index in picked], len(picked))
    agreement = agreement or agreement_of(frames, track)
    enlarged = np.stack([_scaled(frame, _PANEL_WIDTH) for frame in frames])
    marked = _with_dots(enlarged, track, agreement.distance)
    moved = list(plane_frames(enlarged[0], track, agreement.distance))
    times = [f"{float(track.times[index]):.2f} s" for index in picked]
    rows = [
        _strip("Frames: each dot should stay on the thing that it starts on", len(picked)),
        contact_sheet([_labelled(marked[index], time) for index, time in zip(picked, times, strict=True)], len(picked)),
        _strip("The first frame, moved by the camera alone: should move as the frames do", len(picked)),
        contact_sheet([moved[index] for index in picked], len(picked)),
        _strip(f"{agreement.in_words()}; plane at {agreement.distance:.3g}", len(picked)),
        draw_trajectory(track, title),
    ]
    return _stacked(rows)


def clip_video(frames: _Frames, track: CameraTrack | None, title: str, agreement: Agreement | None = None) -> _Frames:
    """A clip as a video: the frames with dots, the first one moved by the camera, the plot; sides are even.

    Args:
        frames: RGB, one per frame of the track; the sides must be even.
        track: the clip's own camera, with its crop; None where none is known: then the frames are given back.
        title: over the plot.
        agreement: of the frames with the track, where it was found out already.
    """
    if track is None:
        return frames
    distance = (agreement or agreement_of(frames, track)).distance
    factor = max(1, math.ceil(_LEAST_HEIGHT / frames.shape[1]))
    enlarged = np.stack([_scaled(frame, factor * frames.shape[2]) for frame in frames])
    marked = _with_dots(enlarged, track, distance)
    height = enlarged.shape[1]
    plot_size = 2 * round(height * _PLOT_ASPECT / 2), height
    plot = cv2.resize(draw_trajectory(track, title), plot_size, interpolation=cv2.INTER_AREA)
    moved = plane_frames(enlarged[0], track, distance)
    return np.stack([np.hstack((one, other, plot)) for one, other in zip(marked, moved, strict=True)])


def _with_dots(frames: _Frames, track: CameraTrack, distance: float) -> list[_Picture]:
    """The frames with a grid of dots that the camera moves, and lines to where they started."""
    height, width = frames.shape[1:3]
    across, down = ((torch.arange(count, dtype=torch.float64) + 0.5) / count for count in (_COLUMNS, _ROWS))
    grid = torch.cartesian_prod(across, down)
    places = plane_points(track, grid, distance) * torch.tensor([width, height], dtype=torch.float64)
    return [_dotted(frame, places[0].numpy(), now.numpy()) for frame, now in zip(frames, places, strict=True)]


def _dotted(frame: _Picture, starts: np.ndarray, ends: np.ndarray) -> _Picture:
    drawn = np.ascontiguousarray(frame).copy()
    radius = max(2, frame.shape[1] // 100)
    for start, end in zip(starts, ends, strict=True):
        # a dot that is behind the camera, or so far out that its pixel overflows, is not seen
        if not np.isfinite(end).all() or np.abs(end).max() > _FARTHEST:
            continue
        tail, head = (tuple(int(value) for value in np.floor(place)) for place in (start, end))
        cv2.line(drawn, tail, head, (255, 255, 255), 1, cv2.LINE_AA)
        cv2.circle(drawn, head, radius + 1, (0, 0, 0), -1, cv2.LINE_AA)
        cv2.circle(drawn, head, radius, (255, 210, 0), -1, cv2.LINE_AA)
    return drawn


def _scaled(frame: _Picture, width: int) -> _Picture:
    """A frame of this width, the shape kept; even height."""
    height = max(2, 2 * round(frame.shape[0] * width / frame.shape[1] / 2))
    shrinks = width < frame.shape[1]
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def _labelled(frame: _Picture, text: str) -> _Picture:
    """A frame with a few words in its lower left corner."""
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        place = 4, frame.shape[0] - 6
        cv2.putText(frame, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, thickness, cv2.LINE_AA)
    return frame


def _strip(text: str, panels: int) -> _Picture:
    """A line of black words on white, as wide as so many panels, or as it takes."""
    words = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)[0][0] + 8
    strip = np.full((_STRIP, max(words, panels * _PANEL_WIDTH), 3), 255, np.uint8)
    cv2.putText(strip, text, (4, _STRIP - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return strip


def _stacked(rows: Sequence[_Picture]) -> _Picture:
    """Pictures below each other, white on their right where one is wider."""
    width = max(row.shape[1] for row in rows)
    return np.vstack([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows])
