"""Lines that a run prints at its start: data, model, run directory, and whether it resumes from a checkpoint."""

from collections.abc import Iterator
from contextlib import suppress

from genreclf.checkpoint import load_checkpoint
from genreclf.config.config import Config
from genreclf.datasets.identity import artist_groups
from genreclf.errors import UserError
from genreclf.experiment.setup import Prepared
from genreclf.run_directory import RunDirectory
from genreclf.splits.base import SUBSET_NAMES, Segment


def introduce(task: str, config: Config, run: RunDirectory, prepared: Prepared) -> Iterator[str]:
    """Yield the lines that a run prints at its start.

    They must be made before the run writes its configuration and metrics, which show from where it resumes.

    Args:
        task: Name of the task, a key of `genreclf.experiment.tasks.TASKS`; only ``train`` shows training tracks.
        config: Configuration of the run.
        run: Run directory.
        prepared: Data and model of the run.
    """
    split, data, model = prepared.split, prepared.data, prepared.model
    marks = ", LEAKY" * split.leaky + ", PRETRAINED" * config.is_pretrained
    yield f"Data: {prepared.split_record['dataset']}; {len(split.genres)} genres; split {split.name}{marks}"
    for subset, segments in split.subsets.items():
        if segments and (task == "train" or subset != "train"):
            clips = _counted(data.loader(subset).clips, "clip") + " per epoch" * (subset == "train")
            yield f"  {SUBSET_NAMES[subset]:<10} {_tracks(segments, prepared)}, {clips}"
    trained = sum(parameter.numel() for parameter in model.network.parameters() if parameter.requires_grad)
    frozen = "" if trained == model.n_parameters else f", {trained:,} of them trained"
    yield f"Model: {type(model).__name__}, {model.n_parameters:,} parameters{frozen}"
    yield f"Run directory: {run.path}" + (f" ({_start(config, run, prepared)})" if task == "train" else "")


def _tracks(segments: tuple[Segment, ...], prepared: Prepared) -> str:
    ids = sorted({segment.track_id for segment in segments})
    groups = artist_groups(ids, prepared.split_record["artists"])
    artists = _counted(len(set(groups.values())), "artist") if groups else "artists unknown"
    return f"{_counted(len(ids), 'track')}, {artists}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _start(config: Config, run: RunDirectory, prepared: Prepared) -> str:
    if run.status is not None and run.read_metrics().get("fitted"):
        return "trained; continues with the test"
    if run.last.exists():
        with suppress(UserError):  # A damaged checkpoint is reported when training loads it.
            return f"continues from epoch {load_checkpoint(run.last)['epoch'] + 1} of {config.trainer.max_epochs}"
        return "continues from its last checkpoint"
    epochs = config.trainer.max_epochs
    return "fitted at once" if prepared.model.fits_at_once else f"new, {_counted(epochs, 'epoch')}"
