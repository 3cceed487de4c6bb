"""The flags of what a run leaves: checkpoints and how many of them, metadata, logs, uploads. Imports nothing heavy."""

from dataclasses import dataclass

from training.options import option

PRECISIONS = ("float", "fp32", "fp16", "bf16")
_COUNTS = (
    "save_every_n_epochs",
    "save_every_n_steps",
    "save_last_n_epochs",
    "save_last_n_steps",
    "save_last_n_epochs_state",
    "save_last_n_steps_state",
)


@dataclass(frozen=True)
class RecordOptions:
    """The part of `training.config.TrainingConfig` that is about files and logs."""

    save_every_n_epochs: int | None = option(
        None, "write NAME-000001.safetensors ... at every n-th epoch", type=int, metavar="N"
    )
    save_every_n_steps: int | None = option(
        None, "write NAME-step00000100.safetensors ... every n steps", type=int, metavar="N"
    )
    save_last_n_epochs: int | None = option(
        None, "keep the last n checkpoints of epochs, remove older ones", type=int, metavar="N"
    )
    save_last_n_steps: int | None = option(
        None, "keep checkpoints of the last n steps (steps, not files), remove older ones", type=int, metavar="N"
    )
    save_last_n_epochs_state: int | None = option(
        None, "the same for states of epochs; default: --save_last_n_epochs", type=int, metavar="N"
    )
    save_last_n_steps_state: int | None = option(
        None, "the same for states of steps; default: --save_last_n_steps", type=int, metavar="N"
    )
    save_state: bool = option(False, "with every checkpoint, at the end and on Ctrl-C write what --resume needs")
    save_state_on_train_end: bool = option(False, "write what --resume needs at the end only")
    save_precision: str | None = option(None, "type of LoRA and adapter files; default float32", choices=PRECISIONS)
    resume: str | None = option(
        None,
        "state folder (NAME-000001-state) to go on from; `latest`: the newest in --output_dir, or a new run if none",
        metavar="FOLDER",
    )
    training_comment: str | None = option(None, "a line of your own for the LoRA's metadata", metavar="TEXT")
    no_metadata: bool = option(False, "keep only what loaders need in the LoRA's metadata")
    metadata_title: str | None = option(None, "title in the metadata; default: --output_name", metavar="TEXT")
    metadata_author: str | None = option(None, "author in the metadata", metavar="TEXT")
    metadata_description: str | None = option(None, "description in the metadata", metavar="TEXT")
    metadata_license: str | None = option(None, "licence in the metadata", metavar="TEXT")
    metadata_tags: str | None = option(None, "tags in the metadata, separated by commas", metavar="TEXT")
    metadata_reso: str | None = option(None, "resolution in the metadata: WIDTH,HEIGHT", metavar="W,H")
    metadata_arch: str | None = option(None, "architecture in the metadata; default: wan2.1/lora", metavar="TEXT")

    logging_dir: str | None = option(None, "write TensorBoard logs into a dated folder here", metavar="PATH")
    log_with: str | None = option(
        None, "tracker; default tensorboard where --logging_dir is given", choices=("tensorboard", "wandb", "all")
    )
    log_prefix: str | None = option(None, "goes before the date in the name of the dated folder", metavar="TEXT")
    log_tracker_name: str | None = option(None, "name of the tracker's project; default network_train", metavar="NAME")
    wandb_run_name: str | None = option(None, "name of the run at wandb", metavar="NAME")
    log_tracker_config: str | None = option(
        None, "TOML file of the trackers' settings, a table for each; replaces --wandb_run_name", metavar="PATH"
    )
    wandb_api_key: str | None = option(None, "key to log in at wandb with; WANDB_API_KEY does it too", metavar="KEY")
    log_config: bool = option(False, "give the flags to the tracker, without keys, tokens and paths")

    def check_records(self) -> None:
        """Refuse counts and combinations that cannot be.

        Raises:
            ValueError: names the flag.
        """
        for flag in _COUNTS:
            value = getattr(self, flag)
            if value is not None and value < 1:
                raise ValueError(f"--{flag} {value}: at least 1 is needed")
        if self.log_with in ("tensorboard", "all") and self.logging_dir is None:
            raise ValueError(f"--log_with {self.log_with} needs --logging_dir")
        if self.metadata_reso is not None:
            parts = self.metadata_reso.split(",")
            if len(parts) > 2 or not all(part.strip().isdigit() for part in parts):
                raise ValueError(f"--metadata_reso {self.metadata_reso!r}: expected WIDTH,HEIGHT, e.g. 832,480")

    def unused_record_flags(self) -> list[str]:
        """What was given without effect, one sentence each."""
        said = []
        for unit in ("epochs", "steps"):
            for flag in (f"save_last_n_{unit}", f"save_last_n_{unit}_state"):
                if getattr(self, flag) is not None and getattr(self, f"save_every_n_{unit}") is None:
                    said.append(f"--{flag} is not used: there is no --save_every_n_{unit}")
        for flag in ("wandb_run_name", "wandb_api_key"):
            if getattr(self, flag) is not None and self.log_with not in ("wandb", "all"):
                said.append(f"--{flag} is not used: --log_with wandb is not given")
        return said
