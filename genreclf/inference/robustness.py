"""Measure how robust the predictions of a trained model are against changes of the test tracks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from genreclf.audio.transforms import Transformation
from genreclf.config import instantiate
from genreclf.config.config import Config
from genreclf.config.identity import difference
from genreclf.datasets.base import AudioDataset, Dataset, ImageDataset, Track
from genreclf.datasets.checks import checked_tracks, checked_waveform
from genreclf.datasets.genres import map_genres, read_genre_map
from genreclf.datasets.identity import artist_groups, credited
from genreclf.devices import first_device
from genreclf.errors import UnreadableTrack, UserError
from genreclf.escaping import say
from genreclf.evaluation.predictions import TrackPredictions, read_track_csv, write_track_csv
from genreclf.evaluation.provenance import marks_of, provenance_of
from genreclf.evaluation.robustness import Robustness
from genreclf.experiment.corpus import is_split_certain, load_corpus, split_of
from genreclf.experiment.lineage import read_lineage
from genreclf.experiment.seen import check_test
from genreclf.inference.predictor import GenrePredictor
from genreclf.plots.robustness import draw_robustness
from genreclf.plots.style import marked
from genreclf.progress_bar import progress_bar
from genreclf.reports.robustness import write_tables
from genreclf.run_directory import RunDirectory, sentence_when_full

UNCHANGED = "unchanged"
"""Name of the predictions of the unchanged tracks."""

Predict = Callable[[Track, Transformation | None], NDArray[np.float64]]
"""Function that returns the probabilities ``(genre,)`` of a track after a transformation, or of the unchanged track."""


@dataclass(frozen=True)
class Measurement:
    """Model, tracks and transformations of a robustness measurement."""

    genres: tuple[str, ...]
    """Names of the genres of the model."""
    tracks: Sequence[Track]
    """Test tracks, sorted by id."""
    transformations: Mapping[str, Transformation]
    """Transformations by name."""
    predict: Predict
    """Function that predicts one track."""
    artists: Mapping[str, str] | None
    """Artists of the tracks by id, see `genreclf.datasets.identity.artist_groups`."""
    metrics: Mapping[str, Any]
    """Split and origin of the network, under the keys that they have in ``metrics.json``."""


def measure_robustness(config: Config, *, trust: Sequence[str] = ()) -> tuple[str, list[Robustness]]:
    """Predict the test tracks unchanged and after each change, and write tables and a plot to the run directory.

    The predictions for a change are written when they are complete, so that the same command continues an interrupted
    one.

    Args:
        config: Configuration of the evaluation, in which `genreclf.config.config.Config.init_from` names the run.
        trust: Modules whose model classes the run may use.

    Returns:
        The title of the results, which ends with the marks LEAKY, PRETRAINED and REFIT where they apply, and the
        results, one for each change.

    Raises:
        UserError: The run directory holds another measurement, a track cannot be predicted, or the run, the data and
            the split do not match.
    """
    run = RunDirectory(config.run_dir)
    if run.config.exists() and (other := difference(run.read_config(), config.plain)):
        raise UserError(f"{run.path} holds another measurement ({other}); set another run_dir.")
    measurement = _prepared(config, trust)
    run.make()
    predictions = run.path / "predictions"
    with run.held(), sentence_when_full(run.path):
        predictions.mkdir(exist_ok=True)
        run.write_config(config.plain)
        found: dict[str, TrackPredictions] = {}
        with _progress() as advance:
            for name, change in {UNCHANGED: None, **measurement.transformations}.items():
                path = predictions / f"{name}.csv"
                if not path.exists():
                    write_track_csv(path, _predictions(measurement, name, change, advance))
                found[name] = read_track_csv(path)
        before = found.pop(UNCHANGED)
        results = [Robustness.of(name, before, after, measurement.artists) for name, after in found.items()]
        split, marks = measurement.metrics["split"], marks_of(measurement.metrics)
        tested = f"{run.read_config()['init_from']}, split {split['name']}"
        heading = marked(tested, leaky=split["leaky"], marks=marks)
        draw_robustness(run.figures / "robustness.png", results, before, heading)
        marks = ["LEAKY"] * split["leaky"] + marks
        title = f"Robustness of {tested}" + (f" ({', '.join(marks)})" if marks else "")
        write_tables(run, results, before, title=title, metrics=measurement.metrics)
    return title, results


def _prepared(config: Config, trust: Sequence[str]) -> Measurement:
    changes = {name: instantiate.make(f"robustness.{name}", node) for name, node in config.robustness.items()}
    trained = RunDirectory(config.init_from or "")
    predictor = GenrePredictor.of_run(trained.path, device=str(first_device(config.trainer.accelerator)), trust=trust)
    lineage = read_lineage(trained, config)
    dataset: Dataset = instantiate.make("data", config.data)
    if isinstance(dataset, ImageDataset) or not is_split_certain(config):
        corpus = load_corpus(config)
        dataset.tracks()  # A user's dataset may find its waveforms there.
        if config.clips.genre_map is not None:
            corpus = corpus.of_genres(predictor.genres)
        tracks, notices = dict(corpus.tracks), list(corpus.warnings)
        split = corpus.split(config, trains=False)
    else:
        tracks, notices = _listed(config, dataset, predictor.genres)
        frames = predictor.spec.clip_frames
        split = split_of(config, list(tracks.values()), dict.fromkeys(tracks, frames), frames, trains=False)
    if isinstance(dataset, ImageDataset):
        ours = replace(corpus.spec, clip_frames=predictor.spec.clip_frames)
        if ours != predictor.spec:
            raise UserError(f"{trained.path} was trained on other spectrograms than data={dataset.name} has.")
        changes = _of_pictures(changes, predictor, dataset)

        def predict(track: Track, change: Transformation | None) -> NDArray[np.float64]:
            stored = torch.from_numpy(np.ascontiguousarray(corpus.store.spectrogram(track.id).T))
            changed = stored if change is None else change.of_picture(stored, predictor.spec)
            assert changed is not None
            return predictor.describe(changed)[0]
    else:
        assert isinstance(dataset, AudioDataset)
        audio, rate = dataset, predictor.feature_extractor.sample_rate

        def predict(track: Track, change: Transformation | None) -> NDArray[np.float64]:
            samples = checked_waveform(audio, track, rate)
            changed = samples if change is None else change.of_waveform(samples, rate)
            return predictor.predict(changed, sample_rate=rate).probabilities

    if not split.whole_tracks:
        raise UserError(f"robustness is of whole tracks, and split={split.name} cuts them; choose another split.")
    split, seen = check_test(split, dataset.dataset, tracks, lineage, unseen=config.subsets.unseen)
    for notice in (*notices, *split.warnings):
        say(f"Note: {notice}")
    tested = [tracks[segment.track_id] for segment in sorted(split.test)]
    if unknown := {track.genre for track in tested} - set(predictor.genres):
        raise UserError(f"{trained.path} does not know {', '.join(sorted(unknown))}; choose data of its genres.")
    artists = {track.id: tuple(credited(track.artist)) for track in tested}
    return Measurement(
        genres=predictor.genres,
        tracks=tested,
        transformations=changes,
        predict=predict,
        artists=artist_groups(artists, artists),
        metrics={
            "split": {"name": split.name, "leaky": split.leaky, "seen": seen and seen.counts},
            **provenance_of(trained.read_metrics() if trained.status else {}),
        },
    )


def _listed(config: Config, dataset: Dataset, known: Sequence[str]) -> tuple[dict[str, Track], list[str]]:
    """Return the tracks by id, and notices for the user; ``data.genre_map`` restricts them to the `known` genres."""
    mapped, notices = map_genres(checked_tracks(dataset), read_genre_map(config.clips.genre_map))
    tracks = {track.id: track for track in mapped}
    notices = [*dataset.warnings, *notices]
    if config.clips.genre_map is not None:
        tracks = {id: track for id, track in tracks.items() if track.genre in known}
        notices.append(f"{len(tracks)} of {len(mapped)} tracks are of genres that the model knows")
    return tracks, notices


def _of_pictures(
    changes: Mapping[str, Transformation], predictor: GenrePredictor, dataset: ImageDataset
) -> dict[str, Transformation]:
    """Return the changes that can be applied to images; print a note that names the others."""
    if predictor.spec.kind != "log_mel":
        raise UserError("robustness of a model of embeddings is measured on audio; choose data of audio.")
    picture = torch.zeros(4, predictor.spec.n_mels, dtype=torch.uint8)
    kept = {name: change for name, change in changes.items() if change.of_picture(picture, predictor.spec) is not None}
    if left_out := sorted(changes.keys() - kept.keys()):
        reason = f"{', '.join(left_out)} of robustness need waveforms, and data={dataset.name} has pictures"
        if not kept:
            raise UserError(f"{reason}: choose data of audio.")
        say(f"Note: {reason}: left out.")
    return kept


def _predictions(
    measurement: Measurement, name: str, change: Transformation | None, advance: Callable[[str, int], None]
) -> TrackPredictions:
    rows = []
    for track in measurement.tracks:
        try:
            rows.append(measurement.predict(track, change))
        except (UnreadableTrack, UserError) as error:
            raise UserError(f"{track.id}, {name}: {str(error).rstrip('.')}.") from error
        advance(name, len(measurement.tracks))
    index = {genre: number for number, genre in enumerate(measurement.genres)}
    return TrackPredictions(
        genres=measurement.genres,
        track_ids=tuple(track.id for track in measurement.tracks),
        targets=np.array([index[track.genre] for track in measurement.tracks]),
        probabilities=np.stack(rows),
    )


@contextmanager
def _progress() -> Iterator[Callable[[str, int], None]]:
    """Show a progress bar per change; yield a function of its name and total that advances it by one track."""
    bars = {}
    with progress_bar() as progress:

        def advance(name: str, total: int) -> None:
            if name not in bars:
                bars[name] = progress.add_task(name, total=total)
            progress.advance(bars[name])

        yield advance
