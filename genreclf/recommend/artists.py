"""The artists that a file names for the songs of folders."""

from pathlib import Path

from genreclf.datasets.identity import gtzan_id, names_of, read_artists
from genreclf.errors import UserError
from genreclf.escaping import printable


class ListedArtists:
    """The artists of a file, and which of its tracks are among the songs that were asked for.

    Args:
        path: See `genreclf.datasets.identity.read_artists`.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._artists = read_artists(path, option="--artists ")
        self._found: set[str] = set()

    def of_song(self, name: str) -> str | None:
        """Return the artist of a song, by its path below its folder; None if it is not listed."""
        stem = Path(name).with_suffix("").as_posix()
        names = [gtzan_id(Path(name).name), *names_of(stem), *names_of(Path(stem).name)]
        found = [each for each in names if each is not None and each in self._artists]
        self._found.update(found)
        return self._artists[found[0]] if found else None

    def notice(self, songs: int) -> str | None:
        """Return how many tracks of the file are none of so many songs, once each was asked for; None if all are there.

        Raises:
            UserError: All tracks of the file are others.
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
