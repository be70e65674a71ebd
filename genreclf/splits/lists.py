"""Splits by lists of tracks: the fault-filtered GTZAN split, official splits, and a user's own lists."""

import re
import textwrap
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from os.path import splitext
from pathlib import Path

from genreclf.audio.formats import TRACK_SUFFIXES
from genreclf.datasets.base import Track
from genreclf.datasets.identity import BROKEN_TRACK
from genreclf.errors import UserError
from genreclf.splits.base import SUBSETS, ProposedSplit, Segment, Splitter, some

GTZAN_NAME = re.compile(r"([a-z]+)\.?(\d{5})")


class FaultFiltered(Splitter):
    """Fault-filtered GTZAN split of Kereliuk, Sturm and Larsen (2015), https://arxiv.org/abs/1507.04761.

    The split leaves out exact repeats and distorted tracks, and keeps most artists in a single subset. It has 443
    training tracks (of which 442 can be decoded), 197 validation tracks and 290 test tracks. The lists are read from
    torchaudio.
    """

    name = "fault_filtered"
    remedy = "complete the data"

    def _propose(
        self, usable: Sequence[Track], tracks: Sequence[Track], frames: Mapping[str, int], clip_frames: int
    ) -> ProposedSplit:
        from torchaudio.datasets import gtzan

        lists = {"train": gtzan.filtered_train, "val": gtzan.filtered_valid, "test": gtzan.filtered_test}
        listed = sorted(id for ids in lists.values() for id in ids if id != BROKEN_TRACK)
        present = {track.id for track in tracks}
        readable = {track.id for track in usable}
        if present.isdisjoint(listed):
            raise UserError(
                f"split=fault_filtered is a list of {len(listed)} GTZAN tracks and none of the {len(tracks)} tracks "
                "here is one of them: use split=track, or split=artist_folds where artists are known"
            )
        subsets = {
            subset: [Segment(id, 0, frames[id]) for id in ids if id in readable and id != BROKEN_TRACK]
            for subset, ids in lists.items()
        }
        missing = [f"{id}, unreadable" if id in present else id for id in listed if id not in readable]
        return ProposedSplit(subsets, listed=len(listed), missing=missing)


class Official(Splitter):
    """Official split that a dataset was published with, such as the split of ``data=fma``."""

    name = "official"
    remedy = "complete the data"

    def _propose(
        self, usable: Sequence[Track], tracks: Sequence[Track], frames: Mapping[str, int], clip_frames: int
    ) -> ProposedSplit:
        if not any(track.subset for track in tracks):
            raise UserError(
                "split=official: the dataset has no split of its own; use split=track or split=artist_folds"
            )
        subsets: dict[str, list[Segment]] = {subset: [] for subset in SUBSETS}
        for track in usable:
            if track.subset is not None:
                subsets[track.subset].append(Segment(track.id, 0, frames[track.id]))
        return ProposedSplit(subsets)


class AllTest(Splitter):
    """Split that uses every track for testing, to ``evaluate`` a run on a dataset other than its training data."""

    name = "test_all"

    def __init__(self) -> None:
        super().__init__()

    def _propose(
        self, usable: Sequence[Track], tracks: Sequence[Track], frames: Mapping[str, int], clip_frames: int
    ) -> ProposedSplit:
        test = [Segment(track.id, 0, frames[track.id]) for track in usable]
        return ProposedSplit({"train": [], "val": [], "test": test})

    def _check_subsets(self, held: Mapping[str, Counter[str]]) -> list[str]:
        return []

    def _check_genres(self, held: Mapping[str, Counter[str]]) -> list[str]:
        return []


