"""Any camera path in the nearest words of the trajectory language, and how far those words are from it.

`camera.describe` writes a path exactly, frame by frame where it must. This is for paths that were measured: noisy, of
unknown scale, and not made by the planner. A few segments are found in which the camera moves evenly (dynamic
programming on its velocity, one penalty a segment); their rates are read off as an orbit or a truck; then rates, joints
and scale are adjusted together to the path (Levenberg-Marquardt), and words that hardly help are left out.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float64, Int64

from camera.language import Move
from camera.poses import invert, log_se3, rotation_vector
from camera.rates import COLUMNS, MIN_DISTANCE, MIN_FOCAL, START_DISTANCE, TURN, ZOOM
from camera.rig import coordinates, rig_poses
from camera.spelling import MOST_RATES, spell
from camera.timeline import Timeline
from camera.track import CameraTrack
from camera.trajectory import compile_at

MOST_SEGMENTS = 6
_KNOTS = 33
_WORD_PENALTY = 3.0
_FLOOR = 0.002
"""Radians, and shares of the path, below which a better fit is worth no word."""
_SMALLEST = 0.01
"""Radians, and units of the planner, by which a word must move the camera to be written."""
_PATIENCE = 2
"""Numbers of segments in a row that bring nothing, after which no more are tried."""
_FIRST_STEPS, _STEPS = 3, 12
_SCALES = (1.0, 0.5, 2.0)
_ROUNDING = 0.01
_ZOOMS = 0.01
_STILL = 1e-3
_ANGLES = slice(0, 2)


@dataclass(frozen=True)
class Fit:
    """Moves near a path."""

    moves: list[Move]
    scale: float
    """What the path's translations are multiplied by to be in the planner's unit."""
    rotation_deg: float
    """Root mean square angle between the path's rotations and those of the moves."""
    rotation_max_deg: float
    position_percent: float
    """Root mean square distance between their centres, in percent of the length of the path; of a path that hardly
    moves, in percent of the distance of the subject."""
    position_max_percent: float


@dataclass(frozen=True, eq=False)
class _Path:
    """What is to be fitted: poses in the camera of the first, at a few times from 0 s on."""

    times: Float64[np.ndarray, "T"]
    c2w: Float64[np.ndarray, "T 4 4"]
    length: float
    """Of the way; that of a still one is 1, in the path's unit."""


@dataclass(frozen=True, eq=False)
class _Guess:
    """Segments of even rates, one after the other from 0 s to the end."""

    joints: Float64[np.ndarray, "J"]
    rates: Float64[np.ndarray, "S 9"]
    log_scale: float

    @property
    def words(self) -> int:
        """How many rates are not 0."""
        return int(np.count_nonzero(self.rates))

    def line(self) -> Timeline:
        """As the planner has it."""
        ease = np.tile((1.0, 0.0, 0.0), (len(self.rates), 1))
        return Timeline(self.joints[:-1], self.joints[1:], ease, self.rates)


def fit_language(track: CameraTrack, most_segments: int = MOST_SEGMENTS, scale_known: bool = False) -> Fit:
    """The moves of few words that come nearest to a path, whatever it is.

    Args:
        track: 2 frames or more; its times are counted from the first frame on.
        most_segments: 1 or more.
        scale_known: its translations are in the planner's unit (the distance of the subject); else the scale is fitted
            too, where there is an orbit to tell it from; without one the path's own unit is taken.

    Raises:
        ValueError: fewer than 2 frames, or `most_segments` below 1.
    """
    if len(track) < 2 or most_segments < 1:
        raise ValueError(f"{len(track)} frames and {most_segments} segments: expected 2 or more, and 1 or more")
    path = _path_of(track)
    velocities = _velocities(path)
    best: tuple[float, _Guess] | None = None
    useless = 0
    for cuts in _segmentations(path, velocities, most_segments):
        scales = (1.0,) if scale_known else _scales(path, velocities, cuts)
        starts = [_first_guess(path, velocities, cuts, scale) for scale in scales]
        rough = [_refined(path, start, not scale_known, _FIRST_STEPS) for start in starts]
        guess, score = _simplified(path, min(rough, key=lambda each: _score(path, each)), not scale_known)
        useless = 0 if best is None or score < best[0] else useless + 1
        if useless == 0:
            best = score, guess
        if useless == _PATIENCE:
            break
    assert best is not None
    guess = best[1] if best[1].rates[:, _ANGLES].any() else _at_scale_one(path, best[1])
    return _written(track, guess)


