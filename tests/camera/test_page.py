import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from camera.language import Move
from camera.page import write_page
from camera.trajectory import compile
from tests.camera.browser import dump, screenshot

HOSTILE = """</script><script>document.body.dataset.hacked=1</script> "&' {{data}} <!--"""
TRACK = compile([Move(0, 2, 1.0, "right"), Move(2, 4, 1.0, "up", "clockwise")], 65, 16.0)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "path.html"
    image = np.zeros((480, 832, 3), np.uint8)
    image[..., 0] = 255
    write_page({"first": TRACK, HOSTILE: compile([], 17, 16.0)}, file, HOSTILE, image)
    return file


def embedded(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)[1])


def attributes(html):
    body = re.search(r"<body([^>]*)>", html)[1]
    return dict(re.findall(r'data-(\w+)="([^"]*)"', body))


def test_the_page_holds_the_poses(page):
    first, second = embedded(page)["tracks"]
    rotation = torch.tensor(first["rotations"], dtype=torch.float64).reshape(-1, 3, 3)
    torch.testing.assert_close(rotation, TRACK.c2w[:, :3, :3], rtol=0, atol=1e-6)
    centres = torch.tensor(first["centres"], dtype=torch.float64)
    torch.testing.assert_close(centres, TRACK.c2w[:, :3, 3], rtol=0, atol=1e-6)
    assert first["times"][16] == 1.0 and len(first["intrinsics"]) == 1
    assert first["subject"] == [0, 0, 1.003] and second["name"] == HOSTILE


def test_poses_are_in_the_first_camera_and_a_zoom_keeps_its_lenses(tmp_path):
    lens = TRACK.intrinsics.clone()
    lens[:, :2] *= torch.linspace(1, 2, 65, dtype=torch.float64)[:, None]
    moved = replace(TRACK, c2w=TRACK.c2w[40] @ TRACK.c2w, intrinsics=lens, scale="metric")
    write_page(moved, tmp_path / "zoom.html", "zoom")
    (track,) = embedded(tmp_path / "zoom.html")["tracks"]
    assert track["centres"][0] == [0, 0, 0] and track["unit"] == "m" and track["subject"] is None
    assert track["intrinsics"][64][0] == pytest.approx(2 * track["intrinsics"][0][0], abs=2e-6)


@pytest.mark.parametrize("scale", [1e-6, 3e4])
def test_any_scale_keeps_its_digits(tmp_path, scale):
    c2w = TRACK.c2w.clone()
    c2w[:, :3, 3] *= scale
    write_page(replace(TRACK, c2w=c2w, scale="unknown"), tmp_path / "page.html", "")
    centres = np.array(embedded(tmp_path / "page.html")["tracks"][0]["centres"])
    np.testing.assert_allclose(centres, c2w[:, :3, 3], rtol=0, atol=1e-6 * scale)


def test_the_page_asks_for_nothing_from_outside(page):
    text = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.search(r"https?://|//cdn|@import|<link|src=\"(?!data:)", text)


def test_a_thousand_frames_are_a_small_page(tmp_path):
    moves = [Move(k, k + 3, 0.6, "rightup30" if k % 2 else "leftdown45", "left5") for k in range(0, 60, 4)]
    image = np.random.default_rng(0).integers(0, 255, (480, 832, 3), np.uint8)
    write_page(compile(moves, 1000, 16.0), tmp_path / "long.html", "long", image)
    assert (tmp_path / "long.html").stat().st_size < 400_000


def test_only_html_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"page\.txt: .*\.html"):
        write_page(TRACK, tmp_path / "page.txt", "")


def test_a_browser_shows_the_frame_that_the_address_names(page, tmp_path):
    html = dump(tmp_path, page, "frame=16&view=camera")
    state = attributes(html)
    assert "error" not in state and "hacked" not in state
    assert (state["ready"], state["frame"], state["frames"], state["view"]) == ("true", "16", "65", "camera")
    assert state["picture"] == "640"  # the image was decoded, shrunk to 640 pixels
    x, y, z = (float(value) for value in state["position"].split())
    assert (x, y, z) == pytest.approx(
        (1.003 * np.sin(np.deg2rad(20)), 0, 1.003 * (1 - np.cos(np.deg2rad(20)))), abs=1e-5
    )
    shown = dict(re.findall(r"<dt>([^<]*)</dt><dd>([^<]*)</dd>", html))
    assert shown["yaw right"] == "-20.0°" and shown["right (x)"] == "0.343 units" and shown["up (−y)"] == "0 units"
    assert shown["field of view"].startswith("60.0°")
    assert "frame 16 of 64, 1.00 s" in html


