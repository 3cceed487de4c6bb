"""Tensors from files straight to their device and type, piece by piece, in the order in which they lie in the files.

Data is read into reused buffers by plain `readinto`, not mapped: mapped pages count as resident memory of the process,
and a mapped file that is cut short under a running program ends it with SIGBUS. For a GPU there are two page-locked
buffers: while one is copied asynchronously on the current stream, the other is filled. Beside the tensors themselves
this costs at most 128 MiB of host memory. Pickled files are mapped by torch; their pages belong to the file, and the
system takes them back when it needs to.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor

from common.tensor_headers import TensorEntry

BUFFER_BYTES = 64 << 20
"""Largest piece that is read at once."""

DtypeOf = Callable[[str, TensorEntry], torch.dtype]
"""(name, entry) -> the type its tensor is wanted in."""


def stream_tensors(
    entries: Mapping[str, TensorEntry],
    device: str | torch.device,
    dtype_of: DtypeOf | None = None,
    passing: Callable[[str], bool] | None = None,
) -> Iterator[tuple[str, Tensor]]:
    """Read tensors one after another, in file order; each is yielded when its copy is under way on the current stream.

    Args:
        entries: {name: where it lies}.
        device: where the tensors go.
        dtype_of: the type of each; None keeps the file's.
        passing: names of tensors that are wanted only until the next one is asked for: they share their memory.

    Raises:
        ValueError: a file has become shorter than its header said.
    """
    pump = _Pump(torch.device(device), max((entry.nbytes for entry in entries.values()), default=0))
    files = {file: number for number, file in enumerate(dict.fromkeys(entry.file for entry in entries.values()))}
    with ExitStack() as stack:
        opened: dict[Path, io.FileIO] = {}
        for name, entry in sorted(entries.items(), key=lambda item: (files[item[1].file], item[1].start)):
            dtype = entry.dtype if dtype_of is None else dtype_of(name, entry)
            if entry.mapped is None and entry.file not in opened:
                opened[entry.file] = stack.enter_context(io.FileIO(entry.file))
            source = _of_mapped(entry.mapped) if entry.mapped is not None else _of_file(opened[entry.file], entry)
            target = (
                pump.shared(entry.shape, dtype)
                if passing is not None and passing(name)
                else torch.empty(entry.shape, dtype=dtype, device=pump.device)
            )
            yield name, pump.fill(target, entry, source)


Source = Callable[[Tensor, int], None]
"""Fills a tensor of bytes from a tensor's data, from a byte offset on."""


def _of_file(file: io.FileIO, entry: TensorEntry) -> Source:
    def fill(piece: Tensor, offset: int) -> None:
        file.seek(entry.start + offset)
        view = piece.numpy().data
        while len(view):
            count = file.readinto(view)
            if not count:
                raise ValueError(f"{entry.file}: ends within its data; was it cut while it was read?")
            view = view[count:]

    return fill


def _of_mapped(tensor: Tensor) -> Source:
    flat = _bytes(tensor.contiguous())

    def fill(piece: Tensor, offset: int) -> None:
        piece.copy_(flat[offset : offset + len(piece)])

    return fill


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1).view(torch.uint8)


class _Pump:
    """Fills tensors of one device through reused buffers."""

    def __init__(self, device: torch.device, largest: int) -> None:
        self.device = device
        self.size = min(BUFFER_BYTES, largest)
        self.buffers: list[Tensor] = []
        self.copied: list[torch.cuda.Event] = []
        self.turn = 0
        self.scratch = torch.empty(0, dtype=torch.uint8, device=self.device)

    def shared(self, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """A tensor in memory that the next call may give again; allocated apart, each would leave a hole."""
        nbytes = shape.numel() * dtype.itemsize
        if len(self.scratch) < nbytes:
            self.scratch = torch.empty(nbytes, dtype=torch.uint8, device=self.device)
        return self.scratch[:nbytes].view(dtype).view(shape)

    def fill(self, target: Tensor, entry: TensorEntry, source: Source) -> Tensor:
        """Copy the data of `source` into `target`, cast to its type; gives `target`."""
        if self.device.type == "cpu" and target.dtype == entry.dtype:
            source(_bytes(target), 0)
            return target
        flat, item = target.view(-1), entry.dtype.itemsize
        step = self.size // item * item
        for offset in range(0, entry.nbytes, step):
            length = min(step, entry.nbytes - offset)
            buffer = self._free_buffer()
            source(buffer[:length], offset)
            piece = buffer[:length].view(entry.dtype)
            if self.device.type == "cuda":
                piece = piece.to(self.device, non_blocking=True)
                self.copied[self.turn].record(torch.cuda.current_stream(self.device))
            flat[offset // item : (offset + length) // item].copy_(piece)
        return target

    def _free_buffer(self) -> Tensor:
        """The buffer whose turn it is, once nothing reads from it any more."""
        on_gpu = self.device.type == "cuda"
        if not self.buffers:
            self.buffers = [
                torch.empty(self.size, dtype=torch.uint8, pin_memory=on_gpu) for _ in range(2 if on_gpu else 1)
            ]
            self.copied = [torch.cuda.Event() for _ in self.buffers] if on_gpu else []
        self.turn = (self.turn + 1) % len(self.buffers)
        if on_gpu:
            self.copied[self.turn].synchronize()
        return self.buffers[self.turn]
