"""The training loop: batches in, checkpoints out.

One optimizer step takes W·A batches of the one global order (training.order): A on each of W processes. Every rank
adds up the gradients of its own, then the ranks' sums are averaged over the batches that were really there. All that
is random about a batch comes from its place in the order, so the numbers do not depend on how the work is shared.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator
from tqdm import tqdm

from common.files import human_size
from common.logs import get_logger
from common.progress import progress
from networks.network import Network
from training.checkpoints import epoch_name, step_name
from training.config import TrainingConfig
from training.interrupt import StopRequest, stop_on_signal
from training.keeping import STATE_SUFFIX, clean_up, prune
from training.loader import TrainingSet
from training.memory import memory_in_use
from training.previews import Previews
from training.records import LossTable, ValidationTable
from training.resume import settings_of
from training.run import Run, prepare_run
from training.self_check import SelfCheck, output_tensors
from training.state import save_state
from training.step import StepResult, optimizer_step
from training.trackers import start_trackers
from training.validation import sigma_levels, validate
from wan.adapters.interface import CameraAdapter
from wan.model import WanModel

log = get_logger("training")


@dataclass(frozen=True)
class Summary:
    """What a finished run was."""

    steps: int
    """Optimizer steps since the very start."""
    epochs: int
    """Epochs completed."""
    loss: float | None
    """Mean loss of the last step; None where there was nothing left to do."""
    files: tuple[Path, ...]
    """The final checkpoint: LoRA, adapter, DiT, those that there are; empty on ranks other than the first."""


def train(
    config: TrainingConfig,
    accelerator: Accelerator,
    dit: WanModel,
    network: Network | None,
    adapter: CameraAdapter | None,
    training_set: TrainingSet,
    provenance: Mapping[str, str] | None = None,
    held_out: TrainingSet | None = None,
    previews: Previews | None = None,
    dit_file: Path | None = None,
) -> Summary:
    """Train to the end of `config`, writing checkpoints, states, the loss table and its picture.

    Args:
        config: the run.
        accelerator: of `training.setup.make_accelerator`; its trackers and process group are closed at the end.
        dit: the base network; its own parameters are frozen except for `--trainable_modules`.
        network: of `training.setup.build_network`; applied to the DiT here, and left on.
        adapter: camera adapter; attached to the DiT here, and left on. None trains without cameras.
        training_set: every batch of an epoch.
        provenance: metadata only the script knows (base_task, ss_sd_model_name, ss_datasets, ss_num_train_items).
        held_out: what is validated on; None validates on nothing.
        previews: of `training.previews`; None makes none.
        dit_file: where `dit` was loaded from; `--save_full_checkpoint` needs it.

    Raises:
        ValueError: a setting, the data set or the resumed state does not fit; or the loss is no longer a number,
            with the items' keys.
        KeyboardInterrupt: the user stopped the run; with `--save_state` the state was saved first.
    """
    run = prepare_run(config, accelerator, dit, network, adapter, training_set, provenance or {}, dit_file)
    summary = _Loop(run, held_out, previews).run_all()
    accelerator.end_training()
    return summary


class _Loop:
    """The run in motion: counters, bar, table, files."""

    def __init__(self, run: Run, held_out: TrainingSet | None, previews: Previews | None) -> None:
        self.run, self.held_out, self.previews = run, held_out, previews
        self.is_main = run.accelerator.is_main_process
        self.loss: float | None = None
        self.table: LossTable | None = None
        self.validation: ValidationTable | None = None
        config, step = run.config, run.counters.step
        if self.is_main:
            clean_up(config.output_dir, config.output_name)
            self.table = LossTable(self._path(f"{config.output_name}_loss.csv"), step)
            if held_out is not None:
                path = self._path(f"{config.output_name}_validation.csv")
                self.validation = ValidationTable(path, sigma_levels(config), step)
        adapter = run.state.adapter
        outputs = [layer.weight for layer in adapter.output_layers()] if adapter is not None else []
        self.check = SelfCheck(output_tensors(run.trainable, outputs), step)
        start_trackers(config, run.accelerator)

    def run_all(self) -> Summary:
        run, counters = self.run, self.run.counters
        if run.is_finished():
            log.warning("the resumed run is at its end already; raise --max_train_epochs or --max_train_steps")
        with (
            stop_on_signal() as stop,
            progress(run.total_steps, "training", "step", not self.is_main, counters.step) as bar,
        ):
            if counters.step == 0:
                self._look(at_first=True, epoch_done=False)
            while not run.is_finished():
                self._epoch(stop, bar)
            files = self._finish()
        return Summary(counters.step, counters.epoch, self.loss, files)

    def _epoch(self, stop: StopRequest, bar: tqdm) -> None:
        """The rest of the current epoch, or of the run."""
        run, counters = self.run, self.run.counters
        batches = run.loader.epoch(counters.epoch, counters.position)
        epoch_done = False
        while not epoch_done and not run.is_finished():
            began = time.perf_counter()
            learning_rate = float(run.state.scheduler.get_last_lr()[0])
            result = optimizer_step(run, batches, stop)
            epoch_done = counters.advance(result.taken)
            self._record(result, learning_rate, time.perf_counter() - began, bar)
            stopping = result.stop and not run.is_finished()
            if not stopping:
                # before saving: what a state counts as done was looked at, too
                self._look(at_first=False, epoch_done=epoch_done)
            self._save_if_due(epoch_done)
            if stopping:
                self._stop()

    def _record(self, result: StepResult, learning_rate: float, seconds: float, bar: tqdm) -> None:
        step, epoch = self.run.counters.step, self.run.counters.epoch
        self.loss = result.loss
        rates = [group["lr"] for group in self.run.state.optimizer.param_groups]
        for sentence in self.check.observe(step, result.gradient_norm, max(learning_rate, *rates)):
            log.warning("%s", sentence)
        if self.table is not None:
            self.table.add(step, epoch, result.loss, learning_rate, result.gradient_norm, seconds)
        memory = memory_in_use(self.run.accelerator.device)
        values = {"loss": result.loss, "lr": learning_rate, "grad_norm": result.gradient_norm, "epoch": epoch}
        self.run.accelerator.log({**values, "memory_gb": memory / 1e9}, step=step)
        shown = {"loss": f"{result.loss:.4f}", "lr": f"{learning_rate:.2e}", "memory": human_size(memory)}
        bar.set_postfix({**shown, "epoch": epoch}, refresh=False)
        bar.update()

    def _look(self, at_first: bool, epoch_done: bool) -> None:
        """Validate and make previews, where they are due."""
        run, config, counters = self.run, self.run.config, self.run.counters
        epochs = counters.epoch if epoch_done else None
        steps = None if at_first else counters.step
        # once an epoch, if nothing else is said
        every = config.validate_every_n_epochs or (None if config.validate_every_n_steps else 1)
        due = is_due(steps, config.validate_every_n_steps) or is_due(epochs, every)
        if self.held_out is not None and (at_first or due or run.is_finished()):
            with_camera = run.with_camera
            found = validate(config, run.accelerator, run.dit, run.state.network, with_camera, self.held_out)
            if self.validation is not None:
                self.validation.add(counters.step, counters.epoch, found)
            run.accelerator.log(found.values(), step=counters.step)
            log.info("step %d: validation loss %.4f", counters.step, found.loss)
        if self.previews is None:
            return
        by_epoch = is_due(epochs, config.sample_every_n_epochs)
        if by_epoch or is_due(steps, config.sample_every_n_steps) or (at_first and config.sample_at_first):
            name = f"e{counters.epoch:06d}" if by_epoch else f"{counters.step:06d}"
            self.previews.make(run.dit, run.state.network, run.accelerator, name, counters.step)

    def _save_if_due(self, epoch_done: bool) -> None:
        """Checkpoints of epochs and steps, and no more than are kept; the end of the run has its own."""
        config, counters = self.run.config, self.run.counters
        if self.run.is_finished():
            return
        if epoch_done and is_due(counters.epoch, config.save_every_n_epochs):
            self._save(epoch_name(config.output_name, counters.epoch), config.save_state, with_full=True)
            if self.is_main:
                prune(config, "epoch", counters.epoch)
        if is_due(counters.step, config.save_every_n_steps):
            self._save(step_name(config.output_name, counters.step), config.save_state)
            if self.is_main:
                prune(config, "step", counters.step)

    def _save(self, name: str, with_state: bool, with_full: bool = False) -> tuple[Path, ...]:
        if not self.is_main:
            return ()
        counters = self.run.counters
        files = self.run.writer.write(name, counters.step, counters.epoch, with_full)
        if with_state:
            self._save_state(name)
        return tuple(files)

    def _save_state(self, name: str) -> None:
        folder = self._path(f"{name}{STATE_SUFFIX}")
        save_state(folder, self.run.state, self.run.counters, settings_of(self.run.config, self.run.layout))
        log.info("saved %s", folder)

    def _finish(self) -> tuple[Path, ...]:
        config = self.run.config
        with_state = config.save_state or config.save_state_on_train_end
        files = self._save(config.output_name, with_state, with_full=True)
        self._draw()
        self.run.accelerator.wait_for_everyone()
        return files

    def _draw(self) -> None:
        if self.table is not None and self.loss is not None:
            self.table.draw(self._path(f"{self.run.config.output_name}_loss.png"), self.validation)

    def _stop(self) -> None:
        """End a run that was asked to stop between two steps."""
        counters = self.run.counters
        if self.is_main and self.run.config.save_state:
            self._save_state(step_name(self.run.config.output_name, counters.step))
        elif self.is_main:
            log.warning("stopped after step %d; without --save_state only saved checkpoints are kept", counters.step)
        self._draw()
        # a launcher ends all processes as soon as one has ended, and the first may still be writing
        self.run.accelerator.wait_for_everyone()
        raise KeyboardInterrupt

    def _path(self, name: str) -> Path:
        return Path(self.run.config.output_dir) / name


def is_due(done: int | None, every: int | None) -> bool:
    """Whether what happens every so many epochs or steps happens now; None stands for none done, and for never."""
    return done is not None and every is not None and done % every == 0
