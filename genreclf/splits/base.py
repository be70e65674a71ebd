"""The result of splitting a dataset into training, validation and test tracks, and the base class of all splitters.

The splitters are in `genreclf.splits.lists` (predefined lists of tracks) and `genreclf.splits.rules` (random splits).
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from genreclf.datasets.base import Track
from genreclf.datasets.identity import credited, known_repeats, owners_of
from genreclf.errors import UserError
from genreclf.splits.proposal import SUBSET_NAMES, SUBSETS, ProposedSplit, Segment, check_proposal

__all__ = ["SUBSETS", "SUBSET_NAMES", "ProposedSplit", "Segment", "Split", "Splitter", "some"]


@dataclass(frozen=True)
class Split:
    """A split of a dataset: the segments of its training, validation and test subsets."""

    name: str
    """Name of the split."""
    leaky: bool
    """Whether a track may be in more than one subset, in which case scores say little about unseen tracks."""
    genres: tuple[str, ...]
    """Classes of the split, which are all genres that occur in any subset, sorted."""
    train: tuple[Segment, ...]
    """Training segments, sorted."""
    val: tuple[Segment, ...]
    """Validation segments, on which the best epoch is chosen, sorted."""
    test: tuple[Segment, ...]
    """Test segments, on which results are reported, sorted."""
    warnings: tuple[str, ...] = ()
    """Warnings for the user, one sentence each."""
    whole_tracks: bool = True
    """Whether every segment is a whole track."""

    @property
    def subsets(self) -> dict[str, tuple[Segment, ...]]:
        """Segments by subset (``train``, ``val`` and ``test``)."""
        return {"train": self.train, "val": self.val, "test": self.test}

    @property
    def hash(self) -> str:
        """First 16 hex digits of the SHA-256 hash of the subsets; for whole tracks, only of their ids."""
        return hashlib.sha256(json.dumps(self._entries(), sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``split.json``, which lists track ids by subset, or segments if tracks are cut."""
        data: dict[str, Any] = {
            "name": self.name,
            "hash": self.hash,
            "leaky": self.leaky,
            "whole_tracks": self.whole_tracks,
            "genres": list(self.genres),
            "warnings": list(self.warnings),
        }
        data |= self._entries()
        if self.whole_tracks:
            segments = sorted(self.train + self.val + self.test)
            data["frames"] = {segment.track_id: segment.stop_frame for segment in segments}
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Split":
        """Restore a split from the output of `to_json`.

        Raises:
            UserError: A field is missing or invalid, or the ids do not match the hash.
        """
        try:
            whole_tracks = bool(data["whole_tracks"])
            frames = data["frames"] if whole_tracks else {}

            def segment(entry: Any) -> Segment:
                return Segment(entry, 0, frames[entry]) if whole_tracks else Segment(**entry)

            subsets = {subset: tuple(map(segment, data[subset])) for subset in SUBSETS}
            split = cls(
                name=str(data["name"]),
                leaky=bool(data["leaky"]),
                genres=tuple(data["genres"]),
                warnings=tuple(data["warnings"]),
                whole_tracks=whole_tracks,
                **subsets,
            )
            written = data["hash"]
        except (KeyError, TypeError, ValueError) as error:
            sentence = f"split.json is not complete ({type(error).__name__}: {error}): take the one that the run wrote"
            raise UserError(sentence) from None
        if split.hash != written:
            raise UserError(
                f"split.json was changed by hand: its ids have the hash {split.hash} and it says {written}; "
                "take the one that the run wrote"
            )
        return split

    def _entries(self) -> dict[str, list[Any]]:
        return {
            subset: [segment.track_id if self.whole_tracks else asdict(segment) for segment in sorted(segments)]
            for subset, segments in self.subsets.items()
        }


