"""The tiny model's trainer, all stages at toy size: what trains, what is written, how a stopped run goes on."""

import dataclasses
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from common.weights import read_metadata, read_tensors
from tools import train_tiny_model
from tools.bench import bench_tiny_training
from tools.make_tiny_weights import main as make_tiny_weights
from tools.tiny_model import dit_stage, encoder_stage, stage, vae_stage
from tools.tiny_model.dit_data import EncodedClips
from tools.tiny_model.dit_training import CAMERA_DROPOUT, DiTRun, choose_parameters, make_adamw
from tools.tiny_model.schedule import Schedule
from wan.adapters.build import build_adapter
from wan.config import WAN_CONFIGS
from wan.initialise import initialise
from wan.model import WanModel

TASK = WAN_CONFIGS["i2v-tiny"]
TOY = dataclasses.replace(TASK, size=(32, 48), frames=5)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    found = tmp_path_factory.mktemp("tiny")
    assert make_tiny_weights(["--output_dir", str(found)]) == 0
    return found


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    for module in (stage, vae_stage, encoder_stage, dit_stage):
        monkeypatch.setattr(module, "TASK", TOY)
    monkeypatch.setattr(vae_stage, "_PIECE_FRAMES", 5)
    monkeypatch.setattr(vae_stage, "_FIRST_STEPS", 1)
    monkeypatch.setattr(encoder_stage, "_HELD_OUT_BATCHES", 2)
    monkeypatch.setattr(dit_stage, "SHOWN", 1)


def random_clips(device: str = "cpu") -> EncodedClips:
    """Two clips of noise of five frames, whose cameras stand still."""
    noise = ((16, 2, 4, 6), (20, 2, 4, 6), (8, 128), (50, 128))
    cameras = torch.eye(4).repeat(2, 5, 1, 1), torch.tensor([0.8, 1.2, 0.5, 0.5]).repeat(2, 5, 1)
    return EncodedClips(*(tensor.to(device) for tensor in (*(torch.randn(2, *shape) for shape in noise), *cameras)))


def train(folder: Path, part: str, *options: str) -> None:
    small = ["--batch_size", "2", "--render_batch", "2", "--ring", "4", "--render_every", "1", "--crop", "16"]
    where = ["--output_dir", str(folder), "--state_dir", str(folder / "state"), "--workers", "0", "--device", "cpu"]
    assert train_tiny_model.main(["--stage", part, *small, *where, *options]) == 0


def test_every_stage_writes_trained_weights_a_curve_and_pictures(folder):
    fresh = {name: read_tensors(folder / f"{name}.safetensors") for name in ("vae", "t5", "clip", "dit")}
    train(folder, "vae", "--steps", "2")
    train(folder, "encoders", "--steps", "2")
    train(folder, "dit", "--steps", "2")
    for name, before in fresh.items():
        after = read_tensors(folder / f"{name}.safetensors")
        assert after.keys() == before.keys()
        assert any(not torch.equal(after[key], before[key]) for key in after), name
        assert all(value.dtype == torch.bfloat16 for value in after.values())
        metadata = read_metadata(folder / f"{name}.safetensors")
        assert (metadata["trained"], metadata["trained_steps"]) == ("yes", "2")
    assert read_metadata(folder / "camera_adapter.safetensors")["base_task"] == "i2v-tiny"
    for name in ("vae_loss.csv", "vae_loss.png", "vae_reconstruction.png", "all_loss.png", "all_samples.png"):
        assert (folder / name).stat().st_size > 0


def test_a_stopped_run_goes_on_with_its_steps_and_clips(folder):
    train(folder, "dit", "--steps", "2")
    before = torch.load(folder / "state" / "all_state.pt", weights_only=True)
    train(folder, "dit", "--steps", "1")
    after = torch.load(folder / "state" / "all_state.pt", weights_only=True)
    assert after["step"] == before["step"] + 1 and after["clips"] > before["clips"]
    steps = [line.split(",")[0] for line in (folder / "all_loss.csv").read_text().splitlines()[1:]]
    assert steps == sorted(steps, key=int) and len(set(steps)) == len(steps)
    with pytest.raises(ValueError, match="--seed 0"):
        train(folder, "dit", "--steps", "1", "--seed", "5")


def test_an_adapter_on_a_frozen_base_leaves_the_base_as_it_is(folder):
    before = (folder / "dit.safetensors").read_bytes()
    train(folder, "dit", "--steps", "2", "--parts", "adapter", "--adapter", "cross", "--adapter_args", "blocks=0:1")
    assert (folder / "dit.safetensors").read_bytes() == before
    assert read_metadata(folder / "camera_adapter.safetensors")["parts"] == "adapter"
    assert any(
        tensor.any() for key, tensor in read_tensors(folder / "camera_adapter.safetensors").items() if "o." in key
    )


@pytest.mark.parametrize("options, named", [
    ([], "--minutes"), (["--steps", "1", "--minutes", "1"], "--minutes"), (["--steps", "1", "--ring", "5"], "--ring"),
    (["--steps", "1", "--decay_share", "2"], "--decay_share"), (["--minutes", "nan"], "--minutes"),
    (["--steps", "-1"], "--steps"),
])  # fmt: skip
def test_numbers_out_of_range_are_refused_by_name(tmp_path, options, named):
    with pytest.raises(ValueError, match=named):
        train(tmp_path, "dit", *options)
    assert list(tmp_path.iterdir()) == []


