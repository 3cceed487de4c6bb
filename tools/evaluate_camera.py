"""Does the generated camera obey? Measures it on videos of held-out scenes of the procedural world.

Every row makes videos of the same clips and the same noise: the rendered truth, the truth through the VAE, the model
with its adapter, with the camera at scale 0, with the camera tags only in the text, with another clip's trajectory, and
with the mirrored one. The camera of each video is measured (features followed from frame 0, whose depth is known, then
PnP) and compared with its command. docs/evaluation.md says what every number means.

A row that is finished is kept in --output_dir and taken from there when nothing that decides it has changed.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from camera.track import CameraTrack
from common import arguments, cli
from common.files import require_file, require_writable
from common.logs import get_logger, setup_logging
from common.precision import pick_device
from common.progress import progress
from sampling.solvers import SOLVER_NAMES, make_solver
from tools import camera_tracking
from tools.camera_evaluation.held_out import HeldOutClip, plan_held_out
from tools.camera_evaluation.measuring import (
    MeasuredRow,
    Measurement,
    load_row,
    save_row,
    start_measuring,
    tracking_pool,
)
from tools.camera_evaluation.pictures import choose_examples
from tools.camera_evaluation.report import Evaluation, say_summary, versions, write_report
from tools.camera_evaluation.rows import SHIPPED_ROWS, Command, Row, commands_of, rows_of, shuffled_gain
from tools.camera_evaluation.scores import score_row
from tools.camera_evaluation.summary import summarise
from tools.camera_evaluation.targets import targets_of
from tools.camera_evaluation.truth import Truth, render_truth
from tools.camera_evaluation.videos import Sampling, load_encoders, make_videos
from tools.procedural_world.clips import WORLD_VERSION
from tools.procedural_world.parallel import usable_cores
from tools.tiny_model.stage import HELD_OUT_SEED, TASK

log = get_logger("evaluation")

EVALUATION_VERSION = "1"
"""Changes whenever the same settings give other videos or other measurements."""


def build_parser() -> argparse.ArgumentParser:
    """The options of this tool."""
    parser = arguments.make_parser(__doc__ or "")
    add = parser.add_argument
    add("--weights", metavar="PATH", default="weights/tiny", help="folder with vae, t5, clip, dit, camera_adapter")
    add("--output_dir", metavar="PATH", required=True, help="folder of the results; finished rows in it are reused")
    add("--clips", type=int, default=250, help="held-out clips, 2 or more")
    add("--steps", type=int, default=20, help="sampling steps")
    add("--solver", choices=SOLVER_NAMES, default="unipc", help="sampler")
    add("--seed", type=int, default=0, help="decides the noise, which all rows share")
    add("--scene_seed", type=int, default=HELD_OUT_SEED, help="decides the scenes; keep it apart from training's")
    add(
        "--guidance",
        type=float,
        nargs="+",
        default=[1.0],
        metavar="SCALE",
        help="camera guidance; the first is that of all rows with a camera, each further one adds a row guidanceSCALE",
    )
    add(
        "--row",
        action="append",
        default=[],
        metavar="NAME=DIT,ADAPTER",
        help="a row of other weights, and NAME_scale0 of these without the camera; may be repeated; name the adapter "
        "of a frozen base `frozen`, so that it is held to its own targets",
    )
    add("--rows", nargs="+", metavar="NAME", help=f"only these rows; default: {', '.join(SHIPPED_ROWS)}, and all added")
    add("--judged", metavar="NAME", default="adapter", help="the row that is held to the targets")
    add("--examples", type=int, default=8, help="clips whose strips and paths are shown")
    add("--batch_size", type=int, default=64, help="clips sampled at once")
    add("--force_adapter", action="store_true", help="take an adapter that looks untrained, with a warning")
    add("--workers", type=int, help="processes that track; 0 tracks in this one; default: one per core")
    arguments.add_device(parser)
    return parser


@dataclass(frozen=True)
class _Run:
    """What all rows of a run share."""

    args: argparse.Namespace
    device: torch.device
    settings: dict[str, Any]
    """Those that decide every row."""
    sampling: Sampling

    @property
    def weights(self) -> Path:
        return Path(self.args.weights)

    def file_of(self, row: Row) -> Path:
        """Where a row is kept."""
        return Path(self.args.output_dir) / "rows" / f"{row.name}.safetensors"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all rows and write the report."""
    args = build_parser().parse_args(argv)
    setup_logging()
    began = time.monotonic()
    run, rows = _check(args)
    clips = plan_held_out(args.clips, args.scene_seed, TASK.frames, TASK.fps, TASK.size[1] / TASK.size[0])
    commands = commands_of(clips, args.scene_seed)
    examples = choose_examples(clips, args.examples)
    measured = _measured(run, rows, clips, commands, examples)
    log.info("judging %d rows", len(rows))
    scores = {
        name: score_row(clips, commands[command], measured[row.name])
        for row in rows
        for name, command in row.judgements.items()
    }
    summaries = {name: summarise(some) for name, some in scores.items()}
    found = Evaluation(
        settings={
            **run.settings,
            "rows": {row.name: {name: str(value) for name, value in asdict(row).items()} for row in rows},
            "sampling": asdict(run.sampling),
            "gain of the shuffled commands themselves": shuffled_gain(clips, args.scene_seed),
            "versions": versions(run.device),
        },
        clips=clips,
        examples=examples,
        measured=measured,
        scores=scores,
        summaries=summaries,
        targets=targets_of(scores, summaries, args.judged),
        judged=args.judged,
    )
    write_report(Path(args.output_dir), found)
    say_summary(found)
    log.info("%s: %d clips in %.0f s", Path(args.output_dir) / "index.html", len(clips), time.monotonic() - began)
    return 0


