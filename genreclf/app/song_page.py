"""Turn a song into the HTML that the page shows of it."""

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
    """Size and length up to which a visitor may send a song."""

    megabytes: float = VISITORS_SONG_MB
    """Size of a file, in MB of 10^6 bytes."""
    minutes: float = VISITORS_SONG_MIN
    """Length of a song."""


@dataclass(frozen=True, kw_only=True)
class SongPage:
    """Predicts the genres of songs and returns the result as HTML; several visitors may use it at once."""

    predictor: GenrePredictor
    """Predicts the genres."""
    library: "Library | None"
    """Holds the songs that are recommended; None if the run has none."""
    without_library: str
    """What is said in place of the songs then."""
    media: MediaRegistry
    """The files that the page may play."""
    limits: Limits
    """What a visitor may send."""

    def answer(self, path: Path, name: str) -> str:
        """Return a song's genres and the songs like it as HTML, or the sentence that says why there are none."""
        name = printable(name)
        try:
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
        """Read a song once from end to end: the limits hold before anything is computed."""
        check_is_file(path)
        if path.stat().st_size > self.limits.megabytes * 1e6:
            raise UnreadableTrack(f"it is larger than {self.limits.megabytes:g} MB")
        with open_audio(path) as stream:
            for _ in stream:
                if stream.duration_s > 60 * self.limits.minutes:
                    raise UnreadableTrack(f"it is longer than {self.limits.minutes:g} minutes")


def _is_there(path: Path, playable: bool) -> bool:
    return playable and path.is_file()
