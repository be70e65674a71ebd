"""All pictures of a source into one folder."""

from collections.abc import Callable
from pathlib import Path

from genreclf import targets
from genreclf.config import Config
from genreclf.data.source import AudioSource
from genreclf.errors import UserError
from genreclf.material import gather
from genreclf.rundir import sentence_when_full
from genreclf.showing.pictures import (
    MOSAIC_TRACKS,
    draw_genre_map,
    draw_log_mel,
    draw_mosaic,
    draw_spectrogram_and_mel,
    draw_waveform,
    ids_by_genre,
    spread,
)


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
    material = gather(config)
    tracks_of = ids_by_genre(material.store, material.genre_of)
    genre = genre if genre is not None else next(iter(tracks_of))
    if genre not in tracks_of:
        raise UserError(f"--genre {genre} is none of {', '.join(tracks_of)}.")
    directory = directory or Path("outputs/show") / material.source_name
    track_id = tracks_of[genre][0]
    stored, spec = material.store.spectrogram(track_id), material.spec
    drawings: dict[str, Callable[[Path], None]] = {
        "genres.png": lambda path: draw_genre_map(path, material.store, material.genre_of, spec, material.source_name),
        f"mosaic_{genre}.png": lambda path: draw_mosaic(
            path,
            {name: material.store.spectrogram(name) for name in spread(tracks_of[genre], MOSAIC_TRACKS)},
            spec,
            f"{material.source_name}: {genre}, {min(MOSAIC_TRACKS, len(tracks_of[genre]))} of {len(tracks_of[genre])}",
        ),
        f"log_mel_{genre}.png": lambda path: draw_log_mel(path, stored, spec, f"{track_id}: log-mel"),
    }
    source = targets.make("data", config.source)
    if isinstance(source, AudioSource) and spec.sample_rate is not None:
        rate = spec.sample_rate
        waveform = source.waveform(material.tracks[track_id], rate)
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
    return material.notices, paths
