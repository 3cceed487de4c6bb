"""Write the networks of i2v-tiny with random weights, the same for the same seed, and its tokenizer.

Files that are there already are kept, so that trained weights are never lost; `--overwrite` makes all of them anew.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

from common import arguments, cli
from common.logs import get_logger, setup_logging
from common.weights import write_tensors
from tools.tiny_model.dit_start import start_from_first_frame
from tools.tiny_model.tokenizer import write_tokenizer
from wan.clip import CLIPVision
from wan.config import WAN_CONFIGS
from wan.keys_encoders import clip_table, t5_table, to_official
from wan.model import WanModel
from wan.t5 import T5Encoder
from wan.vae import WanVAE
from wan.vae_initialise import initialise_vae

log = get_logger("tiny")

TASK = WAN_CONFIGS["i2v-tiny"]


def build_parser() -> argparse.ArgumentParser:
    """The options of this tool."""
    parser = arguments.make_parser(__doc__ or "")
    parser.add_argument("--output_dir", metavar="PATH", default="weights/tiny", help="folder of the files")
    parser.add_argument("--seed", type=int, default=0, help="decides every weight")
    parser.add_argument("--overwrite", action="store_true", help="make files anew that are there already")
    return parser


def make_dit(seed: int) -> dict[str, Tensor]:
    """A fresh DiT, in official names; it shows the first frame standing still even before it is trained."""
    dit = WanModel(TASK.dit)
    start_from_first_frame(dit, seed)
    return dit.state_dict()


def make_t5(seed: int) -> dict[str, Tensor]:
    """A fresh text encoder, in official names."""
    return to_official(_seeded(lambda: T5Encoder(TASK.t5), seed + 1).state_dict(), t5_table(TASK.t5))


def make_clip(seed: int) -> dict[str, Tensor]:
    """A fresh image encoder, in official names."""
    config = TASK.clip
    assert config is not None
    return to_official(_seeded(lambda: CLIPVision(config), seed + 2).state_dict(), clip_table(config))


def make_vae(seed: int) -> dict[str, Tensor]:
    """A fresh VAE, in official names; it shows block averages even before it is trained."""
    vae = WanVAE(TASK.vae)
    initialise_vae(vae, seed + 3)
    return vae.state_dict()


def _seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def main(argv: Sequence[str] | None = None) -> int:
    """Write what is missing."""
    args = build_parser().parse_args(argv)
    setup_logging()
    folder = Path(args.output_dir)
    networks = {"dit": make_dit, "t5": make_t5, "clip": make_clip, "vae": make_vae}
    for name, make in networks.items():
        path = folder / f"{name}.safetensors"
        if path.exists() and not args.overwrite:
            log.info("kept %s", path)
            continue
        tensors = {key: tensor.to(torch.bfloat16) for key, tensor in make(args.seed).items()}
        write_tensors(path, tensors, {"task": "i2v-tiny", "trained": "no", "seed": str(args.seed)})
        log.info("wrote %s (%.2f M parameters)", path, sum(tensor.numel() for tensor in tensors.values()) / 1e6)
    tokenizer = folder / "tokenizer.json"
    if args.overwrite or not tokenizer.exists():
        write_tokenizer(tokenizer, TASK.t5.vocab_size)
        log.info("wrote %s", tokenizer)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(lambda: main()))
