"""Download the weights to where every script looks for them, so that no path flag is needed afterwards.

Interrupted downloads go on where they stopped when the same command is run again. Files of the Hugging Face hub are
checked against the hub's own SHA-256, files of a mirror against what the mirror states; DUSt3R's server states none, so
the hash of the first download is written to weights/first-seen.json and later ones are compared with it. HF_TOKEN is
sent to huggingface.co alone.
"""

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import arguments, cli
from common.arguments import ROOT
from common.files import atomic_path, human_size
from common.logs import get_logger, setup_logging
from tools.http_download import TRIES, Remote, download, file_hash, mismatch, part_of, probe
from tools.weights_catalogue import (
    APACHE,
    CATALOGUE,
    DOWNLOADED_TASKS,
    HUB,
    WeightFile,
    files_named,
    files_of_task,
)

log = get_logger("weights")

FIRST_SEEN = "weights/first-seen.json"
"""SHA-256 of files whose server states none, as they first came."""


def build_parser() -> argparse.ArgumentParser:
    """The options of this tool."""
    parser = arguments.make_parser(__doc__ or "")
    add = parser.add_argument
    arguments.add_task(parser, DOWNLOADED_TASKS, default="i2v-14B")
    add("--only", nargs="+", metavar="NAME", help="these files instead of the task's; --list shows the names")
    add("--list", action="store_true", help="show every file with its place, source and licence, and stop")
    add("--dry-run", action="store_true", help="say what would be done, and stop")
    add("--verify", action="store_true", help="check the hash of files that are there already, too")
    add("--root", metavar="PATH", default=str(ROOT), help="the folder that holds weights/")
    add(
        "--mirror",
        metavar="URL",
        help="a mirror of the hub, e.g. https://hf-mirror.com; it is not sent HF_TOKEN, and the hashes that its files "
        "are checked against are its own. Default: HF_ENDPOINT, where that is set",
    )
    return parser


def hub_address(mirror: str | None) -> str:
    """Where the hub's files are asked for: at --mirror, at HF_ENDPOINT (huggingface_hub's variable), or at the hub.

    Raises:
        ValueError: what was given is no address of a web server.
    """
    source = "HF_ENDPOINT" if mirror is None else "--mirror"
    given = os.environ.get("HF_ENDPOINT") or HUB if mirror is None else mirror
    if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", given):
        raise ValueError(f"{source} {given}: expected an address such as https://hf-mirror.com")
    return given.rstrip("/")


@dataclass(frozen=True)
class Job:
    """One file with what is known of it."""

    file: WeightFile
    target: Path
    remote: Remote
    present: bool
    """Whether the target is there, of the size that the server states."""

    @property
    def missing_bytes(self) -> int:
        """What is still to come, as far as the size is known."""
        part = part_of(self.target)
        have = part.stat().st_size if part.exists() else 0
        return 0 if self.present else max(0, (self.remote.size or 0) - have)


def plan(files: Sequence[WeightFile], root: Path, hub: str, token: str | None, only_look: bool = False) -> list[Job]:
    """Ask the servers about each file, and look for it here.

    Args:
        files: what is wanted.
        root: the folder that holds weights/.
        hub: address of the hub, or of a mirror of it.
        token: for it.
        only_look: go on without sizes where a server cannot be reached.

    Raises:
        OSError: a server refuses or cannot be reached.
    """
    first_seen = _first_seen(root)
    jobs: list[Job] = []
    online = True
    for file in files:
        target, url = root / file.target, file.url(hub)
        remote = Remote(url)
        try:
            if online:
                tries = 1 if only_look else TRIES
                remote = probe(url, token if file.repo else None, is_hub=file.repo is not None, tries=tries)
        except ConnectionError as error:
            if not only_look:
                raise
            log.warning("%s; sizes are not known", error)
            online = False
        if file.repo is None and file.target in first_seen:
            remote = replace(remote, sha256=first_seen[file.target])
        present = target.exists() and remote.size in (None, target.stat().st_size)
        jobs.append(Job(file, target, remote, present))
    return jobs


