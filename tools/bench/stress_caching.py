"""Cache many tiny clips with 1, 2 and 4 processes, kill processes at random, and compare the files byte by byte.

The real scripts run, with random tiny weights. One line of JSON is printed at the end: files compared, kills, and the
seconds that a second run over the finished caches took. Any difference, any bad file and any file that a kill lost is
an error.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common import arguments, cli
from common.logs import get_logger, setup_logging
from dataset.cache import read_header
from tools.bench.caching_world import write_data_set
from tools.make_tiny_weights import main as make_tiny_weights

log = get_logger("stress_caching")

ROOT = arguments.ROOT
FRAMES, SIDE, BATCH = 5, 32, 4
_PATIENCE_SECONDS = 300.0
_POLL_SECONDS = 0.01


def build_parser() -> argparse.ArgumentParser:
    """The options of this test."""
    parser = arguments.make_parser(__doc__ or "")
    add = parser.add_argument
    add("--folder", metavar="PATH", default="outputs/bench/stress", help="where clips, weights and caches go")
    add("--clips", type=int, default=1000, help="clips of 5 frames of 32x32")
    add("--worlds", type=int, nargs="+", default=[1, 2, 4], help="numbers of processes that are compared")
    add("--kills", type=int, default=20, help="how often a process, or all of them, are killed")
    add("--seed", type=int, default=0, help="of the moments and the victims")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Draw, cache, compare, kill, compare, and time the second run."""
    args = build_parser().parse_args(argv)
    setup_logging()
    arguments.check_ranges(args, clips=1, worlds=1, kills=0, seed=0)
    folder = Path(args.folder).absolute()
    config = write_data_set(folder, args.clips, FRAMES, (SIDE, SIDE), (SIDE, SIDE), BATCH)
    make_tiny_weights(["--output_dir", str(folder / "weights"), "--seed", "0"])
    command = [
        *(sys.executable, str(ROOT / "wan_cache_latents.py"), "--task", "i2v-tiny", "--dataset_config", str(config)),
        *("--vae", str(folder / "weights" / "vae.safetensors")),
        *("--clip", str(folder / "weights" / "clip.safetensors"), "--device", "cpu", "--num_workers", "1"),
    ]
    cache = folder / "cache"
    wanted: dict[str, str] = {}
    for world in args.worlds:
        shutil.rmtree(cache, ignore_errors=True)
        seconds = _finish(command, world)
        found = _digests(cache)
        log.info(f"{world} processes: {len(found)} files in {seconds:.1f} s")
        _compare(found, wanted or found, f"{world} processes")
        wanted = found
    second = _finish([*command, "--skip_existing"], 1)
    shutil.rmtree(cache)
    cache.mkdir()
    killed = _kill(command, cache, args.kills, len(wanted), random.Random(args.seed))
    _finish([*command, "--skip_existing"], 2)
    _compare(_digests(cache), wanted, "killed and finished")
    _compare(killed, {name: wanted[name] for name in killed}, "what the kills left")
    log.info(json.dumps({"files": len(wanted), "kills": args.kills, "second_run_seconds": round(second, 2)}))
    return 0


def _start(command: Sequence[str], world: int) -> list[subprocess.Popen[bytes]]:
    """The command in `world` processes, as a launcher starts it."""
    shared = os.environ | {"OMP_NUM_THREADS": "1", "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)}
    return [
        subprocess.Popen(
            command, env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, stderr=subprocess.DEVNULL, cwd=ROOT
        )
        for rank in range(world)
    ]


def _finish(command: Sequence[str], world: int) -> float:
    """Run to the end; seconds."""
    begin = time.perf_counter()
    codes = [process.wait() for process in _start(command, world)]
    if any(codes):
        raise ValueError(f"the processes ended with {codes}: {' '.join(command)}")
    return time.perf_counter() - begin


def _kill(command: Sequence[str], cache: Path, kills: int, total: int, draw: random.Random) -> dict[str, str]:
    """Start and kill again and again; the digests of what is there in the end."""
    finished: dict[str, str] = {}
    for number in range(kills):
        processes = _start([*command, "--skip_existing"], draw.choice((1, 2, 3, 4)))
        _wait_for(cache, len(finished) + draw.randrange(1, 2 + 2 * total // max(1, 3 * kills)), processes)
        victims = processes if draw.random() < 0.5 else [draw.choice(processes)]
        for victim in victims:
            victim.kill()
        for process in processes:
            process.wait() if process in victims else process.terminate()
        for process in processes:
            process.wait()
        now = _digests(cache)
        _compare({name: now.get(name, "") for name in finished}, finished, f"kill {number}")
        finished = now
        log.info(f"kill {number + 1} of {kills}: {len(victims)} of {len(processes)} processes, {len(now)} files there")
    return finished


def _wait_for(cache: Path, count: int, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Until so many files are there, or nobody makes more."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while sum(1 for _ in cache.glob("[!.]*")) < count and time.monotonic() < end:
        try:
            processes[0].wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return


def _digests(cache: Path) -> dict[str, str]:
    """The files of a folder by name, each of which must be whole; half-written ones of killed processes left out."""
    found = {}
    for path in sorted(cache.glob("[!.]*")):
        read_header(path)
        found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _compare(found: Mapping[str, str], wanted: Mapping[str, str], what: str) -> None:
    differing = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    if differing:
        raise ValueError(f"{what}: {len(differing)} of {len(wanted)} files differ: {', '.join(differing[:5])}")


if __name__ == "__main__":
    sys.exit(cli.run(main))
