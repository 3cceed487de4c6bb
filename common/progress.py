"""One look for every progress bar: what, how far, how fast, how long still."""

from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(work: int | Iterable[T], desc: str, unit: str = "it", disable: bool = False, initial: int = 0) -> tqdm:
    """A tqdm bar over an iterable, or over `work` steps to be advanced with `.update()`."""
    if isinstance(work, int):
        return tqdm(total=work, desc=desc, unit=unit, disable=disable, initial=initial, dynamic_ncols=True)
    return tqdm(work, desc=desc, unit=unit, disable=disable, initial=initial, dynamic_ncols=True)


def byte_progress(total: int | None, desc: str, initial: int = 0) -> tqdm:
    """A tqdm bar over bytes, with rate and time left where the total is known."""
    return tqdm(total=total, desc=desc, unit="B", unit_scale=True, initial=initial, dynamic_ncols=True)
