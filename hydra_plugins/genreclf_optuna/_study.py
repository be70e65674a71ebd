"""Search with the ask-and-tell interface of Optuna; the study is stored and continues after an interruption."""

import hashlib
import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, JournalStorage, get_storage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from genreclf.errors import UserError, first_line
from genreclf.sweep.space import Choices, Interval, Space, values_of
from hydra_plugins.genreclf_optuna._files import check_files

RETRY_OF = "retry_of"
"""Attribute of a trial: number of the failed trial whose parameters are tried again."""

SETTINGS = "settings"
"""Attribute of a study: fixed settings and searched values, by key."""


class SeededByTrial(BaseSampler):
    """Sampler whose random state depends only on the seed, the number of the trial and the drawn parameter.

    With one random state for the whole study, a continued study would repeat the draws of its first trials.

    Args:
        sampler: Function that makes an Optuna sampler from the keyword argument ``seed``.
        seed: Seed of the study.
    """

    def __init__(self, sampler: Callable[..., BaseSampler], seed: int) -> None:
        self.sampler, self.seed = sampler, seed
        self._by_number: dict[int, BaseSampler] = {}

    def _make(self, *parts: object) -> BaseSampler:
        digest = hashlib.sha256(" ".join(map(str, (self.seed, *parts))).encode()).digest()
        return self.sampler(seed=int.from_bytes(digest[:4], "little"))

    def of(self, trial: FrozenTrial) -> BaseSampler:
        """Return the sampler of a trial."""
        if trial.number not in self._by_number:
            self._by_number[trial.number] = self._make(trial.number)
        return self._by_number[trial.number]

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Tell the trial's sampler that the trial begins."""
        self.of(trial).before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the search space of the parameters that the trial's sampler draws jointly."""
        return dict(self.of(trial).infer_relative_search_space(study, trial))

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw parameters jointly."""
        return dict(self.of(trial).sample_relative(study, trial, search_space))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw one parameter, independent of whether an interrupted command drew the parameters before it."""
        sampler = self._make(trial.number, param_name)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Tell the trial's sampler that the trial has ended, and delete the sampler."""
        self.of(trial).after_trial(study, trial, state, values)
        del self._by_number[trial.number]


