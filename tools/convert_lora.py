"""Convert a LoRA between the names of musubi-tuner, ComfyUI, diffusers and peft, bit by bit and back."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import arguments, cli
from common.files import require_file
from common.logs import get_logger, setup_logging
from wan.config import WAN_CONFIGS

log = get_logger("lora")

# networks.conversion.STYLES, which needs torch; a test compares them
STYLES = ("musubi", "comfy", "diffusers", "peft")


def build_parser() -> argparse.ArgumentParser:
    """The options of this tool."""
    parser = arguments.make_parser(__doc__ or "")
    parser.add_argument("input", metavar="FILE", help="LoRA in any of these names, LoHa, LoKr, or peft's folder")
    parser.add_argument("output", metavar="OUTPUT", help="file to write; for peft a folder")
    parser.add_argument("--target", choices=STYLES, required=True, help="whose names it shall have")
    parser.add_argument(
        "--task", choices=list(WAN_CONFIGS), help="the model it was trained on; default: the first task that it fits"
    )
    parser.add_argument(
        "--fold_alpha",
        action="store_true",
        help="multiply alpha / rank into the matrices, which rounds, for loaders that read no alpha",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Find the task, read, rename, write."""
    args = build_parser().parse_args(argv)
    setup_logging()
    require_file(args.input, "the LoRA")
    from networks.conversion import convert_lora, write_converted
    from tools.lora_tasks import open_for_task

    task, file, names = open_for_task(args.input, args.task)
    converted = convert_lora(file, names, args.target, args.fold_alpha)
    written = write_converted(args.output, converted)
    log.info("%d modules of a LoRA for %s: wrote %s", len(file.changes), task, ", ".join(map(str, written)))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(lambda: main()))
