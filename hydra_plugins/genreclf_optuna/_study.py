"""Hydra's Optuna sweeper, made to continue where it was killed."""

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from genreclf.errors import UserError


class SeededByTrial(BaseSampler):
    """A sampler whose random state depends on the seed and the number of the trial alone.

    One seed for the whole study would draw the first trials again after every interruption.

    Args:
        sampler: Makes an Optuna sampler from ``seed=``.
        seed: Of the study.
    """

    def __init__(self, sampler: Callable[..., BaseSampler], seed: int) -> None:
        """Keep how samplers are made."""
        self.sampler, self.seed = sampler, seed
        self._by_number: dict[int, BaseSampler] = {}

    def of(self, trial: FrozenTrial) -> BaseSampler:
        """Return the sampler of a trial."""
        if trial.number not in self._by_number:
            digest = hashlib.sha256(f"{self.seed} {trial.number}".encode()).digest()
            self._by_number[trial.number] = self.sampler(seed=int.from_bytes(digest[:4], "little"))
        return self._by_number[trial.number]

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Ask the trial's sampler."""
        return dict(self.of(trial).infer_relative_search_space(study, trial))

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Ask the trial's sampler."""
        return dict(self.of(trial).sample_relative(study, trial, search_space))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Ask the trial's sampler."""
        return self.of(trial).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Tell the trial's sampler, which is not needed any more."""
        self.of(trial).after_trial(study, trial, state, values)
        del self._by_number[trial.number]


class Study(OptunaSweeperImpl):  # type: ignore[misc]
    """The trials of a study until `n_trials` are finished.

    The plugin's own sweeper runs `n_trials` more each time, and leaves a trial that was interrupted in the state
    "running" for ever. Here an interrupted trial goes on under its number, a failed one is tried again with the same
    parameters, and only what is then missing is sampled anew.
    """

    def __init__(self, *, seed: int, sampler: Callable[..., BaseSampler], **settings: Any) -> None:
        """See `conf/hydra/sweeper/study.yaml`."""
        super().__init__(sampler=SeededByTrial(sampler, seed), **settings)

    def sweep(self, arguments: list[str]) -> None:
        """Run what is missing.

        Raises:
            UserError: The study is in use, was begun with other settings, or a trial failed.
        """
        folder = Path(self.sweep_dir)
        folder.mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.simplefilter("ignore", ExperimentalWarning)
        wanted = self.n_trials
        place = str(self.storage).removeprefix("sqlite:///")
        try:
            with FileLock(folder / "study.lock", timeout=0):
                study = self._open()
                self.n_trials -= self._take_up(study)
                try:
                    super().sweep(arguments)
                except ValueError:
                    if study.get_trials(states=[TrialState.COMPLETE]):
                        raise
                    # Optuna: there is no best trial yet.
        except (SQLAlchemyError, StorageInternalError) as error:
            cause = getattr(error, "orig", None) or error.__cause__ or error
            raise UserError(
                f"The study {place} cannot be used ({str(cause).splitlines()[0]}); if it is damaged, delete it: the "
                "same command searches anew, and does no finished job again."
            ) from error
        except Timeout:
            raise UserError(f"Another process runs the study in {folder}; let it end, or end it.") from None
        finished = study.get_trials(states=[TrialState.COMPLETE])
        if len(finished) < wanted:
            raise UserError(
                f"{wanted - len(finished)} of {wanted} trials of {folder} failed; the same command tries them again."
            )
        best = study.best_trial
        chosen = " ".join(f"{name}={value}" for name, value in best.params.items())
        print(f"Best of {len(finished)} trials, with {best.value:.4f} on validation tracks: {chosen}")

    def _open(self) -> optuna.Study:
        self.storage = optuna.storages.get_storage(self.storage)
        return optuna.create_study(
            study_name=self.study_name,
            storage=self.storage,
            sampler=self.sampler,
            directions=self._get_directions(),
            load_if_exists=True,
        )

    def _take_up(self, study: optuna.Study) -> int:
        """Put interrupted and failed trials first in the queue; return how many are finished."""
        failed: dict[str, dict[str, Any]] = {}
        elsewhere: set[str] = set()
        finished = 0
        for trial in study.trials:
            key = json.dumps(trial.system_attrs.get("fixed_params", trial.params), sort_keys=True)
            if trial.state == TrialState.FAIL:
                failed[key] = trial.params
            else:
                elsewhere.add(key)
            if trial.state == TrialState.RUNNING:
                self.storage.set_trial_state(trial._trial_id, TrialState.WAITING)
            finished += trial.state == TrialState.COMPLETE
        for key, params in failed.items():
            if key not in elsewhere:
                study.enqueue_trial(params)
        return finished

    def _configure_trials(
        self,
        trials: list[Trial],
        search_space_distributions: dict[str, BaseDistribution],
        fixed_params: Mapping[str, Any],
    ) -> Sequence[Sequence[str]]:
        """Name the overrides of each trial.

        Raises:
            UserError: Earlier trials of the study had other settings or another search space.
        """
        now = {**search_space_distributions, **fixed_params}
        for earlier in trials[0].study.trials:
            before = {**earlier.distributions, **earlier.user_attrs}
            if earlier.state == TrialState.COMPLETE and before != now:
                key = next(key for key in sorted({*before, *now}) if before.get(key) != now.get(key))
                raise UserError(
                    f"The study in {self.sweep_dir} was begun with {key}={before.get(key)}, not {now.get(key)}; "
                    "set another hydra.sweep.dir."
                )
        overrides: Sequence[Sequence[str]] = super()._configure_trials(trials, search_space_distributions, fixed_params)
        return overrides
