"""Prepare the split, batches and model of a run from its checked configuration."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch import seed_everything

from genreclf.audio.log_mel import FeatureSpec
from genreclf.checkpoint import load_checkpoint
from genreclf.config import instantiate
from genreclf.config.config import Config
from genreclf.data.datamodule import ClipDataModule
from genreclf.datasets.base import ImageDataset, Track
from genreclf.datasets.genres import of_known_genres
from genreclf.errors import UserError
from genreclf.evaluation.provenance import provenance_of
from genreclf.experiment.baseline import Baseline
from genreclf.experiment.build import build_data, build_model, is_best_checkpoint, stops_without_best
from genreclf.experiment.checks import (
    check_evaluation,
    check_limits,
    check_network,
    check_spectrograms,
    check_training,
    spec_of,
)
from genreclf.experiment.corpus import (
    Corpus,
    Load,
    check_split,
    features_of,
    is_split_certain,
    load_corpus,
    make_encoder,
    split_ahead,
)
from genreclf.experiment.ensemble import joint_lineage, joint_provenance, members_of
from genreclf.experiment.lineage import Lineage, both, read_lineage, split_json
from genreclf.experiment.own_parts import try_own_parts
from genreclf.experiment.prolong import Start
from genreclf.experiment.refit import Refit, with_validation
from genreclf.experiment.seen import Seen, check_test
from genreclf.experiment.teacher import Teacher
from genreclf.models import GenreClassifier
from genreclf.run_directory import RunDirectory
from genreclf.splits.base import Split
from genreclf.splits.lists import AllTest
from genreclf.training.artifacts import local_run
from genreclf.training.losses import Distillation

LAST_EPOCH = (
    "callbacks has no checkpoint of the best epoch, so the last epoch is tested: name default as well, as in "
    "callbacks=[default,early_stopping], to test the best."
)
"""Notice about a training that stops early and tests another epoch than the best."""


@dataclass(frozen=True)
class Prepared:
    """Data, model and records of a run, prepared before the run trains or writes anything."""

    split: Split
    """Split of the tracks into training, validation and test sets."""
    data: ClipDataModule
    """Data module that provides the batches of the split."""
    model: GenreClassifier
    """Model, with weights initialized from the seed or from the run named by ``init_from``."""
    warnings: tuple[str, ...]
    """Warnings for the user."""
    split_record: dict[str, Any]
    """Contents of ``split.json``."""
    seen: Seen | None
    """Test tracks already seen by the runs that the weights come from; None if the weights come from no run."""
    provenance: dict[str, Any]
    """Origin of the network as recorded in ``metrics.json``; see `genreclf.evaluation.provenance`."""
    start: Start | None = None
    """Run that training continues from; None if training starts afresh."""


def prepare(config: Config, load: Load = load_corpus) -> Prepared:
    """Load and split the data, set the seed and build the model; on a `UserError`, only the store has been written."""
    splitter = instantiate.find("split", config.split, [])
    if isinstance(splitter, type) and issubclass(splitter, AllTest):
        raise UserError("split=test_all has no training tracks: it is for evaluate; choose another split.")
    check_training(config)
    lineage = Lineage()
    inherited: dict[str, Any] = {}
    if config.init_from is not None:
        tuned = local_run(config.init_from)
        load_checkpoint(tuned.best)  # Report a missing or damaged checkpoint before loading data.
        lineage = read_lineage(tuned, config)
        inherited = _pretrained(tuned)
    if (start := Start.of(config)) is not None:
        lineage = read_lineage(start.run, config)
        inherited = _pretrained(start.run)
    refit, teacher, baseline = Refit.of(config), Teacher.of(config), Baseline.of(config)
    if teacher is not None:
        lineage = both(lineage, read_lineage(teacher.run, config))
    corpus = load(config, check=check_split)
    split, seen = _split(config, corpus, lineage, refit, baseline)
    if start is not None:
        start.check_data(split, corpus.spec)
    tested = [] if split.val else [_without_validation(config, split)]
    data = build_data(config, corpus, split)
    check_limits(config, data)
    check_network(config, corpus.spec, len(data.genres))
    seed_everything(config.seed, workers=True, verbose=False)
    model, warnings = build_model(config, corpus.spec, data)
    if split.val and not model.fits_at_once and stops_without_best(config):
        tested = [LAST_EPOCH]
    if teacher is not None and isinstance(model.loss, Distillation):
        model.loss.teach(teacher.targets(split.train, data.genres))
    try_own_parts(model, data)
    begins = start.warnings if start else ()
    return Prepared(
        split,
        data,
        model,
        (*config.warnings, *corpus.warnings, *split.warnings, *tested, *warnings, *begins),
        split_record=split_json(split, corpus.dataset, corpus.tracks, lineage),
        seen=seen,
        provenance={
            **(teacher.provenance if teacher else {}),
            **inherited,
            **_own_provenance(config),
            **({"refit": refit.record} if refit else {}),
            **({"compare_with": baseline.record} if baseline else {}),
        },
        start=start,
    )


def _pretrained(run: RunDirectory) -> dict[str, Any]:
    """Return the record of pretraining from the metrics of the run that another run continues from."""
    known = provenance_of(run.read_metrics()) if run.status else {}
    return {key: record for key, record in known.items() if key == "pretrained"}


def prepare_evaluation(config: Config, load: Load = load_corpus) -> Prepared:
    """Prepare the test of the checkpoint of ``init_from``; raise `UserError` if genres or spectrograms do not match."""
    trained = local_run(config.init_from or "")
    provenance = provenance_of(trained.read_metrics() if trained.status else {})
    return _prepare_test(config, load, trained, read_lineage(trained, config), provenance)


def prepare_ensemble(config: Config, load: Load = load_corpus) -> Prepared:
    """Prepare the test of an ensemble in its run directory; raise `UserError` if its members had other tracks."""
    runs = members_of(config)
    prepared = _prepare_test(
        config, load, RunDirectory(config.run_dir), joint_lineage(runs, config), joint_provenance(runs, config)
    )
    if prepared.split.hash != runs[0].split_hash:
        raise UserError(
            f"The tracks are others than those that {runs[0].path} was trained and tested on: leave data and split as "
            "they were."
        )
    return prepared


def _prepare_test(
    config: Config,
    load: Load,
    trained: RunDirectory,
    lineage: Lineage,
    provenance: dict[str, Any],
) -> Prepared:
    checkpoint = load_checkpoint(trained.best)
    spec = spec_of(trained.best, checkpoint, config)
    known = checkpoint["hyper_parameters"]
    check_evaluation(config)
    corpus = load(config, check=partial(_check_tested, trained.path, spec, known["genres"]))
    if config.clips.genre_map is not None:
        corpus = corpus.of_genres(known["genres"])
    before = trained.read_config() if trained.config.exists() else config.plain
    if config.clips.clip_seconds == before["data"].get("clip_seconds") == "whole":  # Of the longest training track.
        corpus = replace(corpus, spec=replace(corpus.spec, clip_frames=spec.clip_frames))
    is_ensemble = config.init_from is None  # Its members were trained on this split.
    split, seen = _split(config, corpus, lineage, trains=is_ensemble)
    _check_genres(trained.path, split.genres, known["genres"])
    check_spectrograms(trained.path, spec, corpus.spec)
    data = build_data(config, corpus, split, known["genres"])
    check_limits(config, data, ["test"])
    model, _ = build_model(config, corpus.spec, data)
    return Prepared(
        split,
        data,
        model,
        (*corpus.warnings, *split.warnings, *model.warnings),
        split_record=split_json(split, corpus.dataset, corpus.tracks, lineage),
        seen=seen,
        provenance=_own_provenance(config) | provenance,
    )


def _check_tested(
    trained: Path, spec: FeatureSpec, known: Sequence[str], config: Config, tracks: Sequence[Track]
) -> None:
    """Check tracks before the store is built: features and, if the split is certain without lengths, the genres.

    Args:
        trained: Run directory of the tested run.
        spec: Features that the run was trained on.
        known: Genres that the run knows.
        config: Configuration of the evaluation.
        tracks: All tracks of the dataset.

    Raises:
        UserError: Features or genres do not match, or the tracks cannot be divided as configured.
    """
    dataset = instantiate.make("data", config.data)
    if isinstance(dataset, ImageDataset):
        dataset.tracks()  # A user's dataset may find its pictures there.
    ours = features_of(config, dataset, tracks)
    if isinstance(config.clips.clip_seconds, str):  # The length of such clips depends on the store.
        ours = replace(ours, clip_frames=spec.clip_frames)
    check_spectrograms(trained, spec, ours)
    if config.clips.genre_map is not None:
        tracks, _ = of_known_genres(tracks, known)
    if is_split_certain(config):
        _check_genres(trained, split_ahead(config, tracks).genres, known)


def _check_genres(trained: Path, genres: Iterable[str], known: Sequence[str]) -> None:
    if unknown := set(genres) - set(known):
        raise UserError(
            f"The checkpoint of {trained} does not know {', '.join(sorted(unknown))} (it knows {', '.join(known)}); "
            "choose data and split of these genres, or say which they are with data.genre_map={THEIRS: OURS, ...}."
        )


def _split(
    config: Config, corpus: Corpus, lineage: Lineage, *same: Refit | Baseline | None, trains: bool = True
) -> tuple[Split, Seen | None]:
    """Split the tracks, and check that the runs in `same` have the same split."""
    split = corpus.split(config, trains=trains)
    for run in same:
        if run is not None:
            run.check_split(split)
    if config.refit is not None:
        split = with_validation(split)
    return check_test(split, corpus.dataset, corpus.tracks, lineage, unseen=config.subsets.unseen)


def _own_provenance(config: Config) -> dict[str, Any]:
    return {"pretrained": make_encoder(config).record()} if config.is_pretrained else {}


def _without_validation(config: Config, split: Split) -> str:
    """Return a warning about testing without validation tracks; `UserError` if a callback needs such tracks."""
    for name, node in config.callbacks.items():
        if str(node.get("monitor")).startswith("val/") and not is_best_checkpoint(name, node):
            raise UserError(
                f"callbacks.{name} needs validation tracks, and split={split.name} has none: add some, or set "
                f"callbacks.{name}=null."
            )
    if any(len(config.model.get(key) or ()) > 1 for key in ("lr_factors", "weight_decay_factors")):
        raise UserError(
            f"The search of a probe needs validation tracks, and split={split.name} has none: add some, or set "
            "model.lr_factors=[1] and model.weight_decay_factors=[1]."
        )
    if str(monitor := config.scheduler.get("monitor")).startswith("val/"):
        raise UserError(
            f"scheduler.monitor={monitor} needs validation tracks, and split={split.name} has none: add some, or "
            "set it to train/loss."
        )
    if config.refit is not None:
        return "REFIT: validation tracks are trained on as well, so the last epoch is tested."
    return "There are no validation tracks, so the last epoch is tested."
