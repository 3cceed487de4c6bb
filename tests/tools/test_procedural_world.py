"""The ray caster as ground truth: poses, intrinsics, depth and pixels agree, and captions say what is there."""

import dataclasses
import math
import random
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch

from camera.language import format, parse
from camera.trajectory import START_DISTANCE
from tools.procedural_world.baking import bake
from tools.procedural_world.batch import pack
from tools.procedural_world.captions import FLOOR, describe
from tools.procedural_world.clips import ClipPlan, plan_clip, render_clip
from tools.procedural_world.materials import COLORS, Texture
from tools.procedural_world.moves import DECK_SIZE, KINDS, main_kind, sample_moves
from tools.procedural_world.parallel import run_each
from tools.procedural_world.raycaster import cast, pixel_rays, render, trace
from tools.procedural_world.rooms import CLEARANCE, build_world

FRAMES, FPS, HEIGHT, WIDTH = 17, 16.0, 96, 160
# a diagonal, an orbit, an elevation with a roll before it, a dolly
CLIPS = (11, 13, 16, 18, 21)


def plan(index: int, frames: int = FRAMES, fps: float = FPS) -> ClipPlan:
    return plan_clip(0, index, frames, fps, WIDTH / HEIGHT)


def unproject(pixels: np.ndarray, depth: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Pixel positions [N, 2] (pixel i has its centre at i + 0.5) at z-depths [N] to camera coordinates [N, 3]."""
    rays = (pixels / [WIDTH, HEIGHT] - intrinsics[2:]) / intrinsics[:2]
    return np.concatenate([rays * depth[:, None], depth[:, None]], axis=1)


def project(points: np.ndarray, c2w: np.ndarray, intrinsics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World points to pixel positions [N, 2] and z-depths [N] in a camera."""
    local = (points - c2w[:3, 3]) @ c2w[:3, :3]
    return (local[:, :2] / local[:, 2:] * intrinsics[:2] + intrinsics[2:]) * [WIDTH, HEIGHT], local[:, 2]


def pixel_centres() -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5), axis=-1).reshape(-1, 2)


