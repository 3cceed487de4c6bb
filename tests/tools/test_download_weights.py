"""Downloading, against servers on the loopback device that behave well and badly. No network is used."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from common import cli
from tests.tools.weights_server import Served, Server, running
from tools import download_weights, http_download, weights_catalogue
from tools.http_download import Remote, download, part_of, probe
from tools.weights_catalogue import CATALOGUE, DOWNLOADED_TASKS, files_of_task
from wan.config import WAN_CONFIGS

CONTENT = bytes(range(256)) * 40
GIT_BLOB = b"blob %d\0" % len(CONTENT) + CONTENT
GIT_ETAG = f'"{hashlib.sha1(GIT_BLOB).hexdigest()}"'


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in (
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "HF_TOKEN",
        "HF_ENDPOINT",
    ):
        monkeypatch.delenv(name, raising=False)
    with running() as made:
        yield made


@pytest.fixture
def waits() -> list[float]:
    """Waiting is noted here instead of done."""
    return []


def fetch(server: Server, tmp_path: Path, served: Served, waits: list[float], token: str | None = None) -> Path:
    server.files["/file"] = served
    remote = probe(f"{server.url}/file", token, is_hub=served.hub, wait=waits.append)
    download(remote, tmp_path / "file", token, wait=waits.append)
    return tmp_path / "file"


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("hub", [True, False])
def test_a_file_comes_whole_and_leaves_nothing_else(server, tmp_path, waits, hub: bool):
    assert fetch(server, tmp_path, Served(CONTENT, hub=hub), waits).read_bytes() == CONTENT
    assert leftovers(tmp_path) == ["file"] and waits == []


def test_the_hub_states_size_and_hash_before_the_store_is_asked(server):
    server.files["/file"] = Served(CONTENT, hub=True)
    remote = probe(f"{server.url}/file", is_hub=True)
    assert remote == Remote(f"{server.url}/file", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert [(method, path) for method, path, _ in server.asked] == [("HEAD", "/file")]
    server.files["/file"].hub = False
    server.files["/file"].etag = GIT_ETAG
    small = probe(f"{server.url}/file", is_hub=True)
    assert small.git_sha1 and small.sha256 is None
    # elsewhere an ETag is no hash, whatever it looks like
    assert probe(f"{server.url}/file").git_sha1 is None


def test_broken_connections_are_resumed_where_they_broke(server, tmp_path, waits):
    served = Served(CONTENT, hub=True, drops=[1000, 2000])
    assert fetch(server, tmp_path, served, waits).read_bytes() == CONTENT
    asked = [item for item in server.ranges_asked() if item]
    # each GET asks the hub, then the store
    assert asked == ["bytes=1000-"] * 2 + ["bytes=3000-"] * 2
    assert waits == [2.0, 2.0]


def test_an_interrupted_run_goes_on_in_the_next_one(server, tmp_path, waits):
    server.files["/file"] = Served(CONTENT, drops=[1500], statuses=[])
    remote = probe(f"{server.url}/file")

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(remote, tmp_path / "file", wait=interrupt)
    assert leftovers(tmp_path) == ["file.part", "file.part.json"]
    assert part_of(tmp_path / "file").read_bytes() == CONTENT[:1500]
    download(remote, tmp_path / "file", wait=waits.append)
    assert (tmp_path / "file").read_bytes() == CONTENT and leftovers(tmp_path) == ["file"]
    assert server.ranges_asked() == [None, "bytes=1500-"]


def test_a_file_that_changed_in_between_is_started_again(server, tmp_path, waits):
    """The ETag goes along as If-Range, so a part of the old file is never glued to the new one."""
    other = CONTENT[::-1]
    served = Served(CONTENT, drops=[1500])
    server.files["/file"] = served

    def change(seconds: float) -> None:
        server.files["/file"] = Served(other, etag='"v2"')

    download(probe(f"{server.url}/file"), tmp_path / "file", wait=change)
    assert (tmp_path / "file").read_bytes() == other
    assert [headers.get("if-range") for method, _, headers in server.asked if method == "GET"] == [None, '"v1"']


def test_a_part_of_another_file_is_not_gone_on_with(server, tmp_path, waits):
    part_of(tmp_path / "file").write_bytes(b"x" * 100)
    part_of(tmp_path / "file").with_name("file.part.json").write_text('{"identity": "else", "validator": null}')
    assert fetch(server, tmp_path, Served(CONTENT, hub=True), waits).read_bytes() == CONTENT
    assert not any(server.ranges_asked())


def test_a_server_without_ranges_is_started_again(server, tmp_path, waits):
    served = Served(CONTENT, ranges=False, etag=None, drops=[1000])
    assert fetch(server, tmp_path, served, waits).read_bytes() == CONTENT
    assert server.ranges_asked() == [None, "bytes=1000-"]


def test_a_server_that_refuses_head_states_nothing_and_still_gives(server, tmp_path, waits):
    served = Served(CONTENT, head=False, drops=[1000])
    server.files["/file"] = served
    assert probe(f"{server.url}/file").size is None
    assert fetch(server, tmp_path, served, waits).read_bytes() == CONTENT
    assert "bytes=1000-" in server.ranges_asked()


def test_a_wrong_hash_is_refused_and_nothing_kept(server, tmp_path, waits):
    with pytest.raises(ValueError, match=f"has the sha256 {hashlib.sha256(CONTENT).hexdigest()} instead of {'0' * 64}"):
        fetch(server, tmp_path, Served(CONTENT, hub=True, stated_sha256="0" * 64), waits)
    assert not (tmp_path / "file").exists() and not part_of(tmp_path / "file").exists()


def test_a_wrong_git_hash_of_a_small_file_is_refused(server, tmp_path):
    server.files["/file"] = Served(CONTENT, etag=f'"{"0" * 40}"')
    with pytest.raises(ValueError, match="git_sha1"):
        download(probe(f"{server.url}/file", is_hub=True), tmp_path / "file")
    server.files["/file"].etag = GIT_ETAG
    download(probe(f"{server.url}/file", is_hub=True), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_more_bytes_than_stated_are_refused(server, tmp_path, waits):
    with pytest.raises(ValueError, match=f"has {len(CONTENT)} bytes instead of {len(CONTENT) - 5}"):
        fetch(server, tmp_path, Served(CONTENT, hub=True, stated_size=len(CONTENT) - 5), waits)


def test_fewer_bytes_than_stated_are_refused(server, tmp_path, waits):
    with pytest.raises(ValueError, match=f"has {len(CONTENT)} bytes instead of {len(CONTENT) + 5}"):
        fetch(server, tmp_path, Served(CONTENT, hub=True, stated_size=len(CONTENT) + 5), waits)
    assert not (tmp_path / "file").exists() and not part_of(tmp_path / "file").exists()
    assert waits == [2.0]


def test_passing_troubles_are_waited_out_and_the_server_may_say_how_long(server, tmp_path, waits):
    served = Served(CONTENT)
    server.files["/file"] = served
    remote = probe(f"{server.url}/file")
    served.statuses = [503, 429, 500]
    download(remote, tmp_path / "file", wait=waits.append)
    assert waits == [7.0, 7.0, 7.0]


def test_a_server_that_stays_down_is_given_up(server, tmp_path, waits):
    served = Served(CONTENT)
    server.files["/file"] = served
    remote = probe(f"{server.url}/file")
    served.statuses = [503] * 50
    with pytest.raises(ConnectionError, match="503, 6 times in a row"):
        download(remote, tmp_path / "file", wait=waits.append)
    assert len(waits) == http_download.TRIES - 1


def test_nobody_listens(server, waits):
    url = f"{server.url}/file"
    server.server_close()
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1"):
        probe(url, wait=waits.append)
    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0]


@pytest.mark.parametrize(("status", "kind"), [(404, FileNotFoundError), (403, PermissionError), (401, PermissionError)])
def test_refusals_are_final(server, tmp_path, waits, status: int, kind: type[OSError]):
    server.files["/file"] = Served(CONTENT, statuses=[status])
    with pytest.raises(kind, match=f"/file.*{status}"):
        probe(f"{server.url}/file", wait=waits.append)
    remote = probe(f"{server.url}/file")
    server.files["/file"].statuses = [status]
    with pytest.raises(kind, match=str(status)):
        download(remote, tmp_path / "file", wait=waits.append)
    assert waits == []


def test_redirections_are_followed_and_the_token_stays_with_its_host(server, tmp_path, waits):
    with running() as other:
        other.files["/there"] = Served(CONTENT)
        fetch(server, tmp_path, Served(b"", redirect=f"{other.url}/there"), waits, token="secret")
        assert (tmp_path / "file").read_bytes() == CONTENT
        assert {headers.get("authorization") for _, _, headers in server.asked} == {"Bearer secret"}
        assert {headers.get("authorization") for _, _, headers in other.asked} == {None}
        assert [method for method, _, _ in other.asked] == ["HEAD", "GET"]


def test_proxies_of_the_environment_are_used(server, tmp_path, waits, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    server.files["/file"] = Served(CONTENT)
    download(probe("http://weights.invalid/file"), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert {path for _, path, _ in server.asked} == {"http://weights.invalid/file"}


def test_a_full_disk_is_not_tried_again(server, tmp_path, waits):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    part_of(tmp_path / "file").symlink_to("/dev/full")
    part_of(tmp_path / "file").with_name("file.part.json").write_text(
        json.dumps({"identity": f"{len(CONTENT)} bytes", "validator": None})
    )
    with pytest.raises(OSError, match="No space left"):
        fetch(server, tmp_path, Served(CONTENT), waits)
    assert waits == []


# the tool


@pytest.fixture
def hub(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Every file of the catalogue on the loopback server, small; DUSt3R's own server too."""
    for file in CATALOGUE:
        content = file.name.encode() * 50
        if file.repo:
            server.files[f"/{file.repo}/resolve/main/{file.path}"] = Served(content, hub=True)
    server.files["/dust3r.pth"] = Served(b"dust3r" * 50)
    catalogue = tuple(file if file.repo else replace(file, path=f"{server.url}/dust3r.pth") for file in CATALOGUE)
    monkeypatch.setattr(weights_catalogue, "CATALOGUE", catalogue)
    return server


