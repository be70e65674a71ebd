"""``python -m genreclf recommend RUN SONG``: find songs like a song in the library built by ``index``."""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genreclf.cli.parser import Parser, number, png
from genreclf.cli.printing import note, writing
from genreclf.errors import NOT_UTF8, UserError
from genreclf.escaping import csv_cell, printable, say
from genreclf.run_directory import csv_of

if TYPE_CHECKING:
    from genreclf.inference.prediction import Prediction
    from genreclf.recommend import Library, Recommendation, Song

DOTS = 3000
"""Maximum number of songs on the map drawn by ``--picture``; a larger library is thinned out evenly."""


def main(arguments: list[str]) -> None:
    """Print the recommended songs, or measure the quality of recommendations with ``--evaluate``."""
    options = parser().parse(arguments)
    if options.evaluate:
        _evaluate(options)
        return
    if len(options.what) != 1:
        raise UserError("recommend needs exactly one song: python -m genreclf recommend RUN SONG [-k 10]")
    if options.config_dir:
        raise UserError("--config-dir is for --evaluate and has no effect on the search for songs; omit it.")
    from genreclf.recommend import Library

    library = Library.of_run(options.run, directory=options.library)
    note(library.notice)
    for name in options.exclude_artist:
        if not len(library.records.ids_by([name])):
            note(f"--exclude-artist {printable(name)} has no effect: the library has no song by this artist.")
    song, artist = _song(library, options.run, options.what[0], options.device, options.trust)
    found = library.like(
        song,
        k=options.k,
        same_genre=options.same_genre,
        diverse=options.diverse,
        artist=artist,
        other_artists=options.other_artists,
        exclude_artists=options.exclude_artist,
    )
    if not found:
        raise UserError("The library has no other song that these options allow.")
    FORMATS[options.format](found)
    if options.picture is not None:
        _draw(options.picture, library, song, found)


def _evaluate(options: argparse.Namespace) -> None:
    """Measure the quality of recommendations; raise `UserError` for options that have no effect with ``--evaluate``."""
    if options.format == "m3u":
        raise UserError("recommend: --evaluate prints no playlist; choose another --format.")
    if options.picture is not None:
        raise UserError("recommend: --picture shows one song; omit it or --evaluate.")
    given = {
        "--same-genre": options.same_genre,
        "--diverse": options.diverse,
        "--other-artists": options.other_artists,
        "--exclude-artist": options.exclude_artist,
        "--library": options.library,
    }
    if without_effect := [name for name, value in given.items() if value]:
        raise UserError(f"recommend: {', '.join(without_effect)} has no effect with --evaluate; omit it.")
    for word in options.what:
        if not word.startswith("~") and ("=" not in word or os.path.isfile(word)):
            raise UserError(
                f"recommend: --evaluate takes no song, but settings such as data.artists=FILE; omit {word}."
            )
    from genreclf.cli.recommend_evaluation import evaluate

    evaluate(
        options.run,
        options.what,
        k=options.k,
        form=options.format,
        device=options.device,
        trust=options.trust,
        config_dir=options.config_dir,
    )


def _song(
    library: "Library", run: str, word: str, device: str, trust: list[str]
) -> "tuple[Song | Prediction, str | None]":
    """Return the song of the library that `word` names, or else the prediction for the file, and the artist."""
    path = Path(word)
    try:
        os.path.abspath(path).encode()
    except UnicodeEncodeError:
        raise UserError(f"{word}: {NOT_UTF8}.") from None
    # A file takes precedence over a song of the library whose path ends with the same word.
    is_file = os.path.isfile(path)
    if (song := library.find(os.path.abspath(path) if is_file else word)) is not None:
        if not is_file or not song.playable:
            return song, song.artist
        status = path.stat()
        if song.fingerprint == f"{status.st_size}-{status.st_mtime_ns}":
            return song, song.artist
    from genreclf.audio.decode import read_artist_tag
    from genreclf.inference.predictor import GenrePredictor

    if not os.path.exists(path):
        raise UserError(f"{word} is neither a file nor a song of the library {library.directory}.")
    predictor = GenrePredictor.of_run(run, device=device, trust=trust)
    note(predictor.feature_extractor.notice)
    return predictor.predict(path), read_artist_tag(path)


