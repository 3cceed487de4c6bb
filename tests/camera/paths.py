"""Camera paths that the tests of metrics, alignment and segments share."""

import torch
from hypothesis import strategies as st

from camera.poses import assemble, turn


def path(centres, turns=None):
    """c2w of centres [F,3] and rotation vectors [F,3] (radians), none for a camera that never turns."""
    centres = torch.as_tensor(centres, dtype=torch.float64)
    turns = torch.zeros_like(centres) if turns is None else torch.as_tensor(turns, dtype=torch.float64)
    return assemble(turn(turns), centres)


def transformed(c2w, rotation_vector, translation, scale=1.0):
    """The same path in another world of another unit."""
    world = turn(torch.as_tensor(rotation_vector, dtype=torch.float64))
    shift = torch.as_tensor(translation, dtype=torch.float64)
    return assemble(world @ c2w[:, :3, :3], scale * c2w[:, :3, 3] @ world.mT + shift)


def straight(frames, step, axis=2):
    """A camera that goes `step` per frame along one axis."""
    centres = torch.zeros(frames, 3, dtype=torch.float64)
    centres[:, axis] = step * torch.arange(frames, dtype=torch.float64)
    return path(centres)


def panning(frames, step, axis=1):
    """A camera that turns `step` radians per frame about one of its axes and stays where it is."""
    return path(torch.zeros(frames, 3), straight(frames, step, axis)[:, :3, 3])


def wavy_pair(frames=24):
    """(estimated, true): a wavy path, and the same with noise in a turned, moved and smaller world."""
    i = torch.arange(frames, dtype=torch.float64)
    centres = torch.stack((torch.sin(0.3 * i), 0.2 * torch.cos(0.5 * i), 0.1 * i), dim=1)
    true = path(centres, torch.stack((0.1 * torch.sin(0.4 * i), 0.05 * i, 0.02 * torch.cos(i)), dim=1))
    shake = torch.stack((0.03 * torch.cos(1.7 * i), 0.02 * torch.sin(2.3 * i), 0.04 * torch.sin(i)), dim=1)
    bump = torch.stack((torch.sin(2.1 * i), torch.cos(1.3 * i), torch.sin(0.9 * i + 1)), dim=1)
    noisy = assemble(true[:, :3, :3] @ turn(shake), centres + 0.05 * bump)
    return transformed(noisy, (0.3, -0.8, 0.5), (2.0, -1.0, 0.5), 0.6), true


def random_paths(frames=8):
    """Hypothesis: paths of a length whose camera moves by about one unit a frame and turns by up to a radian."""
    numbers = st.integers(0, 2**32 - 1)

    def build(seed):
        values = torch.randn(2, frames, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        return path(values[0], 0.5 * values[1])

    return numbers.map(build)


vectors = st.tuples(*[st.floats(-3, 3)] * 3)
scales = st.floats(0.05, 20)
