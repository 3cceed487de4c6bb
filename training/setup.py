"""What a script builds before it trains: the accelerator, and the LoRA network by its module's name."""

import importlib
import logging
from datetime import datetime, timedelta
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from accelerate.utils import InitProcessGroupKwargs, KwargsHandler, LoggerType
from torch import nn

from common.logs import get_logger
from common.precision import pick_device
from networks.network import Network
from training.compiling import set_backends
from training.config import TrainingConfig
from training.trackers import tracker_names
from wan.keys import dit_to_diffusers

log = get_logger("training")

# a LoRA whose update is scaled below this hardly moves at usual learning rates
_FEEBLE_SCALE = 0.05
# names that musubi-tuner's users type for modules that are called otherwise here
_MODULES = {"lycoris.kohya": "networks.lycoris_wan"}


def make_accelerator(config: TrainingConfig) -> Accelerator:
    """The processes, device, precision and trackers of this run; call it once, before loading anything to a device.

    Raises:
        ValueError: a tracker that was asked for is not installed, or fp16 on a CPU.
    """
    trackers: list[str | LoggerType | GeneralTracker] = [*tracker_names(config)]
    folder = None
    if config.logging_dir is not None:
        name = f"{config.log_prefix or ''}{datetime.now():%Y%m%d%H%M%S}"
        folder = str(Path(config.logging_dir) / name)
    set_backends(config)
    accelerator = Accelerator(
        # accelerate joins launched processes without a GPU only if it is told that this is meant
        cpu=pick_device().type == "cpu",
        mixed_precision=config.mixed_precision,
        log_with=trackers or None,
        project_dir=folder,
        kwargs_handlers=_process_group(config),
    )
    if not accelerator.is_main_process:
        # what the first process says need not be said once per process
        logging.getLogger("omnicam").setLevel(logging.ERROR)
    return accelerator


def _process_group(config: TrainingConfig) -> list[KwargsHandler]:
    if config.ddp_timeout is None:
        return []
    return [InitProcessGroupKwargs(timeout=timedelta(minutes=config.ddp_timeout))]


def build_network(config: TrainingConfig, dit: nn.Module) -> Network | None:
    """The network of `--network_module` for this DiT, with `--network_weights` in it; None where none is asked for.

    Fresh weights follow from `--seed`; without one every process draws its own, and training starts from the first's.

    Raises:
        ValueError: the module is unknown or makes no network, or the weights do not fit.
        FileNotFoundError: the weights are not there.
    """
    if config.network_module is None:
        return None
    try:
        create = importlib.import_module(_MODULES.get(config.network_module, config.network_module)).create_network
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"--network_module {config.network_module}: {error}; use networks.lora_wan") from None
    settings = config.network_settings
    with torch.random.fork_rng(devices=[]):
        if config.seed is not None:
            torch.manual_seed(config.seed)
        network = create(
            dit,
            rank=config.rank,
            alpha=config.network_alpha,
            dropout=config.network_dropout,
            settings=settings,
            like=config.network_weights if config.dim_from_weights else None,
            to_diffusers=dit_to_diffusers,
        )
    if not isinstance(network, Network):
        raise ValueError(f"--network_module {config.network_module} makes no LoRA network; use networks.lora_wan")
    if config.network_weights is not None:
        network.load(config.network_weights)
    if network.alpha / network.rank < _FEEBLE_SCALE:
        log.warning(
            "--network_alpha %g with --network_dim %d scales the LoRA's update by %.3g: it may seem to do nothing; "
            "an alpha near the dim is usual",
            network.alpha,
            network.rank,
            network.alpha / network.rank,
        )
    return network


def autocast_dtype(accelerator: Accelerator) -> torch.dtype:
    """The type matrices are multiplied in, and the one to load a frozen DiT in."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(accelerator.mixed_precision, torch.float32)