def _draw(path: Path, library: "Library", song: "Song | Prediction", found: "list[Recommendation]") -> None:
    from genreclf.plots.recommendation import SongBar, SongMap, draw_recommendation

    dots = library.records.spread(DOTS)
    vectors = library.similarity.of_songs(dots)
    song_map = SongMap(
        genres=library.genres, vectors=vectors, song_genres=[dot.genre for dot in dots], songs=len(library)
    )
    here, *there = library.similarity.of_songs([song, *(one.song for one in found)])
    asked = SongBar(name=printable(Path(str(song.path)).stem), probabilities=song.probabilities, vector=here)
    bars = [
        SongBar(name=_called(one.song), probabilities=one.song.probabilities, vector=vector, similarity=one.similarity)
        for one, vector in zip(found, there, strict=True)
    ]
    with writing("--picture", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_recommendation(path, song_map, asked, bars)


def _called(song: "Song") -> str:
    title = song.path.stem if song.playable else song.name
    return printable(f"{song.artist} - {title}" if song.artist else title)


def _table(found: "list[Recommendation]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for name in ("", "song", "artist", "genre", "similarity"):
        table.add_column(name, justify="right" if name in ("", "similarity") else "left", overflow="fold")
    for one in found:
        genre = f"{one.song.genre} {100 * one.song.probabilities.max():.0f} %"
        cells = (str(one.rank), one.song.name, one.song.artist or "", genre, f"{one.similarity:.3f}")
        table.add_row(*(Text(printable(cell)) for cell in cells))
    Console().print(table)


def _csv(found: "list[Recommendation]") -> None:
    rows = [_plain(one) for one in found]
    cells = ([csv_cell(_printable(value)) for value in row.values()] for row in rows)
    print(csv_of(rows[0], cells), end="")


def _json(found: "list[Recommendation]") -> None:
    print(json.dumps([_plain(one) for one in found], indent=2))


def _m3u(found: "list[Recommendation]") -> None:
    lines = ["#EXTM3U"]
    for one in found:
        song = one.song
        if not song.playable or not str(song.path).isprintable():
            say(f"{printable(song.name)} is left out: a playlist cannot contain it.")
            continue
        title = f"{song.artist} - {song.path.stem}" if song.artist else song.path.stem
        lines += [f"#EXTINF:{round(song.duration_s)},{printable(' '.join(title.split()))}", str(song.path)]
    if len(lines) == 1:
        raise UserError("None of the songs is an audio file, so there is nothing to play: choose another --format.")
    print("\n".join(lines))


def _printable(value: Any) -> Any:
    return printable(value) if isinstance(value, str) else value


FORMATS = {"table": _table, "csv": _csv, "json": _json, "m3u": _m3u}


def _plain(one: "Recommendation") -> dict[str, Any]:
    song = one.song
    return {
        "rank": one.rank,
        "similarity": round(one.similarity, 6),
        "name": song.name,
        "path": str(song.path),
        "artist": song.artist,
        "genre": song.genre,
        "probability": round(float(song.probabilities.max()), 6),
        "duration_s": round(song.duration_s, 3),
    }


def parser() -> Parser:
    """Return the argument parser of the command."""
    command = Parser(
        "recommend", "Find songs like a song in the library that index made. The song itself is never recommended."
    )
    command.add_run()
    command.add_argument(
        "what", metavar="SONG", nargs="*", help="audio file, or a track id or the end of a path in the library"
    )
    command.add_argument(
        "-k",
        type=number(int, 1, 1000, "whole number from 1 to 1000"),
        default=10,
        metavar="K",
        help="number of songs; default: 10",
    )
    command.add_argument(
        "--same-genre", action="store_true", help="only songs of the genre that the model finds most probable"
    )
    command.add_argument(
        "--diverse", action="store_true", help="songs that also differ from each other (maximal marginal relevance)"
    )
    command.add_argument(
        "--other-artists", action="store_true", help="no songs by the song's artist, or by any artist of a joint credit"
    )
    command.add_argument(
        "--exclude-artist",
        type=_artist,
        action="append",
        default=[],
        metavar="NAME",
        help="no songs by this artist; may be repeated",
    )
    command.add_argument("--format", choices=sorted(FORMATS), default="table", help="default: table")
    command.add_argument(
        "--picture", type=png, metavar="FILE.png", help="draw the songs on a map of the library, with their genres"
    )
    command.add_argument("--library", metavar="DIR", help="folder of the library; default: RUN/library")
    command.add_argument(
        "--evaluate",
        action="store_true",
        help="instead, choose the weights of the similarity on the run's validation tracks, for the next index, and "
        "show the precision of genres among the nearest K of its test tracks; takes overrides such as "
        "data.artists=FILE for a SONG",
    )
    command.add_device()
    command.add_config_dir()
    return command


def _artist(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("it needs the name of an artist")
    return text