class Search:
    """Optuna study and the launcher of its trials; ``conf/hydra/sweeper/optuna.yaml`` explains the settings.

    An interrupted trial continues under its number, a failed trial is repeated with the same parameters, and new
    parameters are drawn only for the trials that are then missing from `n_trials`.
    """

    def __init__(
        self,
        *,
        n_trials: int,
        n_jobs: int,
        params: Mapping[str, Any] | None,
        seed: int,
        sampler: Mapping[str, Any],
        direction: str,
        storage: str | None,
        study_name: str | None,
        max_failure_rate: float,
        sweep_dir: str,
        launcher: Launcher,
    ) -> None:
        """Check the settings; raise `UserError` if one is wrong."""
        for name, number in (("n_trials", n_trials), ("n_jobs", n_jobs)):
            if type(number) is not int or number < 1:
                raise UserError(f"hydra.sweeper.{name}={number} must be a whole number of at least 1.")
        if type(max_failure_rate) not in (int, float) or not 0 <= max_failure_rate <= 1:
            raise UserError(f"hydra.sweeper.max_failure_rate={max_failure_rate} must be a number from 0 to 1.")
        if direction not in ("maximize", "minimize"):
            raise UserError(f"hydra.sweeper.direction={direction} must be maximize or minimize.")
        for name, text in (("storage", storage), ("study_name", study_name)):
            if not isinstance(text, str | None):
                raise UserError(f"""hydra.sweeper.{name}={text} must be text, as in "hydra.sweeper.{name}='name'".""")
        warnings.simplefilter("ignore", ExperimentalWarning)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            make = instantiate({**sampler, "_partial_": True}, _convert_="all")
            if not isinstance(make(seed=0), BaseSampler):
                raise TypeError(f"{sampler['_target_']} is not a sampler of Optuna")
        except (HydraException, ImportError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"hydra.sweeper.sampler cannot be made ({first_line(error)}).") from error
        self.n_trials, self.n_jobs, self.max_failure_rate = n_trials, n_jobs, max_failure_rate
        self.params, self.direction, self.study_name = params or {}, direction, study_name
        self.sampler = SeededByTrial(make, seed)
        self.storage, self.folder, self.launcher = storage or f"{sweep_dir}/study.log", Path(sweep_dir), launcher

    def run(self, arguments: Sequence[str], config_loader: Any = None, config: DictConfig | None = None) -> None:
        """Run the trials that are missing from the study, then save and print the best trial.

        Args:
            arguments: Overrides of the sweep.
            config_loader: Configuration loader of Hydra, which knows the options of a group for ``glob(...)``.
            config: Configuration of the sweep; without it, changed files of options are not noticed.

        Raises:
            UserError: There is nothing to search, the study is damaged, in use or was begun with other settings or
                other files of options, or a trial failed.
        """
        found = Space.of(arguments, self.params, config_loader)
        space = {key: distribution(override) for key, override in found.searched.items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.folder / "study.lock", timeout=0):
                study = self._open({**found.settings, "hydra.sweeper.direction": self.direction})
                if config is not None:
                    place, another = self._place()
                    check_files(study, config, found, place=place, another=another)
                self._run_trials(study, space, found.fixed)
                finished = study.get_trials(states=[TrialState.COMPLETE])
        except StorageInternalError as error:
            raise self._unusable(error) from error
        except Timeout:
            raise UserError(f"Another process runs the study in {self.folder}; let it end, or end it.") from None
        if finished:
            best = study.best_trial
            content = {"name": "optuna", "best_params": best.params, "best_value": best.value}
            OmegaConf.save(OmegaConf.create(content), self.folder / "optimization_results.yaml")
        if (missing := self.n_trials - len(finished)) > 0:
            raise UserError(f"{missing} of {self.n_trials} trials of {self.folder} failed.")
        chosen = " ".join(f"{name}={value}" for name, value in best.params.items())
        print(f"Best of {len(finished)} trials, with {best.value:.4f} on validation tracks: {chosen}")

    def _place(self) -> tuple[str, str]:
        """Return where the study is, for a message, and the key of which another value gives another study."""
        if "://" in self.storage or self.folder not in Path(self.storage).parents:
            return f"{self.study_name} in hydra.sweeper.storage", "hydra.sweeper.study_name"
        return f"in {self.folder}", "hydra.sweep.dir"

    def _open(self, settings: Mapping[str, str]) -> optuna.Study:
        """Open or create the study, and enqueue its interrupted and failed trials, so that they are run first."""
        try:
            storage = get_storage(self.storage) if "://" in self.storage else _journal(Path(self.storage))
            study = optuna.create_study(
                study_name=self.study_name,
                storage=storage,
                sampler=self.sampler,
                direction=optuna.study.StudyDirection[self.direction.upper()],
                load_if_exists=True,
            )
            begun, trials = study.user_attrs.get(SETTINGS), study.trials
        except Exception as error:  # Damaged values cause errors of many kinds.
            raise self._unusable(error) from error
        if begun is None:
            study.set_user_attr(SETTINGS, dict(settings))
        elif differing := [key for key in sorted({*begun, *settings}) if begun.get(key) != settings.get(key)]:
            key = differing[0]
            place, another = self._place()
            raise UserError(
                f"The study {place} was begun with {_setting(begun, key)}, not {_setting(settings, key)}; set another "
                f"{another}."
            )
        retried = {trial.user_attrs.get(RETRY_OF) for trial in trials}
        for trial in trials:
            if trial.state == TrialState.RUNNING:
                storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
            elif trial.state == TrialState.FAIL and trial.number not in retried:
                study.enqueue_trial(trial.params, user_attrs={RETRY_OF: trial.number})
        return study

    def _run_trials(self, study: optuna.Study, space: dict[str, BaseDistribution], fixed: Sequence[str]) -> None:
        """Ask for trials, launch them as jobs and tell the study their results, until none of ``n_trials`` is left."""
        left = self.n_trials - len(study.get_trials(states=[TrialState.COMPLETE]))
        started = 0
        while left > 0:
            trials = self._ask(study, space, min(left, self.n_jobs))
            jobs = [(*(f"{name}={trial.params[name]}" for name in space), *fixed) for trial in trials]
            distinct = list(dict.fromkeys(jobs))  # Trials with equal parameters share one run.
            results = dict(zip(distinct, self.launcher.launch(distinct, initial_job_idx=started), strict=True))
            values = [_value(results[job]) for job in jobs]
            for trial, value in zip(trials, values, strict=True):
                try:
                    study.tell(trial, value, state=TrialState.FAIL if value is None else TrialState.COMPLETE)
                except OSError as error:
                    raise self._unusable(error) from error
            left -= len(trials)
            started += len(distinct)
            if (failed := values.count(None)) / len(values) > self.max_failure_rate:
                raise UserError(
                    f"{failed} of {len(values)} trials failed, more than hydra.sweeper.max_failure_rate="
                    f"{self.max_failure_rate} allows."
                )

    def _ask(self, study: optuna.Study, space: dict[str, BaseDistribution], number: int) -> list[Trial]:
        try:
            return [study.ask(fixed_distributions=space) for _ in range(number)]
        except OSError as error:
            raise self._unusable(error) from error
        except (ImportError, TypeError, ValueError) as error:
            raise UserError(f"hydra.sweeper.sampler cannot search this space ({first_line(error)}).") from error

    def _unusable(self, error: Exception) -> UserError:
        place = "of hydra.sweeper.storage" if "://" in self.storage else self.storage  # A URL may hold a password.
        cause = getattr(error, "orig", None) or error.__cause__ or error
        return UserError(
            f"The study {place} cannot be used ({first_line(cause)}); if it is damaged, or of another version of "
            "Optuna, delete it: the same command searches anew, and does no finished job again."
        )


