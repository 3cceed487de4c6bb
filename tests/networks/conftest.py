import logging

import pytest


@pytest.fixture(autouse=True)
def visible_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that ran in this process before has taken the log away from pytest's `caplog`."""
    monkeypatch.setattr(logging.getLogger("omnicam"), "propagate", True)
