"""``python -m genreclf predict RUN PATH...``: predict the genres of audio files."""

import argparse
import csv
import json
import math
import os
import re
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from genreclf.cli.parser import Parser, number
from genreclf.cli.printing import note
from genreclf.errors import UserError
from genreclf.escaping import csv_cell, printable, say

if TYPE_CHECKING:
    from genreclf.inference.prediction import Prediction
    from genreclf.inference.predictor import GenrePredictor

TABLE_TOP = 3
"""Number of genres that the table shows for each song, unless ``--top`` is given."""

TABLE_STRETCHES = 6
"""Maximum number of times in each song, with the genre from there on, that the table shows."""

NAME_BYTES = 150
"""Maximum length in bytes of the name of a plot; file systems allow 255, with the suffix and a number."""

NOT_SURE = "not sure"
"""Text printed instead of a genre if the confidence of a prediction is too low."""


def main(arguments: list[str]) -> None:
    """Print the genres of each song; report and skip unreadable files, and fail only if no song could be predicted."""
    options = parser().parse(arguments)
    for word in map(str, options.paths):
        if re.fullmatch(r"[~+]?[a-z_]+(\.\w+)*=.*", word) and not Path(word).exists():
            raise UserError(f"{word} is no song: predict takes no settings, as a run keeps those of its training.")
    from genreclf.inference.listing import audio_files, short_name
    from genreclf.inference.predictor import GenrePredictor
    from genreclf.progress_bar import progress_bar
    from genreclf.run_directory import NoSpace

    predictor = GenrePredictor.of_run(options.run, device=options.device, trust=options.trust)
    note(predictor.feature_extractor.notice)
    if predictor.warning is not None:
        say(f"Warning: {predictor.warning}")
    least = None if options.abstain is None else _least_confidence(predictor, *options.abstain)
    writer = FORMATS[options.format](predictor, options.top, least)
    pictures = Pictures(Path(options.timeline_dir)) if options.timeline_dir else None
    predicted = left_out = 0
    songs = list(audio_files(options.paths))
    try:
        with progress_bar(beside_rows=options.format != "table") as progress:
            for path, reason in progress.track(songs, description="Songs"):
                name = printable(str(path))
                try:
                    if reason is not None:
                        raise UserError(f"{name}: {reason}")
                    prediction = predictor.predict(path, skip_start_s=options.skip_start, skip_end_s=options.skip_end)
                except NoSpace:
                    raise
                except UserError as error:
                    say(error)
                    left_out += 1
                    continue
                predicted += 1
                short = printable(short_name(path, options.paths))
                writer.add(short if options.format == "table" else name, prediction)
                if pictures is not None:
                    pictures.draw(path, prediction, writer.genre(prediction))
    finally:  # Finished predictions are kept even if Ctrl-C or a full disk ends the command.
        writer.end()
        sys.stdout.flush()
    if not predicted:
        raise UserError("No song could be predicted.")
    if left_out:
        print(f"{predicted} predicted, {left_out} skipped.", file=sys.stderr)


def _abstention(word: str) -> tuple[str, float]:
    """Parse the value of ``--abstain``; return its kind, ``coverage`` or ``probability``, and its share."""
    kind, _, value = word.partition("=")
    if kind not in ("coverage", "probability"):
        raise argparse.ArgumentTypeError(f"{word} is neither coverage=SHARE nor probability=SHARE")
    return kind, number(float, 0, 1, "share from 0 to 1")(value)


def _least_confidence(predictor: "GenrePredictor", kind: str, value: float) -> float:
    """Return the confidence below which a song is `NOT_SURE`, and print the validation accuracy of ``coverage``."""
    if kind == "probability":
        return value
    if (calibration := predictor.calibration) is None:
        raise UserError(
            "--abstain coverage=... needs a run that was calibrated on validation tracks, and this run was not: use "
            "--abstain probability=..., or train again with validation tracks."
        )
    least = calibration.least_confidence(value)
    right = 100 * calibration.accuracy_at(value)
    note(
        f'songs with a confidence below {least:.3f} are marked "{NOT_SURE}"; above it, {right:.0f} % of the '
        "validation tracks were right."
    )
    return least


