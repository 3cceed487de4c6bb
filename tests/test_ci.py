"""The script that CI runs, with everything it calls replaced."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("programs", "told"), [((), 2), (("apt-get",), 2), (("chromium",), 0), (("google-chrome",), 0)]
)
def test_a_run_without_a_browser_says_so_before_and_after_the_tests(tmp_path, programs, told):
    for name in ("bash", "dirname", "timeout"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    for name in ("make", *programs):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "ran {name} $*"\n[ {name} != apt-get ]\n')
        (tmp_path / name).chmod(0o755)
    command = [tmp_path / "bash", ".ci/run"]
    done = subprocess.run(command, cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told_at = [place for place, line in enumerate(done.stdout.splitlines()) if "NO BROWSER" in line]
    ran_at = [place for place, line in enumerate(done.stdout.splitlines()) if line.startswith("ran make")]
    assert len(told_at) == told and len(ran_at) == 2
    assert not told or told_at[0] < ran_at[0] < ran_at[1] < told_at[1]


def test_the_browser_may_not_take_the_time_of_the_tests():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "timeout 60 apt-get update" in script and "timeout 180 apt-get install" in script
