"""GTZAN: 1000 tracks of 30 s in ten genres (Tzanetakis and Cook, 2002)."""

from dataclasses import replace
from pathlib import Path

from genreclf.audio.decode import header_duration_s
from genreclf.audio.formats import AUDIO_SUFFIXES, SONG_SUFFIXES
from genreclf.datasets import download, identity
from genreclf.datasets.base import Track
from genreclf.datasets.folder import Folder, as_tracks, genre_files
from genreclf.errors import UserError

DEFAULT_ROOT = Path("data/gtzan")
"""The only folder that GTZAN is downloaded to."""


class Gtzan(Folder):
    """GTZAN, as first published (``genres/``, AU), as on Kaggle (``genres_original/``, WAV) or in genre folders."""

    name = "gtzan"

    def __init__(
        self, *, root: str | Path | None = DEFAULT_ROOT, download: bool = True, artists: str | Path | None = None
    ) -> None:
        """Choose the folder.

        Args:
            root: Folder that holds ``genres/``, ``genres_original/`` or the genre folders; None: the default.
            download: Download the data if there is none; only to `DEFAULT_ROOT`, never to a folder you name.
            artists: A file with the artist of each track, see `genreclf.datasets.identity.read_artists`; if None,
                ``index.txt`` in `root`, where there is one.
        """
        super().__init__(root=root, artists=artists)
        self.download = download

    def tracks(self) -> list[Track]:
        """Return GTZAN's tracks, sorted by id, after downloading them if needed.

        Raises:
            UserError: There are none and they cannot be downloaded, or there are two files of a track.
        """
        root = Path(self.root or DEFAULT_ROOT).expanduser()
        files = self._files(root)
        if not files:
            if self.artists is not None:
                identity.read_artists(self.artists)  # Read again below; report errors in it before the download.
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
        return [
            replace(file, genre=gtzan.partition(".")[0])
            for home in homes
            for file in genre_files(home, AUDIO_SUFFIXES, self.warnings, unread=SONG_SUFFIXES)
            if (gtzan := identity.gtzan_id(file.path.name)) == file.id
        ]