def tool(hub: Server, root: Path, *more: str) -> int:
    flags = ["--root", str(root), "--mirror", hub.url, *more]
    return cli.run(lambda: download_weights.main(flags))


@pytest.mark.parametrize("task", DOWNLOADED_TASKS)
def test_after_it_no_task_needs_a_path(hub: Server, tmp_path: Path, task: str):
    assert tool(hub, tmp_path, "--task", task) == 0
    weights = WAN_CONFIGS[task].weights
    needed = [weights.dit, weights.vae, weights.t5, f"{weights.tokenizer}/tokenizer.json"]
    needed += [weights.clip] if WAN_CONFIGS[task].clip else []
    assert all((tmp_path / place).is_file() for place in needed)
    assert (tmp_path / "weights/DUSt3R_ViTLarge_BaseDecoder_512_dpt.pth").read_bytes() == b"dust3r" * 50


def test_what_is_there_is_not_fetched_again(hub: Server, tmp_path: Path):
    assert tool(hub, tmp_path, "--only", "vae", "t5") == 0
    hub.asked.clear()
    assert tool(hub, tmp_path, "--only", "vae", "t5") == 0
    assert [method for method, _, _ in hub.asked] == ["HEAD", "HEAD"]


def test_verify_finds_a_damaged_file(hub: Server, tmp_path: Path, capsys):
    assert tool(hub, tmp_path, "--only", "vae") == 0
    damaged = tmp_path / "weights/Wan2.1_VAE.pth"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    assert tool(hub, tmp_path, "--only", "vae") == 0
    assert tool(hub, tmp_path, "--only", "vae", "--verify") == 2
    assert "Wan2.1_VAE.pth has the sha256" in capsys.readouterr().err


