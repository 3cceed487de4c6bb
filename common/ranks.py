"""Several processes that share the work of one command: which of them this is, and which device is its own.

The numbers come from the environment that `accelerate launch`, torchrun and MPI set, under the names that
`accelerate.utils.environment` reads. The processes do not talk to each other.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from common.precision import pick_device

_NAMES = {
    "rank": ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK"),
    "world": ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"),
    "local_rank": ("LOCAL_RANK", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK"),
    "local_world": ("LOCAL_WORLD_SIZE", "MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE"),
}


@dataclass(frozen=True)
class Ranks:
    """The place of one process among those that share the work."""

    rank: int = 0
    """Its number, from 0."""
    world: int = 1
    """How many there are, on all machines."""
    local_rank: int = 0
    """Its number among those of this machine, from 0."""
    local_world: int = 1
    """How many there are on this machine."""


def read_ranks(environment: Mapping[str, str] | None = None) -> Ranks:
    """This process's place, from the environment; alone where nothing is set.

    Raises:
        ValueError: a variable is no number, or the ranks do not fit together; names the variables.
    """
    given = os.environ if environment is None else environment
    rank, world = _read(given, "rank", 0), _read(given, "world", 1)
    found = Ranks(rank, world, _read(given, "local_rank", 0), _read(given, "local_world", 1 if world == 1 else world))
    if not (0 <= found.rank < found.world and 0 <= found.local_rank < found.local_world <= found.world):
        raise ValueError(
            f"the environment says rank {found.rank} of {found.world} and local rank {found.local_rank} of "
            f"{found.local_world} (RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE); start the command with "
            "`accelerate launch`, or unset them"
        )
    return found


def _read(environment: Mapping[str, str], what: str, default: int) -> int:
    for name in _NAMES[what]:
        text = environment.get(name, "")
        if text:
            if not text.strip().isdecimal():
                raise ValueError(f"the environment variable {name} is {text!r}; expected a whole number from 0 up")
            return int(text)
    return default


def device_of_rank(name: str | None, ranks: Ranks) -> torch.device:
    """The device that a user named, or of several GPUs the one of this process; it becomes torch's current one.

    Args:
        name: as `--device`: "cuda:1" is taken as it stands, "cuda" or None shares the GPUs out.
        ranks: this process's place.

    Raises:
        ValueError: the name is no device, or there are more processes than GPUs.
    """
    device = pick_device(name)
    if device.type != "cuda":
        return device
    if device.index is None:
        count = torch.cuda.device_count()
        if ranks.local_rank >= count:
            raise ValueError(
                f"{ranks.local_world} processes on this machine, and {count} GPUs: start no more than {count} "
                "(--num_processes), or name the device (--device cuda:0, --device cpu)"
            )
        device = torch.device("cuda", ranks.local_rank)
    torch.cuda.set_device(device)
    return device