def _path_of(track: CameraTrack) -> _Path:
    start, end = float(track.times[0]), float(track.times[-1])
    few = track if len(track) <= _KNOTS else track.at(np.linspace(start, end, _KNOTS).tolist())
    c2w = few.rebased().c2w.cpu().numpy()
    length = float(np.linalg.norm(np.diff(c2w[:, :3, 3], axis=0), axis=1).sum())
    reach = float(np.linalg.norm(c2w[:, :3, 3], axis=1).max())
    return _Path(few.times.cpu().numpy() - start, c2w, length if reach > _STILL else 1.0)


def _velocities(path: _Path) -> Float64[np.ndarray, "V 6"]:
    """Between the times, along (path lengths a second) and about (rad/s) the camera's own axes."""
    poses = torch.from_numpy(path.c2w)
    twist = log_se3(invert(poses[:-1]) @ poses[1:]).numpy() / np.diff(path.times)[:, None]
    return twist / np.array([path.length] * 3 + [1.0] * 3)


def _segmentations(path: _Path, velocities: Float64[np.ndarray, "V 6"], most: int) -> Iterator[Int64[np.ndarray, "J"]]:
    """The best cuts into 1, 2, ... segments of even velocity; indices of times, 0 and the last among them.

    Optimal partition: the cheapest way to cut the first n steps into k segments ends in the cheapest last segment.
    """
    count = len(velocities)
    span = np.diff(path.times)[:, None]
    first = np.concatenate((np.zeros((1, 6)), np.cumsum(velocities * span, axis=0)))
    second = np.concatenate(((0.0,), np.cumsum((np.square(velocities) * span).sum(axis=1))))
    # of a segment from step i to step j: its squares less those of its mean
    length = np.maximum(path.times[None] - path.times[:, None], 1e-12)
    cost = second[None] - second[:, None] - np.square(first[None] - first[:, None]).sum(axis=2) / length
    cost[np.tril_indices(count + 1)] = np.inf
    totals, ways = [cost[0]], [np.zeros(count + 1, dtype=np.int64)]
    for _ in range(1, min(most, count)):
        choices = totals[-1][:, None] + cost
        ways.append(choices.argmin(axis=0))
        totals.append(choices.min(axis=0))
    for segments in range(len(totals)):
        cuts = [count]
        for back in range(segments, -1, -1):
            cuts.append(int(ways[back][cuts[-1]]) if back else 0)
        yield np.array(cuts[::-1], dtype=np.int64)


def _scales(path: _Path, velocities: Float64[np.ndarray, "V 6"], cuts: Int64[np.ndarray, "J"]) -> list[float]:
    """Scales to begin with: those by which a segment is an orbit without a pan, and a few besides."""
    found = []
    for first, last in pairwise(cuts):
        x, y, _, pitch, yaw, _ = velocities[first:last].mean(axis=0)
        for along, turned in ((x, -yaw), (y, pitch)):
            if along * turned > 0:
                found.append(START_DISTANCE * turned / (along * path.length))
    reach = float(np.linalg.norm(path.c2w[:, :3, 3], axis=1).max())
    middling = 1.0 if reach <= _STILL else 0.5 / reach
    every = [*found, *(middling * factor for factor in _SCALES)]
    # near ones lead to the same fit
    rounded = {round(math.log(scale) / math.log(1.5)): scale for scale in every if 1e-6 < scale < 1e6}
    return sorted(rounded.values())


def _first_guess(
    path: _Path, velocities: Float64[np.ndarray, "V 6"], cuts: Int64[np.ndarray, "J"], scale: float
) -> _Guess:
    """Rates of every segment from its mean velocity: an orbit where the turn fits the way, else a truck and a pan."""
    rates = np.zeros((len(cuts) - 1, COLUMNS))
    distance = START_DISTANCE
    for row, first, last in zip(rates, cuts[:-1], cuts[1:], strict=True):
        x, y, z, pitch, yaw, roll = velocities[first:last].mean(axis=0)
        x, y, z = (speed * scale * path.length for speed in (x, y, z))
        row[0], row[3], row[TURN.start + 1] = _split(x / distance, yaw, -1.0, distance)
        row[1], row[4], row[TURN.start] = _split(-y / distance, pitch, -1.0, -distance)
        row[2], row[TURN.start + 2] = -z, roll
        seconds = float(path.times[last] - path.times[first])
        row[np.abs(row) * seconds < _SMALLEST] = 0.0
        distance = max(2 * MIN_DISTANCE, distance + row[2] * seconds)
    return _Guess(path.times[cuts], rates, math.log(scale))


