"""Predict a song and render the result as HTML for the page."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from genreclf.app.media_registry import MediaRegistry
from genreclf.app.rendering import answer_html, message_html
from genreclf.audio.decode import open_audio
from genreclf.errors import UnreadableTrack, UserError
from genreclf.escaping import printable
from genreclf.inference.predictor import GenrePredictor
from genreclf.limits import VISITORS_SONG_MB, VISITORS_SONG_MIN, check_is_file

if TYPE_CHECKING:
    from genreclf.recommend import Library

SIMILAR = 10


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Maximum size and length of a visitor's song."""

    megabytes: float = VISITORS_SONG_MB
    """Maximum size of a file, in MB of 10^6 bytes."""
    minutes: float = VISITORS_SONG_MIN
    """Maximum length of a song, in minutes."""


@dataclass(frozen=True, kw_only=True)
class SongPage:
    """Predicts the genres of songs and renders the results as HTML; several threads may use it at the same time."""

    predictor: GenrePredictor
    """Predictor of the genres."""
    library: "Library | None"
    """Library from which similar songs are recommended; None if the run has none."""
    without_library: str
    """Text that is shown if there are no recommended songs; empty for a default text."""
    media: MediaRegistry
    """Registry of the files that the page may play."""
    limits: Limits
    """Maximum size and length of a visitor's song; the examples of the page may be larger."""

    def answer(self, path: Path, name: str, *, limited: bool = True) -> str:
        """Return a song's genres and similar songs as HTML, or a message on why the song cannot be used.

        Args:
            path: Path of the audio file.
            name: Name of the song for display.
            limited: Whether `limits` apply; those are for visitors' songs.
        """
        name = printable(name)
        try:
            if limited:
                self._check(path)
            prediction = self.predictor.predict(path)
            similar = []
            if self.library is not None and prediction.embedding is not None:
                similar = self.library.like(prediction, k=SIMILAR)
        except UnreadableTrack as reason:
            return self._refusal(f"{name} cannot be used: {reason}.")
        except UserError as error:
            return self._refusal(str(error).replace(printable(str(path)), name))
        players = [
            self.media.put(found.song.path) if _is_there(found.song.path, found.song.playable) else None
            for found in similar
        ]
        return answer_html(
            prediction,
            name=name,
            player=self.media.put(path),
            similar=list(zip(similar, players, strict=True)),
            without_library=self.without_library or "The library has no other song.",
        )

    def _refusal(self, sentence: str) -> str:
        size = f"{self.limits.megabytes:g} MB and {self.limits.minutes:g} minutes"
        return message_html(sentence, f"Choose an MP3, FLAC, OGG or WAV file of at most {size}.")

    def _check(self, path: Path) -> None:
        """Check size and length of a song by decoding it before prediction; raise `UnreadableTrack` if too large."""
        check_is_file(path)
        if path.stat().st_size > self.limits.megabytes * 1e6:
            raise UnreadableTrack(f"it is larger than {self.limits.megabytes:g} MB")
        with open_audio(path) as stream:
            for _ in stream:
                if stream.duration_s > 60 * self.limits.minutes:
                    raise UnreadableTrack(f"it is longer than {self.limits.minutes:g} minutes")


def _is_there(path: Path, playable: bool) -> bool:
    return playable and path.is_file()
