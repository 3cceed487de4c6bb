"""Random tracks for round trips, and tracks of known meaning."""

import torch
from hypothesis import strategies as st

from camera.poses import assemble, turn
from camera.track import CameraTrack

EYE = torch.eye(4, dtype=torch.float64)


def random_track(seed, frames, zoom=True, even_fps=None, centred=False):
    """Any rotations, centres within about 10, lenses of 30 to 120 degrees, times from 0."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    c2w = assemble(turn((draw(frames, 3) - 0.5) * 6), (draw(frames, 3) - 0.5) * 20)
    intrinsics = torch.cat((0.3 + 1.5 * draw(frames, 2), 0.4 + 0.2 * draw(frames, 2)), dim=1)
    if centred:
        intrinsics[:, 2:] = 0.5
    if not zoom:
        intrinsics = intrinsics[:1].repeat(frames, 1)
    steps = 0.01 + draw(frames - 1)
    times = torch.cat((torch.zeros(1, dtype=torch.float64), steps.cumsum(0)))
    if even_fps is not None:
        times = torch.arange(frames, dtype=torch.float64) / even_fps
    return CameraTrack(c2w, intrinsics, times, "unknown")


def random_tracks(**kwargs):
    """A strategy of `random_track`."""
    return st.builds(
        lambda seed, frames: random_track(seed, frames, **kwargs), st.integers(0, 2**32), st.integers(2, 9)
    )


def moved(*centres):
    """c2w without turns."""
    return assemble(EYE[:3, :3].repeat(len(centres), 1, 1), torch.tensor(centres, dtype=torch.float64))


def lens(*row, frames=2):
    return torch.tensor([row], dtype=torch.float64).repeat(frames, 1)


def close(actual, expected, atol=1e-9):
    torch.testing.assert_close(actual, torch.as_tensor(expected, dtype=torch.float64), rtol=0, atol=atol)
