import pytest
import torch

from common.precision import pick_device


@pytest.mark.parametrize("name", ["meta", "mps", "xpu", "cpu:3", "nonsense"])
def test_only_cuda_and_the_cpu_are_devices(name):
    with pytest.raises(ValueError, match=f"--device.*{name}"):
        pick_device(name)


def test_the_cpu_by_name():
    assert pick_device("cpu") == torch.device("cpu")
