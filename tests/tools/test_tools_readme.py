"""tools/README.md and dataset-toml/ keep up with what is there, and the preparation tools answer `--help` at once."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tools.preparation.omnicam_sets import SETS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "tools" / "README.md").read_text(encoding="utf-8")
PREPARE = sorted((ROOT / "tools").glob("prepare_*.py"))
EXAMPLES = {
    "prepare_dl3dv": "DL3DV-10K.toml",
    "prepare_omnicam": "OmniCam-Sep.toml",
    "prepare_realcam": "RealCam-Vid.toml",
    "prepare_realestate10k": "RealEstate10K.toml",
    "prepare_videos": "videos.toml",
}


def test_every_tool_has_a_row_and_every_row_a_tool():
    scripts = [path for path in (ROOT / "tools").rglob("*.py") if "__main__" in path.read_text(encoding="utf-8")]
    rows = re.findall(r"^\| `([\w/]+\.py)` \| .+ \| `python tools/([\w/]+\.py)", README, re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(path.relative_to(ROOT / "tools").as_posix() for path in scripts)
    assert all(name == example for name, example in rows)


def test_every_set_has_an_example_that_is_linked():
    assert [path.stem for path in PREPARE] == sorted(EXAMPLES)
    for example in EXAMPLES.values():
        assert (ROOT / "dataset-toml" / example).is_file() and f"(../dataset-toml/{example})" in README
    shown = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "dataset-toml").glob("OmniCam-*.toml"))
    for name in SETS:
        assert f"../data/{name}/metadata.jsonl" in shown and name in README


@pytest.mark.parametrize("path", PREPARE, ids=lambda path: path.stem)
def test_help_needs_no_torch_and_knows_the_flags_of_the_readme(path):
    code = (
        "import runpy, sys; sys.argv = ['tool', '--help']\n"
        f"try: runpy.run_path({str(path)!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = [name for name in ('torch', 'cv2', 'av', 'numpy') if name in sys.modules]\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    commands = [line for line in README.splitlines() if f"python tools/{path.name}" in line]
    flags = {word for line in commands for word in shlex.split(line.strip(" |`"), comments=True) if word[:2] == "--"}
    assert flags and all(flag.strip("`") in result.stdout for flag in flags)
