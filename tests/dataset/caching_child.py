"""A caching run in a process of its own, to be killed; with an encoder whose numbers depend on the whole batch."""

import os
import signal

import torch

from common.ranks import Ranks
from dataset.caching import plan_caching, run_caching
from dataset.config import load_config
from dataset.kinds import CameraCaching, LatentCaching, TextCaching
from dataset.sources import load_items
from tests.dataset.helpers import I2V, encode_latents, encode_text


def entangled(clips):
    """Each latent is told of all clips of its batch, as a GPU's rounding is."""
    results = encode_latents(clips)
    mean = torch.stack([result["latents"].float().mean() for result in results]).mean()
    return [{**result, "latents": result["latents"] + mean.bfloat16()} for result in results]


def entangled_text(jobs):
    return [tokens * len(jobs) for tokens in encode_text(jobs)]


def die_at_write(number):
    """kill -9, when so many files are written but have not yet taken their names."""
    calls, sync = [], os.fsync

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(descriptor)

    os.fsync = fsync


def cache_all(toml, rank, world, skip_existing=True, kinds=("latent", "text", "camera"), dies_at=None):
    if dies_at is not None:
        die_at_write(dies_at)
    ranks = Ranks(rank, world, rank, world)
    groups = load_items(load_config(toml))
    cameras = CameraCaching()
    made = {
        "latent": (LatentCaching(I2V, {"vae": "v"}), entangled),
        "text": (TextCaching({"t5": "t"}), entangled_text),
        "camera": (cameras, cameras.tracks),
    }
    for name in kinds:
        kind, encode = made[name]
        plan = plan_caching(groups, kind, skip_existing=skip_existing, num_workers=1, ranks=ranks)
        run_caching(plan, encode, num_workers=1)
