"""The point cloud as a file, read back by the format's own rules."""

from pathlib import Path

import numpy as np
import pytest
import torch

from camera.language import Move
from camera.trajectory import compile
from Dust3rP.estimate import Estimate, no_points
from Dust3rP.points import write_ply


def estimate(points: int) -> Estimate:
    track = compile([Move(0, 2, 1.0, "right")], 17, 8.0)
    random = torch.Generator().manual_seed(0)
    cloud = torch.randn(points, 3, generator=random), torch.randint(0, 256, (points, 3), generator=random).byte()
    return Estimate(track, "colmap", 1.0, torch.ones(17).double(), *(cloud if points else no_points()))


def read_ply(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Positions [N, 3] and colours [N, 3] of a file whose header says how it is laid out."""
    head, _, body = path.read_bytes().partition(b"end_header\n")
    lines = head.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    (count,) = [int(line.split()[2]) for line in lines if line.startswith("element vertex ")]
    kinds = {"float": "<f4", "uchar": "u1"}
    layout = np.dtype([(line.split()[2], kinds[line.split()[1]]) for line in lines if line.startswith("property ")])
    assert len(body) == count * layout.itemsize
    rows = np.frombuffer(body, layout)
    return np.stack([rows[axis] for axis in "xyz"], 1), np.stack([rows[c] for c in ("red", "green", "blue")], 1)


def test_points_come_first_then_the_path_from_blue_to_red(tmp_path):
    found = estimate(50)
    write_ply(found, tmp_path / "scene.ply")
    xyz, rgb = read_ply(tmp_path / "scene.ply")
    np.testing.assert_array_equal(xyz[:50], found.points.numpy())
    np.testing.assert_array_equal(rgb[:50], found.colours.numpy())
    path, colours = xyz[50:1050], rgb[50:1050]
    assert tuple(colours[0]) == (40, 90, 255) and tuple(colours[-1]) == (255, 60, 40)
    # the way passes every centre
    for centre in found.track.c2w[:, :3, 3].numpy():
        assert np.linalg.norm(path - centre, axis=1).min() < 1e-3
    # frusta stand around it
    assert np.linalg.norm(xyz[1050:, None] - path[None, ::50], axis=2).min(axis=1).max() < 0.2


def test_without_points_it_is_the_path_alone(tmp_path):
    write_ply(estimate(0), tmp_path / "path.ply")
    xyz, _ = read_ply(tmp_path / "path.ply")
    assert len(xyz) > 1000 and np.isfinite(xyz).all()


def test_it_is_whole_or_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_ply(estimate(3), tmp_path / "scene.ply")
    assert not list(tmp_path.iterdir())
