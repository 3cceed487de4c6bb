"""The options that all preparation tools have. Imports nothing heavy, so that `--help` answers at once."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from common.arguments import check_ranges, make_parser, named
from tools.preparation.archives import find_archives, summary_of, unpack_all


@dataclass(frozen=True)
class Common:
    """What every preparation tool is told."""

    folder: Path
    """Where the prepared data set goes."""
    strict: bool
    """Stop at the first entry that cannot be used."""
    dry_run: bool
    """Say what would be done, write nothing."""
    resolution: tuple[int, int]
    """(width, height) for dataset.toml."""
    target_frames: tuple[int, ...]
    """Lengths of the clips for dataset.toml."""


def build_parser(
    description: str, resolution: tuple[int, int], target_frames: tuple[int, ...], output_dir: str | None = None
) -> argparse.ArgumentParser:
    """A parser with the common options.

    Args:
        description: of the tool.
        resolution: (width, height), the default of its dataset.toml.
        target_frames: the default of its dataset.toml.
        output_dir: default of `--output_dir`; None: it has to be given.
    """
    parser = make_parser(description)
    group = parser.add_argument_group("common to all preparation tools")
    add = group.add_argument
    add(
        "--output_dir",
        metavar="DIR",
        default=output_dir,
        required=output_dir is None,
        help="folder of the prepared data set; the source is never changed",
    )
    add("--resolution", type=int, nargs=2, metavar=("W", "H"), default=list(resolution), help="for dataset.toml")
    add("--target_frames", type=int, nargs="+", metavar="N", default=list(target_frames), help="for dataset.toml")
    add("--strict", action="store_true", help="stop at the first entry that cannot be used, instead of listing it")
    add("--dry_run", action="store_true", help="say what would be done, and write nothing")
    return parser


def add_captions(parser: argparse.ArgumentParser) -> None:
    """`--captions` and `--caption`: where the texts come from for sets that have none."""
    parser.add_argument(
        "--captions", metavar="FILE", help="captions by name: .jsonl with video_path and caption, or .json {name: text}"
    )
    parser.add_argument("--caption", metavar="TEXT", help='caption of everything that has none; may be ""')


def add_source(parser: argparse.ArgumentParser, what: str, archives: str) -> None:
    """DIR or `--archives DIR`: what is there already, or has to be unpacked first.

    Args:
        parser: gets the options.
        what: the folder holds.
        archives: there are.
    """
    parser.add_argument("source", nargs="?", metavar="DIR", help=f"folder of {what}")
    parser.add_argument(
        "--archives",
        metavar="DIR",
        help=f"instead: archives, unpacked into OUTPUT_DIR/unpacked ({archives})",
    )


def source_roots(args: argparse.Namespace, common: Common) -> list[Path]:
    """The folders that DIR or `--archives` mean; archives are unpacked.

    Raises:
        ValueError, FileNotFoundError, OSError: both or none is given, it is no folder, an archive cannot be unpacked.
    """
    if (args.source is None) == (args.archives is None):
        raise ValueError("state the source by one of DIR and --archives DIR")
    if args.source is not None:
        return [require_folder(args.source, "DIR")]
    folder = require_folder(args.archives, "--archives")
    if not find_archives(folder):
        raise ValueError(f"--archives {folder}: expected .tar, .tar.gz or .zip files, found {summary_of([folder])}")
    return unpack_all(folder, common.folder / "unpacked", common.dry_run)


def read_common(args: argparse.Namespace) -> Common:
    """The common options, checked.

    Raises:
        ValueError: names the flag, the value and what is allowed.
    """
    check_ranges(args, resolution=16, target_frames=1)
    folder = Path(named(args.output_dir, "--output_dir"))
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--output_dir {folder}: is a file; give a folder, or a name that does not exist yet")
    return Common(folder, args.strict, args.dry_run, tuple(args.resolution), tuple(args.target_frames))


def require_folder(text: str, flag: str) -> Path:
    """The folder that a flag names.

    Raises:
        FileNotFoundError, ValueError: it is not there, or is a file.
    """
    folder = Path(named(text, flag))
    if not folder.exists():
        raise FileNotFoundError(f"{flag} {folder}: does not exist")
    if not folder.is_dir():
        raise ValueError(f"{flag} {folder}: is a file; expected a folder")
    return folder