@pytest.mark.parametrize("index", CLIPS)
def test_points_of_frame_0_are_hit_where_the_pose_of_frame_k_says(index):
    clip_plan = plan(index)
    worlds, track = pack([clip_plan.world]), clip_plan.track
    c2w, intrinsics = track.c2w.numpy(), track.intrinsics.numpy()
    depth = cast(worlds, track.c2w[:1], track.intrinsics[:1], HEIGHT, WIDTH).depth[0].double().numpy().ravel()
    pixels = pixel_centres()
    points = unproject(pixels, depth, intrinsics[0])
    for k in (1, FRAMES // 2, FRAMES - 1):
        place, expected = project(points, c2w[k], intrinsics[k])
        inside = ((place > 0) & (place < [WIDTH, HEIGHT])).all(axis=1) & (expected > 0)
        rays = unproject(place[inside], np.ones(inside.sum()), intrinsics[k])
        directions = torch.tensor(rays.T, dtype=torch.float32)[None]
        found = trace(worlds.shapes, track.c2w[k : k + 1], directions)[0][0].double()
        # nothing may be farther than the point itself; what is nearer hides it
        assert (found.numpy() < expected[inside] * 1.01).mean() > 0.999
        seen = found.numpy() > expected[inside] * 0.999
        assert seen.mean() > 0.6
        hits = unproject(place[inside][seen], found.numpy()[seen], intrinsics[k]) @ c2w[k, :3, :3].T + c2w[k, :3, 3]
        back = project(hits, c2w[0], intrinsics[0])[0]
        error = np.linalg.norm(back - pixels[inside][seen], axis=1)
        assert np.percentile(error, 99.9) < 0.5
        assert np.median(error) < 0.01


def tracked(gray: list[np.ndarray], depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners of frame 0 and their places in the last frame by optical flow alone; away from edges in depth."""
    start = cv2.goodFeaturesToTrack(gray[0], 200, 0.02, 4).reshape(-1, 2)
    rows, columns = start[:, 1].astype(int), start[:, 0].astype(int)
    block = np.ones((5, 5))
    kept = (cv2.dilate(depth, block) / cv2.erode(depth, block))[rows, columns] < 1.15
    place = start
    for one, other in pairwise(gray):
        moved, found, _ = cv2.calcOpticalFlowPyrLK(one, other, place[:, None], None, winSize=(9, 9), maxLevel=2)
        back = cv2.calcOpticalFlowPyrLK(other, one, moved, None, winSize=(9, 9), maxLevel=2)[0]
        kept &= (found.ravel() > 0) & (np.abs(back[:, 0] - place).max(axis=1) < 0.2)
        place = moved[:, 0]
    return start[kept] + 0.5, place[kept] + 0.5


@pytest.mark.parametrize("index", CLIPS)
def test_pixels_move_where_depth_pose_and_intrinsics_say(index):
    clip = render_clip(plan(index, 5, 12.0), HEIGHT, WIDTH)
    depth, c2w, intrinsics = clip.depth.numpy(), clip.track.c2w.numpy(), clip.track.intrinsics.numpy()
    start, end = tracked([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip.frames.numpy()], depth)
    at = cv2.remap(depth, *(start - 0.5).astype(np.float32).T[:, None], cv2.INTER_LINEAR)[0]
    points = unproject(start, at.astype(float), intrinsics[0])
    error = np.linalg.norm(project(points, c2w[4], intrinsics[4])[0] - end, axis=1)
    moved = np.linalg.norm(end - start, axis=1)
    assert len(error) > 20
    assert np.median(moved) > 1.0
    assert np.median(error) < 0.35
    assert (error < 0.5).mean() > 0.6
    # the test can fail: the inverse motion does not explain the pixels
    wrong = np.linalg.norm(project(points, np.linalg.inv(c2w[4]), intrinsics[4])[0] - end, axis=1)
    assert np.median(wrong) > 4 * np.median(error) + 0.5


def test_the_subject_is_on_the_optical_axis_at_the_planners_distance():
    for index in range(6):
        clip_plan = plan(index)
        worlds = pack([clip_plan.world])
        axis = torch.tensor([[[0.0], [0.0], [1.0]]])
        depth, solid, _ = trace(worlds.shapes, torch.eye(4)[None], axis)
        assert solid[0, 0] == worlds.places[0][0]
        half = max(clip_plan.world.solids[0].half)
        assert START_DISTANCE - math.sqrt(3) * half <= depth[0, 0] <= START_DISTANCE - half + 1e-5


def test_depth_is_along_the_optical_axis_and_rays_go_through_pixel_centres():
    rays = pixel_rays(torch.tensor([[0.8, 1.2, 0.5, 0.5]]), 4, 6)
    assert rays.shape == (1, 3, 4, 6)
    assert torch.equal(rays[:, 2], torch.ones(1, 4, 6))
    assert rays[0, 0, 0].tolist() == pytest.approx([((j + 0.5) / 6 - 0.5) / 0.8 for j in range(6)])
    assert rays[0, 1, :, 0].tolist() == pytest.approx([((i + 0.5) / 4 - 0.5) / 1.2 for i in range(4)])
    # the centre pixel of an odd picture looks along the optical axis, where z-depth and distance are the same
    clip_plan = plan(3)
    worlds = pack([clip_plan.world])
    depth = cast(worlds, torch.eye(4)[None], clip_plan.track.intrinsics[:1], 3, 5).depth[0, 1, 2]
    solid = worlds.places[0][0]
    hit = worlds.start[0, :3, 2] * depth + worlds.start[0, :3, 3]
    local = worlds.to_local[0, solid] @ hit + worlds.shift[0, solid]
    size = local.norm() if clip_plan.world.solids[0].shape == "sphere" else local.abs().max()
    assert float(size) == pytest.approx(1, abs=1e-4)


def test_the_same_numbers_give_the_same_clip_on_any_number_of_threads():
    first = render_clip(plan(4, 5), 48, 80)
    (again,) = run_each(lambda index: render_clip(plan(index, 5), 48, 80), [4])
    assert torch.equal(first.frames, again.frames)
    assert torch.equal(first.depth, again.depth)
    assert torch.equal(first.track.c2w, again.track.c2w)
    assert first.caption == again.caption
    assert first.frames.shape == (5, 48, 80, 3)
    assert first.frames.dtype == torch.uint8
    other = render_clip(plan(5, 5), 48, 80)
    assert other.caption != first.caption
    assert (other.frames.float() - first.frames.float()).abs().mean() > 10


def test_worlds_in_a_batch_look_as_they_do_alone():
    plans = [plan(index, 5) for index in (1, 8, 15)]
    together = pack([one.world for one in plans], boxes=9, spheres=6)
    c2w = torch.stack([one.track.c2w for one in plans])
    intrinsics = torch.stack([one.track.intrinsics for one in plans])
    frames = render(together, bake(together, 80), c2w, intrinsics, 48, 80)
    depth = cast(together, c2w[:, 0], intrinsics[:, 0], 48, 80).depth
    for number, one in enumerate(plans):
        alone = render_clip(one, 48, 80)
        assert (frames[number].int() - alone.frames.int()).abs().float().mean() < 0.05
        assert torch.allclose(depth[number], alone.depth, atol=1e-4)


def test_supersampling_smooths_edges_and_keeps_brightness():
    one = plan(0, 5)
    worlds = pack([one.world])
    atlas = bake(worlds, 80)
    arguments = (one.track.c2w[None, :1], one.track.intrinsics[None, :1], 48, 80)
    sharp, smooth = (render(worlds, atlas, *arguments, supersampling=n).float() for n in (1, 2))
    assert (sharp - smooth).abs().max() > 10
    assert abs(float(sharp.mean() - smooth.mean())) < 1


def test_rooms_hold_every_camera_and_its_mirror_images_and_nothing_is_in_their_way():
    for index in range(40):
        one = plan_clip(7, index, 33, FPS, WIDTH / HEIGHT)
        world, path = one.world, one.track.c2w[:, :3, 3].numpy()
        things = [solid for solid in world.solids if solid.name not in {"pedestal", "picture"}]
        assert 2 <= len(things) <= 6
        for mirror in ((1, 1), (-1, 1), (1, -1), (-1, -1)):
            cameras = path * [*mirror, 1] @ world.start[:3, :3].T + world.start[:3, 3]
            from_walls = np.array(world.room.half) - np.abs(cameras - np.array(world.room.center))
            assert from_walls.min() > CLEARANCE - 1e-6
            for solid in world.solids:
                apart = np.hypot(*(cameras - np.array(solid.center))[:, [0, 2]].T)
                above = cameras[:, 1] < solid.center[1] - solid.half[1]
                assert ((apart > solid.footprint) | above).all(), (index, solid.name)


def test_a_path_into_the_subject_is_refused():
    path = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.9]])
    with pytest.raises(ValueError, match="too near"):
        build_world(random.Random(0), path, 60.0)


def test_captions_name_what_is_seen_and_nothing_else():
    for index in (0, 8, 11, 18, 19):
        one = plan(index)
        worlds = pack([one.world])
        clip = render_clip(one, 48, 80)
        share = torch.zeros(worlds.half.shape[1])
        for frame in range(FRAMES):
            sight = cast(worlds, one.track.c2w[frame : frame + 1], one.track.intrinsics[frame : frame + 1], 48, 80)
            counts = torch.bincount(sight.solid.flatten(), minlength=len(share))
            share = torch.maximum(share, counts / sight.solid.numel())
        scene = clip.caption.split(" ; ")[0]
        solids = one.world.solids
        phrases = [f"{solids[k].textures[0].phrase(brief=k > 0)} {solids[k].name}" for k in range(len(solids))]
        for phrase, place in zip(phrases, worlds.places[0], strict=True):
            if share[place] > 0.012:
                assert phrase in scene
            if share[place] == 0:
                assert phrase not in scene or phrases.count(phrase) > 1
        assert f"{one.world.room.textures[0].phrase()} walls" in scene


def test_the_subject_has_the_colour_its_caption_says():
    hues = []
    for index in range(24):
        one = plan(index, 5)
        texture = one.world.solids[0].textures[0]
        if texture.pattern != "tiled":
            continue
        clip = render_clip(one, 48, 80)
        worlds = pack([one.world])
        sight = cast(worlds, one.track.c2w[:1], one.track.intrinsics[:1], 48, 80)
        pixels = clip.frames[0][sight.solid[0] == worlds.places[0][0]].numpy()
        named = np.array(COLORS[texture.colors[0]], np.uint8)
        seen = np.median(pixels[pixels.max(axis=1) > 40], axis=0).astype(np.uint8)
        hue = [float(cv2.cvtColor(c[None, None], cv2.COLOR_RGB2HSV)[0, 0, 0]) * 2 for c in (named, seen)]
        hues.append(abs((hue[0] - hue[1] + 180) % 360 - 180))
    assert len(hues) > 2
    assert sorted(hues)[len(hues) // 2] < 15 and max(hues) < 60


def test_captions_can_leave_out_what_is_not_seen():
    world = plan(0).world
    scene = describe(world, seen=set(), floor_seen=False)
    assert world.solids[0].textures[0].phrase() in scene.lower()
    assert "floor" not in scene
    assert "pedestal" not in scene
    assert ", with " not in scene
    everything = describe(world, seen=set(range(len(world.solids))))
    assert f"{world.room.textures[FLOOR].phrase()} floor" in everything
    assert Texture("tiled", ("teal", "white"), 0.1, 0.1, (0, 0, 0)).phrase() == "teal tiled"


def test_moves_are_mixed_timed_and_written_in_the_language():
    deck = [main_kind(0, index) for index in range(DECK_SIZE)]
    assert {kind: deck.count(kind) for kind in KINDS} == KINDS
    assert KINDS["orbit"] + KINDS["diagonal"] + KINDS["elevation"] > 4 * (KINDS["pan"] + KINDS["tilt"])
    speeds, segments = set(), set()
    for index in range(100):
        moves = sample_moves(random.Random(index), 2.0, main_kind(1, index))
        assert parse(format(moves)) == moves
        assert all(0 <= move.start < move.end <= 2.0 + 1e-9 for move in moves)
        segments.add(len(moves))
        speeds.update(move.speed for move in moves)
    assert segments == {1, 2}
    assert len(speeds) > 10
    assert {0.5, 0.75, 1.0} < speeds
    assert sample_moves(random.Random(0), 2.0, "hold")[0].direction == "stay"


def test_an_error_in_one_clip_is_raised_and_threads_are_restored():
    threads = torch.get_num_threads()

    def fail(item: int) -> int:
        if item == 1:
            raise ValueError("clip 1")
        return item

    with pytest.raises(ValueError, match="clip 1"):
        list(run_each(fail, range(3)))
    assert torch.get_num_threads() == threads
    assert sorted(run_each(lambda item: item * 2, range(5))) == [0, 2, 4, 6, 8]


def test_what_moves_is_where_its_drift_says_and_casts_no_shadow():
    index = next(index for index in range(60) if any(solid.motion for solid in plan(index).world.solids))
    one = plan(index)
    world = one.world
    number = next(number for number, solid in enumerate(world.solids) if solid.motion)
    mover = world.solids[number]
    worlds = pack([world])
    place = worlds.places[0][number]
    to_camera = np.linalg.inv(world.start)
    for over in (0.0, 0.5, 1.0):
        centre = to_camera @ np.append(np.array(mover.center) + over * np.array(mover.drift), 1.0)
        ray = torch.tensor(centre[:3] / centre[2], dtype=torch.float32)[None, :, None]
        depth, solid, _ = trace(worlds.shapes, torch.eye(4)[None], ray, over)
        assert int(solid) == place or float(depth) < centre[2] - max(mover.half)
    assert mover.motion in describe(world, {number})
    still = dataclasses.replace(world, solids=tuple(solid for solid in world.solids if not solid.motion))
    floors = [
        bake(pack([room], boxes=8, spheres=4), 40).picture[:, :, : 2 * round(0.8 * 40)] for room in (world, still)
    ]
    assert torch.equal(*floors)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator on this machine")
def test_compiled_pictures_are_the_same():
    plans = [plan(index, 5) for index in range(4)]
    worlds = pack([one.world for one in plans], "cuda", 8, 4)
    c2w, intrinsics = (
        torch.stack([getattr(one.track, name) for one in plans]).cuda().float() for name in ("c2w", "intrinsics")
    )
    plain, compiled = (
        render(worlds, bake(worlds, 80), c2w, intrinsics, 48, 80, compiled=choice).int() for choice in (False, True)
    )
    assert (plain - compiled).abs().max() <= 2 and (plain != compiled).float().mean() < 1e-3
