import logging

import pytest
from jaxtyping import install_import_hook

from tests.camera import typechecking
from tests.dataset.helpers import Project

install_import_hook(["dataset.batch", "dataset.cameras"], f"{typechecking.__name__}.checked")


@pytest.fixture
def project(tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    folder = tmp_path / "project"
    folder.mkdir()
    return Project(folder)


@pytest.fixture(autouse=True)
def visible_log(monkeypatch):
    """A script that ran in this process before has taken the log away from pytest's `caplog`."""
    monkeypatch.setattr(logging.getLogger("omnicam"), "propagate", True)