def describe(jobs: Sequence[Job]) -> str:
    """A table of what would be done."""
    lines = []
    for job in jobs:
        part = part_of(job.target)
        state = "is there" if job.present else "would be fetched"
        if not job.present and part.exists():
            state += f", {human_size(part.stat().st_size)} of it are there"
        elif not job.present and job.target.exists():
            state += ", for the one that is there has another size"
        size = "of unknown size" if job.remote.size is None else human_size(job.remote.size)
        lines.append(f"{job.file.name}: {size}, {state}\n    from {job.remote.url}\n    to   {job.target}")
    return "\n".join(lines) + "\n"


def list_files() -> str:
    """A table of every file."""
    return "".join(f"{file.name}: {file.target}\n    {file.url()}\n    {file.licence}\n" for file in CATALOGUE)


def check_disk(jobs: Sequence[Job], root: Path) -> None:
    """Refuse to start what cannot be finished.

    Raises:
        OSError: there is less room than bytes to come.
    """
    needed, free = sum(job.missing_bytes for job in jobs), shutil.disk_usage(root).free
    if needed > free:
        raise OSError(
            f"{root} has {human_size(free)} free, and {human_size(needed)} are still to come; make room, or choose "
            "with --only"
        )


def fetch(job: Job, root: Path, token: str | None) -> None:
    """Get one file and check it.

    Raises:
        OSError, ValueError: as `tools.http_download.download`.
    """
    if job.file.licence != APACHE:
        log.warning("%s: the licence is %s", job.file.name, job.file.licence)
    if job.file.repo is not None and not (job.remote.sha256 or job.remote.git_sha1):
        log.warning("%s: the server states no hash of it, so its content cannot be checked", job.file.name)
    download(job.remote, job.target, token if job.file.repo else None)
    if job.file.repo is None and job.remote.sha256 is None:
        _record_first_seen(root, job.file.target, file_hash(job.target))
    log.info("%s: %s", job.file.name, job.target)


def _first_seen(root: Path) -> dict[str, str]:
    path = root / FIRST_SEEN
    if not path.exists():
        return {}
    try:
        return {str(name): str(value) for name, value in json.loads(path.read_text(encoding="utf-8")).items()}
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: not a table of hashes ({error}); remove it") from None


def _record_first_seen(root: Path, target: str, digest: str) -> None:
    with atomic_path(root / FIRST_SEEN) as temporary:
        temporary.write_text(json.dumps({**_first_seen(root), target: digest}, indent=1) + "\n", encoding="utf-8")
    log.info("%s: its server states no hash; SHA-256 %s was noted in %s", target, digest, FIRST_SEEN)


def main(argv: Sequence[str] | None = None) -> int:
    """List, plan, check the disk, fetch what is missing."""
    args = build_parser().parse_args(argv)
    setup_logging()
    if args.list:
        sys.stdout.write(list_files())
        return 0
    root = Path(arguments.named(args.root, "--root"))
    if not root.is_dir():
        raise ValueError(f"--root {root}: is no folder")
    hub = hub_address(args.mirror)
    token = os.environ.get("HF_TOKEN") if hub == HUB else None
    files = files_named(args.only) if args.only else files_of_task(args.task)
    jobs = plan(files, root, hub, token, args.dry_run)
    if args.dry_run:
        sys.stdout.write(describe(jobs))
        return 0
    check_disk(jobs, root)
    if hub != HUB and any(job.file.repo and not job.present for job in jobs):
        log.warning("files come from %s, a mirror: it says itself what their hashes are", hub)
    for job in jobs:
        wrong = mismatch(job.remote, job.target) if job.present and args.verify else None
        if wrong:
            raise ValueError(f"{job.target} {wrong}; remove it and run the same command again")
        if job.present:
            log.info("%s is there: %s", job.file.name, job.target)
        else:
            fetch(job, root, token)
    return 0


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
