"""How much memory a run has in use."""

import sys

import torch


def memory_in_use(device: torch.device) -> int:
    """The most bytes that this process has held so far: on a GPU of its memory, on a CPU of the machine's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if sys.platform == "win32":
        return 0
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in kB, macOS in bytes
    return used if sys.platform == "darwin" else used * 1024
