"""Adapter files: safetensors with the adapter's tensors, and metadata that says what it is.

    format       omnicam-adapter
    version      2; version 1 is read too: design cross, whose config names no design
    convention   of the poses it was trained on: opencv_c2w, or omnicam_legacy for what the fork made
    config       JSON: design, every field of its configuration, and dit_dim, dit_layers of the DiT it is made for
    base_task, trained_steps, trained_epochs, session, data ...   what the trainer knows

It may also travel in the file of a DiT or a LoRA, every name after `omnicam_adapter.`, its metadata in the metadata
entry `omnicam_adapter`, in JSON.

The fork's `total-N.safetensors`, which holds its whole DiT, is read as an adapter of design v1.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import torch

from common.logs import get_logger
from common.streaming import stream_tensors
from common.tensor_headers import Header, TensorEntry, read_header
from common.weights import assign_tensors, check_finite, check_fit, total, write_tensors
from wan.adapters.build import build_adapter, changed_config
from wan.adapters.interface import CameraAdapter
from wan.config import ADAPTER_CONFIGS, AdapterConfig, CrossConfig, DiTConfig, ForkConfig
from wan.fork_camera import examine_fork_camera, fork_config
from wan.keys import ADAPTER_METADATA, dit_to_official, set_adapter_aside, set_fork_camera_aside
from wan.recognise import ADAPTER_FORMAT, FORK_STYLE, recognise, shape_of_dit

ADAPTER_VERSION = "2"
CAMERA_CONVENTION = "opencv_c2w"
"""What the camera of an adapter is made from: camera-to-world poses in OpenCV axes (docs/conventions.md)."""
LEGACY_CONVENTION = "omnicam_legacy"
"""The same as the fork made it (`camera.legacy`)."""

_OLD_VERSION = "1"

log = get_logger("loading")


class AdapterFacts(NamedTuple):
    """What an adapter file's metadata says of its shape."""

    config: AdapterConfig
    dit_dim: int
    dit_layers: int


def save_adapter(
    path: str | Path, adapter: CameraAdapter, metadata: Mapping[str, str], dtype: torch.dtype | None = None
) -> None:
    """Write an adapter as its own .safetensors file, whole or not at all.

    Args:
        path: the file to write.
        adapter: the adapter; it stays as it is.
        metadata: what the caller knows, e.g. base_task, trained_steps, data; strings. Format, version, config and
            (unless given) convention are added.
        dtype: of the floating tensors in the file; None keeps the adapter's.
    """
    stated = {"design": adapter.config.design, "dit_dim": adapter.dit_dim, "dit_layers": adapter.dit_layers}
    config = {**asdict(adapter.config), **stated}
    own = {"format": ADAPTER_FORMAT, "version": ADAPTER_VERSION, "config": json.dumps(config)}
    tensors = {
        key: value.to(dtype) if value.is_floating_point() else value for key, value in adapter.state_dict().items()
    }
    write_tensors(path, tensors, {"convention": _convention(adapter.config), **metadata, **own})


def load_adapter(
    path: str | Path,
    dit_config: DiTConfig,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    force: bool = False,
) -> CameraAdapter:
    """Read an adapter that fits a DiT.

    Args:
        path: a file of `save_adapter`, or the fork's `total-N.safetensors`.
        dit_config: the DiT it is to be attached to.
        device: where its tensors go.
        dtype: what they are cast to; None keeps the file's.
        force: take an adapter that looks untrained, or was made from poses of an unknown convention, with a warning.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no camera adapter, is of another version or convention, was made for another DiT, or
            looks untrained.
    """
    opened = open_adapter(path, dit_config, force)

    def dtype_of(_: str, entry: TensorEntry) -> torch.dtype:
        return dtype if dtype is not None and entry.dtype.is_floating_point else entry.dtype

    placed = dict(stream_tensors(opened.entries, device, dtype_of))
    check_finite(list(placed), torch.stack([total(tensor) for tensor in placed.values()]), path)
    adapter = opened.adapter
    if len(placed) < len(adapter.state_dict()):
        # what a forced file of the fork lacks starts as in a new adapter, where it adds nothing
        placed = {**build_adapter(*opened.facts).to(device, dtype).state_dict(), **placed}
    assign_tensors(adapter, placed, "the camera adapter", path)
    return adapter


class OpenedAdapter(NamedTuple):
    """An adapter without memory, and the tensors of a file that fit it; nothing of them has been read."""

    facts: AdapterFacts
    adapter: CameraAdapter
    """On the meta device."""
    entries: Mapping[str, TensorEntry]
    """The file's tensors under the adapter's own names."""


