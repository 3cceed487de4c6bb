import errno
import os

import pytest

from common.files import atomic_path, require_file, require_seekable, require_writable


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
