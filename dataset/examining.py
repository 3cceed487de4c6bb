"""What lies in cache folders, file by file: kind, maker, whether it is sound, and whether it is up to date."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from camera.language import has_camera
from common.tensor_headers import TensorEntry
from common.tensor_headers import read_header as read_entries
from dataset.cache import LATENT_TENSORS, CacheHeader, is_foreign, read_cache, read_camera, read_header
from dataset.config import DatasetConfig, DatasetEntry
from dataset.fingerprint import folder_fingerprint
from dataset.judging import is_too_short, judge_camera, judge_text, read_headers, wanted_latents
from dataset.names import (
    EMPTY_TEXT_KEY,
    LatentName,
    camera_name,
    is_camera_name,
    is_text_name,
    latents_by_stem,
    list_names,
    parse_latent_name,
    text_name,
)
from dataset.shortfalls import Reason
from dataset.soundness import fault_of, odd_precisions
from dataset.sources import MediaItem, load_items

Kind = Literal["latent", "text", "camera", "unknown"]
Status = Literal["sound", "fresh", "stale", "missing", "stray", "foreign", "damaged"]
"""sound: whole and finite, and no dataset file was asked; fresh and stale: what the dataset file asks for, or not;
missing: it asks, and there is none; stray: of no item; foreign: of another program or version of the format."""

_STALE = "the dataset file now asks for other frames, another size, caption or camera, or the medium has changed"
_STRAY = "belongs to no item of the dataset file"


@dataclass(frozen=True)
class Finding:
    """One file, or one that is missing."""

    path: Path
    kind: Kind
    status: Status
    fault: str = ""
    """What is wrong, in words; empty when nothing is."""
    tensors: Mapping[str, TensorEntry] = field(default_factory=dict)
    """By their names in the file."""
    header: CacheHeader | None = None
    """None when it cannot be read."""
    entry: DatasetEntry | None = None
    """The data set whose folder it lies in, where one was asked."""

    @property
    def made_by(self) -> str:
        """The program, as far as the file tells."""
        said = {} if self.header is None else self.header.metadata
        if "encoding_version" in said or (self.kind == "camera" and "convention" in said):
            return "OmniCam-Wan"
        if said.get("architecture") and self.kind in ("latent", "text"):
            return "musubi-tuner, or like it"
        return "unknown"


def examine(path: Path) -> Finding:
    """Read a cache, all its numbers too, and tell what it is; whatever is wrong with the file is in the result.

    `status` is sound, foreign or damaged.
    """
    try:
        tensors = read_entries(path).entries
        header = read_header(path)
    except (ValueError, OSError) as error:
        return Finding(path, _kind_of_name(path.name), "damaged", str(error))
    kind = _kind_of_keys(header)
    finding = Finding(path, kind, "sound", "", tensors, header)
    if kind == "unknown":
        return replace(finding, status="foreign", fault=f"no cache: holds {', '.join(list(tensors)[:5]) or 'nothing'}")
    if kind == "camera":
        return _with_camera(finding)
    if is_foreign(header):
        said = {name: header.metadata.get(name) for name in ("architecture", "format_version", "encoding_version")}
        return replace(finding, status="foreign", fault=f"of another architecture or version of the format: {said}")
    odd = odd_precisions(header)
    if odd:
        return replace(finding, status="foreign", fault=f"numbers of another precision: {', '.join(odd)}")
    fault = fault_of(header)
    try:
        read_cache(path, [name for name in (*LATENT_TENSORS, "t5") if name in header.keys])
    except (ValueError, OSError) as error:
        fault = fault or str(error)
    return replace(finding, status="damaged", fault=fault) if fault else finding


def _with_camera(finding: Finding) -> Finding:
    """A camera cache, read as training reads it."""
    fault = judge_camera(finding.path, None)
    try:
        read_camera(finding.path)
    except (ValueError, OSError) as error:
        return replace(finding, status="foreign" if fault == "foreign" else "damaged", fault=str(error))
    assert finding.header is not None, "only files with a header have a kind"
    wrong = fault_of(finding.header)
    return replace(finding, status="damaged", fault=wrong) if wrong else finding


def _kind_of_keys(header: CacheHeader) -> Kind:
    if "latents" in header.keys:
        return "latent"
    if "t5" in header.keys:
        return "text"
    # the keys of the OmniCam-Wan fork's camera caches are intrinsics and extrinsics
    return "camera" if "c2w" in header.keys or {"intrinsics", "extrinsics"} <= set(header.keys) else "unknown"


def _kind_of_name(name: str) -> Kind:
    if is_text_name(name):
        return "text"
    if is_camera_name(name):
        return "camera"
    return "latent" if latent_name_of(name) else "unknown"


def latent_name_of(name: str) -> LatentName | None:
    """The name of a latent cache, read as one of a clip or else of an image; None for other names."""
    return parse_latent_name(name, "video") or parse_latent_name(name, "image")


def caches_in(paths: Sequence[Path]) -> Iterator[Path]:
    """The files themselves, and the safetensors files of folders, by name.

    Raises:
        FileNotFoundError: a path is not there.
    """
    for path in paths:
        if path.is_dir():
            yield from (path / name for name in list_names(path) if name.endswith(".safetensors") and name[0] != ".")
        elif path.exists():
            yield path
        else:
            raise FileNotFoundError(f"{path}: no such cache file or folder")


@dataclass(frozen=True)
class Verdicts:
    """What a dataset file says of the caches of its folders."""

    fresh: Mapping[Path, bool]
    """Caches of items: whether they are what the file asks for."""
    entries: Mapping[Path, DatasetEntry]
    """By cache folder."""
    missing: Sequence[Finding]

    def judge(self, finding: Finding) -> Finding:
        """The finding with its data set, and fresh, stale or stray in place of sound."""
        entry = self.entries.get(finding.path.parent.resolve())
        finding = replace(finding, entry=entry)
        if finding.status != "sound" or entry is None:
            return finding
        fresh = self.fresh.get(finding.path.resolve())
        if fresh is None:
            return replace(finding, status="stray", fault=_STRAY)
        return replace(finding, status="fresh") if fresh else replace(finding, status="stale", fault=_STALE)


def verdicts_of(config: DatasetConfig) -> Verdicts:
    """Ask a dataset file which caches it wants; media need not be there, and are compared where they are.

    Raises:
        FileNotFoundError, ValueError: the jsonl or a caption is wrong.
    """
    fresh: dict[Path, bool] = {}
    missing: list[Finding] = []
    for group in load_items(config, check_media=False):
        entry = group.entry
        lying = latents_by_stem(entry.cache_directory, entry.media)
        faults: dict[Path, tuple[Kind, Reason | None, str]] = {}
        for item in group.items:
            faults |= _faults_of(item, lying.get(item.key, []))
        if entry.caption_dropout_rate > 0:
            path = entry.cache_directory / text_name(EMPTY_TEXT_KEY)
            faults[path] = "text", judge_text(path, ""), "the empty caption"
        for path, (kind, fault, name) in faults.items():
            fresh[path.resolve()] = fault is None
            if fault == "missing":
                missing.append(Finding(path, kind, "missing", f"of {name}", entry=entry))
    return Verdicts(fresh, {entry.cache_directory.resolve(): entry for entry in config.datasets}, missing)


def _faults_of(item: MediaItem, lying: Sequence[LatentName]) -> dict[Path, tuple[Kind, Reason | None, str]]:
    """The caches that an item has or lacks: kind, why it cannot be used, name of the medium."""
    folder, name = item.entry.cache_directory, item.path.name
    fingerprint = folder_fingerprint(item.path) if item.path.exists() else None
    text, camera = folder / text_name(item.key), folder / camera_name(item.key)
    found: dict[Path, tuple[Kind, Reason | None, str]] = {text: ("text", judge_text(text, item.caption), name)}
    if camera.is_file() or item.camera_file is not None or has_camera(item.caption):
        found[camera] = "camera", judge_camera(camera, item, fingerprint=fingerprint), name
    headers, _ = read_headers(folder, lying)
    wanted, fault = wanted_latents(item, headers, ("latents",))
    for key in lying:
        header = wanted.get(key)
        made_from = None if header is None else header.metadata.get("source_fingerprint", fingerprint)
        fresh = header is not None and fingerprint in (None, made_from)
        found[folder / key.file_name()] = "latent", None if fresh else "stale", name
    if fault == "missing" and not is_too_short(item):
        found[folder / f"{item.key}_*_wan.safetensors"] = "latent", "missing", name
    return found
