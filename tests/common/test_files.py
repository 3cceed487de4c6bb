import pytest

from common.files import atomic_path, require_file, require_writable


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