class Writer(ABC):
    """Prints predictions in one format; the base class of all formats.

    Args:
        predictor: Predictor that predicts the songs.
        top: Number of most probable genres to print; None is the default of the format.
        least: Confidence below which the genre of a song is `NOT_SURE`; None to print the genre of every song.
    """

    def __init__(self, predictor: "GenrePredictor", top: int | None, least: float | None) -> None:
        self.top, self.least = top, least

    @abstractmethod
    def add(self, name: str, prediction: "Prediction") -> None:
        """Print the prediction of a song, or keep it until `end` is called."""

    def end(self) -> None:  # noqa: B027, for some keep nothing.
        """Print the predictions that were kept."""

    def genre(self, prediction: "Prediction") -> str:
        """Return the predicted genre of a song, or `NOT_SURE` if the confidence is too low."""
        return NOT_SURE if self.least is not None and prediction.confidence < self.least else prediction.genre


class Table(Writer):
    """Table with a row per song: the most probable genres with their probabilities, and the genre over time."""

    def __init__(self, predictor: "GenrePredictor", top: int | None, least: float | None) -> None:
        from rich.table import Table as RichTable

        super().__init__(predictor, top or TABLE_TOP, least)
        self.table = RichTable()
        for name in ("song", "genres", "over time"):
            self.table.add_column(name, overflow="fold", min_width=8)
        self.table.caption = None if predictor.warning is None else f"Warning: {predictor.warning}"
        for name in ("confidence", "entropy\n(bits)", "length"):
            self.table.add_column(name, justify="right", no_wrap=True)

    def add(self, name: str, prediction: "Prediction") -> None:
        """Add the row of a song."""
        from rich.text import Text

        from genreclf.inference.prediction import clock

        stretches = [f"{clock(start_s)} {genre}" for start_s, genre in prediction.timeline.stretches()]
        more = len(stretches) - TABLE_STRETCHES
        shares = [f"{100 * share:4.1f} % {genre}" for genre, share in prediction.top(self.top)]
        cells = [
            name,
            "\n".join([NOT_SURE, *shares] if self.genre(prediction) == NOT_SURE else shares),
            "\n".join([*stretches[:TABLE_STRETCHES], *([f"{more} more changes"] if more > 0 else [])]),
            f"{prediction.confidence:.2f}\n{prediction.certainty}",
            f"{prediction.entropy_bits:.2f}",
            clock(prediction.duration_s),
        ]
        self.table.add_row(*(Text(printable(cell, keep="\n")) for cell in cells))

    def end(self) -> None:
        """Print the table."""
        from rich.console import Console

        if self.table.row_count:
            Console().print(self.table)


class JsonLines(Writer):
    """JSON Lines with one object per song; with ``--top``, its key ``top`` lists the most probable genres in order."""

    def add(self, name: str, prediction: "Prediction") -> None:
        """Print the line of a song."""
        content = {**prediction.plain(), "genre": self.genre(prediction)}
        if self.top is not None:
            content["top"] = [genre for genre, _ in prediction.top(self.top)]
        print(json.dumps(content), flush=True)


FIGURES = ("confidence", "certainty", "entropy_bits", "duration_s")
"""Columns of the CSV file between the predicted genre and the probabilities of all genres."""


