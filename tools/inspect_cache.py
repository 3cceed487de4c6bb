"""List what cache files hold, who made them and whether they are up to date; decode them to look at.

With --decode, the latents become a video and a contact sheet again, with the camera of the very clip drawn beside:
whether pictures and poses belong together is then seen. See docs/looking-at-data.md.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import arguments, cli
from common.files import require_writable
from common.logs import get_logger, setup_logging
from wan.config import TRAINABLE_TASKS

if TYPE_CHECKING:
    import numpy as np

    from camera.track import CameraTrack
    from dataset.examining import Finding, Verdicts
    from wan.vae import WanVAE

log = get_logger("inspect")


def build_parser() -> argparse.ArgumentParser:
    """The options of this tool."""
    parser = arguments.make_parser(__doc__ or "")
    add = parser.add_argument
    add("caches", metavar="PATH", nargs="*", help="cache files or folders; default: the folders of --dataset_config")
    add("--dataset_config", metavar="PATH", help="say what is fresh, stale, missing or of no item of this data set")
    add("--limit", type=int, metavar="N", help="at most N files")
    add("--json", action="store_true", help="one JSON object per file, a line each")
    group = parser.add_argument_group("decoding")
    group.add_argument("--decode", action="store_true", help="write a video and a contact sheet of every latent cache")
    group.add_argument("--output_dir", metavar="DIR", default="outputs/inspect_cache", help="where they are written")
    arguments.add_task(group, TRAINABLE_TASKS, default="i2v-14B")
    arguments.add_model_paths(group, "vae")
    group.add_argument("--vae_dtype", help="default: bfloat16 on a GPU, float32 on a CPU")
    arguments.add_device(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Look at each file, and write what it is to standard output."""
    args = build_parser().parse_args(argv)
    setup_logging()
    arguments.check_ranges(args, limit=1)
    if not args.caches and args.dataset_config is None:
        raise ValueError("nothing to look at: give cache files or folders, or --dataset_config")
    from dataset.config import load_config
    from dataset.examining import caches_in, verdicts_of

    verdicts = None if args.dataset_config is None else verdicts_of(load_config(args.dataset_config))
    folders = [] if verdicts is None else [entry.cache_directory for entry in verdicts.entries.values()]
    # a folder in which nothing was cached yet is not there, and all of its caches are missing
    named = [Path(given) for given in args.caches] or [folder for folder in folders if folder.is_dir()]
    paths = list(islice(caches_in(named), args.limit))
    findings = _findings(paths, verdicts, with_missing=not args.caches)
    vae = _vae_of(args) if args.decode else None
    counts: Counter[str] = Counter()
    names: Counter[str] = Counter()
    for finding in islice(findings, args.limit):
        counts[finding.status] += 1
        found = facts_of(finding)
        if vae is not None and finding.kind == "latent" and finding.status not in ("damaged", "foreign", "missing"):
            found["decoded"] = _decoded(finding, vae, Path(args.output_dir) / _free_name(finding.path, names))
            counts["not decoded"] += "fault" in found["decoded"]
        # all but ASCII is escaped in JSON: a terminal obeys some of what JSON lets through
        sys.stdout.write(json.dumps(found) + "\n" if args.json else report(found))
    log.info("%s", ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "no cache files")
    return cli.EXIT_USER_ERROR if counts["damaged"] or counts["not decoded"] else 0


def _findings(paths: Sequence[Path], verdicts: "Verdicts | None", *, with_missing: bool) -> Iterator["Finding"]:
    from dataset.examining import examine

    for path in paths:
        finding = examine(path)
        yield finding if verdicts is None else verdicts.judge(finding)
    if verdicts is not None and with_missing:
        yield from verdicts.missing


def facts_of(finding: "Finding") -> dict[str, Any]:
    """Everything that is known of a cache, ready for JSON."""
    from common.precision import dtype_name

    return {
        "path": str(finding.path),
        "kind": finding.kind,
        "status": finding.status,
        "fault": finding.fault,
        "made_by": finding.made_by,
        "tensors": {name: [dtype_name(entry.dtype), list(entry.shape)] for name, entry in finding.tensors.items()},
        "metadata": {} if finding.header is None else dict(sorted(finding.header.metadata.items())),
    }


