"""FMA, the Free Music Archive, small and medium (M. Defferrard et al., "FMA: A Dataset for Music Analysis", 2017)."""

import csv
import hashlib
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from genreclf.datasets import identity
from genreclf.datasets.base import Track
from genreclf.datasets.folder import Folder
from genreclf.errors import UserError

ADDRESS = "https://github.com/mdeff/fma"
METADATA = "fma_metadata.zip"
METADATA_SHA1 = "f0df49ffe5f2a6008d7dc83c6915b31835dfe733"

BROKEN = ("098565", "098567", "098569", "099134", "108925", "133297")
"""Tracks of both sets whose files contain less than two seconds or no audio, according to the FMA wiki."""

_SUBSETS = {"training": "train", "validation": "val", "test": "test"}
_SETS = {"small": ("small",), "medium": ("small", "medium")}


class Fma(Folder):
    """FMA small (8,000 tracks of 30 s, 8 genres) or medium (25,000, 16 genres), with its official split and artists."""

    name = "fma"

    def __init__(self, *, root: str | Path | None = None, subset: Literal["small", "medium"] = "small") -> None:
        """Set the location of the files.

        Args:
            root: Folder that contains ``fma_small/`` or ``fma_medium/``, and the metadata: either the published
                ``fma_metadata.zip``, or ``fma_metadata/tracks.csv`` unpacked from it.
            subset: Subset of FMA to use, ``small`` or ``medium``.
        """
        super().__init__(root=root)
        self.subset = subset

    def tracks(self) -> list[Track]:
        """Return all tracks whose files exist, sorted by id, with their top-level genres."""
        folder_name = f"fma_{self.subset}"
        if self.root is None or not (folder := Path(self.root).expanduser() / folder_name).is_dir():
            raise UserError(
                f"data.root={self.root} holds no {folder_name}/: download {folder_name}.zip and {METADATA} from "
                f"{ADDRESS}, unpack the first, and set data.root to the folder of both."
            )
        self.warnings.clear()
        found, broken, missing = [], 0, 0
        for number, row in self._rows(folder.parent):
            if row["set", "subset"] not in _SETS[self.subset]:
                continue
            if number in BROKEN:
                broken += 1
                continue
            path = folder / number[:3] / f"{number}.mp3"
            try:
                status = path.stat()
            except OSError:
                missing += 1
                continue
            genre = row["track", "genre_top"].replace(" / ", "-").replace("/", "-")
            found.append(
                Track(
                    id=f"{genre}/{number}",
                    genre=genre,
                    path=path,
                    artist=row["artist", "name"].replace(";", ",") or None,
                    fingerprint=f"{status.st_size}-{status.st_mtime_ns}",
                    subset=_SUBSETS.get(row["set", "split"]),
                )
            )
        if not found:
            raise UserError(
                f"{folder} holds none of the tracks of the metadata, such as 000/000002.mp3: unpack it anew."
            )
        if broken:
            self.warnings.append(f"Known broken files are left out: {broken}.")
        if missing:
            self.warnings.append(f"Of {missing + len(found)} tracks of {folder_name}, {missing} are not in {folder}.")
        group_of = identity.groups({track.id: track.artist for track in found})
        return sorted((replace(track, group=group_of[track.id]) for track in found), key=lambda track: track.id)

    def _rows(self, root: Path) -> Iterator[tuple[str, dict[tuple[str, str], str]]]:
        """Yield the six-digit number of each track, and its columns by their two-level headings."""
        with _table(root) as file:
            csv.field_size_limit(2**24)  # Artist biographies are long.
            rows = csv.reader(file)
            try:
                keys = list(zip(next(rows), next(rows), strict=True))
                next(rows)  # Row with the name of the first column only.
                wanted = [("set", "split"), ("set", "subset"), ("track", "genre_top"), ("artist", "name")]
                columns = {key: keys.index(key) for key in wanted}
                for row in rows:
                    yield f"{int(row[0]):06d}", {key: row[column] for key, column in columns.items()}
            except (StopIteration, ValueError, IndexError, csv.Error, UnicodeDecodeError) as error:
                raise UserError(f"tracks.csv in {root} is not FMA's ({error}): take it from {METADATA} anew.") from None


@contextmanager
def _table(root: Path) -> Iterator[Any]:
    """Open ``tracks.csv``, either unpacked or inside ``fma_metadata.zip``."""
    archive = root / METADATA
    for path in (root / "fma_metadata/tracks.csv", root / "tracks.csv"):
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as file:
                yield file
            return
    if not archive.is_file():
        raise UserError(f"data.root={root} holds no {METADATA}: download it from {ADDRESS} into that folder.")
    with archive.open("rb") as raw:
        found = hashlib.file_digest(raw, lambda: hashlib.sha1(usedforsecurity=False)).hexdigest()
    if found != METADATA_SHA1:
        raise UserError(f"{archive} has the SHA-1 {found}, not {METADATA_SHA1}: download it from {ADDRESS} anew.")
    with zipfile.ZipFile(archive) as files, files.open("fma_metadata/tracks.csv") as member:
        yield io.TextIOWrapper(member, encoding="utf-8", newline="")
