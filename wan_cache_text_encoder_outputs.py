"""Encode the captions of a data set with umT5."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from common import arguments, cli
from common.arguments import model_path, tokenizer_path
from common.logs import setup_logging
from wan.config import TRAINABLE_TASKS, WAN_CONFIGS

if TYPE_CHECKING:
    from torch import Tensor

    from dataset.kinds import ItemJob


def build_parser() -> argparse.ArgumentParser:
    """The options of this script; musubi-tuner's names and meanings, and `--task`."""
    parser = arguments.make_parser(__doc__ or "")
    arguments.add_task(parser, TRAINABLE_TASKS, default="i2v-14B", generated_only=WAN_CONFIGS)
    arguments.add_caching(parser)
    arguments.add_model_paths(parser, "t5")
    arguments.add_tokenizer(parser)
    arguments.add_fp8_t5(parser)
    arguments.add_device(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Plan, load T5 if there is work for it, encode, write, prune."""
    args = build_parser().parse_args(argv)
    setup_logging()
    arguments.check_ranges(args, batch_size=1, num_workers=1)
    import torch

    from common.precision import compute_dtype, dtype_name
    from common.ranks import device_of_rank, read_ranks
    from common.tensor_files import tensor_files
    from dataset.caching import plan_caching, run_caching
    from dataset.config import load_config
    from dataset.fingerprint import encoder_identity, file_fingerprint
    from dataset.kinds import TextCaching
    from dataset.sources import load_items
    from wan.fp8 import FP8
    from wan.loading import load_t5
    from wan.loading_encoders import open_t5
    from wan.placing import find_weights
    from wan.tokenizer import Tokenizer, find_tokenizer

    ranks = read_ranks()
    task, device = WAN_CONFIGS[args.task], device_of_rank(args.device, ranks)
    file = model_path(args.t5, task.weights.t5, "t5")
    tokenizer = find_tokenizer(file, tokenizer_path(args.tokenizer, task.weights.tokenizer), args.allow_download)
    open_t5(file, task.t5)
    dtype = compute_dtype(None, device, torch.bfloat16)
    kept = dtype_name(FP8 if args.fp8_t5 else dtype)

    def count_tokens(captions: Sequence[str]) -> list[int]:
        return Tokenizer(tokenizer, task.t5.text_len).lengths(captions)

    groups = load_items(load_config(args.dataset_config))
    kind = TextCaching(
        {
            "t5": encoder_identity(tensor_files(find_weights(file, "t5")), kept),
            "tokenizer": file_fingerprint(tokenizer),
        },
        count_tokens,
        task.feature_widths,
    )
    plan = plan_caching(
        groups,
        kind,
        skip_existing=args.skip_existing,
        batch_size=args.batch_size,
        num_workers=args.num_workers,
        ranks=ranks,
    )
    t5 = load_t5(file, task.t5, device=device, dtype=dtype, tokenizer=tokenizer, fp8=args.fp8_t5) if plan.todo else None

    def encode(jobs: list["ItemJob"]) -> list["Tensor"]:
        assert t5 is not None
        return [feature.to(torch.bfloat16) for feature in t5.encode([job.item.caption for job in jobs])]

    run_caching(plan, encode, pruning=arguments.pruning_of(args), num_workers=args.num_workers)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
