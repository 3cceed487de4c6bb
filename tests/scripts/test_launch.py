"""Training and caching as users start them: `accelerate launch`, with one process and with two."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from common.weights import read_tensors

ROOT = Path(__file__).resolve().parents[2]


def start(world, script, processes, flags):
    """Run a script in so many processes of this machine; what it wrote to standard error."""
    several = ["--multi_gpu"] if processes > 1 else []
    command = [
        sys.executable, "-m", "accelerate.commands.launch", *several, "--num_machines", 1, "--num_processes", processes,
        "--num_cpu_threads_per_process", 1, "--mixed_precision", "no", "--main_process_port", 0,
        ROOT / f"{script}.py", *world.models[script], "--dataset_config", world.toml, *flags,
    ]  # fmt: skip
    result = subprocess.run(
        [str(part) for part in command],
        env=os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stderr


def launch(world, processes, accumulation, out):
    flags = [
        "--output_dir", out, "--output_name", "lora", "--seed", 3, "--sdpa",
        "--mixed_precision", "no", "--max_data_loader_n_workers", 1, "--persistent_data_loader_workers",
        "--network_module", "networks.lora_wan", "--network_dim", 4, "--learning_rate", 1e-3,
        "--optimizer_type", "torch.optim.SGD", "--max_grad_norm", 0,
        "--timestep_sampling", "shift", "--discrete_flow_shift", 3.0, "--max_train_steps", 2,
        "--gradient_accumulation_steps", accumulation,
    ]  # fmt: skip
    said = start(world, "wan_train_network", processes, flags)
    assert f"{processes} process" in said, "accelerate started another number of processes"
    return read_tensors(out / "lora.safetensors") | read_tensors(out / "lora_camera.safetensors")


def test_two_processes_train_what_one_does_with_accumulation_two(world):
    """Plain gradient descent without clipping: the files differ by what the averaged gradients differ by."""
    world.cache_all()
    one = launch(world, 1, 2, world.root / "one")
    two = launch(world, 2, 1, world.root / "two")
    moved = [key for key in one if key.endswith(("lora_up.weight", "o.weight")) and one[key].abs().max() > 0]
    assert len(moved) > 50
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-5, atol=1e-9, msg=lambda text, key=key: f"{key}: {text}")


def test_two_processes_cache_what_one_does(world):
    """The encoders compute on one thread here and there, so that the files are the same to the last bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert world.call("wan_cache_latents") == 0
    finally:
        torch.set_num_threads(threads)
    alone = {path.name: path.read_bytes() for path in world.cache.iterdir()}
    for path in world.cache.iterdir():
        path.unlink()
    said = start(world, "wan_cache_latents", 2, [])
    assert "rank 0 of 2: 2 files" in said and "rank 1 of 2: 1 files" in said, said
    assert {path.name: path.read_bytes() for path in world.cache.iterdir()} == alone
