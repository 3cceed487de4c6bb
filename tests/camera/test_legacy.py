"""The fork's geometry: its faults are kept, number for number (its table 0.7a)."""

import pytest
import torch

from camera.language import Move, parse
from camera.legacy import legacy_poses

pytest.importorskip("scipy")


def poses(direction, frames=9, seconds=1.0, speed=1.0):
    return legacy_poses([Move(0, seconds, speed, direction)], frames)


def relative(c2w):
    return torch.linalg.inv(c2w[0]) @ c2w[-1]


def test_a_move_to_the_right_reaches_the_network_as_a_pure_turn():
    c2w = poses("right")
    # the camera itself moved by 0.34; its world-to-camera translation, taken for a centre, did not
    torch.testing.assert_close(c2w[:, :3, 3], c2w[:1, :3, 3].expand(9, 3), rtol=0, atol=1e-5)
    turn = relative(c2w)[:3, :3]
    assert torch.rad2deg(torch.arccos((turn.trace() - 1) / 2)).item() == pytest.approx(20.0, abs=1e-2)
    true = torch.linalg.inv(c2w)[:, :3, 3]
    assert (true[-1] - true[0]).norm().item() == pytest.approx(2 * 1.0067 * 0.17365, abs=2e-3)


def test_up_and_down_reach_it_exchanged_and_forward_is_right():
    up, down = (relative(poses(word))[:3, :3] for word in ("up", "down"))
    torch.testing.assert_close(up, down.mT, rtol=0, atol=1e-4)
    # OpenCV: a camera that rises and keeps the subject pitches down, so its z axis gains +y; here it gains -y
    assert up[1, 2].item() == pytest.approx(-0.2588, abs=1e-3)
    c2w = poses("forward")
    torch.testing.assert_close(c2w[:, :3, :3], c2w[:1, :3, :3].expand(9, 3, 3), rtol=0, atol=1e-6)
    step = relative(c2w)[:3, 3]
    assert step.norm().item() == pytest.approx(0.2006, abs=1e-3) and step[2].item() > 0.199


FIRST = torch.tensor(
    [
        [-1.0, 8.6e-07, -8e-08, 0.0],
        [-8.6e-07, 0.99629734, -0.08717614, 4.571e-05],
        [0.0, -0.08717714, -0.99629734, 1.00683273],
        [0.0, 0.0, 0.0, 1.0],
    ]
).double()
LAST = torch.tensor(
    [
        [-0.99904823, 8.6e-07, 0.04361926, 0.0],
        [-0.00625956, 0.98975771, -0.14334766, 4.571e-05],
        [-0.04317262, -0.14348526, -0.98881563, 1.00683273],
        [0.0, 0.0, 0.0, 1.0],
    ]
).double()


def test_frozen_vectors():
    """Half a second of slow rightup30: 2.5 degrees to the right and 3.2475 up, which become 2.5 and 3.248."""
    c2w = poses("rightup30", 5, seconds=0.5, speed=0.5)
    torch.testing.assert_close(c2w[0], FIRST, rtol=0, atol=1e-6)
    torch.testing.assert_close(c2w[-1], LAST, rtol=0, atol=1e-6)


@pytest.mark.parametrize("frames", [9, 25, 33, 81])
def test_only_25_poses_are_kept_and_the_last_is_repeated(frames):
    text = "Camera: " + " <sep> ".join(
        f"<starttime>{second}</starttime> <endtime>{second + 1}</endtime> <speed>high</speed> "
        f"<direction>right</direction> <rotate>stay</rotate>"
        for second in range(4)
    )
    c2w = legacy_poses(parse(text), frames)
    assert c2w.shape == (frames, 4, 4)
    # 4 s at 20 degrees a second are 80 degrees; the network sees 24 steps of 2.5
    turned = torch.rad2deg(torch.arccos((relative(c2w)[:3, :3].trace() - 1) / 2))
    assert turned.item() == pytest.approx(60.0, abs=0.05)
    assert torch.equal(c2w[24:], c2w[-1:].expand(max(frames - 24, 0), 4, 4)) or frames < 25


def test_the_spline_smears_a_stop():
    """A move and a rest become one cubic: before the move ends, the camera is not where it was told to be."""
    moves = [Move(0, 1, 1.0, "forward"), Move(2, 3, 1.0, "stay")]
    c2w = legacy_poses(moves, 25)
    gone = (c2w[:, :3, 3] - c2w[0, :3, 3]).norm(dim=1)
    assert (gone[8:] - 0.2006).abs().max().item() == pytest.approx(0.0251, abs=0.01)
    assert gone[-1].item() == pytest.approx(0.2006, abs=1e-3), "the end is put back"


@pytest.mark.parametrize(
    ("moves", "word"),
    [
        ([Move(0, 0.3, 1.0, "up")], "needs 4"),
        ([Move(0, 2, 1.0, "up"), Move(1, 2, 1.0, "left")], "segment 2"),
        ([Move(0, 0.1, 1.0, "up")], "segment 1"),
    ],
)
def test_what_its_planner_cannot_make_is_named(moves, word):
    with pytest.raises(ValueError, match=word):
        legacy_poses(moves, 9)