@pytest.mark.parametrize(
    ("asked", "frame"), [("frame=999", "64"), ("frame=-3", "0"), ("frame=x&view=<b>", "0"), ("frame=9&track=1", "9")]
)
def test_a_wrong_address_is_harmless(page, tmp_path, asked, frame):
    state = attributes(dump(tmp_path, page, asked))
    assert "error" not in state and (state["frame"], state["view"]) == (frame, "orbit")


def test_the_slider_the_keys_and_the_buttons_work(page, tmp_path):
    """The page itself acts as its user would, and reports what became of it."""
    acts = """
      const log = {}, note = name => { log[name] = {...document.body.dataset}; }, key = name =>
        document.dispatchEvent(new KeyboardEvent("keydown", {key: name, bubbles: true}));
      const slider = document.getElementById("slider");
      slider.value = 30; slider.dispatchEvent(new Event("input")); note("slid");
      key("ArrowRight"); note("stepped"); key("Home"); note("home"); key("End"); note("end");
      key("c"); note("camera"); document.getElementById("view").click(); note("back");
      key("a"); key("+"); note("turned"); key("r"); note("reset");
      const canvas = document.getElementById("canvas"), at = (kind, x) => canvas.dispatchEvent(new PointerEvent(kind,
        {pointerId: 1, clientX: x, clientY: 300, buttons: 1, bubbles: true}));
      canvas.setPointerCapture = () => {};
      at("pointerdown", 500); at("pointermove", 550); at("pointerup", 550); note("dragged");
      key("Home"); document.getElementById("play").click(); note("playing");
      setTimeout(() => { note("later"); document.body.dataset.log = JSON.stringify(log); }, 700);
    """
    text = page.read_text(encoding="utf-8")
    acting = tmp_path / "acting.html"
    acting.write_text(text.replace("</body>", f"<script>{{{acts}}}</script></body>"), encoding="utf-8")
    html = dump(tmp_path, acting)
    log = json.loads(re.search(r'data-log="([^"]*)"', html)[1].replace("&quot;", '"'))
    assert [log[name]["frame"] for name in ("slid", "stepped", "home", "end")] == ["30", "31", "0", "64"]
    assert (log["camera"]["view"], log["back"]["view"]) == ("camera", "orbit")
    assert float(log["turned"]["yaw"]) == float(log["reset"]["yaw"]) + 5
    assert float(log["turned"]["zoom"]) > 1.1 and float(log["reset"]["zoom"]) == 1
    assert float(log["dragged"]["yaw"]) == float(log["reset"]["yaw"]) - 20
    assert log["playing"]["playing"] == "true" and int(log["later"]["frame"]) > 0
    assert "data-error" not in html


def test_the_picture_changes_with_the_frame_and_shows_the_frusta(page, tmp_path):
    start, later = (screenshot(tmp_path, page, f"frame={frame}&theme=light").astype(int) for frame in (0, 40))
    assert start.shape == (700, 1000, 3)
    drawing = np.s_[20:600, 300:980]
    changed = np.abs(start[drawing] - later[drawing]).max(axis=-1) > 40
    assert 500 < changed.sum() < 0.5 * changed.size
    red = (start[drawing][..., 0] > 200) & (start[drawing][..., 1:] < 90).all(axis=-1)
    assert red.sum() > 300, "the picture on the first frustum is red"
    yellow_end = (later[drawing][..., 0] > 150) & (later[drawing][..., 1] > 180) & (later[drawing][..., 2] < 120)
    assert yellow_end.sum() > 50, "the last frusta are yellow-green"


def test_the_view_from_the_camera_moves_as_the_camera_does(tmp_path):
    """A pan to the right lets the block in the middle go out on the left; a dark page is dark."""
    file = tmp_path / "pan.html"
    write_page(compile([Move(0, 2, 1.0, "stay", "right")], 33, 16.0), file, "pan")
    places = []
    for frame in (0, 8):
        shown = screenshot(tmp_path, file, f"frame={frame}&view=camera&theme=dark").astype(int)
        orange = (shown[..., 0] - shown[..., 2] > 70) & (shown[..., 0] > 110)
        orange[:, :290] = False
        assert orange.sum() > 500
        places.append(np.nonzero(orange)[1].mean())
    assert shown[5, 995].max() < 60
    # the canvas right of the panel is 710 wide: f = 0.866 * 710, and 10 degrees are f tan(10 deg)
    assert places[0] - places[1] == pytest.approx(0.866 * 710 * np.tan(np.deg2rad(10)), rel=0.1)
