import logging
from collections.abc import Iterator

import pytest
import torch
from jaxtyping import install_import_hook

from tests.camera import typechecking

install_import_hook(["training.flow_matching", "training.noise_levels"], f"{typechecking.__name__}.checked")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """These networks are far too small to share among cores; threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def visible_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that ran in this process before has taken the log away from pytest's `caplog`."""
    monkeypatch.setattr(logging.getLogger("omnicam"), "propagate", True)
