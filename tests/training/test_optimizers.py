"""Optimizers and schedulers by name, and the mistakes users make with them."""

import importlib.util
import itertools
import math
from typing import Any

import pytest
import torch
from torch import nn

from training.config import TrainingConfig
from training.optimizers import make_optimizer, parse_arguments
from training.schedulers import make_scheduler, whole_steps

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


def rates(name: str, warmup: float = 0, steps: int = 10, **options: Any) -> list[float]:
    optimizer = torch.optim.SGD(groups(), lr=0.5)
    config = TrainingConfig(lr_scheduler=name, lr_warmup_steps=warmup, **options)
    scheduler = make_scheduler(config, optimizer, steps)
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


def test_restarts_and_powers() -> None:
    twice = rates("cosine_with_restarts", lr_scheduler_num_cycles=2)
    assert twice[:5] == pytest.approx(twice[5:]) and twice[0] == 0.5
    squared = rates("polynomial", lr_scheduler_power=2.0)
    assert squared == pytest.approx([0.5 * (1 - i / 10) ** 2 for i in range(10)], abs=1e-6)
    falling = rates("inverse_sqrt", 1, lr_scheduler_timescale=1)
    assert falling[1:] == pytest.approx([0.5 / math.sqrt(i) for i in range(1, 10)])


def test_schedules_that_end_above_zero() -> None:
    cosine = rates("cosine_with_min_lr", steps=100, lr_scheduler_min_lr_ratio=0.2)
    assert cosine[50] == pytest.approx(0.3) and cosine[-1] == pytest.approx(0.1, abs=1e-3)
    stable = rates("warmup_stable_decay", 2, lr_decay_steps=0.3, lr_scheduler_min_lr_ratio=0.5)
    assert stable[2:7] == [0.5] * 5 and all(a > b for a, b in itertools.pairwise(stable[7:])) and stable[-1] > 0.25
    rex = rates("rex", 2, steps=12, lr_scheduler_min_lr_ratio=0.1)
    assert rex[:3] == [0.0, 0.25, 0.5]
    # half way: (1 - z) / (1/2 + (1 - z)/2) at z = 1/2 is 2/3
    assert rex[7] == pytest.approx(0.5 * (0.1 + 0.9 * 2 / 3))


def test_pieces() -> None:
    pieces = rates("piecewise_constant", lr_scheduler_args=["step_rules='1:3,0.1:5,0.01'"])
    assert pieces == pytest.approx([0.5] * 3 + [0.05] * 2 + [0.005] * 5)
    with pytest.raises(ValueError, match="step_rules="):
        rates("piecewise_constant", lr_scheduler_args=["step_rules='1:a,2'"])


def test_classes_of_ones_own() -> None:
    steps = rates("constant", lr_scheduler_type="StepLR", lr_scheduler_args=["step_size=4", "gamma=0.5"])
    assert steps == pytest.approx([0.5] * 4 + [0.25] * 4 + [0.125] * 2)
    for kind, arguments in (("NoLR", []), ("StepLR", ["nothing=1"]), ("no.where.LR", [])):
        with pytest.raises(ValueError, match="--lr_scheduler_type"):
            rates("constant", lr_scheduler_type=kind, lr_scheduler_args=arguments)


def test_adafactors_schedule_wants_its_optimizer() -> None:
    with pytest.raises(ValueError, match=r"transformers\.optimization\.Adafactor"):
        rates("adafactor")


def test_warmup() -> None:
    assert whole_steps(0, 100, "lr_warmup_steps") == 0
    assert whole_steps(7, 100, "lr_warmup_steps") == 7
    assert whole_steps(0.05, 100, "lr_warmup_steps") == 5
    with pytest.raises(ValueError, match="--lr_warmup_steps"):
        whole_steps(101, 100, "lr_warmup_steps")


def test_warmup_without_effect_warns(caplog: pytest.LogCaptureFixture) -> None:
    rates("constant", 3)
    assert "constant_with_warmup" in caplog.text
