"""The options of the five scripts are a promise to users: they change only together with this test's table."""

import importlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FROZEN = Path(__file__).with_name("options.json")
SCRIPTS = [
    "wan_cache_latents",
    "wan_cache_text_encoder_outputs",
    "wan_cache_camera_encoder_outputs",
    "wan_train_network",
    "wan_generate_video",
]


def options_of(script: str) -> dict[str, list]:
    parser = importlib.import_module(script).build_parser()
    return {
        action.option_strings[-1]: [
            getattr(action.type, "__name__", None),
            action.nargs if not isinstance(action.const, bool) else "switch",
            action.default,
            list(action.choices) if action.choices else None,
            action.required,
        ]
        for action in parser._actions
        if action.dest != "help"
    }


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_option_set_is_frozen(script):
    now = json.loads(json.dumps(options_of(script)))
    frozen = json.loads(FROZEN.read_text(encoding="utf-8"))[script]
    assert now == frozen, "an option changed; users type these: if it is meant, update tests/scripts/options.json"


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_instant_and_imports_no_torch(script):
    program = (
        "import sys, runpy; sys.argv = [sys.argv[1], '--help']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as stop: code = stop.code\n"
        "heavy = {'torch', 'transformers', 'accelerate', 'cv2', 'av', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    seconds = []
    # the best of three: other work on the machine may slow one down
    while len(seconds) < 3 and not any(taken < 1.0 for taken in seconds):
        started = time.monotonic()
        result = subprocess.run(
            [sys.executable, "-c", program, f"{script}.py"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        seconds.append(time.monotonic() - started)
        assert result.returncode == 0, result.stderr
        assert "--dataset_config" in result.stdout or "--prompt" in result.stdout
    assert min(seconds) < 1.0, seconds


def test_the_readme_names_no_option_that_is_not_there():
    known = {option for script in SCRIPTS for option in options_of(script)}
    known |= {
        "--help",
        "--num_processes",
        "--num_cpu_threads_per_process",
        "--cpu",
        "--index-url",
        "--multi_gpu",
        "--num_machines",
        "--quiet",
    }
    for path in (ROOT / "tools").glob("*.py"):
        known |= set(re.findall(r'"(--[\w-]+)"', path.read_text(encoding="utf-8")))
    for page in [ROOT / "README.md", ROOT / "weights" / "README.md", *(ROOT / "docs").glob("*.md")]:
        named = set(re.findall(r"(?<![\w-])(--[a-z]\w+(?:-\w+)*)", page.read_text(encoding="utf-8")))
        assert named <= known, f"{page.name} names {sorted(named - known)}"
