"""Faster versions of Lightning's loops over the batches of an epoch, which skip unused hooks.

Lightning's own loops spend about a millisecond of Python time between two training steps, as long as a GPU needs for a
training step of a small network. If anything unusual is configured, these loops fall back to Lightning's own.
"""

from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loops.evaluation_loop import _EvaluationLoop
from lightning.pytorch.loops.fetchers import _DataFetcher, _PrefetchDataFetcher
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException

from genreclf.training.hooks import hooks_of

_OF_TRANSFER = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


def use_short_loops(trainer: Trainer) -> None:
    """Replace the epoch loops of a Trainer with those of this module, unless they are no longer Lightning's own."""
    loop = trainer.fit_loop.epoch_loop
    if type(loop) is _TrainingEpochLoop and type(loop.val_loop) is _EvaluationLoop:
        # Changed in place, since the loops already hold the dataloaders.
        loop.__class__, loop.val_loop.__class__ = TrainingLoop, ValidationLoop


class TrainingLoop(_TrainingEpochLoop):
    """Loop over the batches of a training epoch that takes training steps in a row until something else is due.

    The steps are those of the module's `genreclf.training.whole_step.WholeStep`; without one, Lightning's own loop is
    used.
    """

    def advance(self, data_fetcher: _DataFetcher) -> None:
        """Train on one batch as Lightning does, or on several in a row."""
        step = getattr(self.trainer.lightning_module, "whole_step", None)
        if step is None or self.restarting or self.is_resuming or not self._is_usual(data_fetcher):
            super().advance(data_fetcher)
        else:
            self._take_steps(step, data_fetcher, self._steps_in_a_row())

    def _should_check_val_fx(self, data_fetcher: _DataFetcher) -> bool:
        """Return whether a validation is due; if the clock decides, it is due on all ranks as soon as it is on one."""
        is_due = super()._should_check_val_fx(data_fetcher)
        if self.trainer._val_check_time_interval is None:
            return is_due
        return bool(self.trainer.strategy.reduce_boolean_decision(is_due, all=False))

    def _is_usual(self, data_fetcher: _DataFetcher) -> bool:
        """Return whether nothing is configured that only Lightning's own loop does between two training steps."""
        trainer: Any = self.trainer
        module = trainer.lightning_module
        return (
            _is_usual(trainer, data_fetcher)
            and isinstance(trainer.num_training_batches, int)
            and isinstance(trainer.val_check_batch, int)
            and not hooks_of([module], "on_train_batch_start", LightningModule)
            and not any(entry.interval == "step" and entry.reduce_on_plateau for entry in trainer.lr_scheduler_configs)
        )

    def _steps_in_a_row(self) -> int:
        """Return the number of training steps until the epoch ends, a validation is due or training ends."""
        trainer: Any = self.trainer
        ready = self.batch_progress.current.ready
        counts: list[int] = [trainer.num_training_batches - ready]
        if self.max_steps != -1:
            counts.append(self.max_steps - self.global_step)
        if self._should_check_val_epoch():
            done = self.batch_progress.total.ready if trainer.check_val_every_n_epoch is None else ready
            counts.append(trainer.val_check_batch - done % trainer.val_check_batch)
        return max(1, min(counts))

    def _take_steps(self, step: Callable[[Any], Any], data_fetcher: _DataFetcher, count: int) -> None:
        """Do what Lightning does for each of the next `count` batches, up to ``on_advance_end`` after the last."""
        trainer: Any = self.trainer
        module, connector, results = trainer.lightning_module, trainer._logger_connector, self._results
        batches, updates = self.batch_progress, self.automatic_optimization.optim_progress.optimizer
        starts = hooks_of(trainer.callbacks, "on_train_batch_start", Callback)
        ends = hooks_of(trainer.callbacks, "on_train_batch_end", Callback)
        ends_of_module = hooks_of([module], "on_train_batch_end", LightningModule)
        schedulers = [entry for entry in trainer.lr_scheduler_configs if entry.interval == "step"]
        transfer = _transfer_of(trainer)
        for left in reversed(range(count)):
            batch, _, _ = next(data_fetcher)
            batch_idx = self.batch_idx + 1
            batches.is_last_batch = data_fetcher.done
            batch = transfer(batch)
            batches.increment_ready()
            connector._first_loop_iter = connector._first_loop_iter is None
            results.batch, results.batch_size, results.dataloader_idx = batch, None, None
            _call(module, "on_train_batch_start", starts, trainer, module, batch, batch_idx)
            batches.increment_started()
            updates.step.increment_ready()
            loss = step(batch).clone()
            updates.zero_grad.increment_ready()
            updates.zero_grad.increment_started()
            updates.zero_grad.increment_completed()
            updates.step.increment_completed()
            batches.increment_processed()
            for entry in schedulers:
                if (batch_idx + 1) % entry.frequency == 0:
                    self.scheduler_progress.increment_ready()
                    _call(module, "lr_scheduler_step", [module.lr_scheduler_step], entry.scheduler, None)
                    self.scheduler_progress.increment_completed()
            if self._num_ready_batches_reached():
                self._update_learning_rates("epoch", update_plateau_schedulers=False)
            outputs = {"loss": loss}
            _call(module, "on_train_batch_end", ends, trainer, module, outputs, batch, batch_idx)
            _call(module, "on_train_batch_end", ends_of_module, outputs, batch, batch_idx)
            has_logged = any(True for _ in results.valid_items())
            if has_logged:
                connector.on_batch_end()
            results.batch = results.batch_size = None
            batches.increment_completed()
            if has_logged:
                connector.update_train_step_metrics()
            if not left or trainer.should_stop or trainer.received_sigterm:
                return  # Lightning's own `on_advance_end` follows.
            self._batches_that_stepped += 1


