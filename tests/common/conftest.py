import logging

import pytest

from common.media import remarks


@pytest.fixture
def told(monkeypatch, caplog):
    """The warnings; each test is the first to see its kind of file. A script may have taken the log before."""
    monkeypatch.setattr(remarks, "_told", set())
    monkeypatch.setattr(logging.getLogger("omnicam"), "propagate", True)
    caplog.set_level("WARNING", "omnicam")
    return caplog
