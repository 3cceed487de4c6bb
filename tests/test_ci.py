"""The script that CI runs, with everything it calls replaced."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


BROWSERS = ["chromium", "google-chrome", "chromium-browser"]


@pytest.mark.parametrize(("program", "told"), [("nothing", 1), ("apt-get", 1), *((name, 0) for name in BROWSERS)])
def test_a_run_without_a_browser_says_so_at_its_end(tmp_path, program, told):
    for name in ("bash", "dirname", "timeout", "cat"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    for name in ("make", program):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "ran {name} $*"\n[ {name} != apt-get ]\n')
        (tmp_path / name).chmod(0o755)
    command = [tmp_path / "bash", ".ci/run"]
    done = subprocess.run(command, cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told_at = [place for place, line in enumerate(done.stdout.splitlines()) if "NOT TESTED" in line]
    ran_at = [place for place, line in enumerate(done.stdout.splitlines()) if line.startswith("ran make")]
    assert len(told_at) == told and len(ran_at) == 2
    assert not told or told_at[0] > ran_at[1]
    assert ("apt-get gave no browser" in done.stdout) == (program == "apt-get")


def test_the_browser_may_not_take_the_time_of_the_tests():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "timeout 60 apt-get update" in script and "timeout 180 apt-get install" in script