class ValidationLoop(_EvaluationLoop):
    """Loop over the batches of a validation during the training."""

    def on_run_start(self) -> None:
        """Determine what has to be done for each batch."""
        super().on_run_start()
        trainer: Any = self.trainer
        module = trainer.lightning_module
        self._is_short = (
            getattr(module, "whole_step", None) is not None
            and _is_usual(trainer, self._data_fetcher)
            and self.num_dataloaders == 1
            and not trainer.sanity_checking
        )
        self._transfer = _transfer_of(trainer)
        self._hooks = {
            name: (hooks_of(trainer.callbacks, name, Callback), hooks_of([module], name, LightningModule))
            for name in ("on_validation_batch_start", "on_validation_batch_end")
        }

    def _evaluation_step(self, batch: Any, batch_idx: int, dataloader_idx: int, dataloader_iter: Any) -> None:
        """Do what Lightning does for a batch, without unused hooks."""
        if not self._is_short:
            super()._evaluation_step(batch, batch_idx, dataloader_idx, dataloader_iter)
            return
        trainer: Any = self.trainer
        module, connector, results, batches = (
            trainer.lightning_module,
            trainer._logger_connector,
            self._results,
            self.batch_progress,
        )
        batch = self._transfer(batch)
        batches.increment_ready()
        connector._first_loop_iter = connector._first_loop_iter is None
        results.batch, results.batch_size, results.dataloader_idx = batch, None, None
        self._call("on_validation_batch_start", batch, batch_idx)
        batches.increment_started()
        with trainer.precision_plugin.val_step_context():
            output = _call(module, "validation_step", [module.validation_step], batch, batch_idx)
        batches.increment_processed()
        self._call("on_validation_batch_end", output, batch, batch_idx)
        has_logged = any(True for _ in results.valid_items())
        if has_logged:
            connector.on_batch_end()
        results.batch = results.batch_size = None
        batches.increment_completed()
        self._has_run = True
        if has_logged:
            connector.update_eval_step_metrics(self._seen_batches_per_dataloader[dataloader_idx])
        self._seen_batches_per_dataloader[dataloader_idx] += 1
        if not batches.is_last_batch and trainer.received_sigterm:
            raise SIGTERMException

    def _call(self, name: str, *arguments: Any) -> None:
        of_callbacks, of_module = self._hooks[name]
        module: Any = self.trainer.lightning_module
        _call(module, name, of_callbacks, self.trainer, module, *arguments)
        _call(module, name, of_module, *arguments)


def _is_usual(trainer: Any, data_fetcher: _DataFetcher | None) -> bool:
    """Return whether no profiler, strategy, data fetcher or time-based validation must be called at each batch."""
    return (
        type(trainer.profiler) is PassThroughProfiler
        and type(trainer.strategy) is SingleDeviceStrategy
        and type(data_fetcher) is _PrefetchDataFetcher
        and data_fetcher.length is not None
        and trainer._val_check_time_interval is None
    )


def _call(module: LightningModule, name: str, hooks: list[Callable[..., Any]], *arguments: Any) -> Any:
    """Call hooks under their `name`, which `LightningModule.log` reads, and return the result of the last hook."""
    if not hooks:
        return None
    attributes = vars(module)  # Setting an attribute of a module is slow.
    before, attributes["_current_fx_name"] = attributes["_current_fx_name"], name
    for hook in hooks:
        output = hook(*arguments)
    attributes["_current_fx_name"] = before
    return output


def _transfer_of(trainer: Any) -> Callable[[Any], Any]:
    """Return a function that moves a batch to the device."""
    selector, convert = trainer._data_connector._datahook_selector, trainer.precision_plugin.convert_input
    before, move, after = (getattr(selector.get_instance(name), name) for name in _OF_TRANSFER)
    device = trainer.strategy.root_device
    return lambda batch: after(move(before(convert(batch), 0), device, 0), 0)