def test_the_learning_rate_warms_up_and_falls_to_nothing():
    plan = Schedule(1e-3, None, 1000, 0.4, warmup=100)
    rates = []
    for plan.taken in range(1001):
        rates.append(plan.learning_rate())
    assert rates[0] == pytest.approx(1e-5) and rates[99] == rates[599] == pytest.approx(1e-3)
    assert rates[800] == pytest.approx(5e-4) and rates[1000] == 0
    assert all(later <= earlier for earlier, later in pairwise(rates[600:]))


@pytest.mark.parametrize("parts", ["all", "base", "adapter"])
def test_what_trains_is_what_the_optimizer_has_and_the_rest_is_frozen(parts):
    dit = WanModel(TASK.dit)
    dit.attach_adapter(build_adapter(TASK.adapter, TASK.dit.dim, TASK.dit.num_layers))
    chosen = choose_parameters(dit, parts)
    optimizer = make_adamw(chosen, 1e-3, torch.device("cpu"))
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for name, parameter in dit.named_parameters():
        wanted = parts == "all" or name.startswith("adapter.") == (parts == "adapter")
        assert (id(parameter) in held) == parameter.requires_grad == wanted, name


def test_clips_without_their_camera_do_not_depend_on_it(monkeypatch):
    torch.manual_seed(0)
    dit = WanModel(TASK.dit)
    initialise(dit, 0, head_std=0.1)
    dit.attach_adapter(build_adapter(TASK.adapter, TASK.dit.dim, TASK.dit.num_layers))
    for layer in dit.adapter.output_layers():
        torch.nn.init.normal_(layer.weight, std=0.2)
    chosen = choose_parameters(dit, "all")
    clips = random_clips()
    moved = dataclasses.replace(clips, c2w=clips.c2w.clone())
    moved.c2w[:, 1:, 0, 3] = 0.5

    def loss(given: EncodedClips, dropout: float) -> float:
        monkeypatch.setattr("tools.tiny_model.dit_training.CAMERA_DROPOUT", dropout)
        run = DiTRun(dit, chosen, torch.optim.SGD(chosen, 0.0), 3.0, 0, Accelerator(cpu=True))
        return float(run.train_step(given, given.camera(), torch.Generator().manual_seed(1), 0.0))

    assert loss(clips, 1.0) == loss(moved, 1.0)
    assert loss(clips, 0.0) != loss(moved, 0.0)
    assert 0 < CAMERA_DROPOUT < 1


def test_two_processes_take_turns_with_the_clips_and_end_with_one_set_of_weights(folder, tmp_path):
    for name in ("vae", "t5", "clip", "dit"):
        (tmp_path / f"{name}.safetensors").write_bytes((folder / f"{name}.safetensors").read_bytes())
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    script = tmp_path / "toy.py"
    script.write_text(
        "import sys, dataclasses\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from tools import train_tiny_model\n"
        "from tools.tiny_model import dit_stage, stage\n"
        "toy = dataclasses.replace(stage.TASK, size=(32, 48), frames=5)\n"
        "stage.TASK = dit_stage.TASK = toy\n"
        "dit_stage.SHOWN = 1\n"
        "sys.exit(train_tiny_model.main(sys.argv[1:]))\n"
    )
    options = "--stage dit --batch_size 2 --render_batch 2 --ring 4 --render_every 1 --workers 0 --device cpu --steps 2"
    where = ["--output_dir", str(tmp_path), "--state_dir", str(tmp_path / "state")]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0"]
    done = subprocess.run(
        [*launch, "--standalone", str(script), *options.split(), *where], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    state = torch.load(tmp_path / "state" / "all_state.pt", weights_only=True)
    # two ranks, four clips each before the first step and two with each of the two steps
    assert (state["step"], state["clips"]) == (2, 2 * (2 * 2 + 2 * 2))


def test_the_benchmark_of_training_measures_every_part(folder, caplog):
    small = ["--weights", str(folder), "--batch_size", "2", "4", "--render_batch", "2", "--rounds", "1"]
    assert bench_tiny_training.main([*small, "--workers", "0", "--kernels", "3", "--device", "cpu"]) == 0
    found = json.loads(next(line for line in caplog.messages if line.startswith("{")))
    assert set(found["step_ms"]) == {"2", "4"} and all(part["step"] > 0 for part in found["step_ms"].values())
    refill = found["refill_ms"]
    assert 0 < refill["of which text"] <= refill["encode"] and refill["whole"] > 0


@pytest.mark.gpu
def test_a_graph_makes_the_steps_that_single_launches_make(folder):
    if not torch.cuda.is_available():
        pytest.skip("no accelerator on this machine")
    losses = []
    for graph in ([], ["--graph"]):
        options = ["--output_dir", str(folder), "--steps", "1", "--workers", "0", "--device", "cuda", *graph]
        args = train_tiny_model.build_parser().parse_args(["--stage", "dit", *options])
        run = dit_stage.make_run(args, torch.device("cuda"))
        torch.manual_seed(0)
        clips = random_clips("cuda")
        losses.append(
            [
                float(run.train_step(clips, clips.camera(), torch.Generator().manual_seed(step), 1e-3 * (step + 1)))
                for step in range(8)
            ]
        )
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert losses[0][-1] != losses[0][0]


def test_a_graph_needs_a_gpu_and_one_process(folder):
    with pytest.raises(ValueError, match=r"--graph.*one NVIDIA GPU"):
        train(folder, "dit", "--steps", "1", "--graph")


def test_a_continued_vae_keeps_its_latents(folder):
    train(folder, "vae", "--steps", "2")
    before = read_tensors(folder / "vae.safetensors")
    train(folder, "vae", "--steps", "2", "--continue_weights")
    after = read_tensors(folder / "vae.safetensors")
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed and all(key.startswith(("decoder.", "conv2.")) for key in changed)
