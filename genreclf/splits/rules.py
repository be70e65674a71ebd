"""Random splits, determined by a seed.

Tracks are shuffled by the SHA-256 hash of the seed and their names. A split therefore depends neither on the order in
which tracks are found nor on the version of a random number generator, and each genre is shuffled independently.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from genreclf.datasets.base import Track
from genreclf.datasets.identity import connected, credited, owners_of
from genreclf.errors import UserError
from genreclf.splits.base import SUBSETS, ProposedSplit, Segment, Splitter, some

MOST_FOLDS = 1000
"""Maximum number of folds; a larger number can only be a typing error."""


class ArtistFolds(Splitter):
    """Cross-validation in which no artist, and no set of known repeats, is in more than one subset.

    Groups of tracks are assigned from the largest to the smallest, each to the fold with the fewest tracks of the
    group's genres. The folds are thus stratified by genre as far as this is possible without dividing a group.
    """

    name = "artist_folds"
    key = "split.folds"
    remedy = "use fewer split.folds or another split.seed"
    instead = "use split=track, or "

    def __init__(self, *, folds: int = 5, fold: int = 0, seed: int = 0, allow_missing: bool = False) -> None:
        """Set the number of folds and the test fold.

        Args:
            folds: Number of folds, at least 3.
            fold: Index of the test fold; the next fold is for validation and the others are for training.
            seed: Random seed of the folds; independent of the training seed.
            allow_missing: Whether to tolerate missing tracks and genres, see `Splitter`; a genre with fewer groups
                than folds then only causes a warning.

        Raises:
            UserError: `folds` or `fold` is out of range.
        """
        super().__init__(allow_missing=allow_missing)
        if folds < 3:
            raise UserError(
                f"split.folds={folds} is too few: one fold tests, one validates and at least one trains, so 3"
            )
        if folds > MOST_FOLDS:
            raise UserError(f"split.folds={folds} is too many: {MOST_FOLDS} are the most")
        if not 0 <= fold < folds:
            raise UserError(
                f"split.fold={fold} is not one of the {folds} folds: give 0 to {folds - 1}, or more split.folds"
            )
        self.folds, self.fold, self.seed = folds, fold, seed

    def _propose(
        self, usable: Sequence[Track], tracks: Sequence[Track], frames: Mapping[str, int], clip_frames: int
    ) -> ProposedSplit:
        groups = groups_of(usable)
        warnings = self._check_groups(groups)
        unknown = sum(not owners for owners in owners_of(usable).values())
        if unknown:
            warnings.append(
                f"no artist or group is known for {unknown} of {len(usable)} tracks: each counts as a group of "
                "its own, so an artist may be in more than one subset; data.artists takes a file of artists"
            )
        subsets: dict[str, list[Segment]] = {subset: [] for subset in SUBSETS}
        subset_of_fold = {self.fold: "test", (self.fold + 1) % self.folds: "val"}
        for group, fold in self._assign(groups).items():
            subsets[subset_of_fold.get(fold, "train")] += [
                Segment(track.id, 0, frames[track.id]) for track in groups[group]
            ]
        return ProposedSplit(subsets, warnings=warnings)

    def _check_groups(self, groups: Mapping[str, Sequence[Track]]) -> list[str]:
        found = Counter(genre for members in groups.values() for genre in {track.genre for track in members})
        scarce = sorted((n, genre) for genre, n in found.items() if n < self.folds)
        if not scarce:
            return []
        problem = (
            f"{self.key}={self.folds} wants as many artists or groups of tracks in each genre, and there are fewer in "
            + some([f"{genre} ({n})" for n, genre in scarce])
        )
        largest = scarce[0][0]
        way_out = f"use {self.key}={largest} at most, or " if largest >= 3 else self.instead
        way_out += "let folds lack a genre by split.allow_missing=true"
        return self._tolerate(problem, "some folds lack them", way_out)

    def _assign(self, groups: Mapping[str, Sequence[Track]]) -> dict[str, int]:
        sizes = {group: Counter(track.genre for track in members) for group, members in groups.items()}
        total = Counter(track.genre for members in groups.values() for track in members)

        def share(group: str) -> float:
            return sum(n / total[genre] for genre, n in sorted(sizes[group].items()))

        loads = [Counter[str]() for _ in range(self.folds)]
        fold_of: dict[str, int] = {}
        for group in sorted(groups, key=lambda group: (-share(group), draw(self.seed, group))):
            # Adding n to load l raises the sum of squared shares by (2 l n + n^2) / total^2; n^2 is the same for all.
            costs = [
                sum(load[genre] * n / total[genre] ** 2 for genre, n in sorted(sizes[group].items())) for load in loads
            ]
            fold = min(range(self.folds), key=lambda fold: (costs[fold], draw(self.seed, group, str(fold))))
            loads[fold].update(sizes[group])
            fold_of[group] = fold
        return fold_of


class _FractionSplitter(Splitter):
    """Base class of splitters that divide each genre by fractions."""

    remedy = "add tracks or leave that genre out"

    def __init__(self, *, train: float, val: float, test: float, seed: int, allow_missing: bool) -> None:
        super().__init__(allow_missing=allow_missing)
        given = {"train": train, "val": val, "test": test}
        for subset, fraction in given.items():
            if not isinstance(fraction, int | float) or not fraction > 0:
                raise UserError(
                    f"split.{subset}={fraction} is not a fraction: split={self.name} wants one above 0 and below 1"
                )
        total = math.fsum(given.values())
        if not abs(total - 1) <= 1e-6:
            raise UserError(
                f"split.train={train}, split.val={val} and split.test={test} sum to {total:g}: choose fractions that "
                "sum to 1"
            )
        self.train, self.val, self.test, self.seed = train, val, test, seed

    def _divide(self, segments_of: Mapping[str, Sequence[Segment]]) -> ProposedSplit:
        """Shuffle the segments of each genre and divide them among the subsets."""
        subsets: dict[str, list[Segment]] = {subset: [] for subset in SUBSETS}
        for segments in segments_of.values():
            shuffled = sorted(segments, key=lambda segment: draw(self.seed, segment.track_id, str(segment.start_frame)))
            for subset, count in self._counts(len(shuffled)).items():
                subsets[subset] += shuffled[:count]
                del shuffled[:count]
        return ProposedSplit(subsets)

    def _counts(self, n: int) -> dict[str, int]:
        """Divide `n` by the largest remainder method, ties favoring test; every subset gets one if `n` allows."""
        total = self.train + self.val + self.test
        quotas = {"train": n * self.train / total, "val": n * self.val / total, "test": n * self.test / total}
        counts = {subset: int(quota) for subset, quota in quotas.items()}
        by_remainder = sorted(reversed(SUBSETS), key=lambda subset: -round(quotas[subset] - counts[subset], 9))
        for subset in by_remainder[: n - sum(counts.values())]:
            counts[subset] += 1
        if n >= len(SUBSETS):
            for subset in SUBSETS:
                if not counts[subset]:
                    counts[max(counts, key=lambda subset: counts[subset])] -= 1
                    counts[subset] = 1
        return counts


class TrackSplitter(_FractionSplitter):
    """Random split of whole tracks, stratified by genre; an artist may be in more than one subset."""

    name = "track"

    def __init__(
        self,
        *,
        train: float = 0.7,
        val: float = 0.15,
        test: float = 0.15,
        seed: int = 0,
        pieces: bool = False,
        allow_missing: bool = False,
    ) -> None:
        """Set the fractions.

        Args:
            train: Fraction of each genre's tracks used for training.
            val: Fraction of each genre's tracks used for validation.
            test: Fraction of each genre's tracks used for testing.
            seed: Random seed of the split; independent of the training seed.
            pieces: Whether to cut the tracks of each subset into the same segments as `ChunkSplitter`, instead of
                drawing clips anywhere in them, so that the two splits differ only in the leak.
            allow_missing: Whether to tolerate missing tracks and genres, see `Splitter`.

        Raises:
            UserError: The fractions are not positive or do not sum to 1.
        """
        super().__init__(train=train, val=val, test=test, seed=seed, allow_missing=allow_missing)
        self.pieces = pieces

    def _propose(
        self, usable: Sequence[Track], tracks: Sequence[Track], frames: Mapping[str, int], clip_frames: int
    ) -> ProposedSplit:
        segments_of: dict[str, list[Segment]] = {}
        for track in usable:
            segments_of.setdefault(track.genre, []).append(Segment(track.id, 0, frames[track.id]))
        proposed = self._divide(segments_of)
        if not self.pieces:
            return proposed
        subsets = {
            subset: [part for whole in segments for part in _segments(whole.track_id, whole.stop_frame, clip_frames)]
            for subset, segments in proposed.subsets.items()
        }
        return ProposedSplit(subsets, whole_tracks=False)


class ChunkSplitter(_FractionSplitter):
    """Leaky split used for many published results, in which segments of one track are in several subsets.

    Each track is cut into consecutive segments of one clip, and the segments of each genre are distributed at random
    over the subsets. This split only serves to show how much the leak inflates scores: a model can get high scores by
    recognizing tracks.
    """

    name = "chunk"
    leaky = True

    def __init__(
        self, *, train: float = 0.8, val: float = 0.1, test: float = 0.1, seed: int = 0, allow_missing: bool = False
    ) -> None:
        """Set the fractions.

        Args:
            train: Fraction of each genre's segments used for training.
            val: Fraction of each genre's segments used for validation.
            test: Fraction of each genre's segments used for testing.
            seed: Random seed of the split; independent of the training seed.
            allow_missing: Whether to tolerate missing tracks and genres, see `Splitter`.

        Raises:
            UserError: The fractions are not positive or do not sum to 1.
        """
        super().__init__(train=train, val=val, test=test, seed=seed, allow_missing=allow_missing)

    def _propose(
        self, usable: Sequence[Track], tracks: Sequence[Track], frames: Mapping[str, int], clip_frames: int
    ) -> ProposedSplit:
        segments_of: dict[str, list[Segment]] = {}
        for track in usable:
            segments_of.setdefault(track.genre, []).extend(_segments(track.id, frames[track.id], clip_frames))
        return replace(self._divide(segments_of), whole_tracks=False)


def _segments(track_id: str, frames: int, clip_frames: int) -> list[Segment]:
    """Cut a track into consecutive segments of one clip; a track shorter than a clip is one segment."""
    length = min(clip_frames, frames)
    return [Segment(track_id, start, start + length) for start in range(0, frames - length + 1, clip_frames)]


def groups_of(tracks: Sequence[Track]) -> dict[str, list[Track]]:
    """Return, by name, the sets of tracks that must stay together because they share a group or an artist."""
    track_of = {track.id: track for track in tracks}
    marks_of = {
        track.id: [
            f"group {track.group}" if track.group else None,
            *(f"artist {name}" for name in credited(track.artist)),
        ]
        for track in tracks
    }
    groups: dict[str, list[Track]] = {}
    for ids in connected(marks_of):
        members = [track_of[id] for id in ids]
        names = sorted({track.group or track.artist or track.id for track in members})
        groups.setdefault(" + ".join(names), []).extend(members)
    return groups


def group_names(tracks: Sequence[Track]) -> dict[str, str]:
    """Return the name of the group of each track, by track id, see `groups_of`."""
    return {track.id: name for name, members in groups_of(tracks).items() for track in members}


def draw(seed: int, *names: str) -> str:
    """Return a pseudorandom sort key for shuffling, determined by the seed and the names."""
    return hashlib.sha256("\0".join([str(seed), *names]).encode()).hexdigest()
