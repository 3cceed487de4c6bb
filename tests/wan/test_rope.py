import pytest
import torch

from wan.rope import apply_rotary, rotary_table, video_pairs

CPU = torch.device("cpu")


def test_video_pairs_split_the_head_as_the_official_model():
    assert video_pairs(128) == (22, 21, 21)
    assert video_pairs(64) == (12, 10, 10)


def test_rotation_equals_complex_multiplication_in_float64():
    grid, head_dim = (3, 4, 5), 32
    x = torch.randn(2, 60, 3, head_dim)
    pairs = video_pairs(head_dim)
    positions = torch.cartesian_prod(*(torch.arange(n) for n in grid)).double()
    angles = [
        torch.outer(positions[:, axis], 1.0 / 10000.0 ** (torch.arange(0, 2 * p, 2).double() / (2 * p)))
        for axis, p in enumerate(pairs)
    ]
    turn = torch.polar(torch.ones(60, head_dim // 2, dtype=torch.float64), torch.cat(angles, dim=1))
    expected = torch.view_as_real(torch.view_as_complex(x.double().unflatten(-1, (-1, 2))) * turn[:, None]).flatten(-2)
    result = apply_rotary(x, rotary_table(grid, pairs, 10000.0, CPU))
    assert result.dtype == torch.float32
    assert (result - expected).abs().max() < 1e-6


def test_tables_are_made_once_and_survive_inference_mode():
    with torch.inference_mode():
        table = rotary_table((2, 3, 7), (4, 4, 4), 123.0, CPU)
    assert rotary_table((2, 3, 7), (4, 4, 4), 123.0, CPU) is table
    x = torch.randn(1, 42, 1, 24, requires_grad=True)
    apply_rotary(x, table).sum().backward()
    assert x.grad is not None


def test_a_pair_count_for_every_axis_is_needed():
    with pytest.raises(ValueError):
        rotary_table((2, 3), (4, 4, 4), 10000.0, CPU)