def open_adapter(path: str | Path, dit_config: DiTConfig, force: bool = False) -> OpenedAdapter:
    """Look at an adapter's file; see `load_adapter` for the arguments and the errors.

    Of the data, output layers are read until one has left its zero start.
    """
    header = adapter_header(read_header(path))
    facts, entries = _open_fork(header, force) if is_fork_file(header) else _open_own(header, force)
    if (facts.dit_dim, facts.dit_layers) != (dit_config.dim, dit_config.num_layers):
        raise ValueError(
            f"{path} was made for a DiT of width {facts.dit_dim} with {facts.dit_layers} blocks "
            f"(task {header.metadata.get('base_task', 'unknown')}); this one has width {dit_config.dim} and "
            f"{dit_config.num_layers} blocks. Pass the --task it was trained with, or another --camera_adapter"
        )
    with torch.device("meta"):
        adapter = build_adapter(*facts)
    may_lack = adapter.state_dict() if is_fork_file(header) and force else {}
    check_fit(adapter, {**may_lack, **entries}, "the camera adapter", path)
    if not looks_trained(adapter, entries):
        _refuse_unless(force, f"{path} was never trained: it changes nothing. Pass another --camera_adapter")
    return OpenedAdapter(facts, adapter, entries)


def adapter_header(header: Header) -> Header:
    """Of the adapter alone, where it travels in the file of a DiT or a LoRA; any other header as it is."""
    entries = set_adapter_aside(header.entries)[1]
    if not entries:
        return header
    try:
        metadata = json.loads(header.metadata.get(ADAPTER_METADATA, ""))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{header.path}: the metadata '{ADAPTER_METADATA}' are unreadable ({error})") from None
    if not isinstance(metadata, dict):
        raise ValueError(f"{header.path}: the metadata '{ADAPTER_METADATA}' are no table; pass the adapter's own file")
    return replace(header, entries=entries, metadata=metadata)


def looks_trained(adapter: CameraAdapter, entries: Mapping[str, TensorEntry]) -> bool:
    """Whether an output layer in a file has left its zero start.

    Args:
        adapter: that the file is for, perhaps on the meta device.
        entries: of the file.
    """
    ours = {id(layer.weight) for layer in adapter.output_layers()}
    names = [name for name, weight in adapter.named_parameters() if id(weight) in ours]
    outputs = {name: entries[name] for name in names if name in entries}
    return any(bool(value.any()) for _, value in stream_tensors(outputs, "cpu"))


def is_fork_file(header: Header) -> bool:
    """Whether a file is a checkpoint of the OmniCam-Wan fork, and not an adapter of ours."""
    return recognise(header).style == FORK_STYLE


def adapter_facts(header: Header) -> AdapterFacts:
    """Design, sizes and DiT of an adapter, from the metadata entry `config` of its file.

    Raises:
        ValueError: the text is not of that form.
    """
    try:
        values = json.loads(header.metadata.get("config", ""))
        dit_dim, layers = int(values.pop("dit_dim")), int(values.pop("dit_layers"))
        config = changed_config(ADAPTER_CONFIGS[values.pop("design", CrossConfig.design)](), values)
        last = max(config.blocks, default=0)
        if last >= layers:
            raise ValueError(f"block {last} of a DiT with {layers}")
        return AdapterFacts(config, dit_dim, layers)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{header.path}: the adapter's metadata 'config' is unreadable ({error})") from None


def _open_own(header: Header, force: bool) -> tuple[AdapterFacts, Mapping[str, TensorEntry]]:
    path, metadata = header.path, header.metadata
    if metadata.get("format") != ADAPTER_FORMAT:
        words = recognise(header).words
        raise ValueError(f"{path} is {words}, not a camera adapter saved by this project or by the OmniCam-Wan fork")
    if metadata.get("version") not in (ADAPTER_VERSION, _OLD_VERSION):
        raise ValueError(
            f"{path}: adapter version is {metadata.get('version')!r}; this program reads {ADAPTER_VERSION!r} and "
            f"{_OLD_VERSION!r}"
        )
    facts = adapter_facts(header)
    found, expected = metadata.get("convention"), _convention(facts.config)
    if found != expected:
        _refuse_unless(force, f"{path}: adapter convention is {found!r}; this program gives it {expected!r}")
    return facts, header.entries


def _open_fork(header: Header, force: bool) -> tuple[AdapterFacts, Mapping[str, TensorEntry]]:
    base, camera = set_fork_camera_aside(dit_to_official(header.entries))
    shape = shape_of_dit(base)
    if shape is None:
        raise ValueError(f"{header.path}: the base DiT of the fork's checkpoint is not whole, so its sizes are unknown")
    found = examine_fork_camera(camera, shape.blocks)
    if not found.looks_trained:
        _refuse_unless(force, f"{header.path}: {found}")
    log.info("%s: %s", header.path, found)
    return AdapterFacts(fork_config(camera, shape.blocks), shape.dim, shape.blocks), camera


def _convention(config: AdapterConfig) -> str:
    legacy = isinstance(config, ForkConfig) and config.geometry == LEGACY_CONVENTION
    return LEGACY_CONVENTION if legacy else CAMERA_CONVENTION


def _refuse_unless(force: bool, message: str) -> None:
    if not force:
        raise ValueError(f"{message}; --force_adapter takes it all the same")
    log.warning("%s; taken all the same, as --force_adapter says", message)
