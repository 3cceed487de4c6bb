import shutil
import sys
from pathlib import Path

import pytest

from dataset.config import load_config
from dataset.schema import KEYS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).resolve().parents[2] / "dataset-toml"
EXAMPLES = sorted(FOLDER.glob("*.toml"))


def test_there_are_examples():
    assert {path.name for path in EXAMPLES} >= {"demo.toml", "OmniCam-Sep.toml", "every-key.toml"}
    for path in EXAMPLES:
        assert path.name in (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_read_without_warning_and_its_paths_are_relative(path, tmp_path, monkeypatch, caplog):
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    copy = tmp_path / "repository" / "dataset-toml" / path.name
    copy.parent.mkdir(parents=True)
    shutil.copy(path, copy)
    for entry in tomllib.loads(path.read_text(encoding="utf-8"))["datasets"]:
        for key, value in entry.items():
            if key.endswith(("_directory", "_file")):
                assert not Path(value).is_absolute()
            if key.endswith("_directory"):
                (copy.parent / value).mkdir(parents=True, exist_ok=True)
            elif key.endswith("_file"):
                (copy.parent / value).parent.mkdir(parents=True, exist_ok=True)
                (copy.parent / value).touch()
    config = load_config(copy)
    assert caplog.text == ""
    for entry in config.datasets:
        assert (tmp_path / "repository") in entry.cache_directory.resolve().parents


def test_every_key_is_shown():
    example = (FOLDER / "every-key.toml").read_text(encoding="utf-8")
    for key in KEYS:
        assert f"\n{key} = " in example, key