class Csv(Writer):
    """CSV with a row per song; with ``--top``, columns ``top_1``, ``top_2``... name the most probable genres."""

    def __init__(self, predictor: "GenrePredictor", top: int | None, least: float | None) -> None:
        super().__init__(predictor, min(top or 0, len(predictor.genres)), least)
        self.warning = [] if predictor.warning is None else [predictor.warning]
        self.writer = csv.writer(sys.stdout, lineterminator="\n")
        ranks = [f"top_{rank + 1}" for rank in range(self.top or 0)]
        genres = map(printable, predictor.genres)
        self._write(["path", "predicted", *FIGURES, *["warning"] * len(self.warning), *ranks, *genres])

    def add(self, name: str, prediction: "Prediction") -> None:
        """Print the row of a song."""
        names = [genre for genre, _ in prediction.top(self.top)] if self.top else []
        figures = [f"{prediction.confidence:.6f}", prediction.certainty]
        figures += [f"{prediction.entropy_bits:.6f}", f"{prediction.duration_s:.6f}", *self.warning]
        shares = [f"{share:.9f}" for share in prediction.probabilities]
        self._write([name, printable(self.genre(prediction)), *figures, *map(printable, names), *shares])
        sys.stdout.flush()

    def _write(self, cells: list[str]) -> None:
        self.writer.writerow(map(csv_cell, cells))


FORMATS: dict[str, type[Writer]] = {"table": Table, "jsonl": JsonLines, "csv": Csv}


class Pictures:
    """Plots the genres of each song over time, into a PNG file named after the audio file.

    Args:
        directory: Folder of the plots, created if it does not exist.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.taken: set[str] = set()
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--timeline-dir {directory} cannot be made ({error.strerror}); choose another.") from error

    def draw(self, path: Path, prediction: "Prediction", genre: str) -> None:
        """Plot a song in a file named by the first `NAME_BYTES` of its name, with a number if that name is taken.

        Args:
            path: Audio file.
            prediction: Prediction of the song.
            genre: Genre that the caption names, or `NOT_SURE`.
        """
        from genreclf.plots.timeline import SongPlot, draw_timeline

        name = os.fsencode(path.stem)[:NAME_BYTES].decode(errors="ignore")
        stem, number = name, 1
        while stem in self.taken:
            number += 1
            stem = f"{name}-{number}"
        self.taken.add(stem)
        windows = len(prediction.timeline.start_s)
        edges_s, shares = prediction.timeline.shares()
        song = SongPlot(
            probabilities=dict(zip(prediction.genres, prediction.probabilities.tolist(), strict=True)),
            edges_s=edges_s,
            shares=shares,
            spectrogram_db=prediction.spectrogram_db,
            range_hz=prediction.range_hz,
            analyzed_s=prediction.analyzed_s,
        )
        caption = f"{genre}; {windows} window{'s' * (windows > 1)}, entropy {prediction.entropy_bits:.2f} bits"
        try:
            draw_timeline(self.directory / f"{stem}.png", song, printable(path.name), caption)
        except OSError as error:
            raise UserError(f"--timeline-dir {self.directory}: {stem}.png cannot be written ({error}).") from error


def parser() -> Parser:
    """Return the argument parser of the command."""
    command = Parser(
        "predict",
        "Predict the genres of songs with the trained model of a run.",
        epilog="A file that cannot be read is named on stderr with the reason, and the others are predicted; the exit "
        "code is 2 only if no song could be predicted.",
    )
    command.add_run()
    command.add_argument("paths", metavar="PATH", nargs="+", help="audio file, or a folder with audio files")
    command.add_argument("--format", choices=sorted(FORMATS), default="table", help="default: table")
    command.add_argument(
        "--top",
        type=number(int, 1, math.inf, "whole number above 0"),
        metavar="K",
        help=f"print the K most probable genres (table: {TABLE_TOP})",
    )
    command.add_argument(
        "--abstain",
        type=_abstention,
        metavar="KIND=SHARE",
        help=f'print "{NOT_SURE}" instead of a genre if the confidence is below probability=SHARE, or below the '
        "confidence that coverage=SHARE of the validation tracks reach",
    )
    seconds = number(float, 0, 1e6, "number of seconds from 0 on")
    command.add_argument(
        "--skip-start", type=seconds, default=0.0, metavar="S", help="seconds to skip at the start of each song"
    )
    command.add_argument(
        "--skip-end", type=seconds, default=0.0, metavar="S", help="seconds to skip at the end of each song"
    )
    command.add_argument(
        "--timeline-dir", metavar="DIR", help="draw the genres of each song over time into this folder"
    )
    command.add_device()
    return command