def _split(around: float, turned: float, sign: float, unit: float) -> tuple[float, float, float]:
    """Rates of orbit, truck and the camera's own turn from a way round the subject (rad/s) and a turn (rad/s)."""
    if abs(turned - sign * around) < 0.5 * abs(around):
        return around, 0.0, turned - sign * around
    return 0.0, around * unit, turned


def _errors(path: _Path, guess: _Guess) -> Float64[np.ndarray, "T 6"] | None:
    """Turn (rad) and way (path lengths) from the path to the moves at each time; None where no such moves are."""
    line = guess.line()
    if (np.diff(guess.joints) <= 0).any() or (np.abs(guess.rates) > MOST_RATES).any():
        return None
    if coordinates(line, np.union1d(path.times, guess.joints))[2].min() < MIN_DISTANCE * 1.05:
        return None
    made = rig_poses(line, path.times)
    turned = rotation_vector(torch.from_numpy(np.swapaxes(path.c2w[:, :3, :3], 1, 2) @ made[:, :3, :3])).numpy()
    away = (made[:, :3, 3] * math.exp(-guess.log_scale) - path.c2w[:, :3, 3]) / path.length
    return np.concatenate((turned, away), axis=1)


def _score(path: _Path, guess: _Guess) -> float:
    """Twice the negative logarithm of the likelihood of errors of unknown size, and a penalty for every word."""
    errors = _errors(path, guess)
    if errors is None:
        return math.inf
    mean = float(np.square(errors).mean())
    return len(errors) * math.log(mean + _FLOOR**2) + _WORD_PENALTY * (guess.words + len(guess.rates))


def _refined(path: _Path, guess: _Guess, with_scale: bool, steps: int = _STEPS) -> _Guess:
    """The nearest guess with the same words: Levenberg-Marquardt on rates, joints and scale."""
    guess = _nearer(path, guess)
    errors = _errors(path, guess)
    if errors is None:
        return guess
    free = _parameters(guess, with_scale)
    damping, values = 1e-3, _values(guess, free)
    for _ in range(steps):
        jacobian = _jacobian(path, guess, free, errors)
        normal, gradient = jacobian.T @ jacobian, jacobian.T @ errors.ravel()
        diagonal = np.diag(np.diag(normal) + 1e-9)
        step = -np.linalg.solve(normal + damping * diagonal, gradient)
        tried = _with_values(guess, free, values + step)
        there = _errors(path, tried)
        if there is not None and np.square(there).sum() < np.square(errors).sum():
            gained = 1 - float(np.square(there).sum() / np.square(errors).sum())
            guess, errors, values, damping = tried, there, values + step, max(damping / 5, 1e-9)
            if gained < 1e-3:
                break
        elif damping > 1e6:
            break
        else:
            damping *= 8
    return guess


def _nearer(path: _Path, guess: _Guess) -> _Guess:
    """The guess at a smaller scale, until its moves keep away from the subject."""
    for _ in range(40):
        if _errors(path, guess) is not None:
            break
        rates = guess.rates.copy()
        rates[:, 2:5] /= 1.5
        guess = replace(guess, rates=rates, log_scale=guess.log_scale - math.log(1.5))
    return guess


def _at_scale_one(path: _Path, guess: _Guess) -> _Guess:
    """The same moves in the unit of the path: without an orbit any scale fits, and that one was meant."""
    rates = guess.rates.copy()
    rates[:, 2:5] /= math.exp(guess.log_scale)
    return _nearer(path, replace(guess, rates=rates, log_scale=0.0))


_Parameters = list[tuple[str, int, int]]


def _parameters(guess: _Guess, with_scale: bool) -> _Parameters:
    """What may change: the rates that are not 0, the inner joints, and the scale where an orbit depends on it."""
    free = [("rate", int(row), int(column)) for row, column in zip(*np.nonzero(guess.rates), strict=True)]
    free += [("joint", index, 0) for index in range(1, len(guess.joints) - 1)]
    around = bool(guess.rates[:, _ANGLES].any())
    return [*free, ("scale", 0, 0)] if with_scale and around else free


