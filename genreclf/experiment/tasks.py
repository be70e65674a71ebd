"""What each rank does to train or to test a run, once its configuration is checked."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import NamedTuple

from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from genreclf.config.config import Config
from genreclf.errors import Terminated
from genreclf.evaluation.provenance import marks_of
from genreclf.experiment.build import make_loggers
from genreclf.experiment.corpus import Corpus
from genreclf.experiment.evaluate import test
from genreclf.experiment.fit import fit, is_first_rank
from genreclf.experiment.setup import Prepared, prepare, prepare_evaluation
from genreclf.experiment.sharing import Sharing
from genreclf.run_directory import RunDirectory
from genreclf.training.tracking import Tracking

Share = Generator[str, None, None]
"""What a rank does for a task; it yields the name of a step before it takes it."""


def compute(task: str, config: Config, prepared: Prepared, sharing: Sharing) -> Share:
    """Do this rank's share of a task.

    Raises:
        KeyboardInterrupt: It was interrupted.
        Terminated: It was told to end.
    """
    try:
        yield from TASKS[task].compute(config, prepared, sharing)
    except SIGTERMException:
        raise Terminated from None
    except SystemExit:  # Lightning's answer to Ctrl-C.
        raise KeyboardInterrupt from None


def train(config: Config, prepared: Prepared, sharing: Sharing) -> Share:
    """Do one rank's share of fitting and testing, a step each; the first rank writes the report."""
    run = RunDirectory(config.run_dir)
    with _tracking(config, run, prepared, "train", sharing) as tracking:
        if not run.read_metrics().get("fitted"):
            if prepared.data.spec.kind == "log_mel":
                tracking.add_pictures(lambda: [_genre_map(run, prepared)])
            yield "fit"
            fit(config, run, prepared, tracking, sharing.device)
        yield from test(config, run, run, prepared, tracking, sharing.draw)


def evaluate_again(config: Config, prepared: Prepared, sharing: Sharing) -> Share:
    """Do one rank's share of testing the best checkpoint of the run that `Config.init_from` names."""
    run = RunDirectory(config.run_dir)
    with _tracking(config, run, prepared, "evaluate", sharing) as tracking:
        yield from test(config, run, RunDirectory(config.init_from or ""), prepared, tracking, sharing.draw)


class Task(NamedTuple):
    """Something a rank can be asked to do."""

    prepare: Callable[[Config, Callable[[Config], Corpus]], Prepared]
    compute: Callable[[Config, Prepared, Sharing], Share]


TASKS = {"train": Task(prepare, train), "evaluate": Task(prepare_evaluation, evaluate_again)}
"""What a rank can be asked to do, by its name."""


def _genre_map(run: RunDirectory, prepared: Prepared) -> Path:
    """Draw a spectrogram of each genre into the run directory."""
    from genreclf.plots.spectrograms import draw_genre_map

    data = prepared.data
    draw_genre_map(run.figures / "genres.png", data.store, data.genre_of, data.spec, run.path.resolve().name)
    return run.figures / "genres.png"


def _tracking(config: Config, run: RunDirectory, prepared: Prepared, job_type: str, sharing: Sharing) -> Tracking:
    split = prepared.split
    marks = [*["LEAKY"] * split.leaky, *marks_of(prepared.provenance)]
    ours = [config.model["_target_"].rpartition(".")[2], split.name, *marks]
    if not is_first_rank():  # Callbacks that log want one on every rank.
        return Tracking([DummyLogger()] if config.logger else [])
    given = {"config": config.plain, "job_type": job_type, "beside_others": sharing.device is not None}
    return Tracking(make_loggers(config, given, tags=ours))