class ListSplitter(Splitter):
    """Split defined by three text files that list one track per line.

    A line is the id, the file name or the path of a track, with or without the suffix of the file; of a path, only the
    last folder and the file name are used. For example, ``blues.00002``, ``blues00002.png`` and
    ``genres/blues/blues.00002.au`` are the same track, and so are ``rock/song`` and, if no other genre has a file of
    that name, ``song.mp3``. Blank lines and lines that begin with ``#`` are skipped.
    """

    name = "list"
    remedy = "list tracks of every genre in split.train, split.val and split.test"

    def __init__(
        self, *, train: str | Path | None, val: str | Path | None, test: str | Path | None, allow_missing: bool = False
    ) -> None:
        """Read the three files.

        Args:
            train: Path of the list of training tracks, in UTF-8.
            val: Path of the list of validation tracks, in UTF-8.
            test: Path of the list of test tracks, in UTF-8.
            allow_missing: Whether to tolerate missing tracks and genres, see `genreclf.splits.base.Splitter`; lines
                that match no track of the data are then skipped with a warning.

        Raises:
            UserError: A file is missing or cannot be read.
        """
        super().__init__(allow_missing=allow_missing)
        self.train, self.val, self.test = train, val, test
        for subset, path in self._paths.items():
            if not path:
                raise UserError(f"split=list needs a file of tracks for each subset: set split.{subset} to one")
        self._lines_of = {
            subset: _lines(Path(str(path)).expanduser(), f"split.{subset}={path}")
            for subset, path in self._paths.items()
        }

    @property
    def _paths(self) -> dict[str, str | Path | None]:
        return {"train": self.train, "val": self.val, "test": self.test}

    def _propose(
        self, usable: Sequence[Track], tracks: Sequence[Track], frames: Mapping[str, int], clip_frames: int
    ) -> ProposedSplit:
        index = TrackIndex(tracks)
        subsets: dict[str, list[Segment]] = {subset: [] for subset in SUBSETS}
        missing: list[str] = []
        listed = 0
        seen: dict[str, str] = {}
        for subset, given in self._paths.items():
            path = Path(str(given))
            for number, line in enumerate(self._lines_of[subset], start=1):
                line = line.strip()
                if not line or line.startswith("#"):
                    continue
                place = f"{given} line {number}"
                id = index.find(line, f"split.{subset}={place}")
                key = id or _forms(line)[-1]
                if key in seen:
                    raise UserError(
                        f"split.{subset}={place}: {line!r} is already in {seen[key]}; remove one of the two lines"
                    )
                seen[key] = place
                if key.rpartition("/")[2] == BROKEN_TRACK:
                    continue
                listed += 1
                if id is None:
                    missing.append(f"{textwrap.shorten(line, 80)} in {path.name} line {number}")
                elif id not in frames:
                    missing.append(f"{id} in {path.name} line {number}, unreadable")
                else:
                    subsets[subset].append(Segment(id, 0, frames[id]))
        if listed and len(missing) == listed:
            raise UserError(
                f"split=list names {listed} tracks and none of them is among the {len(tracks)} of the data "
                f"({some(missing)}): a line is an id such as {tracks[0].id}, a file name or a path"
            )
        return ProposedSplit(subsets, listed=listed, missing=missing)


class TrackIndex:
    """Index of tracks by the ways in which a line of a list can name them."""

    def __init__(self, tracks: Sequence[Track]) -> None:
        self._ids: dict[str, set[str]] = {}
        for track in tracks:
            names = {form for name in (track.id.rpartition("/")[2], track.path.name) for form in _forms(name)}
            folders = {track.genre, track.path.parent.name}
            for name in names | {f"{folder}/{name}" for folder in folders for name in names} | {track.id}:
                self._ids.setdefault(unicodedata.normalize("NFC", name), set()).add(track.id)

    def find(self, line: str, place: str) -> str | None:
        """Return the id of the track that a line names, or None if there is no such track.

        Args:
            line: Line of a list.
            place: File and number of the line, for the error message.

        Raises:
            UserError: The line matches several tracks.
        """
        for form in _forms(line):
            ids = sorted(self._ids.get(form, ()))
            if len(ids) > 1:
                raise UserError(
                    f"{place}: {line!r} fits {len(ids)} tracks ({some(ids)}): write it with its genre folder, "
                    f"as in {ids[0]}"
                )
            if ids:
                return ids[0]
        return None


def _forms(line: str) -> list[str]:
    """Return last folder and name of a path, first as written, then without suffix and in the form of GTZAN ids."""
    parts = [part for part in unicodedata.normalize("NFC", line).replace("\\", "/").split("/") if part not in ("", ".")]
    *folders, name = parts[-2:] or [""]
    stem, suffix = splitext(name)
    if not stem or suffix.lower() not in TRACK_SUFFIXES:
        stem = name
    if match := GTZAN_NAME.fullmatch(stem):
        stem = f"{match[1]}.{match[2]}"
    return ["/".join([*folders, name]), "/".join([*folders, stem])]


def _lines(path: Path, given: str) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{given}: there is no such file") from None
    except UnicodeDecodeError:
        text = "\0"
    except OSError as error:
        raise UserError(f"{given} cannot be read: {error.strerror}") from None
    if "\0" in text:
        raise UserError(f"{given} is not a text file in UTF-8: give one with a track id, file name or path a line")
    return text.split("\n")
