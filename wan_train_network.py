"""Train a LoRA and the camera adapter on cached clips; run it through `accelerate launch`."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common import arguments, cli
from common.arguments import model_path, tokenizer_path
from common.files import require_file, require_writable
from common.logs import get_logger, setup_logging
from training.config import TrainingConfig, add_training_options, read_training_options
from training.config_file import parse_with_config_file
from wan.config import TRAINABLE_TASKS, WAN_CONFIGS, TaskConfig

if TYPE_CHECKING:
    from dataset.training_set import TrainingSet
    from training.previews import PlannedPreview, PreviewFiles
    from wan.adapters.interface import CameraAdapter

log = get_logger("train")


def build_parser() -> argparse.ArgumentParser:
    """The options of this script; musubi-tuner's names and meanings, and our camera adapter."""
    parser = arguments.make_parser(__doc__ or "")
    group = parser.add_argument_group("model and data")
    arguments.add_task(group, TRAINABLE_TASKS, default="t2v-14B", generated_only=WAN_CONFIGS)
    arguments.add_model_paths(group, "dit", "vae", "t5", "clip")
    arguments.add_tokenizer(group)
    arguments.add_fp8_t5(group)
    group.add_argument("--vae_dtype", help="of previews; default: bfloat16 on a GPU, float32 on a CPU")
    group.add_argument(
        "--config_file", metavar="PATH", help="TOML file of any of these options, in sections or not; flags win over it"
    )
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


def check(args: argparse.Namespace, config: TrainingConfig) -> None:
    """Refuse what contradicts itself or is not there, and name what has no effect."""
    if args.no_camera and config.camera_adapter is not None:
        raise ValueError("--no_camera and --camera_adapter contradict each other; leave one out")
    for sentence in config.unused_flags():
        log.warning("%s", sentence)
    for flag in ("network_dim", "network_dropout", "network_args", "scale_weight_norms"):
        if config.network_module is None and getattr(config, flag) is not None:
            log.warning("--%s is not used: there is no --network_module", flag)
    for flag in ("adapter", "adapter_args", "adapter_learning_rate"):
        if args.no_camera and getattr(config, flag) is not None:
            log.warning("--%s is not used: --no_camera was given", flag)
    require_writable(config.output_dir, "--output_dir")
    for flag in ("network_weights", "camera_adapter", "resume", "validation_dataset_config", "sample_prompts"):
        if getattr(config, flag) is not None:
            require_file(getattr(config, flag), f"--{flag}")
    for file, _ in config.base_loras:
        require_file(file, "--base_weights")


def load_sets(
    args: argparse.Namespace, config: TrainingConfig, task: TaskConfig, adapter: "CameraAdapter | None"
) -> "tuple[TrainingSet, TrainingSet | None]":
    """What is trained on, and what is validated on, if anything."""
    from dataset.config import load_config
    from dataset.held_out import for_validation, hold_out
    from dataset.training_set import load_training_set

    def load(path: str) -> "TrainingSet":
        return load_training_set(
            load_config(path),
            tensors=task.cached_tensors,
            camera=adapter is not None,
            ray_scale=1 if adapter is None else adapter.config.ray_scale,
            task=args.task,
            use_all_caches=args.use_all_caches,
            widths=task.feature_widths,
        )

    training_set = load(args.dataset_config)
    if config.validation_split > 0:
        return hold_out(training_set, config.validation_split, config.validation_seed)
    if config.validation_dataset_config is not None:
        return training_set, for_validation(load(config.validation_dataset_config))
    return training_set, None


def plan(
    args: argparse.Namespace, config: TrainingConfig, task: TaskConfig
) -> "tuple[list[PlannedPreview], PreviewFiles] | None":
    """The previews that are asked for, read and checked, and the files of weights that they need."""
    if config.sample_prompts is None or not config.makes_previews:
        return None
    from training.previews import PreviewFiles, plan_previews, wants_clip
    from wan.tokenizer import find_tokenizer

    planned = plan_previews(config.sample_prompts, args.task, task, not args.no_camera, config.seed or 0)
    t5 = model_path(args.t5, task.weights.t5, "t5")
    files = PreviewFiles(
        vae=model_path(args.vae, task.weights.vae, "vae"),
        t5=t5,
        tokenizer=find_tokenizer(t5, tokenizer_path(args.tokenizer, task.weights.tokenizer), args.allow_download),
        clip=model_path(args.clip, task.weights.clip, "clip") if wants_clip(planned, task) else None,
        vae_dtype=args.vae_dtype,
        fp8_t5=args.fp8_t5,
    )
    return planned, files


def show_timesteps(config: TrainingConfig, training_set: "TrainingSet") -> int:
    """Show what `--show_timesteps` asks for, for the first clip's size."""
    from training.show_timesteps import console_lines, draw_levels, draw_picture

    rows, columns = training_set.clips[0].shape[1:]
    levels = draw_levels(config, (rows, columns))
    if config.show_timesteps == "console":
        sys.stdout.write(cli.printed_lines(console_lines(*levels)))
        return 0
    path = Path(config.output_dir) / f"{config.output_name}_timesteps.png"
    draw_picture(path, *levels, title=f"{config.timestep_sampling}, weighting {config.weighting_scheme}")
    log.info("timesteps: %s", path)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Check, load the caches, encode the previews, load the DiT, train."""
    args = parse_with_config_file(build_parser(), argv)
    setup_logging()
    config, task = read_training_options(args), WAN_CONFIGS[args.task]
    if config.resume == "latest":
        from training.resume import with_resume

        config = with_resume(config)
    check(args, config)
    dit_file = None if config.show_timesteps else model_path(args.dit, task.weights.dit, "dit")
    import torch

    from networks.merging import check_lora, merge_while_loading
    from training.full_checkpoint import check_full_checkpoint
    from training.loop import train
    from training.previews import Previews
    from training.setup import autocast_dtype, build_network, make_accelerator
    from wan.keys import dit_to_diffusers
    from wan.loading import load_dit, open_dit

    fp8 = arguments.fp8_mode(config.fp8_base, config.fp8_scaled)
    if dit_file is not None:
        opened = open_dit(dit_file, task.dit, fp8=fp8)
        for file, _ in config.base_loras:
            check_lora(opened.module, file, dit_to_diffusers)
        if config.save_full_checkpoint:
            check_full_checkpoint(dit_file, opened.entries, config.output_dir)
    adapter = None if args.no_camera else make_adapter(config, task)
    training_set, held_out = load_sets(args, config, task, adapter)
    if dit_file is None:
        return show_timesteps(config, training_set)
    planned = plan(args, config, task)
    accelerator = make_accelerator(config)
    previews = None
    if planned is not None:
        previews = Previews(*planned, task, accelerator.device, config.output_dir, config.output_name)
    # weights that are themselves trained keep float32, or small updates would be lost in rounding
    dtype = torch.float32 if config.trainable_modules else autocast_dtype(accelerator)
    merge = merge_while_loading(config.base_loras, dit_to_diffusers) if config.base_loras else None
    dit = load_dit(dit_file, task.dit, device=accelerator.device, dtype=dtype, fp8=fp8, merge=merge)
    network = build_network(config, dit)
    provenance = describe(args, dit_file, training_set)
    train(config, accelerator, dit, network, adapter, training_set, provenance, held_out, previews, dit_file)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
