"""All pictures of a source into one folder."""

from collections.abc import Callable
from pathlib import Path

from genreclf.config import instantiate
from genreclf.config.config import Config
from genreclf.datasets.base import AudioDataset
from genreclf.errors import UserError
from genreclf.experiment.corpus import load_corpus
from genreclf.plots.spectrograms import (
    MOSAIC_TRACKS,
    draw_genre_map,
    draw_log_mel,
    draw_mosaic,
    draw_spectrogram_and_mel,
    draw_waveform,
    ids_by_genre,
    spread,
)
from genreclf.run_directory import sentence_when_full


def show(config: Config, directory: Path | None = None, genre: str | None = None) -> tuple[tuple[str, ...], list[Path]]:
    """Draw the source of a configuration, building its store first if need be.

    Args:
        config: Names the source and the features.
        directory: Where to; by default ``outputs/show/`` and the name of the source.
        genre: Whose tracks are drawn one by one and as a mosaic; by default the first one.

    Returns:
        What a user should know about the source, and the files that were written.

    Raises:
        UserError: There is no such genre, or nothing can be read or written.
    """
    corpus = load_corpus(config)
    tracks_of = ids_by_genre(corpus.store, corpus.genre_of)
    genre = genre if genre is not None else next(iter(tracks_of))
    if genre not in tracks_of:
        raise UserError(f"--genre {genre} is none of {', '.join(tracks_of)}.")
    directory = directory or Path("outputs/show") / corpus.source_name
    track_id = tracks_of[genre][0]
    stored, spec = corpus.store.spectrogram(track_id), corpus.spec
    drawings: dict[str, Callable[[Path], None]] = {
        "genres.png": lambda path: draw_genre_map(path, corpus.store, corpus.genre_of, spec, corpus.source_name),
        f"mosaic_{genre}.png": lambda path: draw_mosaic(
            path,
            {name: corpus.store.spectrogram(name) for name in spread(tracks_of[genre], MOSAIC_TRACKS)},
            spec,
            f"{corpus.source_name}: {genre}, {min(MOSAIC_TRACKS, len(tracks_of[genre]))} of {len(tracks_of[genre])}",
        ),
        f"log_mel_{genre}.png": lambda path: draw_log_mel(path, stored, spec, f"{track_id}: log-mel"),
    }
    source = instantiate.make("data", config.source)
    if isinstance(source, AudioDataset) and spec.sample_rate is not None:
        rate = spec.sample_rate
        waveform = source.waveform(corpus.tracks[track_id], rate)
        drawings[f"waveform_{genre}.png"] = lambda path: draw_waveform(path, waveform, rate, f"{track_id}: waveform")
        drawings[f"spectrogram_and_mel_{genre}.png"] = lambda path: draw_spectrogram_and_mel(
            path, waveform, stored, spec, f"{track_id}: spectrogram and mel"
        )
    from rich.progress import track as progress

    paths = []
    try:
        with sentence_when_full(directory):
            directory.mkdir(parents=True, exist_ok=True)
            for name, draw in progress(drawings.items(), "Pictures"):
                paths.append(directory / name.replace("/", "-"))
                draw(paths[-1])
    except OSError as error:
        raise UserError(f"--out {directory} cannot be written ({error.strerror}); choose another.") from error
    return corpus.warnings, paths
