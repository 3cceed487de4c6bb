"""Train i2v-tiny on the procedural world, whose clips are rendered fresh on the device while it trains.

Stages, in this order:
  vae       the video autoencoder.
  encoders  text and image encoder: a caption and the picture it describes must find each other.
  dit       the diffusion transformer and its camera adapter. With --parts all they train together; a share of the clips
            comes without its camera, so that the same weights without a camera are the base. --parts base trains the
            DiT without any camera, --parts adapter an adapter on the frozen DiT of the output folder.

A run lasts --minutes or --steps; over its last --decay_share the learning rate falls to 0, so that should be 0 for a
run that is to be continued. A stopped run of the stage dit goes on from --state_dir. Several processes (`accelerate
launch`) train the stage dit together, for --steps. Chance follows from --seed.
docs/tiny-model.md has the settings and curves of the shipped weights.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from common import arguments, cli  # noqa: E402
from common.logs import setup_logging  # noqa: E402
from common.ranks import device_of_rank, read_ranks  # noqa: E402
from tools.tiny_model.dit_stage import train_dit  # noqa: E402
from tools.tiny_model.encoder_stage import train_encoders  # noqa: E402
from tools.tiny_model.vae_stage import train_vae  # noqa: E402

STAGES = {"vae": train_vae, "encoders": train_encoders, "dit": train_dit}


def build_parser() -> argparse.ArgumentParser:
    """The options of this tool."""
    parser = arguments.make_parser(__doc__ or "")
    add = parser.add_argument
    add("--stage", choices=tuple(STAGES), required=True, help="what to train")
    add("--output_dir", metavar="PATH", default="weights/tiny", help="folder of the weights, read and written")
    add("--state_dir", metavar="PATH", default="outputs/tiny_training", help="folder of the state to go on from")
    add("--minutes", type=float, help="length of this run; or")
    add("--steps", type=int, help="its number of optimizer steps")
    add("--decay_share", type=float, default=0.4, help="share of the run in which the learning rate falls to 0")
    add("--seed", type=int, default=0, help="decides first weights, clips and noise")
    add("--learning_rate", type=float, default=1e-3, help="highest learning rate")
    add("--batch_size", type=int, default=64, help="clips (dit), pictures (encoders), pieces of clips (vae) in a step")
    add("--render_batch", type=int, default=32, help="clips rendered at once")
    add("--render_every", type=int, default=32, help="steps between two renders")
    add("--ring", type=int, default=4096, help="clips kept to draw from, a multiple of --render_batch")
    add("--crop", type=int, default=64, help="height and width of a piece in pixels (vae)")
    add("--workers", type=int, default=8, help="processes that plan clips")
    add("--compile", action="store_true", help="compile the blocks with torch.compile")
    add("--graph", action="store_true", help="run the steps of the stage dit as a CUDA graph, on one GPU")
    add(
        "--continue_weights", action="store_true", help="start from the weights in --output_dir; vae: train its decoder"
    )
    add("--parts", choices=("all", "base", "adapter"), default="all", help="what the stage dit trains")
    add("--adapter", default="v2", help="design of a new adapter: v2, cross, plucker or v1")
    add("--adapter_args", nargs="*", default=[], metavar="KEY=VALUE", help="its sizes, as in wan_train_network.py")
    arguments.add_device(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Train one stage."""
    args = build_parser().parse_args(argv)
    setup_logging()
    check(args)
    torch.set_float32_matmul_precision("high")
    STAGES[args.stage](args, device_of_rank(args.device, read_ranks()))
    return 0


def check(args: argparse.Namespace) -> None:
    """Refuse numbers out of range and options that exclude each other.

    Raises:
        ValueError: names the flag.
    """
    arguments.check_ranges(args, seed=0, learning_rate=0, batch_size=1, render_batch=1, decay_share=0)
    arguments.check_ranges(args, render_every=1, ring=1, crop=8, workers=0)
    if (args.minutes is None) == (args.steps is None):
        raise ValueError("say how long to train: either --minutes or --steps")
    length = args.minutes if args.steps is None else args.steps
    if not 0 <= length < float("inf") or not 0 <= args.decay_share <= 1:
        raise ValueError(
            f"--minutes or --steps {length}, --decay_share {args.decay_share}: expected 0 or more, and 0 to 1"
        )
    if args.ring % args.render_batch or args.ring < args.batch_size:
        raise ValueError(
            f"--ring {args.ring}: expected a multiple of --render_batch {args.render_batch}, at least --batch_size"
        )


if __name__ == "__main__":
    sys.exit(cli.run(main))
