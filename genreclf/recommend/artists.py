"""Look up the artists of songs in a file that lists them."""

from pathlib import Path

from genreclf.datasets.identity import gtzan_id, names_of, read_artists
from genreclf.errors import UserError
from genreclf.escaping import printable


class ListedArtists:
    """Artists listed in a file, with a record of which listed tracks were looked up.

    Args:
        path: Path of the file; for its formats see `genreclf.datasets.identity.read_artists`.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._artists = read_artists(path, option="--artists ")
        self._found: set[str] = set()

    def of_song(self, name: str) -> str | None:
        """Return the artist of a song, given its path relative to the indexed folder; None if it is not listed."""
        stem = Path(name).with_suffix("").as_posix()
        names = [gtzan_id(Path(name).name), *names_of(stem), *names_of(Path(stem).name)]
        found = [each for each in names if each is not None and each in self._artists]
        self._found.update(found)
        return self._artists[found[0]] if found else None

    def notice(self, songs: int) -> str | None:
        """Return a sentence on the listed tracks that are not among the songs; None if every listed track is.

        Call this after `of_song` was called for each song.

        Args:
            songs: Number of songs that were looked up.

        Raises:
            UserError: No listed track is among the songs.
        """
        if songs and not self._found:
            raise UserError(f"--artists {self.path} names none of the {songs} songs: check that it belongs to them.")
        others = [name for name in self._artists if name not in self._found]
        if not others:
            return None
        return (
            f"--artists {self.path}: {len(others)} of the {len(self._artists)} tracks that it names are not among the "
            f"songs, {printable(others[0])} first."
        )
