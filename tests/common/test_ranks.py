import pytest
import torch

from common.ranks import Ranks, device_of_rank, read_ranks


def test_a_process_alone_needs_no_environment():
    assert read_ranks({}) == Ranks(0, 1, 0, 1)


@pytest.mark.parametrize("prefix", ["", "OMPI_COMM_WORLD_", "MV2_COMM_WORLD_"])
def test_ranks_are_read_as_their_launcher_names_them(prefix):
    size = "WORLD_SIZE" if not prefix else f"{prefix}SIZE"
    local = ("LOCAL_RANK", "LOCAL_WORLD_SIZE") if not prefix else (f"{prefix}LOCAL_RANK", f"{prefix}LOCAL_SIZE")
    given = {f"{prefix}RANK": "5", size: "8", local[0]: "1", local[1]: "4"}
    assert read_ranks(given) == Ranks(5, 8, 1, 4)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"RANK": "two", "WORLD_SIZE": "4"}, "RANK is 'two'"),
        ({"RANK": "4", "WORLD_SIZE": "4"}, "rank 4 of 4"),
        ({"RANK": "-1", "WORLD_SIZE": "4"}, "'-1'"),
        ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "2", "LOCAL_WORLD_SIZE": "2"}, "local rank 2 of 2"),
    ],
)
def test_an_environment_that_cannot_be_is_named(given, words):
    with pytest.raises(ValueError, match=words):
        read_ranks(given)


def test_gpus_are_shared_out_and_named_devices_are_not(monkeypatch):
    current = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    assert device_of_rank(None, Ranks(3, 4, 1, 2)) == torch.device("cuda:1") == current[-1]
    assert device_of_rank("cuda:0", Ranks(3, 4, 1, 2)) == torch.device("cuda:0")
    assert device_of_rank("cpu", Ranks(3, 4, 3, 4)) == torch.device("cpu")
    with pytest.raises(ValueError, match=r"4 processes.*2 GPUs.*--num_processes"):
        device_of_rank("cuda", Ranks(3, 4, 3, 4))
