import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.files import atomic_path, remove_leftovers, require_file, require_seekable, require_writable

ROOT = Path(__file__).resolve().parents[2]


def test_a_finished_file_takes_the_name(tmp_path):
    target = tmp_path / "deep" / "a.txt"
    with atomic_path(target) as temporary:
        assert temporary.suffix == ".txt"
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert [p.name for p in target.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_file_leaves_the_old_one_and_no_litter(tmp_path, error):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(error), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_missing_file_is_named_with_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"the VAE: .*nothing\.pth does not exist\. Pass --vae"):
        require_file(tmp_path / "nothing.pth", "the VAE", "Pass --vae")


def test_where_nothing_can_be_written_is_known_before(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    require_writable(tmp_path / "a" / "b", "--out")
    with pytest.raises(ValueError, match=r"--out.*file is a file"):
        require_writable(tmp_path / "file" / "b", "--out")
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(PermissionError, match=r"--out.*may not be written"):
        require_writable(tmp_path / "a", "--out")


def test_a_device_and_a_folder_are_not_replaced(tmp_path):
    pipe, folder = tmp_path / "pipe.txt", tmp_path / "folder.txt"
    os.mkfifo(pipe)
    folder.mkdir()
    for target, kind in ((pipe, "device or pipe"), (folder, "a folder")):
        with (
            pytest.raises(ValueError, match=f"{target.name} is .*{kind}.*give the name of a file"),
            atomic_path(target),
        ):
            pass
    assert pipe.is_fifo()
    assert folder.is_dir()
    with pytest.raises(ValueError, match=r"IN: .*pipe\.txt is a pipe or device"):
        require_seekable(pipe, "IN")


def test_a_link_stays_a_link_to_the_file_that_is_written(tmp_path):
    real, link = tmp_path / "far" / "real.txt", tmp_path / "link.txt"
    link.symlink_to(real)
    with atomic_path(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert real.read_text() == "new"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), OSError("400 requested and 15 written")])
def test_an_error_of_the_disk_names_the_file_that_the_user_knows(tmp_path, error):
    with pytest.raises(OSError, match=r"a\.txt") as caught, atomic_path(tmp_path / "a.txt"):
        raise error
    assert "/." not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_takes_no_files_is_told_by_the_name_of_the_file():
    with pytest.raises(OSError, match=r"/proc/x\.txt"), atomic_path("/proc/x.txt"):
        pass


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    code = (
        "import sys; from common.files import atomic_path\n"
        "with atomic_path(sys.argv[1]): print(1, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "half.safetensors")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdout is not None and child.stdout.read(1) == b"1"
        (left,) = tmp_path.iterdir()
        assert remove_leftovers(tmp_path) == [], "its process is still there"
        child.kill()
    for name in ("a.safetensors", ".hidden.safetensors", ".git", f".a.{os.getpid()}-x.safetensors"):
        (tmp_path / name).touch()
    with atomic_path(tmp_path / "now.safetensors"):
        assert remove_leftovers(tmp_path) == [left.name]
    assert len(list(tmp_path.iterdir())) == 5
    assert remove_leftovers(tmp_path / "nowhere") == []


def test_a_leftover_of_another_machine_is_removed_when_it_is_a_day_old(tmp_path):
    left = tmp_path / ".half.1-00000000.abcdefgh.safetensors"
    left.touch()
    assert remove_leftovers(tmp_path) == []
    day_ago = left.stat().st_mtime - 25 * 3600
    os.utime(left, (day_ago, day_ago))
    assert remove_leftovers(tmp_path) == [left.name]


@pytest.mark.parametrize("letter", ["a", "é", "漢", "🎥"])
def test_a_name_as_long_as_the_system_allows_can_be_written(tmp_path, letter):
    stem = letter * ((255 - len(".safetensors")) // len(letter.encode()))
    with atomic_path(tmp_path / f"{stem}.safetensors") as temporary:
        temporary.write_text("whole")
    assert [path.stem for path in tmp_path.iterdir()] == [stem]
