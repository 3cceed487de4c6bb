"""A real headless browser for the tests of pages; they skip where there is none."""

import shutil
import subprocess

import pytest

from common.media import read_image

_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
    "--force-device-scale-factor=1", "--window-size=1000,700", "--virtual-time-budget=3000",
]  # fmt: skip


def _run(tmp_path, url, *flags):
    names = ("chromium", "google-chrome", "chromium-browser")
    browser = next((found for name in names if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no chromium or google-chrome on this machine; apt-get install chromium")
    profile = tmp_path / "profile"
    result = subprocess.run(
        [browser, *_FLAGS, f"--user-data-dir={profile}", *flags, url],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    shutil.rmtree(profile, ignore_errors=True)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


def dump(tmp_path, page, state=""):
    """The document of a page, after its script ran, as HTML."""
    return _run(tmp_path, f"{page.as_uri()}#{state}", "--dump-dom")


def screenshot(tmp_path, page, state=""):
    """A picture [H, W, 3] of a page."""
    file = tmp_path / "screenshot.png"
    _run(tmp_path, f"{page.as_uri()}#{state}", f"--screenshot={file}")
    return read_image(file)