def test_dry_run_says_what_it_would_do_and_does_nothing(hub: Server, tmp_path: Path, capsys):
    assert tool(hub, tmp_path, "--only", "vae") == 0
    (tmp_path / "weights/models_t5_umt5-xxl-enc-bf16.pth.part").write_bytes(b"t5" * 10)
    (tmp_path / "weights/models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth").write_bytes(b"short")
    before = leftovers(tmp_path / "weights")
    hub.files[f"/{weights_catalogue.WAN_REPO}/resolve/main/google/umt5-xxl/tokenizer.json"].content *= 10**5
    assert tool(hub, tmp_path, "--dry-run", "--only", "vae", "t5", "clip", "tokenizer") == 0
    said = capsys.readouterr().out
    assert "vae: 0.1 kB, is there" in said or "vae: 0.2 kB, is there" in said
    assert "t5: 0.1 kB, would be fetched, 0.0 kB of it are there" in said
    assert "clip: 0.2 kB, would be fetched, for the one that is there has another size" in said
    assert "tokenizer: 0.04 GB, would be fetched" in said and f"from {hub.url}/Wan-AI" in said
    assert str(tmp_path / "weights/google/umt5-xxl/tokenizer.json") in said
    assert leftovers(tmp_path / "weights") == before


def test_dry_run_works_without_a_network(hub: Server, tmp_path: Path, capsys):
    hub.server_close()
    assert tool(hub, tmp_path, "--dry-run") == 0
    assert "i2v-480p-bf16: of unknown size, would be fetched" in capsys.readouterr().out


