"""The download tool as it is started without options: from the hub, or where HF_ENDPOINT points."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.weights_server import Served, Server, running
from tools import download_weights
from tools.weights_catalogue import HUB, WAN_REPO

CONTENT = b"vae" * 50
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def vae() -> Iterator[Server]:
    with running() as server:
        server.files[f"/{WAN_REPO}/resolve/main/Wan2.1_VAE.pth"] = Served(CONTENT, hub=True)
        yield server


def run_alone(vae: Server, root: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """The tool in a process of its own, with the hub's address in the environment."""
    clean = {k: v for k, v in os.environ.items() if "proxy" not in k.lower() and not k.startswith("HF_")}
    command = [sys.executable, "tools/download_weights.py", "--root", str(root), "--only", "vae"]
    environment = {**clean, "HF_ENDPOINT": f"{vae.url}/", **more}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_without_options_a_broken_download_ends_in_a_line_and_the_next_run_resumes_it(vae: Server, tmp_path: Path):
    (served,) = vae.files.values()
    # the first bytes come, then the server refuses for good
    served.drops, served.answers = [60], 3
    broken = run_alone(vae, tmp_path)
    assert broken.returncode == 2 and "Traceback" not in broken.stderr, broken.stderr
    assert "error: " in broken.stderr and "Wan2.1_VAE.pth" in broken.stderr
    assert (tmp_path / "weights/Wan2.1_VAE.pth.part").read_bytes() == CONTENT[:60]
    served.answers = None
    vae.asked.clear()
    done = run_alone(vae, tmp_path)
    assert done.returncode == 0, done.stderr
    assert set(vae.ranges_asked()) == {"bytes=60-"}
    assert (tmp_path / "weights/Wan2.1_VAE.pth").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["Wan2.1_VAE.pth"]


def test_hf_endpoint_is_a_mirror_and_no_token_goes_there(vae: Server, tmp_path: Path):
    done = run_alone(vae, tmp_path, HF_TOKEN="secret")
    assert done.returncode == 0 and f"come from {vae.url}, a mirror" in done.stderr, done.stderr
    assert vae.asked and not any("authorization" in headers for _, _, headers in vae.asked)


def test_the_hub_under_its_own_name_is_no_mirror(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://huggingface.co/")
    assert download_weights.hub_address(None) == HUB == "https://huggingface.co"
    assert download_weights.hub_address("https://hf-mirror.com/") == "https://hf-mirror.com"
    monkeypatch.setenv("HF_ENDPOINT", "hf-mirror.com")
    with pytest.raises(ValueError, match=r"HF_ENDPOINT hf-mirror\.com: expected an address"):
        download_weights.hub_address(None)
