"""The tracker against rendered ground truth: poses it must find, and videos that must not fool it."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from camera.intrinsics import default_intrinsics
from camera.language import Move
from camera.metrics import rotation_error, static_score, translation_error
from camera.trajectory import compile as compile_moves
from tools.camera_evaluation.held_out import MOTIONS, plan_held_out
from tools.camera_evaluation.scores import RELATIVE
from tools.camera_tracking import track_camera
from tools.procedural_world.clips import ClipPlan, render_clip
from tools.procedural_world.rooms import build_world

FRAMES, FPS, HEIGHT, WIDTH = 17, 16.0, 96, 160


def track(clip, intrinsics=None):
    return track_camera(
        clip.frames.numpy(), clip.depth.numpy(), clip.track.intrinsics if intrinsics is None else intrinsics
    )


def render(plan, track=None):
    """The world of a held-out clip along its own track, or along another."""
    return render_clip(ClipPlan(plan.moves, plan.track if track is None else track, plan.world), HEIGHT, WIDTH)


def turned_deg(camera):
    """Largest angle of any pose, with what the translation amounts to at the subject's distance."""
    return static_score(camera.c2w)


@pytest.fixture(scope="module")
def plans():
    """One clip at high speed for the first motion of every class."""
    names = {next(iter(motions)) for motions in MOTIONS.values()}
    found = plan_held_out(64, 5, FRAMES, FPS, WIDTH / HEIGHT)
    return {plan.kind: plan for plan in found if plan.motion in names and plan.speed == "high"}


def test_rendered_cameras_are_found_in_every_class_of_motion(plans):
    assert plans.keys() == MOTIONS.keys()
    angles, ways = [], []
    for plan in plans.values():
        camera = track(render(plan))
        # a camera that tilts up may see little but a plain ceiling in the end
        assert camera.found.double().mean() > 0.9, plan.motion
        angles.append(rotation_error(camera.c2w, plan.track.c2w, "mean_deg"))
        ways.append(translation_error(camera.c2w, plan.track.c2w, RELATIVE))
    assert np.median(angles) < 0.3
    assert max(angles) < 1.0
    assert np.nanmedian(ways) < 0.05
    # the test can fail: standing still is far from every one of these motions
    assert all(float((plan.track.c2w[-1] - torch.eye(4)).norm()) > 0.1 for plan in plans.values())


def test_a_video_along_another_path_is_measured_along_that_path(plans):
    plan, other = plans["orbit"], plans["elevation"].track
    camera = track(render(plan, replace(other, intrinsics=plan.track.intrinsics)))
    assert rotation_error(camera.c2w, other.c2w, "mean_deg") < 0.5
    assert rotation_error(camera.c2w, plan.track.c2w, "mean_deg") > 5


def test_a_standing_video_has_a_standing_camera(plans):
    clip = render(plans["pan"])
    still = replace(clip, frames=clip.frames[:1].expand(FRAMES, -1, -1, -1))
    camera = track(still)
    assert camera.found.all()
    assert turned_deg(camera) < 0.01


def test_noise_is_counted_as_failure_and_the_pose_is_held(plans):
    clip = render(plans["truck"])
    rng = np.random.default_rng(0)
    frames = clip.frames.clone()
    frames[9:] = torch.from_numpy(rng.integers(0, 256, frames[9:].shape, dtype=np.uint8))
    camera = track(replace(clip, frames=frames))
    assert camera.found[:9].all()
    assert not camera.found[9:].any()
    assert torch.equal(camera.c2w[9:], camera.c2w[8:9].expand(FRAMES - 9, 4, 4))


def test_a_picture_without_corners_fails_and_does_not_crash(plans):
    clip = render(plans["tilt"])
    camera = track(replace(clip, frames=torch.full_like(clip.frames, 128)))
    assert camera.found.tolist() == [True] + [False] * (FRAMES - 1)
    assert torch.equal(camera.c2w, torch.eye(4, dtype=torch.float64).expand(FRAMES, 4, 4))


def test_a_jump_cut_is_no_motion(plans):
    clip, other = render(plans["dolly"]), render(plans["pedestal"])
    frames = torch.cat((clip.frames[:8], other.frames[8:]))
    camera = track(replace(clip, frames=frames))
    assert camera.found[:8].all()
    assert not camera.found[8:].any()


def world_with_a_mover(path):
    """The first room, by seed, in which something moves in sight of the camera."""
    for seed in range(200):
        world = build_world(random.Random(seed), path, 60.0)
        if any(solid.motion for solid in world.solids):
            return world
    raise AssertionError("no room has a thing that moves")


@pytest.mark.parametrize("move", [Move(0.0, 1.0, 1.0, "stay"), Move(0.0, 1.0, 1.0, "right")], ids=["standing", "orbit"])
def test_a_thing_that_moves_does_not_fool_it(move):
    path = compile_moves([move], FRAMES, FPS, default_intrinsics(WIDTH / HEIGHT, 60.0))
    world = world_with_a_mover(path.c2w[:, :3, 3].numpy())
    clip = render_clip(ClipPlan((move,), path, world), HEIGHT, WIDTH)
    if move.direction == "stay":
        changed = (clip.frames[-1].int() - clip.frames[0].int()).abs().amax(dim=-1) > 20
        assert changed.float().mean() > 0.005
    camera = track(clip)
    assert camera.found.all()
    error = replace(path, c2w=torch.linalg.inv(path.c2w) @ camera.c2w)
    assert static_score(error.c2w) < 1.0


def test_a_zoom_is_not_taken_for_motion_when_the_lens_is_given(plans):
    lens = default_intrinsics(WIDTH / HEIGHT, 60.0)
    path = compile_moves([Move(0.0, 1.0, 1.0, "stay", zoom="in")], FRAMES, FPS, lens)
    clip = render(plans["roll"], path)
    assert turned_deg(track(clip)) < 0.3
    # told the lens of frame 0 all the while, it sees the subject come nearer
    mistaken = track(clip, path.intrinsics[:1].expand(FRAMES, 4))
    assert mistaken.c2w[-1, 2, 3] > 0.05
