"""Merge LoRAs into a DiT and write the whole checkpoint, tensor by tensor, so that it needs little memory."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import arguments, cli
from common.arguments import model_path
from common.files import require_file
from common.logs import get_logger, setup_logging
from wan.config import WAN_CONFIGS

log = get_logger("lora")


def build_parser() -> argparse.ArgumentParser:
    """The options of this tool."""
    parser = arguments.make_parser(__doc__ or "")
    arguments.add_task(parser, WAN_CONFIGS, default="i2v-14B")
    arguments.add_model_paths(parser, "dit")
    parser.add_argument("--lora_weight", nargs="+", metavar="PATH", required=True, help="LoRAs, LoHas, LoKrs")
    parser.add_argument("--lora_multiplier", nargs="*", type=float, default=[], help="one per LoRA; missing ones are 1")
    parser.add_argument("--output", metavar="FILE", required=True, help="the .safetensors file to write")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), help="of all tensors; default: as in the DiT's file"
    )
    parser.add_argument(
        "--camera_adapter", metavar="PATH", help="put this adapter into the file too; --camera_adapter FILE reads it"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Check everything from the headers, then merge."""
    args = build_parser().parse_args(argv)
    setup_logging()
    for file in args.lora_weight:
        require_file(file, "--lora_weight")
    if len(args.lora_multiplier) > len(args.lora_weight):
        raise ValueError(f"{len(args.lora_multiplier)} --lora_multiplier for {len(args.lora_weight)} --lora_weight")
    if Path(args.output).suffix != ".safetensors":
        raise ValueError(f"--output {args.output}: a name that ends in .safetensors is needed")
    task = WAN_CONFIGS[args.task]
    dit_file = model_path(args.dit, task.weights.dit, "dit")
    from common.precision import parse_dtype
    from training.full_checkpoint import write_full_checkpoint
    from wan.adapters.files import open_adapter

    if args.camera_adapter is not None:
        open_adapter(require_file(args.camera_adapter, "--camera_adapter"), task.dit)
    multipliers = args.lora_multiplier + [1.0] * (len(args.lora_weight) - len(args.lora_multiplier))
    changed = write_full_checkpoint(
        args.output,
        dit_file,
        task.dit,
        list(zip(args.lora_weight, multipliers, strict=True)),
        dtype=None if args.dtype is None else parse_dtype(args.dtype),
        camera_adapter=args.camera_adapter,
    )
    log.info("changed %d weights: wrote %s", changed, args.output)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(lambda: main()))
