"""``python -m genreclf show [overrides]``: plot waveforms and spectrograms of a dataset."""

import dataclasses
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from genreclf.cli.parser import Parser
from genreclf.cli.printing import note, writing
from genreclf.errors import UserError
from genreclf.escaping import say
from genreclf.progress_bar import progress_bar

if TYPE_CHECKING:
    from genreclf.config.config import Config


def parser() -> Parser:
    """Return the argument parser of the command."""
    command = Parser("show", "Draw waveform, spectrograms and genres of a dataset.")
    command.add_overrides("as for a training, such as data=gtzan")
    command.add_argument("--genre", metavar="G", help="genre whose tracks are drawn; default: the first")
    command.add_argument("--out", type=Path, metavar="DIR", help="output folder; default: outputs/show/DATASET")
    command.add_argument("--wandb", action="store_true", help="also log the pictures to W&B")
    return command


def main(arguments: list[str]) -> None:
    """Draw the plots, print their paths, and log them to W&B with ``--wandb``."""
    asked = parser().parse(arguments)
    from genreclf.cli.compose import checked

    config = checked(asked.overrides, run_dir="-", config_dir=asked.config_dir)
    if asked.wandb:
        from genreclf.experiment.check_loggers import check_loggers

        check_loggers(config)
    warnings, paths = _draw(config, asked.out, asked.genre)
    note(*warnings)
    if asked.wandb:
        from genreclf.experiment.build import make_loggers
        from genreclf.training.tracking import Tracking

        node = {"_target_": "genreclf.training.loggers.PatientWandbLogger", **config.logger.get("wandb", {})}
        config = dataclasses.replace(config, run_dir=str(paths[0].parent), logger={"wandb": node})
        with Tracking(make_loggers(config, {"config": config.plain})) as tracking:
            tracking.add_pictures(lambda: paths)
    for path in paths:
        say(path, sys.stdout)


def _draw(config: "Config", directory: Path | None, genre: str | None) -> tuple[tuple[str, ...], list[Path]]:
    """Plot the dataset of a configuration; return warnings about the dataset and the paths of the plots."""
    from genreclf.config import instantiate
    from genreclf.datasets.base import AudioDataset
    from genreclf.datasets.checks import checked_waveform
    from genreclf.experiment.corpus import load_corpus
    from genreclf.plots import spectrograms as plots
    from genreclf.run_directory import sentence_when_full

    if config.takes != "log_mel":
        raise UserError("show draws spectrograms, which this model does not use: omit model and encoder.")
    corpus = load_corpus(config, check=lambda _, tracks: _check_genre(genre, {track.genre for track in tracks}))
    tracks_of = plots.ids_by_genre(corpus.store, corpus.genre_of)
    _check_genre(genre, tracks_of)
    genre = genre if genre is not None else next(iter(tracks_of))
    directory = directory or Path("outputs/show") / corpus.dataset_name
    track_id = tracks_of[genre][0]
    chosen = plots.spread(tracks_of[genre], plots.MOSAIC_TRACKS)
    stored, spec = corpus.store.spectrogram(track_id), corpus.spec
    drawings: dict[str, Callable[[Path], None]] = {
        "genres.png": lambda path: plots.draw_genre_map(path, corpus.store, corpus.genre_of, spec, corpus.dataset_name),
        f"mosaic_{genre}.png": lambda path: plots.draw_mosaic(
            path,
            {name: corpus.store.spectrogram(name) for name in chosen},
            spec,
            f"{corpus.dataset_name}: {genre}, {len(chosen)} of {len(tracks_of[genre])}",
        ),
        f"log_mel_{genre}.png": lambda path: plots.draw_log_mel(path, stored, spec, f"{track_id}: log-mel"),
    }
    dataset = instantiate.make("data", config.data)
    if isinstance(dataset, AudioDataset) and spec.sample_rate is not None:
        rate = spec.sample_rate
        dataset.tracks()  # A user's dataset may find its waveforms there.
        waveform = checked_waveform(dataset, corpus.tracks[track_id], rate)
        drawings[f"waveform_{genre}.png"] = lambda path: plots.draw_waveform(
            path, waveform, rate, f"{track_id}: waveform"
        )
        drawings[f"spectrogram_and_mel_{genre}.png"] = lambda path: plots.draw_spectrogram_and_mel(
            path, waveform, stored, spec, f"{track_id}: spectrogram and mel"
        )
    paths = []
    with writing("--out", directory), sentence_when_full(directory):
        directory.mkdir(parents=True, exist_ok=True)
        with progress_bar() as progress:
            for name, draw in progress.track(drawings.items(), description="Pictures"):
                paths.append(directory / name.replace("/", "-"))
                draw(paths[-1])
    return corpus.warnings, paths


def _check_genre(genre: str | None, known: Collection[str]) -> None:
    if genre is not None and genre not in known:
        raise UserError(f"--genre {genre} is not one of {', '.join(sorted(known))}.")