class Splitter(ABC):
    """Base class of splitters, which divide tracks into subsets. A subclass must implement `_propose`."""

    name: ClassVar[str]
    leaky: ClassVar[bool] = False
    """Whether the splitter may put a track into several subsets; a split with such a track is always marked LEAKY."""
    remedy: ClassVar[str] = "add tracks"
    """Advice in error messages if a subset lacks a genre, besides ``split.allow_missing=true``."""
    allow_missing: bool = False
    """Whether missing tracks and genres only cause warnings."""

    def __init__(self, *, allow_missing: bool = False) -> None:
        """Set what the splitter tolerates.

        Args:
            allow_missing: Whether to warn instead of raising an error if listed tracks, the tracks of a genre in a
                subset, or all validation tracks are missing.
        """
        self.allow_missing = allow_missing

    def split(self, tracks: Sequence[Track], frames: Mapping[str, int], clip_frames: int) -> Split:
        """Divide the tracks into subsets.

        Args:
            tracks: All tracks of the dataset, in any order.
            frames: Length of each readable track in frames of the store, by track id.
            clip_frames: Length of a clip in frames, for splitters that cut tracks into segments of one clip.

        Returns:
            The split. Every genre that occurs in a subset is a class, even if `allow_missing` is set and other subsets
            lack the genre.

        Raises:
            UserError: No track can be read, listed tracks are missing, a subset is empty or lacks a genre that another
                subset has, or the training tracks have fewer than two genres.
        """
        usable = sorted((track for track in tracks if track.id in frames), key=lambda track: track.id)
        if not usable:
            raise UserError(f"none of the {len(tracks)} tracks of the data can be read, so there is nothing to split")
        proposed = self._propose(usable, tracks, frames, clip_frames)
        check_proposal(self, proposed, {track.id: frames[track.id] for track in usable})
        leaky = self.leaky or bool(proposed.shared_tracks)
        genre_of = {track.id: track.genre for track in usable}
        held = {
            subset: Counter(genre_of[segment.track_id] for segment in segments)
            for subset, segments in proposed.subsets.items()
        }
        warnings = [
            *proposed.warnings,
            *self._check_missing(proposed),
            *self._check_subsets(held),
            *self._check_genres(held),
            *self._warn_of_shared(proposed, usable, leaky=leaky),
            *self._warn_of_left_out(proposed, tracks, frames),
        ]
        return Split(
            name=self.name,
            leaky=leaky,
            genres=tuple(sorted(set().union(*held.values()))),
            warnings=tuple(warnings),
            whole_tracks=proposed.whole_tracks,
            **{subset: tuple(sorted(segments)) for subset, segments in proposed.subsets.items()},
        )

    @abstractmethod
    def _propose(
        self, usable: Sequence[Track], tracks: Sequence[Track], frames: Mapping[str, int], clip_frames: int
    ) -> ProposedSplit:
        """Propose subsets of the `usable` tracks, which are sorted by id; `tracks` also includes unreadable tracks."""

    def _check_missing(self, proposed: ProposedSplit) -> list[str]:
        if not proposed.missing:
            return []
        found = proposed.listed - len(proposed.missing)
        return self._tolerate(
            f"split={self.name} lists {proposed.listed} tracks and {found} of them are in the data "
            f"(missing: {some(proposed.missing)})",
            "the scores are not those of the whole list",
            f"make data and lists agree, or set split.allow_missing=true to continue with the {found}",
        )

    def _tolerate(self, problem: str, consequence: str, way_out: str) -> list[str]:
        """Return a problem as a warning if `allow_missing` is set, otherwise raise it as a `UserError`."""
        if not self.allow_missing:
            raise UserError(f"{problem}: {way_out}")
        return [f"{problem}: {consequence}"]

    def _check_subsets(self, held: Mapping[str, Counter[str]]) -> list[str]:
        empty = [subset for subset, counts in held.items() if not counts]
        if not empty:
            return []
        problem = f"split={self.name} leaves no track for {' and '.join(SUBSET_NAMES[subset] for subset in empty)}"
        if empty != ["val"]:
            raise UserError(f"{problem}: {self.remedy}, or use another split")
        way_out = f"{self.remedy}, or set split.allow_missing=true to continue without"
        return self._tolerate(problem, "no score can choose the best epoch", way_out)

    def _check_genres(self, held: Mapping[str, Counter[str]]) -> list[str]:
        if len(held["train"]) < 2:
            raise UserError(
                f"split={self.name} has one genre to learn, {', '.join(held['train'])}: a classifier needs training "
                "tracks of two or more"
            )
        genres = sorted(set().union(*held.values()))
        gaps = {subset: [genre for genre in genres if genre not in counts] for subset, counts in held.items() if counts}
        problems = [
            f"{len(lacking)} of {len(genres)} genres {'has' if len(lacking) == 1 else 'have'} no "
            f"{SUBSET_NAMES[subset]} track ({some(lacking)})"
            for subset, lacking in gaps.items()
            if lacking
        ]
        if not problems:
            return []
        if not self.allow_missing:
            raise UserError(
                f"in split={self.name} {' and '.join(problems)}: {self.remedy}, or set split.allow_missing=true to "
                "continue"
            )
        warnings = [f"in split={self.name} {problem}" for problem in problems]
        if gaps["train"]:
            wrong = sum(held[subset][genre] for subset in ("val", "test") for genre in gaps["train"])
            warnings.append(
                f"a model trained on this split cannot learn {some(gaps['train'])}, which stays a class: all {wrong} "
                "validation and test tracks of it count, and such a model gets them wrong"
            )
        return warnings

    def _warn_of_shared(self, proposed: ProposedSplit, usable: Sequence[Track], *, leaky: bool) -> list[str]:
        owners = {track.id: (track.id,) for track in usable} if leaky else owners_of(usable)
        held = {subset: {segment.track_id for segment in segments} for subset, segments in proposed.subsets.items()}
        subsets_of: dict[str, set[str]] = {}
        for subset, ids in held.items():
            for owner in (owner for id in ids for owner in owners[id]):
                subsets_of.setdefault(owner, set()).add(subset)
        shared = sum(len(subsets) > 1 for subsets in subsets_of.values())
        has_groups = any(owners[track.id] and not credited(track.artist) for track in usable)
        what = "tracks" if leaky else "known artists and groups" if has_groups else "known artists"
        problem = f"{shared} of {len(subsets_of)} {what} are in more than one subset"
        if leaky:
            return [f"split={self.name} leaks: {problem}, so its scores say little about unseen tracks"]
        twins = known_repeats(held["train"] | held["val"]) & held["test"]
        also = f"{len(twins)} of {len(held['test'])} test tracks are known repeats of training or validation tracks"
        found = [problem] * bool(shared) + [also] * bool(twins)
        return [f"{each}, which flatters the scores; split=artist_folds keeps them together" for each in found]

    def _warn_of_left_out(
        self, proposed: ProposedSplit, tracks: Sequence[Track], frames: Mapping[str, int]
    ) -> list[str]:
        held = {segment.track_id for subset in proposed.subsets.values() for segment in subset}
        left_out = [track.id for track in tracks if track.id not in held]
        if not left_out:
            return []
        detail = f", {n} of them unreadable" if (n := sum(id not in frames for id in left_out)) else ""
        return [f"split={self.name} leaves {len(left_out)} of {len(tracks)} tracks in no subset{detail}"]


def some(items: Sequence[str], most: int = 5) -> str:
    """Name the first items and count the others, such as ``a, b and 7 more``."""
    rest = len(items) - most
    return ", ".join(items[:most]) + (f" and {rest} more" if rest > 0 else "")
