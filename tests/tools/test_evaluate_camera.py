"""The evaluation as a whole, at tiny size: rows, results, reuse of what is finished, and mistakes of the user."""

import json
import math

import pytest
import torch

from common import cli
from common.media import read_image
from tools.camera_evaluation.held_out import plan_held_out
from tools.camera_evaluation.measuring import start_measuring, tracking_pool
from tools.camera_evaluation.truth import render_truth
from tools.evaluate_camera import main
from tools.make_tiny_weights import main as make_weights
from tools.tiny_model.stage import TASK
from wan.adapters.build import build_adapter
from wan.adapters.files import save_adapter

ROWS = ("truth", "adapter", "scale0", "shuffled", "mirrored", "other")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Fresh networks, an adapter that says something (untrained, though it is), and one that says nothing."""
    folder = tmp_path_factory.mktemp("weights")
    make_weights(["--output_dir", str(folder)])
    generator = torch.Generator().manual_seed(0)
    adapter = build_adapter(TASK.adapter, TASK.dit.dim, TASK.dit.num_layers, generator)
    save_adapter(folder / "silent.safetensors", adapter, {"base_task": "i2v-tiny"})
    for layer in adapter.output_layers():
        torch.nn.init.normal_(layer.weight, std=0.5, generator=generator)
    save_adapter(folder / "camera_adapter.safetensors", adapter, {"base_task": "i2v-tiny"})
    return folder


def words(weights, folder, *more):
    fixed = ["--weights", weights, "--output_dir", folder, "--clips", 2, "--steps", 1, "--workers", 0]
    return [str(word) for word in (*fixed, "--device", "cpu", "--examples", 1, "--solver", "vanilla", *more)]


@pytest.fixture(scope="module")
def run(weights, tmp_path_factory):
    """One whole run."""
    folder = tmp_path_factory.mktemp("evaluation")
    other = f"other={weights}/dit.safetensors,{weights}/silent.safetensors"
    more = ["--force_adapter", "--row", other, "--rows", *ROWS]
    assert main(words(weights, folder, *more)) == 0
    return folder, more


def results(folder):
    return json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))


def test_every_row_is_judged_and_the_truth_obeys(run):
    found = results(run[0])
    assert list(found["rows"]) == ["truth", "adapter", "scale0", "shuffled", "mirrored", "mirrored_vs_own", "other"]
    truth = found["rows"]["truth"]
    assert truth["overall"]["gain"]["mean"]["value"] == pytest.approx(1, abs=0.1)
    assert truth["overall"]["all_signs"]["mean"]["value"] == 1
    assert truth["overall"]["rotation_last_deg"]["mean"]["value"] < 1
    assert truth["speed_ratio"]["value"] == pytest.approx(2, rel=0.1)
    assert [clip["speed"] for clip in found["clips"]] == ["high", "low"]
    assert all(len(scores) == 2 for scores in found["scores"].values())
    assert found["settings"]["versions"]["torch"] == torch.__version__
    assert {target["name"] for target in found["targets"]} >= {"clips", "gain, dolly", "speed ratio high/low"}


def test_scale_0_is_the_model_without_a_camera_and_an_untrained_adapter_changes_nothing(run):
    quality = {name: [clip["psnr_db"] for clip in scores] for name, scores in results(run[0])["scores"].items()}
    assert quality["other"] == quality["scale0"]
    assert quality["adapter"] != quality["scale0"]
    # both clips go forward: each with the speed of the other is another video, mirrored it is the same
    assert quality["shuffled"] != quality["adapter"]
    assert quality["mirrored"] == quality["mirrored_vs_own"] == quality["adapter"]
    assert all(math.isfinite(value) for row in list(quality)[1:] for value in quality[row])


def test_the_page_needs_nothing_else_and_strips_show_the_rows(run):
    folder, _ = run
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert page.count("src='data:image/png;base64,") == 3
    assert "://" not in page
    assert "mirrored_vs_own" in page
    (strip,) = (folder / "strips").iterdir()
    height, width = TASK.size
    assert read_image(strip).shape == (3 * height + 2 * 4, 6 * width + 5 * 4, 3)
    assert len(list((folder / "paths").iterdir())) == 1


def test_finished_rows_are_kept_and_made_anew_when_what_decides_them_changes(run, weights, capsys):
    folder, more = run
    before = {path.stem: path.stat().st_mtime_ns for path in (folder / "rows").iterdir()}
    first = results(folder)["scores"]
    assert main(words(weights, folder, *more)) == 0
    assert "scale0" in capsys.readouterr().out
    assert {path.stem: path.stat().st_mtime_ns for path in (folder / "rows").iterdir()} == before
    assert results(folder)["scores"] == first
    # other noise: the truth stays, the row that is made of it is made anew
    assert main(words(weights, folder, "--rows", "truth", "scale0", "--seed", 1, "--force_adapter")) == 0
    after = {path.stem: path.stat().st_mtime_ns for path in (folder / "rows").iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"scale0"}
    assert results(folder)["scores"]["scale0"] != first["scale0"]


def test_processes_find_what_one_process_finds():
    clips = plan_held_out(2, 1, 5, 16.0, 160 / 96)
    truth = render_truth(clips, (96, 160), torch.device("cpu"))
    lenses = torch.stack([clip.track.intrinsics for clip in clips])
    rows = []
    for pool in (None, tracking_pool(1)):
        rows.append(start_measuring(truth.frames, truth, lenses, [1], pool, torch.device("cpu")).finish())
        if pool is not None:
            pool.shutdown()
    assert torch.equal(rows[0].found, rows[1].found)
    assert torch.allclose(rows[0].c2w, rows[1].c2w, atol=1e-9)
    assert rows[1].strips.shape == (1, 6, 96, 160, 3)


def test_mistakes_are_told_by_their_flag(weights, tmp_path, capsys):
    def told(*more, folder=weights):
        assert cli.run(lambda: main(words(folder, tmp_path / "out", *more))) == cli.EXIT_USER_ERROR
        return capsys.readouterr().err

    assert "--rows adapted: no such row" in told("--rows", "adapted")
    assert "--row x=y: expected NAME=DIT,ADAPTER" in told("--row", "x=y")
    assert "--guidance -1" in told("--guidance", "-1")
    assert "--judged adaptor: no such row; expected one of truth, vae, adapter" in told("--judged", "adaptor")
    assert "make_tiny_weights.py" in told("--rows", "vae", folder=tmp_path / "nowhere")
    silent = f"silent={weights}/dit.safetensors,{weights}/silent.safetensors"
    assert "was never trained" in told("--row", silent, "--rows", "silent")
    assert "the adapter of row gone" in told("--row", f"gone={weights}/dit.safetensors,gone", "--rows", "truth", "gone")
    assert not (tmp_path / "out" / "rows" / "truth.safetensors").exists(), "known before other rows are made"
