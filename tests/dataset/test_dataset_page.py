"""docs/dataset-config.md says all that `dataset.schema` and `dataset.jsonl` know, and what it shows works."""

import json
import re
from pathlib import Path

import pytest

from dataset.config import DatasetEntry, load_config
from dataset.jsonl import RECORD_KEYS
from dataset.schema import KEYS, REFUSED, SOURCE_KEYS, WITHOUT_EFFECT
from dataset.sources import load_items
from tests.dataset.test_sources import touch

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "dataset-config.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, flags=re.DOTALL)
FIELDS = DatasetEntry.__dataclass_fields__


def cell(text):
    return text.replace("|", "\\|")


def row(*cells):
    return "| " + " | ".join(cells) + " |"


def place(key):
    return ("`[general]`, " if key.general else "") + ("" if key.media == "any" else f"{key.media} ") + "entry"


def default(name):
    if name in SOURCE_KEYS:
        return "one of the four is needed"
    if name == "cache_directory":
        return "the media directory"
    value = FIELDS[name].default
    return "none" if value is None else f"`{json.dumps(value)}`"


def origin(key):
    return "ours" if key.ours else "musubi"


def key_table():
    """What the table of the page must be; to renew it, print this."""
    rows = [
        row(f"`{name}`", place(key), cell(key.kind.expected), default(name), origin(key), cell(key.meaning))
        for name, key in KEYS.items()
    ]
    return "\n".join([row("key", "where", "value", "default", "from", "meaning"), "|---" * 6 + "|", *rows])


def record_table():
    rows = [
        row(
            f"`{name}`",
            "any" if key.media == "any" else f"{key.media}s",
            cell(key.kind.expected),
            "yes" if key.needed else "no",
            origin(key),
            cell(key.meaning),
        )
        for name, key in RECORD_KEYS.items()
    ]
    return "\n".join([row("key", "data sets", "value", "needed", "from", "meaning"), "|---" * 6 + "|", *rows])


def without_table():
    rows = [row(f"`{name}`", "read over, with a warning", purpose) for name, purpose in WITHOUT_EFFECT.items()]
    rows += [row(f"`{name}`", "refused", purpose) for name, purpose in REFUSED.items()]
    return "\n".join([row("key", "here it is", "what it is for"), "|---" * 3 + "|", *rows])


@pytest.mark.parametrize("table", [key_table, record_table, without_table])
def test_the_tables_are_those_of_the_code(table):
    assert f"\n{table()}\n" in PAGE, f"the page is stale; it must hold\n{table()}"


def test_the_first_example_works(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    ((_, toml),) = [block for block in BLOCKS if block[0] == "toml"]
    ((_, lines),) = [block for block in BLOCKS if block[0] == "json"]
    project = tmp_path / "project"
    touch(project / "data.toml").write_text(toml, encoding="utf-8")
    (project / "metadata.jsonl").write_text(lines, encoding="utf-8")
    for name in ("videos/0001.mp4", "videos/0002.mp4", "cameras/0002.txt"):
        touch(project / name)
    touch(project / "frames" / "0003" / "0.png")
    (group,) = load_items(load_config(project / "data.toml"))
    assert [item.key for item in group.items] == ["0001", "0002", "0003"]
    assert [item.camera_file and item.camera_file.name for item in group.items] == [None, "0002.txt", None]
    assert group.items[2].fps == 30
    assert caplog.text == ""