def test_dust3r_is_remembered_as_it_first_came(hub: Server, tmp_path: Path, capsys):
    assert tool(hub, tmp_path, "--only", "dust3r") == 0
    said = capsys.readouterr().err
    seen = json.loads((tmp_path / download_weights.FIRST_SEEN).read_text())
    assert list(seen.values()) == [hashlib.sha256(b"dust3r" * 50).hexdigest()]
    assert "CC BY-NC-SA 4.0" in said and "noted" in said
    (tmp_path / "weights/DUSt3R_ViTLarge_BaseDecoder_512_dpt.pth").unlink()
    hub.files["/dust3r.pth"].content = b"DUST3R" * 50
    assert tool(hub, tmp_path, "--only", "dust3r") == 2
    assert "has the sha256" in capsys.readouterr().err
    assert not (tmp_path / "weights/DUSt3R_ViTLarge_BaseDecoder_512_dpt.pth").exists()


def test_a_disk_too_small_is_said_before_anything_is_fetched(hub: Server, tmp_path: Path, capsys, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100))
    assert tool(hub, tmp_path, "--only", "vae", "t5") == 2
    assert "still to come; make room" in capsys.readouterr().err
    assert not (tmp_path / "weights").exists()


def test_the_token_goes_to_the_hub_and_not_to_a_mirror(hub: Server, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert tool(hub, tmp_path, "--only", "vae") == 0
    assert not any("authorization" in headers for _, _, headers in hub.asked)
    monkeypatch.setattr(download_weights, "HUB", hub.url)
    (tmp_path / "weights/Wan2.1_VAE.pth").unlink()
    flags = ["--root", str(tmp_path), "--only", "vae"]
    assert download_weights.main(flags) == 0
    assert any(headers.get("authorization") == "Bearer secret" for _, _, headers in hub.asked)


def test_what_is_mistyped_is_named(hub: Server, tmp_path: Path, capsys):
    assert tool(hub, tmp_path, "--only", "vea") == 2
    assert "--only vea" in capsys.readouterr().err
    assert tool(hub, tmp_path / "nowhere", "--only", "vae") == 2
    assert "--root" in capsys.readouterr().err


def test_the_list_states_place_source_and_licence(capsys):
    assert download_weights.main(["--list"]) == 0
    said = capsys.readouterr().out
    assert "weights/diffusionmodel/wan2.1_i2v_480p_14B_bf16.safetensors" in said
    assert "CC BY-NC-SA 4.0" in said and said.count("Apache-2.0") == len(CATALOGUE) - 1


def test_names_and_places_are_unique_and_every_default_is_there():
    assert len({file.name for file in CATALOGUE}) == len({file.target for file in CATALOGUE}) == len(CATALOGUE)
    targets = {file.target for file in CATALOGUE}
    for task in DOWNLOADED_TASKS:
        assert WAN_CONFIGS[task].weights.dit in targets
        assert len(files_of_task(task)) == (7 if WAN_CONFIGS[task].clip else 5)


@pytest.mark.parametrize("redirect", ["{url}/file", "file:///etc/passwd", "http://", "http://[::1"])
def test_a_redirection_to_nowhere_and_an_empty_file_are_named(server, tmp_path, waits, redirect: str):
    with pytest.raises(ConnectionError, match=r"/file: "):
        fetch(server, tmp_path, Served(CONTENT, redirect=redirect.format(url=server.url)), waits)
    with pytest.raises(ConnectionError, match="empty file"):
        fetch(server, tmp_path, Served(b""), waits)
    assert leftovers(tmp_path) == []


def test_a_second_download_of_the_same_file_does_not_write_into_the_first(server, tmp_path, waits):
    part_of(tmp_path / "file").write_bytes(CONTENT[:10])
    with (
        http_download._held(part_of(tmp_path / "file")),
        pytest.raises(ConnectionError, match=r"file\.part is being written by another download"),
    ):
        fetch(server, tmp_path, Served(CONTENT), waits)
    assert part_of(tmp_path / "file").read_bytes() == CONTENT[:10]
    assert fetch(server, tmp_path, Served(CONTENT), waits).read_bytes() == CONTENT
    assert leftovers(tmp_path) == ["file"]


@pytest.mark.parametrize("mirror", ["", "hf-mirror.com", "file:///tmp", "http://", "http://a b"])
def test_a_mirror_that_is_no_address_is_refused(tmp_path, capsys, mirror: str):
    arguments = ["--root", str(tmp_path), "--mirror", mirror]
    assert cli.run(lambda: download_weights.main(arguments)) == 2
    assert "error: --mirror" in capsys.readouterr().err


def test_a_mirror_that_states_no_hash_is_said_to_be_unchecked(server, tmp_path, caplog):
    path = next(file for file in CATALOGUE if file.name == "vae").url("")
    server.files[path] = Served(CONTENT)
    arguments = ["--root", str(tmp_path), "--mirror", server.url, "--only", "vae"]
    assert download_weights.main(arguments) == 0
    assert "states no hash" in caplog.text
