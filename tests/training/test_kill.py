"""A run that is killed with `kill -9`, ten times and at any moment, ends as one that was never killed."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.kill_run import CLIPS, EPOCHS, config_of
from tests.training.tiny_run import RandomSet, run

KILLS = 10


def tensor_bytes(path: Path) -> bytes:
    """What follows the header of a safetensors file, whose metadata have the time in them."""
    whole = path.read_bytes()
    return whole[8 + int.from_bytes(whole[:8], "little") :]


def losses(folder: Path) -> list[list[str]]:
    """Step, epoch and loss of every row, as they were written."""
    return [line.split(",")[:5] for line in (folder / "run_loss.csv").read_text().splitlines()]


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_ten_kills_change_neither_losses_nor_files(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    program = Path(__file__).with_name("kill_run.py")
    done = subprocess.run(
        [sys.executable, program, killed, str(KILLS), "3"],
        env={**os.environ, "PYTHONPATH": str(program.parents[2]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = done.stdout.split("\n")
    assert "finished" in said
    steps = [int(line.split()[1]) for line in said if line.startswith("killed")]
    assert len(steps) == KILLS, said
    assert len(set(steps)) >= 3, f"the kills were not spread over the run: {steps}"

    run(dataclasses.replace(config_of(whole), resume=None), RandomSet(CLIPS))
    assert losses(killed) == losses(whole)
    assert len(losses(killed)) == 1 + 3 * EPOCHS
    for name in ("run.safetensors", "run_camera.safetensors"):
        assert tensor_bytes(killed / name) == tensor_bytes(whole / name)
    # no remains, and no more of the past than was asked for
    assert {path.name for path in killed.iterdir()} == {path.name for path in whole.iterdir()}
    states = sorted(path.name for path in whole.glob("*-state"))
    assert states == ["run-state", "run-step00000015-state", "run-step00000016-state", "run-step00000017-state"]
