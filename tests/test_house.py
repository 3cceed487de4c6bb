"""The rules of the house, as tests: direction of imports, sizes, and things that are never written."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ["common", "camera", "wan", "networks", "Dust3rP", "dataset", "sampling", "generation", "training", "tools"]
SCRIPTS = sorted(ROOT.glob("wan_*.py"))
OURS = SCRIPTS + sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
NEVER = re.compile(
    r"(?<![.\w])(?:eval|exec)\(|pickle\.load|weights_only=False|allow_pickle=True|strict=False"
    r"|\bTODO\b|\bFIXME\b|import torchvision|from torchvision|time\.sleep\("
)


def _names(paths):
    return [str(path.relative_to(ROOT)) for path in paths]


def test_there_are_five_scripts():
    assert _names(SCRIPTS) == [
        "wan_cache_camera_encoder_outputs.py",
        "wan_cache_latents.py",
        "wan_cache_text_encoder_outputs.py",
        "wan_generate_video.py",
        "wan_train_network.py",
    ]


def test_imports_point_down_the_stairs():
    result = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_nobody_imports_a_script_and_rooms_do_not_import_tools():
    scripts = {path.stem for path in SCRIPTS}
    for path in OURS:
        forbidden = scripts if (ROOT / "tools") in path.parents else scripts | {"tools"}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            wrong = [module for module in modules if module.split(".")[0] in forbidden]
            assert not wrong, f"{path.relative_to(ROOT)}:{node.lineno} imports {wrong}"


@pytest.mark.parametrize("path", OURS, ids=_names(OURS))
def test_files_and_functions_are_short_and_clean(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400, "more than 400 lines: it wants to be two files"
    for number, line in enumerate(text.splitlines(), 1):
        assert not NEVER.search(line), f"line {number}: {line.strip()}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            assert size <= 60, f"{node.name} has {size} lines: it wants to be two functions"
            untyped = [a.arg for a in node.args.args + node.args.kwonlyargs if not a.annotation]
            assert not set(untyped) - {"self", "cls"}, f"{node.name}: untyped {untyped}"


def test_the_tree_stays_small():
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    paths = [ROOT / name for name in tracked.decode().split("\0") if name]
    assert sum(path.stat().st_size for path in paths if path.exists()) < 60 * 2**20
