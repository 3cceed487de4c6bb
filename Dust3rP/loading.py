"""Opening DUSt3R's weights: sizes from the shapes, every name and shape checked, then streamed into place."""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from common.logs import get_logger
from common.streaming import stream_tensors
from common.tensor_headers import Header, TensorEntry, read_header
from common.weights import assign_tensors, check_finite, check_fit, total
from Dust3rP.blocks import wide
from Dust3rP.keys import config_of, to_ours
from Dust3rP.model import Dust3R

log = get_logger("loading")

_RESOLUTION = re.compile(r"_(224|512)_")
_WIDE = ("encoder.patch_embed.", "head1.", "head2.")


def load_dust3r(
    path: str | Path,
    *,
    device: str | torch.device,
    dtype: torch.dtype,
    encoder_heads: int | None = None,
    decoder_heads: int | None = None,
) -> Dust3R:
    """Load a DUSt3R of any size; sizes and the kind of its heads follow from the shapes and names of its tensors.

    The weights that exist are under CC BY-NC-SA 4.0, not for commercial use, which the log says once. Which of the two
    resolutions a model was trained at is in no tensor: it is what the last `_224_` or `_512_` in the path says, as the
    released models have it in their names, else 512.

    Args:
        path: the official .pth, or the .safetensors of the Hugging Face hub or its folder.
        device: where the weights go.
        dtype: of the transformer; bfloat16 serves on GPUs. Patches and heads are computed in float32, or in float64
            beside float64.
        encoder_heads: heads of the encoder's attention; None is one for every 64 channels, as in all released models.
        decoder_heads: the same of the decoders.

    Returns:
        The network, frozen, in eval mode.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is unreadable, is no DUSt3R, or lacks tensors or has others, all of which are named.
    """
    header = read_header(path)
    model, entries = _fit(header, encoder_heads, decoder_heads)
    _tell_licence()
    return _place(model, entries, torch.device(device), dtype, path)


def _fit(header: Header, encoder_heads: int | None, decoder_heads: int | None) -> tuple[Dust3R, dict[str, TensorEntry]]:
    """The network without memory, and what the file says of its tensors under the network's names."""
    expected = (
        "Expected DUSt3R as its authors release it, such as DUSt3R_ViTLarge_BaseDecoder_512_dpt.pth or that model's "
        "model.safetensors; see docs/dust3r.md"
    )
    try:
        sizes = config_of(header.entries, encoder_heads, decoder_heads)
        # a file of the hub has no name of its own, but its folder has
        named = _RESOLUTION.findall(str(header.files[0].absolute()))
        with torch.device("meta"):
            model = Dust3R(replace(sizes, resolution=int(named[-1]) if named else 512))
        entries = to_ours(header.entries, model)
    except ValueError as error:
        raise ValueError(f"{header.path}: {error}. {expected}") from None
    check_fit(model, entries, "DUSt3R", header.path)
    return model, entries


@cache
def _tell_licence() -> None:
    log.info("DUSt3R's weights are under CC BY-NC-SA 4.0: not for commercial use. See docs/dust3r.md")


def _place(
    model: Dust3R, entries: dict[str, TensorEntry], device: torch.device, dtype: torch.dtype, source: str | Path
) -> Dust3R:
    def dtype_of(name: str, _entry: TensorEntry) -> torch.dtype:
        return wide(dtype) if name.startswith(_WIDE) else dtype

    placed: dict[str, Tensor] = {}
    # in one tensor: small ones that stay would break up the memory between the weights
    totals = torch.zeros(len(entries), device=device)
    for name, tensor in stream_tensors(entries, device, dtype_of):
        totals[len(placed)] = total(tensor)
        placed[name] = tensor
    check_finite(list(placed), totals, source)
    assign_tensors(model, placed, "DUSt3R", source)
    for layer in (*model.head1.modules(), *model.head2.modules()):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            # the layout that convolutions are fastest in
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
    return model.requires_grad_(False).eval()