def _check(args: argparse.Namespace) -> tuple[_Run, list[Row]]:
    """The run and its rows, after everything that can be wrong about the options."""
    arguments.check_ranges(
        args, clips=2, steps=1, seed=0, scene_seed=0, examples=0, batch_size=1, workers=0, guidance=0
    )
    require_writable(args.output_dir, "--output_dir")
    device = pick_device(args.device)
    make_solver(args.solver, args.steps, TASK.flow_shift)
    rows = rows_of(Path(args.weights), args.guidance, args.row)
    judged = [name for row in rows for name in row.judgements]
    if args.judged not in judged:
        raise ValueError(f"--judged {args.judged}: no such row; expected one of {', '.join(judged)}")
    if args.rows is not None:
        names = [row.name for row in rows]
        if unknown := [name for name in args.rows if name not in names]:
            raise ValueError(f"--rows {unknown[0]}: no such row; expected some of {', '.join(names)}")
        rows = [row for row in rows if row.name in args.rows]
    _require_weights(rows)
    sampling = Sampling(args.steps, args.solver, args.seed, args.batch_size, args.force_adapter)
    settings = {
        "evaluation": EVALUATION_VERSION,
        "world": WORLD_VERSION,
        "tracker": _digest(Path(camera_tracking.__file__)),
        "clips": args.clips,
        "scene_seed": args.scene_seed,
        "frames": TASK.frames,
        "fps": TASK.fps,
        "size": list(TASK.size),
        "examples": args.examples,
    }
    return _Run(args, device, settings, sampling), rows


def _require_weights(rows: Sequence[Row]) -> None:
    """Raise FileNotFoundError for a DiT or an adapter that is not there, before minutes go into other rows."""
    for row in rows:
        for what, path in (("DiT", row.dit), ("adapter", row.adapter)):
            if path is not None:
                require_file(path, f"the {what} of row {row.name}")


def _measured(
    run: _Run,
    rows: Sequence[Row],
    clips: Sequence[HeldOutClip],
    commands: Mapping[Command, Sequence[CameraTrack]],
    examples: Sequence[int],
) -> dict[str, MeasuredRow]:
    """All rows, in order; those of an earlier run are taken from their files where nothing has changed."""
    prints = {row.name: _fingerprint(run, row) for row in rows}
    known = {row.name: load_row(run.file_of(row), prints[row.name]) for row in rows}
    missing = [row for row in rows if known[row.name] is None]
    if kept := [row.name for row in rows if row not in missing]:
        log.info("kept from an earlier run: %s", ", ".join(kept))
    made = {name: row for name, row in known.items() if row is not None}
    if missing:
        truth = render_truth(clips, TASK.size, run.device)
        pool = tracking_pool(usable_cores() if run.args.workers is None else run.args.workers)
        try:
            for row, found in _make_rows(run, missing, clips, commands, examples, truth, pool):
                save_row(run.file_of(row), found, prints[row.name])
                made[row.name] = found
        finally:
            if pool is not None:
                pool.shutdown(cancel_futures=True)
    return {row.name: made[row.name] for row in rows}


def _make_rows(
    run: _Run,
    rows: Sequence[Row],
    clips: Sequence[HeldOutClip],
    commands: Mapping[Command, Sequence[CameraTrack]],
    examples: Sequence[int],
    truth: Truth,
    pool: Executor | None,
) -> Iterator[tuple[Row, MeasuredRow]]:
    """Rows as they get ready; the trackers of one work while the videos of the next are made."""
    needs_networks = any(row.source != "truth" for row in rows)
    encoders = load_encoders(run.weights, TASK, run.device) if needs_networks else None
    intrinsics = torch.stack([clip.track.intrinsics for clip in clips])
    waiting: tuple[Row, Measurement] | None = None
    for row in rows:
        began = time.monotonic()
        batches = make_videos(row, clips, commands[row.command], truth.frames, encoders, TASK, run.sampling)
        videos = torch.cat([batch.cpu() for batch in progress(batches, f"videos of {row.name}", unit="batch")])
        log.info("%s: %d videos in %.1f s", row.name, len(videos), time.monotonic() - began)
        started = start_measuring(videos, truth, intrinsics, examples, pool, run.device)
        if waiting is not None:
            yield waiting[0], waiting[1].finish()
        waiting = row, started
    if waiting is not None:
        yield waiting[0], waiting[1].finish()


def _fingerprint(run: _Run, row: Row) -> str:
    """Of all that decides a row: settings, and for rows made by networks their weights, sampling and precision."""
    content: dict[str, Any] = {**run.settings, "source": row.source}
    if row.source != "truth":
        files = [run.weights / f"{name}.safetensors" for name in ("vae", "t5", "clip")]
        content["encoders"] = [_digest(path) for path in files]
        content["device"] = run.device.type
    if row.source == "model":
        named = {**asdict(row), "dit": _digest(row.dit), "adapter": _digest(row.adapter)}
        content |= {"row": named, "sampling": asdict(run.sampling)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _digest(path: Path | None) -> str:
    """SHA-256 of a file's bytes; "" for none, or where there is none, which whoever needs it will say."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path is not None and path.is_file() else ""


if __name__ == "__main__":
    sys.exit(cli.run(main))
