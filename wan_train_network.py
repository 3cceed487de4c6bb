"""Train a LoRA and the camera adapter on cached clips; run it through `accelerate launch`."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common import arguments, cli
from common.arguments import model_path
from common.files import require_file, require_writable
from common.logs import get_logger, setup_logging
from training.config import TrainingConfig, add_training_options, read_training_options
from wan.config import TRAINABLE_TASKS, WAN_CONFIGS, TaskConfig

if TYPE_CHECKING:
    from dataset.training_set import TrainingSet
    from wan.adapters.interface import CameraAdapter

log = get_logger("train")


def build_parser() -> argparse.ArgumentParser:
    """The options of this script; musubi-tuner's names and meanings, and our camera adapter."""
    parser = arguments.make_parser(__doc__ or "")
    group = parser.add_argument_group("model and data")
    arguments.add_task(group, TRAINABLE_TASKS, default="t2v-14B", generated_only=WAN_CONFIGS)
    arguments.add_model_paths(group, "dit")
    group.add_argument("--dataset_config", metavar="PATH", required=True, help="TOML (or JSON) file of the data set")
    group.add_argument(
        "--use_all_caches",
        action="store_true",
        help="train on every cache that lies in the cache directories, as musubi-tuner does, whether or not the "
        "dataset file asks for it",
    )
    group.add_argument("--sdpa", action="store_true", help="attention by PyTorch's kernels; the default and only one")
    group.add_argument("--no_camera", action="store_true", help="train without cameras and without the camera adapter")
    add_training_options(parser.add_argument_group("training"))
    return parser


def make_adapter(config: TrainingConfig, task: TaskConfig) -> "CameraAdapter":
    """The adapter of `--camera_adapter`, or a new one that changes nothing yet."""
    import torch

    from wan.adapters.build import build_adapter, with_arguments
    from wan.adapters.files import load_adapter

    if config.camera_adapter is None:
        shape = with_arguments(task.adapter_of(config.adapter or task.adapter.design), config.adapter_args or ())
        generator = torch.Generator().manual_seed(config.seed or 0)
        return build_adapter(shape, task.dit.dim, task.dit.num_layers, generator)
    adapter = load_adapter(config.camera_adapter, task.dit, force=config.force_adapter)
    if config.adapter not in (None, adapter.config.design):
        raise ValueError(
            f"--adapter {config.adapter}: --camera_adapter {config.camera_adapter} is of design "
            f"{adapter.config.design}; leave one of the two out"
        )
    if getattr(adapter.config, "geometry", "opencv") != "opencv":
        raise ValueError(
            f"--camera_adapter {config.camera_adapter} is made for the OmniCam-Wan fork's geometry, which is for "
            "generating with its files only; train a new adapter (--adapter v1 has the fork's layers)"
        )
    return adapter


def describe(args: argparse.Namespace, dit: Path, training_set: "TrainingSet") -> Mapping[str, str]:
    """What only the script knows, for the metadata of the files."""
    said = training_set.describe()
    return {
        "base_task": args.task,
        "ss_sd_model_name": dit.name,
        "ss_datasets": json.dumps(said["datasets"]),
        "ss_num_train_items": str(said["num_train_items"]),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Check, load the caches and the DiT, train."""
    args = build_parser().parse_args(argv)
    setup_logging()
    config, task = read_training_options(args), WAN_CONFIGS[args.task]
    if args.no_camera and config.camera_adapter is not None:
        raise ValueError("--no_camera and --camera_adapter contradict each other; leave one out")
    if config.discrete_flow_shift != 1.0 and config.timestep_sampling != "shift":
        log.warning(
            "--discrete_flow_shift is used only by --timestep_sampling shift, not by %s", config.timestep_sampling
        )
    for flag in ("network_dim", "network_dropout"):
        if config.network_module is None and getattr(config, flag) is not None:
            log.warning("--%s is not used: there is no --network_module", flag)
    for flag in ("adapter", "adapter_args", "adapter_learning_rate"):
        if args.no_camera and getattr(config, flag) is not None:
            log.warning("--%s is not used: --no_camera was given", flag)
    require_writable(config.output_dir, "--output_dir")
    dit_file = model_path(args.dit, task.weights.dit, "dit")
    for flag in ("network_weights", "camera_adapter", "resume"):
        if getattr(config, flag) is not None:
            require_file(getattr(config, flag), f"--{flag}")
    import torch

    from dataset.config import load_config
    from dataset.training_set import load_training_set
    from training.loop import train
    from training.setup import autocast_dtype, build_network, make_accelerator
    from wan.loading import load_dit, open_dit

    fp8 = arguments.fp8_mode(config.fp8_base, config.fp8_scaled)
    open_dit(dit_file, task.dit, fp8=fp8)
    adapter = None if args.no_camera else make_adapter(config, task)
    training_set = load_training_set(
        load_config(args.dataset_config),
        tensors=task.cached_tensors,
        camera=adapter is not None,
        ray_scale=1 if adapter is None else adapter.config.ray_scale,
        task=args.task,
        use_all_caches=args.use_all_caches,
        widths=task.feature_widths,
    )
    accelerator = make_accelerator(config)
    # weights that are themselves trained keep float32, or small updates would be lost in rounding
    dtype = torch.float32 if config.trainable_modules else autocast_dtype(accelerator)
    dit = load_dit(dit_file, task.dit, device=accelerator.device, dtype=dtype, fp8=fp8)
    network = build_network(config, dit)
    train(config, accelerator, dit, network, adapter, training_set, describe(args, dit_file, training_set))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
