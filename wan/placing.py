"""From a file's header to a network: refuse what does not fit, then stream the tensors into place, strictly.

The network is built without memory (on the meta device) and takes each tensor as it arrives on its device, in its type,
so that neither the file nor a second copy of the network is ever in host memory.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from common.files import require_file
from common.logs import get_logger
from common.precision import dtype_name
from common.streaming import stream_tensors
from common.tensor_headers import Header, TensorEntry, read_header
from common.weights import assign_tensors, check_finite, check_fit, compare_tensors, total
from wan.fp8 import FP8_DTYPES, Fp8Mode, is_fp8_weight, quantise_rows, round_to_fp8, use_fp8
from wan.recognise import FLAGS, Contents, recognise

log = get_logger("loading")

M = TypeVar("M", bound=nn.Module)

Merge = Mapping[str, Callable[[Tensor], Tensor]]
"""{official name: weight [out, in] as it is in the file -> the weight with LoRAs in it, on the same device}."""

NAMES = {"dit": "a Wan2.1 DiT", "vae": "the Wan2.1 VAE", "t5": "the umT5 text encoder", "clip": "the CLIP encoder"}

# the parts of a diffusers pipeline, and the files of an official Wan2.1 download
_PARTS = {"dit": "transformer", "vae": "vae", "t5": "text_encoder", "clip": "image_encoder"}
_OFFICIAL = {
    "vae": "Wan2.1_VAE.pth",
    "t5": "models_t5_umt5-xxl-enc-bf16.pth",
    "clip": "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth",
}


def find_weights(path: str | Path, network: str) -> Path:
    """Where a network's weights lie in a folder: its part of a diffusers pipeline, or its file of an official download.

    Args:
        path: what the user passed; a file, or a folder without such a part, stands for itself.
        network: dit, vae, t5 or clip.

    Raises:
        FileNotFoundError: there is no such path.
    """
    found = require_file(path, f"--{network}")
    places = [found / name for name in (_PARTS[network], _OFFICIAL.get(network)) if name is not None]
    return next((place for place in places if found.is_dir() and place.exists()), found)


def open_network(path: str | Path, network: str, module: nn.Module) -> tuple[Header, Contents]:
    """Header and contents of a file that is to hold a network of that kind (dit, vae, t5 or clip), namely `module`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is unreadable, holds another kind of network, or fp8 weights with scales of another program.
    """
    header = read_header(find_weights(path, network))
    contents = recognise(header)
    if contents.network != network:
        flag = FLAGS.get(contents.network)
        there = f"Pass it at {flag}, and {NAMES[network]} here" if flag else f"Pass {NAMES[network]}"
        misfit = compare_tensors(module.state_dict(), header.entries)
        raise ValueError(
            f"{path} is {contents}, not {NAMES[network]}. {misfit}. {there} ({FLAGS[network]}); see docs/weights.md"
        )
    if contents.scale_key is not None:
        raise ValueError(
            f"{path} is {contents}, but in scaled fp8 of another program ({contents.scale_key}), which is not "
            "supported. Pass the bf16, fp16 or plain fp8_e4m3fn file; --fp8_scaled makes scales of its own from those "
            "in bf16 or fp16"
        )
    return header, contents


@dataclass(frozen=True)
class Opened(Generic[M]):
    """A network without memory, and the tensors of a file that fit it; nothing of them has been read."""

    module: M
    """The network, on the meta device."""
    entries: Mapping[str, TensorEntry]
    """The file's tensors under the network's own names."""
    source: Path
    """The file, for messages."""
    what: str
    """The network's name and what the file looks like, for messages."""


def fit(module: M, entries: Mapping[str, TensorEntry], source: str | Path, what: str) -> Opened[M]:
    """Check that a file's tensors are those of a network; see `Opened` for the arguments.

    Raises:
        ValueError: names, shapes or types do not fit.
    """
    check_fit(module, entries, what, source)
    return Opened(module, entries, Path(source), what)


def place(
    opened: Opened[M],
    device: str | torch.device,
    dtype: torch.dtype,
    *,
    fp8: Fp8Mode = "none",
    merge: Merge | None = None,
) -> M:
    """Stream a file's tensors into a network, one at a time; the network comes back frozen and in eval mode.

    Args:
        opened: the network and its file.
        device: where they go.
        dtype: of all weights but those kept in fp8.
        fp8: how the weights of `wan.fp8.is_fp8_weight` are kept.
        merge: changes the weights that it names, before any are rounded.

    Raises:
        ValueError: a tensor holds NaN or infinity.
    """
    module, entries, merges = opened.module, opened.entries, merge or {}
    assert merges.keys() <= entries.keys(), "a LoRA changes a weight that the network has not"
    _log_fp8(entries, dtype, fp8, opened.source)
    if fp8 != "none":
        use_fp8(module, filter(is_fp8_weight, entries), scaled=fp8 == "scaled")

    def changed(name: str) -> bool:
        return name in merges or (fp8 != "none" and is_fp8_weight(name))

    def dtype_of(name: str, entry: TensorEntry) -> torch.dtype:
        return entry.dtype if changed(name) else dtype

    placed: dict[str, Tensor] = {}
    names: list[str] = []
    # in one tensor: small ones that stay would break up the memory between the weights
    totals = torch.zeros(len(entries), device=device)
    for name, tensor in stream_tensors(entries, device, dtype_of, passing=changed):
        whole = merges[name](tensor) if name in merges else tensor
        totals[len(names)] = total(whole)
        names.append(name)
        placed |= _finish(name, whole, dtype, fp8) if changed(name) else {name: tensor}
    check_finite(names, totals, f"{opened.source} with its LoRAs" if merges else opened.source)
    assign_tensors(module, placed, opened.what, opened.source)
    # buffers that no file holds are still elsewhere
    return module.to(device).requires_grad_(False).eval()


def _finish(name: str, tensor: Tensor, dtype: torch.dtype, fp8: Fp8Mode) -> dict[str, Tensor]:
    """The tensors that a linear layer's weight becomes, in memory of their own."""
    if fp8 == "none" or not is_fp8_weight(name):
        return {name: tensor.to(dtype, copy=True)}
    if fp8 == "base":
        return {name: round_to_fp8(tensor)}
    rounded, scale = quantise_rows(tensor)
    return {name: rounded, name.removesuffix("weight") + "scale": scale}


def _log_fp8(entries: Mapping[str, TensorEntry], dtype: torch.dtype, fp8: Fp8Mode, source: str | Path) -> None:
    in_fp8 = sum(entry.dtype in FP8_DTYPES for entry in entries.values())
    if in_fp8 and fp8 == "none":
        log.info("%s: %d tensors in fp8 are cast to %s; an fp8 flag keeps them", source, in_fp8, dtype_name(dtype))
    if fp8 != "none":
        kept = sum(map(is_fp8_weight, entries))
        log.info("%d weights are kept in fp8%s", kept, ", with a scale per row" if fp8 == "scaled" else "")
