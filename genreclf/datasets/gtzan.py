"""The GTZAN dataset: 1000 tracks of 30 s in ten genres (Tzanetakis and Cook, 2002)."""

from dataclasses import replace
from pathlib import Path

from genreclf.audio.decode import header_duration_s
from genreclf.audio.formats import AUDIO_SUFFIXES, SONG_SUFFIXES
from genreclf.datasets import download, identity
from genreclf.datasets.base import Track
from genreclf.datasets.folder import Folder, Misplaced, as_tracks, genre_files, left_out
from genreclf.errors import UserError

DEFAULT_ROOT = Path("data/gtzan")
"""Default folder of GTZAN, and the only one that it is downloaded to."""


class Gtzan(Folder):
    """GTZAN in its original form (``genres/``, AU), as on Kaggle (``genres_original/``, WAV) or in genre folders."""

    name = "gtzan"

    def __init__(
        self, *, root: str | Path | None = DEFAULT_ROOT, download: bool = True, artists: str | Path | None = None
    ) -> None:
        """Set the location of the files.

        Args:
            root: Folder that contains ``genres/``, ``genres_original/`` or the genre folders; None for `DEFAULT_ROOT`.
            download: Whether to download missing data; this only happens in `DEFAULT_ROOT`, never in other folders.
            artists: Path of a file with the artist of each track, see `genreclf.datasets.identity.read_artists`. If
                None, ``index.txt`` in `root` is used if it exists.
        """
        super().__init__(root=root, artists=artists)
        self.download = download

    def tracks(self) -> list[Track]:
        """Return all tracks of GTZAN, sorted by id, and download them first if needed.

        Raises:
            UserError: There are no tracks and they cannot be downloaded, or two files are the same track.
        """
        root = Path(self.root or DEFAULT_ROOT).expanduser()
        files = self._files(root)
        if not files:
            if self.artists is not None:
                identity.read_artists(self.artists)  # Report its errors before the download.
            is_default = root.resolve() == DEFAULT_ROOT.resolve()
            if not (is_default and self.download):
                reason = "data.download is off" if is_default else "nothing is downloaded into a folder you name"
                raise UserError(
                    f"data.root={root} holds no GTZAN (<genre>/<genre>.NNNNN.wav or .au, also below genres/ or "
                    f"genres_original/), and {reason}: {download.ways_out(root)}."
                )
            download.fetch(root)
            files = self._files(root)
        index = root / "index.txt"
        artists = self.artists if self.artists is not None or not index.is_file() else index
        tracks = as_tracks(files, artists, self.warnings)
        return [replace(track, duration_s=header_duration_s(track.path)) for track in tracks]

    def _files(self, root: Path) -> list[Track]:
        self.warnings.clear()
        homes = (home for home in (root, root / "genres", root / "genres_original") if home.is_dir())
        misplaced = Misplaced()
        found = [
            file
            for home in homes
            for file in genre_files(home, AUDIO_SUFFIXES, self.warnings, unread=SONG_SUFFIXES, misplaced=misplaced)
        ]
        files = [file for file in found if identity.gtzan_id(file.path.name) == file.id]
        if files:
            self._report(root, {file.path for file in found}, {file.path for file in files}, misplaced)
        return [replace(file, genre=file.id.partition(".")[0]) for file in files]

    def _report(self, root: Path, found: set[Path], read: set[Path], misplaced: Misplaced) -> None:
        elsewhere = {Path(path) for path in (*misplaced.loose, *misplaced.deeper(AUDIO_SUFFIXES))}
        if others := sorted(map(str, (found | elsewhere) - read)):
            reason = "GTZAN's tracks are named <genre>/<genre>.NNNNN; rename or move them, or use data=folder"
            self.warnings.append(left_out(root, "file", others, reason))
        if empty := [path for path in misplaced.empty if Path(path).name.lower() in identity.GTZAN_GENRES]:
            self.warnings.append(left_out(root, "folder", empty, "a genre needs audio directly in its folder"))
