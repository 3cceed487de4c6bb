"""A training run made ready: everything the loop works with, built once and in the right order."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import nn

from common.logs import get_logger
from networks.network import Network
from training.checkpoints import CheckpointWriter
from training.compiling import compile_blocks
from training.config import TrainingConfig
from training.gradients import same_start
from training.loader import BatchLoader, TrainingSet
from training.metadata import RunFacts
from training.optimizers import make_optimizer
from training.order import Layout
from training.resume import compare_settings
from training.schedulers import make_scheduler
from training.state import Counters, Stateful, load_state, read_counters
from training.trainable import Trainable, collect_trainable, describe, parameter_groups, set_trainable
from wan.adapters.interface import CameraAdapter
from wan.model import WanModel

log = get_logger("training")


@dataclass(frozen=True)
class Run:
    """What one run consists of."""

    config: TrainingConfig
    accelerator: Accelerator
    dit: WanModel
    with_camera: bool
    """Whether the DiT is given the batches' cameras."""
    trainable: Sequence[Trainable]
    layout: Layout
    counters: Counters
    """Where the run stands; the only part that changes."""
    total_steps: int
    """Optimizer steps from the very start to the end."""
    state: Stateful
    """What a state folder holds, the LoRA and the adapter among it."""
    loader: BatchLoader
    writer: CheckpointWriter

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The trained parameters, in the one fixed order."""
        return [item.parameter for item in self.trainable]

    def is_finished(self) -> bool:
        """Whether all the steps, or epochs, that were asked for are done."""
        if self.config.max_train_epochs is not None:
            return self.counters.epoch >= self.config.max_train_epochs
        return self.counters.step >= self.config.max_train_steps


def prepare_run(
    config: TrainingConfig,
    accelerator: Accelerator,
    dit: WanModel,
    network: Network | None,
    adapter: CameraAdapter | None,
    training_set: TrainingSet,
    provenance: Mapping[str, str],
    dit_file: Path | None = None,
) -> Run:
    """Place and freeze the networks, build the optimizer, and go to where `--resume` says; see `loop.train`."""
    batches = len(training_set.batch_order(seed=0, epoch=0))
    if batches == 0:
        raise ValueError("the data set has no batches; run the three cache scripts for this --dataset_config first")
    _place(config, accelerator.device, dit, network, adapter)
    trainable = collect_trainable(dit, network, adapter, config.trainable_modules)
    set_trainable((dit, network, adapter), trainable)
    same_start([item.parameter for item in trainable], accelerator)
    if adapter is not None:
        _warn_of_window(adapter.sigma_window, config.sigma_range)

    layout = Layout(accelerator.num_processes, config.gradient_accumulation_steps, accelerator.process_index)
    counters = _start(config, accelerator, batches)
    if config.resume is not None:
        compare_settings(config.resume, config, layout)
    total_steps = _total_steps(config, counters, layout)
    state = _make_state(config, accelerator, dit, network, adapter, trainable, total_steps)
    facts = RunFacts(
        seed=counters.seed,
        mixed_precision=accelerator.mixed_precision,
        optimizer=_optimizer_text(config, state.optimizer),
        layout=layout,
        batches_per_epoch=counters.batches,
        total_steps=total_steps,
        total_epochs=-(-total_steps // layout.steps(counters.batches)),
        provenance=provenance,
    )
    loader = BatchLoader(
        training_set,
        layout,
        counters.seed,
        config.max_data_loader_n_workers,
        config.persistent_data_loader_workers,
        pin_memory=accelerator.device.type == "cuda",
    )
    writer = CheckpointWriter(config, facts, dit, network, adapter, trainable, dit_file)
    log.info("training %s", describe(trainable))
    log.info(
        "%d batches an epoch, %d steps in all; %d process(es), accumulation %d, %s on %s, seed %d",
        counters.batches,
        total_steps,
        layout.processes,
        layout.accumulation,
        accelerator.mixed_precision,
        accelerator.device,
        counters.seed,
    )
    return Run(
        config, accelerator, dit, adapter is not None, trainable, layout, counters, total_steps, state, loader, writer
    )


def _warn_of_window(window: tuple[float, float], drawn: tuple[float, float]) -> None:
    """Where the adapter does not act it does not learn."""
    if drawn[0] < window[0] or drawn[1] > window[1]:
        log.warning(
            "the camera adapter acts at noise levels from %g to %g alone, but levels from %g to %g are trained: the "
            "others teach it nothing; give --min_timestep %g --max_timestep %g to train it alone",
            *(*window, *drawn, 1000 * window[0], 1000 * window[1]),
        )


def _place(
    config: TrainingConfig,
    device: torch.device,
    dit: WanModel,
    network: Network | None,
    adapter: CameraAdapter | None,
) -> None:
    """Everything to the device, the trained networks in float32 and into the DiT, all in training mode."""
    dit.to(device).train()
    if network is not None:
        network.to(device, torch.float32).train()
        network.apply_to(dit)
    if adapter is not None:
        adapter.to(device, torch.float32).train()
    dit.attach_adapter(adapter)
    if config.gradient_checkpointing:
        dit.enable_gradient_checkpointing()
    if compile_blocks(config, dit):
        log.info("the DiT's blocks are compiled in the first step, which takes minutes")


def _start(config: TrainingConfig, accelerator: Accelerator, batches: int) -> Counters:
    """Zero, or where the resumed run stood; the same on every rank."""
    if config.resume is None:
        drawn = [secrets.randbits(31) if config.seed is None else config.seed]
        return Counters(int(broadcast_object_list(drawn)[0]), batches)
    counters = read_counters(config.resume)
    if config.seed is not None and config.seed != counters.seed:
        log.warning("--seed %d is ignored: the resumed run goes on with its own, %d", config.seed, counters.seed)
    if counters.batches != batches:
        if counters.position > 0:
            raise ValueError(
                f"--resume {config.resume}: the run stood in the middle of an epoch of {counters.batches} batches, "
                f"the data set now has {batches}; restore it, or resume from a state at the end of an epoch"
            )
        log.warning("the data set had %d batches when the state was saved, it has %d now", counters.batches, batches)
        counters.batches = batches
    return counters


def _total_steps(config: TrainingConfig, counters: Counters, layout: Layout) -> int:
    if config.max_train_epochs is None:
        return config.max_train_steps
    whole_epochs = config.max_train_epochs - counters.epoch - 1
    if whole_epochs < 0:
        return counters.step
    rest = layout.steps(counters.batches - counters.position)
    return counters.step + rest + whole_epochs * layout.steps(counters.batches)


def _make_state(
    config: TrainingConfig,
    accelerator: Accelerator,
    dit: WanModel,
    network: Network | None,
    adapter: CameraAdapter | None,
    trainable: Sequence[Trainable],
    total_steps: int,
) -> Stateful:
    """The optimizer over the trainable list and its scheduler, with what `--resume` holds in all of them."""
    ratio = config.network_settings.loraplus_lr_ratio
    groups = parameter_groups(trainable, config.learning_rate, config.adapter_learning_rate, ratio)
    wanted = {group["part"]: group["lr"] for group in groups}
    optimizer = make_optimizer(
        config.optimizer_type, groups, config.learning_rate, config.optimizer_args, accelerator.device
    )
    scheduler = make_scheduler(config, optimizer, total_steps)
    state = Stateful(dit, network, adapter, trainable, optimizer, scheduler, accelerator.scaler)
    if config.resume is not None:
        load_state(config.resume, state)
        for group in optimizer.param_groups:
            part, stored = group["part"], group["initial_lr"]
            if stored != wanted[part]:
                log.warning(
                    "the learning rate %g of the %s is ignored: the resumed run goes on with its own, %g",
                    *(wanted[part], part, stored),
                )
    return state


def _optimizer_text(config: TrainingConfig, optimizer: torch.optim.Optimizer) -> str:
    kind = type(optimizer)
    return f"{kind.__module__}.{kind.__qualname__}({','.join(config.optimizer_args or ())})"
