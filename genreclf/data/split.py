"""Which tracks train, validate and test: the result, and what every way to split has in common.

The ways themselves are in `genreclf.data.split_lists`, where someone chose the tracks, and in
`genreclf.data.split_rules`, where a seed draws them.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from genreclf.data.identity import credited
from genreclf.data.source import Track
from genreclf.errors import UserError

SIDES = ("train", "val", "test")
SIDE_NAMES = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True, order=True)
class Piece:
    """The part of a track that a side may see.

    Attributes:
        track_id: The track.
        start_frame: First frame, in frames of the store.
        stop_frame: The frame after the last one; a whole track is ``(0, number of frames)``.
    """

    track_id: str
    start_frame: int
    stop_frame: int


@dataclass(frozen=True)
class Assignment:
    """What each side holds.

    Attributes:
        name: Name of the split.
        leaky: Whether a track may be on two sides, so that scores say little about unseen music.
        genres: The classes: every genre that a side holds, sorted.
        train: Pieces to learn from, sorted.
        val: Pieces to choose the epoch by, sorted.
        test: Pieces to report on, sorted.
        notices: What a user should know, a sentence each.
        whole_tracks: Whether every piece is a whole track.
    """

    name: str
    leaky: bool
    genres: tuple[str, ...]
    train: tuple[Piece, ...]
    val: tuple[Piece, ...]
    test: tuple[Piece, ...]
    notices: tuple[str, ...] = ()
    whole_tracks: bool = True

    @property
    def sides(self) -> dict[str, tuple[Piece, ...]]:
        """The pieces by side: ``train``, ``val`` and ``test``."""
        return {"train": self.train, "val": self.val, "test": self.test}

    @property
    def hash(self) -> str:
        """First 16 hex digits of the SHA-256 of what the sides hold.

        Whole tracks count by their ids alone, so that other features give the same hash.
        """
        entries = {side: self._entries(pieces) for side, pieces in self.sides.items()}
        return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()[:16]

    def counts(self, tracks: Iterable[Track]) -> dict[str, dict[str, int]]:
        """Count the pieces (tracks, unless the split is ``chunk``) of each genre on each side.

        Args:
            tracks: At least the tracks that the sides hold.

        Returns:
            ``counts[genre][side]``, for all of `genres` and all three sides.
        """
        genre_of = {track.id: track.genre for track in tracks}
        found = Counter((genre_of[piece.track_id], side) for side, pieces in self.sides.items() for piece in pieces)
        return {genre: {side: found[genre, side] for side in SIDES} for genre in self.genres}

    def to_json(self) -> dict[str, Any]:
        """Return what ``split.json`` holds: ids by side, or pieces with their borders where tracks are cut."""
        data: dict[str, Any] = {
            "name": self.name,
            "hash": self.hash,
            "leaky": self.leaky,
            "whole_tracks": self.whole_tracks,
            "genres": list(self.genres),
            "notices": list(self.notices),
        }
        data |= {side: self._entries(pieces) for side, pieces in self.sides.items()}
        if self.whole_tracks:
            data["frames"] = {piece.track_id: piece.stop_frame for piece in sorted(self.train + self.val + self.test)}
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Assignment":
        """Read back what `to_json` returned.

        Raises:
            UserError: Something is missing, or the ids do not fit the hash.
        """
        try:
            whole_tracks = bool(data["whole_tracks"])
            frames = data["frames"] if whole_tracks else {}
            sides = {
                side: tuple(Piece(entry, 0, frames[entry]) if whole_tracks else Piece(**entry) for entry in data[side])
                for side in SIDES
            }
            assignment = cls(
                name=str(data["name"]),
                leaky=bool(data["leaky"]),
                genres=tuple(data["genres"]),
                notices=tuple(data["notices"]),
                whole_tracks=whole_tracks,
                **sides,
            )
            written = data["hash"]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"split.json is not complete ({type(error).__name__}: {error}): take the one that the run wrote"
            ) from None
        if assignment.hash != written:
            raise UserError(
                f"split.json was changed by hand: its ids have the hash {assignment.hash} and it says {written}; "
                "take the one that the run wrote"
            )
        return assignment

    def _entries(self, pieces: Iterable[Piece]) -> list[Any]:
        if self.whole_tracks:
            return sorted(piece.track_id for piece in pieces)
        return [asdict(piece) for piece in sorted(pieces)]


@dataclass
class Draft:
    """What a split proposes, before the checks that all splits share.

    Attributes:
        sides: Pieces by side.
        listed: How many tracks a list names, the known broken one not counted; 0 where there is no list.
        missing: What the list names and the data lacks, as a user should read it.
        notices: What is special, a sentence each.
    """

    sides: Mapping[str, Sequence[Piece]]
    listed: int = 0
    missing: Sequence[str] = ()
    notices: Sequence[str] = ()


class Split(ABC):
    """A way to divide tracks among training, validation and test. Subclasses draft; the checks are here, once."""

    name: ClassVar[str]
    leaky: ClassVar[bool] = False
    whole_tracks: ClassVar[bool] = True
    remedy: ClassVar[str] = "add tracks"
    """What mends a side that lacks a genre, besides ``split.allow_missing=true``."""

    def __init__(self, *, allow_missing: bool = False) -> None:
        """Keep the settings.

        Args:
            allow_missing: Go on, with notices, where listed tracks are missing, the validation side is empty or a side
                lacks a genre.
        """
        self.allow_missing = allow_missing

    def assign(self, tracks: Sequence[Track], frames: Mapping[str, int], clip_frames: int) -> Assignment:
        """Divide the tracks.

        Args:
            tracks: All tracks of the source, in any order.
            frames: Length of each usable track in frames of the store; a track that is not in it could not be read.
            clip_frames: Length of a clip in frames; only ``chunk`` cuts by it.

        Returns:
            The sides. All genres that a side holds are classes, even one that only `allow_missing` let pass.

        Raises:
            UserError: Listed tracks are missing, a side is empty, a side lacks a genre that another holds, or there is
                only one genre to learn.
        """
        usable = sorted((track for track in tracks if track.id in frames), key=lambda track: track.id)
        if not usable:
            raise UserError(f"none of the {len(tracks)} tracks of the data can be read, so there is nothing to split")
        draft = self._draft(usable, tracks, frames, clip_frames)
        genre_of = {track.id: track.genre for track in usable}
        held = {side: Counter(genre_of[piece.track_id] for piece in pieces) for side, pieces in draft.sides.items()}
        notices = [
            *draft.notices,
            *self._check_missing(draft),
            *self._check_sides(held),
            *self._check_genres(held),
            *self._tell_parted(draft, usable),
            *self._tell_left_out(draft, tracks, frames),
        ]
        return Assignment(
            name=self.name,
            leaky=self.leaky,
            genres=tuple(sorted(set().union(*held.values()))),
            notices=tuple(notices),
            whole_tracks=self.whole_tracks,
            **{side: tuple(sorted(pieces)) for side, pieces in draft.sides.items()},
        )

    @abstractmethod
    def _draft(
        self, usable: Sequence[Track], tracks: Sequence[Track], frames: Mapping[str, int], clip_frames: int
    ) -> Draft:
        """Propose the sides from the `usable` tracks, sorted by id; `tracks` are all, read or not."""

    def _check_missing(self, draft: Draft) -> list[str]:
        if not draft.missing:
            return []
        found = draft.listed - len(draft.missing)
        fault = (
            f"split={self.name} lists {draft.listed} tracks and {found} of them are in the data "
            f"(missing: {some(draft.missing)})"
        )
        if self.allow_missing:
            return [f"{fault}: the scores are not those of the whole list"]
        raise UserError(f"{fault}: make data and lists agree, or go on with the {found} by split.allow_missing=true")

    def _check_sides(self, held: Mapping[str, Counter[str]]) -> list[str]:
        empty = [side for side, counts in held.items() if not counts]
        if not empty:
            return []
        fault = f"split={self.name} leaves no track for {' and '.join(SIDE_NAMES[side] for side in empty)}"
        if empty != ["val"]:
            raise UserError(f"{fault}: {self.remedy}, or use another split")
        if self.allow_missing:
            return [f"{fault}: no score can choose the best epoch"]
        raise UserError(f"{fault}: {self.remedy}, or go on without by split.allow_missing=true")

    def _check_genres(self, held: Mapping[str, Counter[str]]) -> list[str]:
        if len(held["train"]) < 2:
            raise UserError(
                f"split={self.name} has one genre to learn, {', '.join(held['train'])}: a classifier needs training "
                "tracks of two or more"
            )
        genres = sorted(set().union(*held.values()))
        gaps = {side: [genre for genre in genres if genre not in counts] for side, counts in held.items() if counts}
        faults = [
            f"{len(lacking)} of {len(genres)} genres {'has' if len(lacking) == 1 else 'have'} no {SIDE_NAMES[side]} "
            f"track ({some(lacking)})"
            for side, lacking in gaps.items()
            if lacking
        ]
        if not faults:
            return []
        if not self.allow_missing:
            raise UserError(
                f"in split={self.name} {' and '.join(faults)}: {self.remedy}, or go on by split.allow_missing=true"
            )
        notices = [f"in split={self.name} {fault}" for fault in faults]
        if gaps["train"]:
            wrong = sum(held[side][genre] for side in ("val", "test") for genre in gaps["train"])
            notices.append(
                f"{some(gaps['train'])} cannot be learned without a training track and stays a class: all {wrong} "
                "validation and test tracks of it count, and can only be wrong"
            )
        return notices

    def _tell_parted(self, draft: Draft, usable: Sequence[Track]) -> list[str]:
        owners_of = {track.id: (track.id,) if self.leaky else credited(track.artist) for track in usable}
        sides_of: dict[str, set[str]] = {}
        for side, pieces in draft.sides.items():
            for piece in pieces:
                for owner in owners_of[piece.track_id]:
                    sides_of.setdefault(owner, set()).add(side)
        parted = sum(len(sides) > 1 for sides in sides_of.values())
        fault = f"{parted} of {len(sides_of)} {'tracks' if self.leaky else 'known artists'} are on more than one side"
        if self.leaky:
            return [f"split={self.name} leaks: {fault}, so its scores say little about unseen tracks"]
        return [f"{fault}, which flatters the scores; split=artist_folds keeps artists together"] if parted else []

    def _tell_left_out(self, draft: Draft, tracks: Sequence[Track], frames: Mapping[str, int]) -> list[str]:
        held = {piece.track_id for side in draft.sides.values() for piece in side}
        left_out = [track.id for track in tracks if track.id not in held]
        unreadable = sum(id not in frames for id in left_out)
        if not left_out:
            return []
        return [
            f"split={self.name} leaves {len(left_out)} of {len(tracks)} tracks on no side"
            + (f", {unreadable} of them unreadable" if unreadable else "")
        ]


def some(items: Sequence[str], most: int = 5) -> str:
    """Join the first items by commas and count the others: ``a, b and 7 more``."""
    rest = len(items) - most
    return ", ".join(items[:most]) + (f" and {rest} more" if rest > 0 else "")