def report(found: dict[str, Any]) -> str:
    """The same in lines of text."""
    what = f"{found['kind']} cache, {found['status']}"
    lines = [found["path"], f"  {what}{': ' if found['fault'] else ''}{found['fault']}"]
    if found["tensors"]:
        lines.append(f"  made by {found['made_by']}")
    lines += [f"  {name}  {dtype} {shape}" for name, (dtype, shape) in found["tensors"].items()]
    lines += [f"  metadata {name}: {cli.shortened(value)}" for name, value in found["metadata"].items()]
    lines += [f"  decoded {name}: {value}" for name, value in found.get("decoded", {}).items() if name != "agreement"]
    return cli.printed_lines(lines)


def _vae_of(args: argparse.Namespace) -> "WanVAE":
    import torch

    from common.precision import compute_dtype, pick_device
    from wan.config import WAN_CONFIGS
    from wan.loading import load_vae

    require_writable(Path(arguments.named(args.output_dir, "--output_dir")), "--output_dir")
    task, device = WAN_CONFIGS[args.task], pick_device(args.device)
    file = arguments.model_path(args.vae, task.weights.vae, "vae")
    return load_vae(file, task.vae, device=device, dtype=compute_dtype(args.vae_dtype, device, torch.bfloat16))


def _free_name(path: Path, names: Counter[str]) -> str:
    """The name of a cache without its suffix, and a number from the second of this name on."""
    stem = path.name.removesuffix(".safetensors")
    names[stem] += 1
    return stem if names[stem] == 1 else f"{stem}-{names[stem]}"


def _decoded(finding: "Finding", vae: "WanVAE", base: Path) -> dict[str, Any]:
    """Decode a latent cache and write what a person can look at; what is wrong with its camera is told, not raised."""
    from camera.agreement import agreement_of
    from camera.beside import clip_sheet, clip_video
    from common.media import write_image, write_video

    told: dict[str, Any] = {}
    try:
        frames = decode_latents(finding.path, vae)
    except ValueError as error:
        return {"fault": str(error)}
    track: CameraTrack | None = None
    try:
        track = camera_of(finding, len(frames))
    except (ValueError, OSError) as error:
        told["camera"] = f"not drawn: {error}"
    agreement = None if track is None else agreement_of(frames, track)
    base.parent.mkdir(parents=True, exist_ok=True)
    write_image(f"{base}.png", clip_sheet(frames, track, base.name, agreement))
    told["sheet"] = f"{base}.png"
    if len(frames) > 1:
        write_video(f"{base}.mp4", clip_video(frames, track, base.name, agreement), _rate(track))
        told["video"] = f"{base}.mp4"
    if agreement is not None:
        told |= {"camera": agreement.in_words(), "agreement": asdict(agreement)}
    return told


def _rate(track: "CameraTrack | None") -> float:
    """Frames per second at which a clip was taken; 16 where nobody knows."""
    return 16.0 if track is None else (len(track) - 1) / float(track.times[-1] - track.times[0])


def decode_latents(path: Path, vae: "WanVAE") -> "np.ndarray":
    """The frames [F, H, W, 3] uint8 of a latent cache.

    Raises:
        ValueError: the latents are not of this VAE's width, or not finite; names the file.
    """
    import torch

    from dataset.cache import read_cache
    from wan.pixels import to_frames

    latents = read_cache(path, ("latents",))[1]["latents"]
    try:
        with torch.inference_mode():
            return to_frames(vae.decode(latents[None]))[0]
    except ValueError as error:
        raise ValueError(f"{path}: {error}; is it the VAE of the caches (--task, --vae)?") from None


def camera_of(finding: "Finding", frames: int) -> "CameraTrack | None":
    """The camera that training gives to the clip of a latent cache; None for an image or a cache without a camera.

    Raises:
        ValueError, FileNotFoundError: the camera cache is damaged, or the times of the clip do not go with it.
    """
    from dataset.config import DatasetEntry
    from dataset.examining import latent_name_of
    from dataset.inventory import TrainingClip
    from dataset.judging import latent_grid
    from dataset.names import camera_name, text_name
    from dataset.training_set import track_of_clip

    path, header = finding.path, finding.header
    name = latent_name_of(path.name)
    if header is None or name is None or frames == 1:
        return None
    camera, text = path.parent / camera_name(name.stem), path.parent / text_name(name.stem)
    if not camera.is_file():
        return None
    entry = finding.entry or DatasetEntry(str(path.parent), "video", path.parent)
    track = track_of_clip(TrainingClip(entry, name, latent_grid(header), path, text, camera), header, camera)
    if len(track) != frames:
        raise ValueError(f"{path}: has the times of {len(track)} frames, and {frames} frames; cache it again")
    return track


if __name__ == "__main__":
    sys.exit(cli.run(lambda: main()))
