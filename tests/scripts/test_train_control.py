"""Fun-Control tasks train through the real script, from a folder of caches written by hand."""

from pathlib import Path

import pytest
import torch

from camera.language import parse
from camera.trajectory import compile as compile_moves
from common.weights import read_metadata, read_tensors, write_tensors
from tests.dataset import musubi_folder as musubi
from tests.scripts.test_tasks import tiny_version
from tests.scripts.world import caption, run
from wan.config import WAN_CONFIGS
from wan.initialise import initialise
from wan.model import WanModel


def write_folder(root: Path, control: bool, image: bool, shift: float = 0.0) -> Path:
    cache, text = root / "cache", caption("right")
    for number in range(2):
        path = musubi.write_clip(
            cache, f"v{number}", value=number - 0.5, size=(48, 32), i2v=image, control=control, clip_width=128
        )
        tensors = read_tensors(path)
        moved = {key: value + shift for key, value in tensors.items() if key.startswith("latents_control")}
        write_tensors(path, tensors | moved, {"architecture": "wan", "format_version": "1.0.1"})
        musubi.write_text(cache, f"v{number}", text, width=128)
        compile_moves(parse(text), 5, 16.0).save(cache / f"v{number}_wan_camera.safetensors")
    root.joinpath("meta.jsonl").write_text("\n".join(
        f'{{"video_path": "v{n}.mp4", "caption": "{text}"}}' for n in range(2)
    ))  # fmt: skip
    toml = root / "data.toml"
    toml.write_text(
        "[general]\nresolution = [48, 32]\nbatch_size = 2\n[[datasets]]\nvideo_jsonl_file = 'meta.jsonl'\n"
        "cache_directory = 'cache'\ntarget_frames = [5]\n"
    )
    return toml


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two steps of a task at small dimensions; gives the exit code and the folder of the results."""
    from accelerate.state import AcceleratorState

    def call(task: str, toml: Path, name: str, *more: str) -> tuple[int, Path]:
        AcceleratorState._reset_state(True)
        config = WAN_CONFIGS[task] if WAN_CONFIGS[task].dit.dim == 256 else tiny_version(task)
        monkeypatch.setitem(WAN_CONFIGS, task, config)
        dit = tmp_path / f"{task}.safetensors"
        if not dit.exists():
            model = WanModel(config.dit)
            initialise(model, 0, head_std=0.1)
            write_tensors(dit, model.state_dict())
        out = tmp_path / name
        code = run(
            "wan_train_network", "--task", task, "--dit", dit, "--dataset_config", toml, "--output_dir", out,
            "--output_name", "lora", "--network_module", "networks.lora_wan", "--max_train_steps", 2, "--seed", 1,
            "--learning_rate", 1e-3, "--mixed_precision", "no", "--max_data_loader_n_workers", 0, *more,
        )  # fmt: skip
        return code, out

    return call


@pytest.mark.parametrize(("task", "image"), [("t2v-1.3B-FC", False), ("t2v-14B-FC", True), ("i2v-14B-FC", True)])
def test_lora_and_adapter_learn_from_cached_control(train, tmp_path: Path, task: str, image: bool):
    code, out = train(task, write_folder(tmp_path / "data", control=True, image=image), "out")
    assert code == 0
    lora, adapter = read_tensors(out / "lora.safetensors"), read_tensors(out / "lora_camera.safetensors")
    # texts and CLIP tokens of these caches are constant, so nothing is to be learnt about where to look in them
    ups = [value for key, value in lora.items() if "self_attn" in key and key.endswith("lora_up.weight")]
    assert ups and all(value.abs().max() > 0 for value in ups)
    assert adapter["layers.0.o.weight"].abs().max() > 0


def test_what_the_control_shows_changes_what_is_learnt(train, tmp_path: Path):
    found = []
    for name, shift in (("one", 0.0), ("same", 0.0), ("other", 1.0)):
        code, out = train("t2v-14B-FC", write_folder(tmp_path / f"data-{name}", True, False, shift), name)
        assert code == 0
        found.append(torch.cat([value.flatten() for value in read_tensors(out / "lora.safetensors").values()]))
    assert torch.equal(found[0], found[1]) and not torch.allclose(found[0], found[2], atol=1e-5)


def test_a_folder_without_control_is_refused_with_what_to_name(train, tmp_path: Path, capsys):
    code, _ = train("i2v-14B-FC", write_folder(tmp_path / "data", control=False, image=True), "out")
    said = capsys.readouterr().err
    assert code == 2 and "control_path" in said and "latent caches of 2 of 2 items hold no control" in said
    assert "wan_cache_latents.py --dataset_config" in said and "--task i2v-14B-FC" in said


def test_all_caches_are_used_when_asked(train, tmp_path: Path):
    """The jsonl names one of the two clips; musubi-tuner would train on both."""
    toml = write_folder(tmp_path / "data", control=True, image=False)
    jsonl = tmp_path / "data" / "meta.jsonl"
    jsonl.write_text(jsonl.read_text().splitlines()[0])
    counts = []
    for name, more in (("named", []), ("all", ["--use_all_caches"])):
        code, out = train("t2v-14B-FC", toml, name, *more)
        assert code == 0
        counts.append(read_metadata(out / "lora.safetensors")["ss_num_train_items"])
    assert counts == ["1", "2"]