def _values(guess: _Guess, free: _Parameters) -> Float64[np.ndarray, "P"]:
    places = {"rate": lambda r, c: guess.rates[r, c], "joint": lambda r, _: guess.joints[r]}
    return np.array([guess.log_scale if kind == "scale" else places[kind](row, column) for kind, row, column in free])


def _with_values(guess: _Guess, free: _Parameters, values: Float64[np.ndarray, "P"]) -> _Guess:
    rates, joints, log_scale = guess.rates.copy(), guess.joints.copy(), guess.log_scale
    for (kind, row, column), value in zip(free, values.tolist(), strict=True):
        if kind == "rate":
            rates[row, column] = value
        elif kind == "joint":
            joints[row] = value
        else:
            log_scale = value
    return _Guess(joints, rates, log_scale)


def _jacobian(
    path: _Path, guess: _Guess, free: _Parameters, errors: Float64[np.ndarray, "T 6"]
) -> Float64[np.ndarray, "N P"]:
    """Of the errors by the parameters, by small steps."""
    values, columns = _values(guess, free), []
    for index in range(len(free)):
        moved = values.copy()
        moved[index] += 1e-6
        there = _errors(path, _with_values(guess, free, moved))
        columns.append(np.zeros(errors.size) if there is None else (there - errors).ravel() / 1e-6)
    return np.stack(columns, axis=1) if columns else np.zeros((errors.size, 0))


def _simplified(path: _Path, guess: _Guess, with_scale: bool) -> tuple[_Guess, float]:
    """The guess, adjusted, without the words that the penalty is not worth, the weakest first; and its score."""
    guess = _refined(path, guess, with_scale)
    score = _score(path, guess)
    while guess.words:
        rates = guess.rates.copy()
        made = np.abs(rates) * np.diff(guess.joints)[:, None]
        made[rates == 0] = np.inf
        rates[made <= max(_SMALLEST, made.min())] = 0.0
        tried = _refined(path, replace(guess, rates=rates), with_scale)
        simpler = _score(path, tried)
        if math.isinf(simpler) or (simpler >= score and made.min() > _SMALLEST):
            break
        guess, score = tried, simpler
    return guess, score


def _written(track: CameraTrack, guess: _Guess) -> Fit:
    """The guess in words of few digits, with the lens's zoom, and what they leave over."""
    end = float(track.times[-1] - track.times[0])
    joints = guess.joints.round(2)
    joints[-1] = max(joints[-1], math.ceil(end * 100) / 100)
    rates = guess.rates.copy()
    rates[:, ZOOM] = _zoom_rates(track, guess.joints)
    moves: list[Move] = []
    for first, last, row in zip(joints[:-1], joints[1:], rates, strict=True):
        if last > first and row.any():
            low, high = row - _ROUNDING * np.abs(row), row + _ROUNDING * np.abs(row)
            moves += spell((float(first), float(last)), low, np.minimum(high, MOST_RATES))
    moves = moves or [Move(0.0, float(joints[-1]), 1.0, "stay")]
    return _measured(track, moves, math.exp(guess.log_scale))


def _zoom_rates(track: CameraTrack, joints: Float64[np.ndarray, "J"]) -> Float64[np.ndarray, "S"]:
    """Change of the focal length in each segment, as a share of the first a second; 0 where it hardly changes."""
    times = (track.times - track.times[0]).cpu().numpy()
    factor = np.interp(joints, times, (track.intrinsics[:, 0] / track.intrinsics[0, 0]).cpu().numpy())
    change = np.diff(np.maximum(factor, 2 * MIN_FOCAL))
    return np.where(np.abs(change) > _ZOOMS, change / np.diff(joints), 0.0)


def _measured(track: CameraTrack, moves: Sequence[Move], scale: float) -> Fit:
    moves = list(moves)
    times = track.times - track.times[0]
    made, true = compile_at(moves, times, track.intrinsics[0]).c2w, track.rebased().c2w
    turned = rotation_vector(true[:, :3, :3].mT @ made[:, :3, :3]).norm(dim=1).rad2deg()
    length = float(true[:, :3, 3].diff(dim=0).norm(dim=1).sum()) * scale
    away = 100 * (made[:, :3, 3] - scale * true[:, :3, 3]).norm(dim=1) / max(length, _STILL * START_DISTANCE * 20)
    return Fit(
        moves,
        scale,
        float(turned.square().mean().sqrt()),
        float(turned.max()),
        float(away.square().mean().sqrt()),
        float(away.max()),
    )
