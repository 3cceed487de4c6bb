"""The options of the five scripts are a promise to users: they change only together with this test's table."""

import argparse
import importlib
import json
import os
import re
import subprocess
import sys
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
    # processor time and the best of three: other work on the machine may slow one down
    while len(seconds) < 3 and not any(taken < 1.0 for taken in seconds):
        started = _children_seconds()
        result = subprocess.run(
            [sys.executable, "-c", program, f"{script}.py"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        seconds.append(_children_seconds() - started)
        assert result.returncode == 0, result.stderr
        assert "--dataset_config" in result.stdout or "--prompt" in result.stdout
    assert min(seconds) < 1.0, seconds


def _children_seconds() -> float:
    spent = os.times()
    return spent.children_user + spent.children_system


def options_in(parser: argparse.ArgumentParser) -> set[str]:
    """The options of a parser and of all its sub-commands."""
    found = {option for action in parser._actions for option in action.option_strings}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found = found.union(*(options_in(command) for command in action.choices.values()))
    return found


def tool_parsers() -> dict[str, argparse.ArgumentParser]:
    """Parsers by the words that start the tool: "tools/camera.py compile"."""
    camera, visualize = (importlib.import_module(f"tools.{name}") for name in ("camera", "visualize_trajectory"))
    parsers = {"tools/visualize_trajectory.py": visualize.build_parser(), "tools/camera.py": camera.build_parser()}
    (commands,) = (a for a in parsers["tools/camera.py"]._actions if isinstance(a, argparse._SubParsersAction))
    return {**parsers, **{f"tools/camera.py {name}": parser for name, parser in commands.choices.items()}}


def test_the_commands_of_the_pages_have_the_options_that_they_are_given():
    parsers = tool_parsers()
    seen = set()
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for words in re.findall(
            r"(tools/(?:camera|visualize_trajectory)\.py[^`#\n]*)", page.read_text(encoding="utf-8")
        ):
            tool = next(name for name in (" ".join(words.split()[:2]), words.split()[0]) if name in parsers)
            named = set(re.findall(r"(?<![\w-])--[a-z]\w*", words))
            assert named <= options_in(parsers[tool]), f"{page.name}: {words}"
            seen.add(tool)
    assert {"tools/camera.py convert", "tools/camera.py compare", "tools/visualize_trajectory.py"} <= seen


def test_the_readme_names_no_option_that_is_not_there():
    known = {option for script in SCRIPTS for option in options_of(script)}
    known = known.union(*(options_in(parser) for parser in tool_parsers().values()))
    # of accelerate, pip and ViewCrafter
    known |= {
        "--traj_txt",
        "--help",
        "--num_processes",
        "--num_cpu_threads_per_process",
        "--cpu",
        "--index-url",
        "--multi_gpu",
        "--num_machines",
        "--quiet",
    }
    # of the lines of a file of prompts
    known |= {f"--{name}" for name in ("w", "h", "f", "d", "s", "fs", "l", "n", "i", "ei", "cn", "cf", "g")}
    for path in (ROOT / "tools").rglob("*.py"):
        known |= set(re.findall(r'"(--[\w-]+)"', path.read_text(encoding="utf-8")))
    for page in [ROOT / "README.md", ROOT / "weights" / "README.md", *(ROOT / "docs").glob("*.md")]:
        named = set(re.findall(r"(?<![\w-])(--[a-z]\w+(?:-\w+)*)", page.read_text(encoding="utf-8")))
        assert named <= known, f"{page.name} names {sorted(named - known)}"
