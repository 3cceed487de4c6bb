"""Everything a training run can be told, as flags of `wan_train_network.py`; imports nothing heavy.

Names, types and meanings are musubi-tuner's, so that commands and habits carry over; the help text of a flag says
where ours differs.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass

from networks.settings import NetworkSettings, parse_settings
from training.config_device import DeviceOptions
from training.config_records import RecordOptions
from training.config_schedule import ScheduleOptions
from training.config_timesteps import TimestepOptions
from training.config_watching import WatchingOptions
from training.options import add_options, option, read_options


@dataclass(frozen=True)
class TrainingConfig(TimestepOptions, ScheduleOptions, RecordOptions, DeviceOptions, WatchingOptions):
    """One training run. Every field is a flag of the same name; `__post_init__` names the flag that is wrong."""

    output_dir: str = option("outputs/training", "folder for everything the run writes", metavar="PATH")
    output_name: str = option("omnicam", "first part of every file name the run writes", metavar="NAME")

    network_module: str | None = option(
        None,
        "what is trained beside the camera adapter: networks.lora_wan, or by the package lycoris-lora networks.loha, "
        "networks.lokr, lycoris.kohya; not given: no LoRA",
        metavar="MODULE",
    )
    network_dim: int | None = option(None, "rank of the LoRA; default 4", type=int)
    network_alpha: float = option(1.0, "the LoRA's update is scaled by alpha / dim", type=float)
    network_dropout: float | None = option(None, "chance of dropping a LoRA channel in a training step", type=float)
    network_args: Sequence[str] | None = option(
        None,
        "more of the LoRA, e.g. loraplus_lr_ratio=4 rank_dropout=0.1 exclude_patterns=['.*ffn.*']; see docs/lora.md",
        nargs="*",
        metavar="KEY=VALUE",
    )
    network_weights: str | None = option(None, "LoRA file to start from", metavar="PATH")
    dim_from_weights: bool = option(False, "take modules, ranks and alphas from --network_weights (works here)")
    base_weights: Sequence[str] | None = option(
        None, "LoRA files that are merged into the DiT before training", nargs="*", metavar="PATH"
    )
    base_weights_multiplier: Sequence[float] | None = option(
        None, "one for each of --base_weights; missing ones are 1", type=float, nargs="*"
    )
    scale_weight_norms: float | None = option(
        None, "after each step shrink every module whose change of its weight is longer than this", type=float
    )
    camera_adapter: str | None = option(None, "camera adapter file to start from", metavar="PATH")
    adapter: str | None = option(
        None,
        "design of a new camera adapter: v2 (attention relative to rays; the default), cross (cross-attention to "
        "rays), plucker (rays at the patches), v1 (the OmniCam-Wan fork's)",
        choices=("v2", "cross", "plucker", "v1"),
    )
    adapter_args: Sequence[str] | None = option(
        None,
        "sizes of a new adapter, e.g. inner_dim=256 num_heads=2 blocks=0:10; see docs/adapters.md",
        nargs="*",
        metavar="KEY=VALUE",
    )
    force_adapter: bool = option(False, "take a --camera_adapter that looks untrained or of another convention")
    camera_dropout: float = option(0.1, "chance, for each clip of a batch, of training without its camera", type=float)
    trainable_modules: Sequence[str] | None = option(
        None,
        "train these parameters of the DiT itself too: every one whose name contains one of these words; `all` is all",
        nargs="+",
        metavar="WORD",
    )

    max_train_steps: int = option(1600, "optimizer steps, where --max_train_epochs is not given", type=int)
    max_train_epochs: int | None = option(None, "passes over the data set; overrides --max_train_steps", type=int)
    gradient_accumulation_steps: int = option(1, "batches per process that make one optimizer step", type=int)
    gradient_checkpointing: bool = option(False, "recompute each block in the backward pass: less memory, more time")
    fp8_base: bool = option(False, "keep the frozen DiT's linear layers in fp8, as they are")
    fp8_scaled: bool = option(False, "the same with a scale per row, made from the whole weights: more exact")
    mixed_precision: str | None = option(
        None, "type to compute in; default: what `accelerate launch` says", choices=("no", "fp16", "bf16")
    )
    seed: int | None = option(None, "makes the run repeatable; default: one drawn for all processes", type=int)
    max_data_loader_n_workers: int = option(8, "processes that read batches ahead, at most one per core", type=int)
    persistent_data_loader_workers: bool = option(False, "keep these processes from epoch to epoch")

    optimizer_type: str = option(
        "AdamW", "AdamW, AdamW8bit (bitsandbytes), any class of torch.optim, or a dotted class path", metavar="NAME"
    )
    optimizer_args: Sequence[str] | None = option(
        None, "arguments of the optimizer, e.g. weight_decay=0.01 betas=(0.9,0.99)", nargs="*", metavar="KEY=VALUE"
    )
    learning_rate: float = option(2e-6, "learning rate of everything that is trained", type=float)
    adapter_learning_rate: float | None = option(
        None, "that of the camera adapter; default: --learning_rate", type=float
    )
    max_grad_norm: float = option(1.0, "longest gradient, over all parameters; 0 does not clip", type=float)
    save_full_checkpoint: bool = option(
        False,
        "with the checkpoint of an epoch and of the end write total-EPOCH.safetensors, the whole DiT with the LoRA in "
        "it, as large as the DiT's own file: the OmniCam-Wan fork's form",
    )

    def __post_init__(self) -> None:
        self._check_counts()
        self._check_numbers()
        self._check_combinations()
        self.check_timesteps()
        self.check_schedule()
        self.check_records()
        self.check_device()
        self.check_watching()
        parse_settings(self.network_args)

    def unused_flags(self) -> list[str]:
        """What was given without effect, one sentence each, for a warning."""
        return [
            *self.unused_timestep_flags(),
            *self.unused_record_flags(),
            *self.unused_device_flags(),
            *self.unused_watching_flags(),
        ]

    @property
    def rank(self) -> int:
        """`network_dim`, or its default."""
        return 4 if self.network_dim is None else self.network_dim

    @property
    def network_settings(self) -> NetworkSettings:
        """`network_args`, read and checked."""
        return parse_settings(self.network_args)

    @property
    def base_loras(self) -> list[tuple[str, float]]:
        """`base_weights`, each with its multiplier."""
        files, multipliers = self.base_weights or (), self.base_weights_multiplier or ()
        return list(zip(files, [*multipliers, *[1.0] * (len(files) - len(multipliers))], strict=True))

    def _check_counts(self) -> None:
        for flag in (
            "network_dim",
            "max_train_steps",
            "max_train_epochs",
            "gradient_accumulation_steps",
        ):
            value = getattr(self, flag)
            if value is not None and value < 1:
                raise ValueError(f"--{flag} {value}: at least 1 is needed")
        for flag in ("max_data_loader_n_workers", "seed"):
            value = getattr(self, flag)
            if value is not None and value < 0:
                raise ValueError(f"--{flag} {value}: must not be negative")
        if self.seed is not None and self.seed >= 2**63:
            raise ValueError(f"--seed {self.seed}: must be below 2**63")

    def _check_numbers(self) -> None:
        for flag in (
            "network_alpha",
            "learning_rate",
            "adapter_learning_rate",
            "discrete_flow_shift",
            "sigmoid_scale",
            "scale_weight_norms",
        ):
            value = getattr(self, flag)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"--{flag} {value}: a positive number is needed")
        if not 0.0 <= (self.network_dropout or 0.0) < 1.0:
            raise ValueError(f"--network_dropout {self.network_dropout}: a chance from 0 to below 1 is needed")
        if not 0.0 <= self.camera_dropout <= 1.0:
            raise ValueError(f"--camera_dropout {self.camera_dropout}: a chance from 0 to 1 is needed")
        if not (self.max_grad_norm >= 0 and math.isfinite(self.max_grad_norm)):
            raise ValueError(f"--max_grad_norm {self.max_grad_norm}: must not be negative")

    def _check_combinations(self) -> None:
        if self.persistent_data_loader_workers and self.max_data_loader_n_workers == 0:
            raise ValueError("--persistent_data_loader_workers needs --max_data_loader_n_workers of at least 1")
        if self.network_module is None and self.network_weights is not None:
            raise ValueError("--network_weights needs --network_module networks.lora_wan")
        if self.dim_from_weights and self.network_weights is None:
            raise ValueError("--dim_from_weights takes the ranks of --network_weights, which is not given")
        files, multipliers = len(self.base_weights or ()), len(self.base_weights_multiplier or ())
        if multipliers > files:
            raise ValueError(f"{multipliers} --base_weights_multiplier for {files} --base_weights")
        if self.camera_adapter is not None and self.adapter_args is not None:
            raise ValueError("--adapter_args are for a new adapter; --camera_adapter brings its own sizes")
        if self.trainable_modules is not None and not all(self.trainable_modules):
            raise ValueError("--trainable_modules '': expected a part of a parameter's name, or all")
        if self.trainable_modules is not None and (self.fp8_base or self.fp8_scaled):
            raise ValueError("--trainable_modules trains whole weights; leave --fp8_base and --fp8_scaled out")
        if not self.output_dir:
            raise ValueError("--output_dir '': expected a folder")
        if not self.output_name or "/" in self.output_name or "\\" in self.output_name:
            raise ValueError(f"--output_name {self.output_name!r}: a file name without a folder is needed")


def add_training_options(parser: argparse._ActionsContainer) -> None:
    """Add every flag of `TrainingConfig`; the script adds those that choose models and data."""
    add_options(parser, TrainingConfig)


def read_training_options(arguments: argparse.Namespace) -> TrainingConfig:
    """The run the parsed flags describe.

    Raises:
        ValueError: a flag is out of range or contradicts another; it is named.
    """
    return read_options(TrainingConfig, arguments)