def _journal(file: Path) -> BaseStorage:
    """Open Optuna's journal, after removing a lock and an incomplete last line that a killed process left."""
    Path(f"{file}.lock").unlink(missing_ok=True)
    if file.exists():
        content = file.read_bytes()
        whole = content.rfind(b"\n") + 1
        if content[whole : whole + 1] not in (b"", b"{"):
            raise ValueError("its last line is not a record of Optuna's journal")
        if whole < len(content):
            os.truncate(file, whole)
    return JournalStorage(JournalFileBackend(str(file)))


def distribution(override: Override) -> BaseDistribution:
    """Return the distribution of a swept override, or raise `UserError` if Optuna cannot search it."""
    values = values_of(override)
    if isinstance(values, Choices):
        return CategoricalDistribution(values.values)
    kind: Callable[..., BaseDistribution] = IntDistribution if values.is_whole else FloatDistribution
    try:
        if isinstance(values, Interval):
            return kind(values.low, values.high, log=values.log)
        return kind(min(values.values), max(values.values), step=values.step)
    except ValueError as error:
        raise UserError(f"{override.input_line} cannot be searched ({first_line(error)}).") from error


def _setting(settings: Mapping[str, str], key: str) -> str:
    return f"{key}={settings[key]}" if key in settings else f"the default {key}"


def _value(result: JobReturn) -> float | None:
    """Return the value of a job; None if the job failed, for a reason that the summary of the sweep gives."""
    if result.status != JobStatus.COMPLETED:  # Reading the value would print the overrides and raise the error.
        return None
    value = float(result.return_value)
    return None if math.isnan(value) else value
