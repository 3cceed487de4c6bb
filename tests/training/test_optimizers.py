"""Optimizers and schedulers by name, and the mistakes users make with them."""

import importlib.util
import itertools

import pytest
import torch
from torch import nn

from training.optimizers import make_optimizer, parse_arguments
from training.schedulers import make_scheduler, warmup_steps

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def groups() -> list[dict[str, object]]:
    return [{"params": [nn.Parameter(torch.zeros(3))], "lr": 0.5}]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("AdamW", torch.optim.AdamW),
        ("adamw", torch.optim.AdamW),
        ("sgd", torch.optim.SGD),
        ("AdaFactor", torch.optim.Adafactor),
        ("torch.optim.RMSprop", torch.optim.RMSprop),
    ],
)
def test_by_name(name: str, kind: type) -> None:
    assert type(make_optimizer(name, groups(), 0.1, None, CPU)) is kind


def test_arguments_reach_the_optimizer() -> None:
    arguments = ["weight_decay=0.25", "betas=(0.8, 0.9)", "amsgrad=True"]
    optimizer = make_optimizer("AdamW", groups(), 0.1, arguments, CPU)
    (group,) = optimizer.param_groups
    assert (group["weight_decay"], group["betas"], group["amsgrad"], group["lr"]) == (0.25, (0.8, 0.9), True, 0.5)


def test_literals_only() -> None:
    assert parse_arguments(["a='x'", "b=[1, 2]", "c=None"]) == {"a": "x", "b": [1, 2], "c": None}
    assert parse_arguments(None) == {}
    for wrong in ["lr", "=3", "a=__import__('os')", "a=1+", "a b=3"]:
        with pytest.raises(ValueError, match="--optimizer_args"):
            parse_arguments([wrong])


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("adamw9bit", None), ("torch.optim.Nothing", None), ("nowhere.Optimizer", None), ("AdamW", ["momentum=0.9"])],
)
def test_mistakes_name_the_flag(name: str, arguments: list[str] | None) -> None:
    with pytest.raises(ValueError, match="--optimizer_type"):
        make_optimizer(name, groups(), 0.1, arguments, CPU)


def test_eight_bits_on_a_cpu_is_adamw_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert type(make_optimizer("adamw8bit", groups(), 0.1, None, CPU)) is torch.optim.AdamW
    assert "AdamW is used instead" in caplog.text


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_eight_bits_on_a_gpu_need_bitsandbytes() -> None:
    with pytest.raises(ValueError, match="pip install bitsandbytes"):
        make_optimizer("AdamW8bit", groups(), 0.1, None, CUDA)


def rates(name: str, warmup: float, steps: int = 10) -> list[float]:
    optimizer = torch.optim.SGD(groups(), lr=0.5)
    scheduler = make_scheduler(name, optimizer, warmup, steps)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_schedules() -> None:
    assert rates("constant", 0) == [0.5] * 10
    assert rates("constant_with_warmup", 2) == [0.0, 0.25] + [0.5] * 8
    assert rates("constant_with_warmup", 0.2) == rates("constant_with_warmup", 2)
    linear = rates("linear", 0)
    assert linear == pytest.approx([0.5 * (1 - i / 10) for i in range(10)])
    cosine = rates("cosine", 2)
    assert cosine[2] == 0.5 and all(a > b for a, b in itertools.pairwise(cosine[2:]))


@pytest.mark.parametrize("name", ["cosine_with_restarts", "polynomial", "inverse_sqrt"])
def test_the_other_names_work(name: str) -> None:
    assert all(0 <= rate <= 0.5 for rate in rates(name, 1))


def test_warmup() -> None:
    assert warmup_steps(0, 100) == 0
    assert warmup_steps(7, 100) == 7
    assert warmup_steps(0.05, 100) == 5
    with pytest.raises(ValueError, match="--lr_warmup_steps"):
        warmup_steps(101, 100)


def test_warmup_without_effect_warns(caplog: pytest.LogCaptureFixture) -> None:
    rates("constant", 3)
    assert "constant_with_warmup" in caplog.text
