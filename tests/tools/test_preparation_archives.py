"""Archives of data sets, good and hostile, whole and split, unpacked in one go and in several."""

import io
import os
import shutil
import tarfile
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from tools.preparation import archives
from tools.preparation.archives import check_space, find_archives, is_unpacked, unpack, unpack_all

CONTENT = {"videos/a.mp4": os.urandom(3000), "videos/deep/b.mp4": os.urandom(70000), "metadata.jsonl": b"{}\n"}


def tar(path: Path, members: dict[str, bytes], mode: str = "w:gz") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as opened:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
    return path


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return path


def split(path: Path, labels: list[str]) -> None:
    content, size = path.read_bytes(), path.stat().st_size // len(labels) + 1
    for index, label in enumerate(labels):
        path.with_name(path.name + label).write_bytes(content[index * size : (index + 1) * size])
    path.unlink()


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and ".unpacked" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("labels", [None, [".aa", ".ab", ".ac"], [".part.aa", ".part.ab"], [".part00", ".part01"]])
@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_whole_and_split_archives_give_their_members(tmp_path, kind, labels):
    source = tmp_path / "in"
    source.mkdir()
    path = source / f"set.{kind}"
    made = zipped(path, CONTENT) if kind == "zip" else tar(path, CONTENT, "w" if kind == "tar" else "w:gz")
    if labels:
        split(made, labels)
    before = contents(source)
    assert unpack_all(source, tmp_path / "out", dry_run=False) == [tmp_path / "out" / "set"]
    assert contents(tmp_path / "out" / "set") == CONTENT
    assert contents(source) == before


def test_numbered_parts_from_one_and_a_missing_part(tmp_path):
    split(zipped(tmp_path / "set.zip", CONTENT), [".001", ".002", ".003"])
    assert len(find_archives(tmp_path)[0].parts) == 3
    (tmp_path / "set.zip.002").unlink()
    with pytest.raises(ValueError, match=r"set\.zip: of its parts 002 is missing"):
        find_archives(tmp_path)
    (tmp_path / "set.zip.001").unlink()
    with pytest.raises(ValueError, match="001"):
        find_archives(tmp_path)


def test_it_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    (archive,) = find_archives(tar(tmp_path / "set.tar.gz", CONTENT).parent)
    out = tmp_path / "out"
    original, written = archives.atomic_path, []

    def stops(path):
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(path)
        return original(path)

    monkeypatch.setattr(archives, "atomic_path", stops)
    with pytest.raises(KeyboardInterrupt):
        unpack(archive, out)
    assert not is_unpacked(archive, out) and set(contents(out)) == {"videos/a.mp4"}
    monkeypatch.undo()
    stamp = (out / "videos" / "a.mp4").stat().st_mtime_ns
    (out / "videos" / "deep").mkdir()
    (out / "videos" / "deep" / "b.mp4").write_bytes(CONTENT["videos/deep/b.mp4"][:50])
    assert unpack(archive, out) == archives.Unpacked(written=2, kept=1, skipped=0)
    assert contents(out) == CONTENT and (out / "videos" / "a.mp4").stat().st_mtime_ns == stamp
    monkeypatch.setattr(archives, "_opened", None)  # a finished archive is not even opened
    assert unpack(archive, out) == archives.Unpacked(0, 0, 0)


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:\\evil.txt"])
@pytest.mark.parametrize("make", [tar, zipped])
def test_no_member_leads_out_of_the_folder(tmp_path, make, name):
    suffix = "tar.gz" if make is tar else "zip"
    (tmp_path / "in").mkdir()
    make(tmp_path / "in" / f"set.{suffix}", {"good.txt": b"1", name: b"evil"})
    with pytest.raises(ValueError, match=r"its member .* leads out of the folder"):
        unpack_all(tmp_path / "in", tmp_path / "out", dry_run=False)
    assert not list(tmp_path.rglob("*evil*")) and not Path("/tmp/evil.txt").exists()


def test_links_are_left_out_and_a_link_that_lies_there_is_not_followed(tmp_path):
    path = tmp_path / "in" / "set.tar"
    tar(path, {"d/x.txt": b"1"}, "w")
    with tarfile.open(path, "a") as opened:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        opened.addfile(link)
    (archive,) = find_archives(tmp_path / "in")
    assert unpack(archive, tmp_path / "a") == archives.Unpacked(1, 0, 1)
    assert not (tmp_path / "a" / "link").exists()
    (tmp_path / "outside").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "d").symlink_to(tmp_path / "outside")
    with pytest.raises(ValueError, match="leads out"):
        unpack(archive, tmp_path / "b")
    assert not list((tmp_path / "outside").iterdir())


@pytest.mark.parametrize("kind", ["tar.gz", "zip", "tar"])
def test_a_truncated_archive_names_itself(tmp_path, kind):
    path = tmp_path / f"set.{kind}"
    made = zipped(path, CONTENT) if kind == "zip" else tar(path, CONTENT, "w" if kind == "tar" else "w:gz")
    made.write_bytes(made.read_bytes()[:40000])
    (archive,) = find_archives(tmp_path)
    with pytest.raises(ValueError, match=rf"set\.{kind} .*damaged, incomplete"):
        unpack(archive, tmp_path / "out")
    assert not is_unpacked(archive, tmp_path / "out")


def test_room_is_checked_before(tmp_path, monkeypatch):
    tar(tmp_path / "in" / "set.tar", CONTENT, "w")
    found = find_archives(tmp_path / "in")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 73002))
    with pytest.raises(OSError, match=r"73\.0 kB are free, and unpacking needs 73\.0 kB"):
        check_space(found, tmp_path / "out")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 73003))
    check_space(found, tmp_path / "out")
    (tmp_path / "out" / "set" / "videos").mkdir(parents=True)
    (tmp_path / "out" / "set" / "videos" / "a.mp4").write_bytes(CONTENT["videos/a.mp4"])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 70003))
    check_space(found, tmp_path / "out")  # what is there needs no room any more


@pytest.mark.parametrize(
    "suffix, command",
    [(".7z", "7z x"), (".rar", "unrar x"), (".tar.zst", "tar --zstd"), (".z01", "zip -s 0 set.zip")],
)
def test_archives_that_python_cannot_read_come_with_the_command(tmp_path, suffix, command):
    (tmp_path / f"set{suffix}").write_bytes(b"x")
    with pytest.raises(ValueError, match=command):
        find_archives(tmp_path)


def test_a_dry_run_writes_nothing(tmp_path):
    tar(tmp_path / "in" / "set.tar", CONTENT, "w")
    assert unpack_all(tmp_path / "in", tmp_path / "out", dry_run=True) == []
    assert not (tmp_path / "out").exists()
