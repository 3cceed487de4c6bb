"""What a LoRA or adapter file says about its training: musubi-tuner's ss_ keys and the modelspec ones."""

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

from networks.network import Network
from training.config import TrainingConfig
from training.order import Layout

# what musubi-tuner keeps with --no_metadata
_LEAST = ("ss_base_model_version", "ss_network_module", "ss_network_dim", "ss_network_alpha", "ss_network_args")


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run beside its flags."""

    seed: int
    """The one that is used, drawn or given."""
    mixed_precision: str
    """no, fp16 or bf16, as accelerate decided."""
    optimizer: str
    """Dotted path of the optimizer's class, with its arguments."""
    layout: Layout
    """Processes and accumulation."""
    batches_per_epoch: int
    """Batches of the data set, over all processes."""
    total_steps: int
    """Optimizer steps of the whole run."""
    total_epochs: int
    """Epochs of the whole run, the last perhaps cut short."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Further metadata the script knows: base_task, ss_sd_model_name, ss_datasets, ss_num_train_items ..."""
    session: str = field(default_factory=lambda: str(uuid.uuid4()))
    """Identity of this run."""
    started_at: float = field(default_factory=time.time)
    """Seconds since 1970."""


def lora_metadata(config: TrainingConfig, facts: RunFacts, network: Network, step: int, epoch: int) -> dict[str, str]:
    """The metadata of a LoRA file after `step` optimizer steps and `epoch` epochs; what is not known is left out."""
    values: dict[str, object] = {
        **_run_values(config, facts),
        "ss_base_model_version": "wan",
        "ss_network_module": config.network_module,
        "ss_network_dim": network.rank,
        "ss_network_alpha": network.alpha,
        "ss_network_dropout": config.network_dropout,
        "ss_network_args": json.dumps(_stated(config.network_args)),
        "ss_scale_weight_norms": config.scale_weight_norms,
        "ss_base_weights": json.dumps(config.base_loras) if config.base_loras else None,
        "ss_steps": step,
        "ss_epoch": epoch,
        "ss_training_finished_at": time.time(),
        **modelspec(config),
        **facts.provenance,
    }
    known = {key: str(value) for key, value in values.items() if value is not None}
    if config.no_metadata:
        return {key: value for key, value in known.items() if key in _LEAST or key.startswith("modelspec.")}
    return known


def _stated(arguments: Sequence[str] | None) -> dict[str, str]:
    """`--network_args` as musubi-tuner keeps them: {key: text}."""
    return {key: text for key, _, text in (argument.partition("=") for argument in arguments or ())}


def _run_values(config: TrainingConfig, facts: RunFacts) -> dict[str, object]:
    return {
        "ss_session_id": facts.session,
        "ss_training_started_at": facts.started_at,
        "ss_output_name": config.output_name,
        "ss_learning_rate": config.learning_rate,
        "ss_adapter_learning_rate": config.adapter_learning_rate,
        "ss_num_batches_per_epoch": facts.batches_per_epoch,
        "ss_num_epochs": facts.total_epochs,
        "ss_gradient_checkpointing": config.gradient_checkpointing,
        "ss_gradient_accumulation_steps": facts.layout.accumulation,
        "ss_max_train_steps": facts.total_steps,
        "ss_lr_warmup_steps": config.lr_warmup_steps,
        "ss_lr_scheduler": config.lr_scheduler,
        "ss_mixed_precision": facts.mixed_precision,
        "ss_seed": facts.seed,
        "ss_training_comment": config.training_comment,
        "ss_optimizer": facts.optimizer,
        "ss_max_grad_norm": config.max_grad_norm,
        "ss_fp8_base": config.fp8_base or config.fp8_scaled,
        "ss_full_fp16": False,
        "ss_full_bf16": False,
        "ss_guidance_scale": config.guidance_scale,
        "ss_weighting_scheme": config.weighting_scheme,
        "ss_logit_mean": config.logit_mean,
        "ss_logit_std": config.logit_std,
        "ss_mode_scale": config.mode_scale,
        "ss_timestep_sampling": config.timestep_sampling,
        "ss_sigmoid_scale": config.sigmoid_scale,
        "ss_discrete_flow_shift": config.discrete_flow_shift,
    }


def adapter_metadata(facts: RunFacts, step: int, epoch: int) -> dict[str, str]:
    """What an adapter file says about its training; format, version, sizes and convention are its own business."""
    names = {"base_task": "base_task", "data": "ss_datasets", "data_items": "ss_num_train_items"}
    known = {ours: facts.provenance[key] for ours, key in names.items() if key in facts.provenance}
    return {**known, "trained_steps": str(step), "trained_epochs": str(epoch), "session": facts.session}


def modelspec(config: TrainingConfig) -> dict[str, str]:
    """The least that Stability's model specification asks for, as musubi-tuner fills it in for Wan."""
    spec = {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": config.metadata_arch or "wan2.1/lora",
        "modelspec.implementation": "https://github.com/Wan-Video/Wan2.1",
        "modelspec.title": config.metadata_title or config.output_name,
        "modelspec.date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "modelspec.resolution": _resolution(config.metadata_reso),
    }
    for key in ("author", "description", "license", "tags"):
        value = getattr(config, f"metadata_{key}")
        if value is not None:
            spec[f"modelspec.{key}"] = value
    if config.min_timestep is not None or config.max_timestep is not None:
        low, high = config.sigma_range
        spec["modelspec.timestep_range"] = f"{round(low * 1000)},{round(high * 1000)}"
    return spec


def _resolution(given: str | None) -> str:
    """WIDTHxHEIGHT from "WIDTH,HEIGHT" or one number for both; Wan's usual one where nothing is given."""
    if given is None:
        return "1280x720"
    width, _, height = given.partition(",")
    return f"{int(width)}x{int(height or width)}"
