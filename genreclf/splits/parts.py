"""Derive smaller splits: inner folds of the training and validation tracks, or fewer training tracks."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby

from genreclf.datasets.base import Track
from genreclf.datasets.identity import owners_of
from genreclf.errors import UserError
from genreclf.splits.base import Segment, Split
from genreclf.splits.rules import ArtistFolds, draw, group_names


class InnerFolds(ArtistFolds):
    """Artist-grouped folds of the training and validation tracks of another split, for choosing settings."""

    name = "inner_folds"
    key = "split.inner_folds"
    remedy = "use fewer split.inner_folds"
    instead = ""


def inner_split(
    split: Split,
    tracks: Sequence[Track],
    *,
    folds: int,
    fold: int,
    seed: int = 0,
    allow_missing: bool = False,
) -> Split:
    """Divide the training and validation tracks of a split into inner folds, and leave out its test tracks.

    Args:
        split: Split whose training and validation tracks are divided; it must consist of whole tracks.
        tracks: Tracks of the dataset, which must include those of the split.
        folds: Number of folds, see `genreclf.splits.rules.ArtistFolds`.
        fold: Index of the test fold; the next fold is for validation and the others are for training.
        seed: Random seed of the folds.
        allow_missing: Whether to tolerate missing genres, see `genreclf.splits.rules.ArtistFolds`.

    Raises:
        UserError: The split cuts tracks, has no training or validation tracks, or has too few artists for `folds`.
    """
    if not split.whole_tracks:
        raise UserError(
            f"split.inner_fold divides whole tracks, and split={split.name} cuts them: choose another split"
        )
    frames = {segment.track_id: segment.stop_frame for segment in split.train + split.val}
    if not frames:
        raise UserError(f"split.inner_fold divides training and validation tracks, and split={split.name} has none")
    inner = InnerFolds(folds=folds, fold=fold, seed=seed, allow_missing=allow_missing)
    drawn = inner.split([track for track in tracks if track.id in frames], frames, clip_frames=1)
    note = (
        f"split.inner_fold={fold} tests on {len(drawn.test)} of the {len(frames)} training and validation tracks of "
        f"split={split.name}, whose {len(split.test)} test tracks are left out"
    )
    return replace(drawn, name=f"inner folds of {split.name}", leaky=split.leaky, warnings=(note, *drawn.warnings))


def with_fewer(
    split: Split,
    tracks: Sequence[Track],
    *,
    fraction: float = 1.0,
    artists_per_genre: int | None = None,
    seed: int = 0,
) -> Split:
    """Return a split with fewer training tracks, for learning curves.

    In each genre, artists are put in a random order and the first ones are kept; then the same is done with the tracks
    of these artists. The orders depend only on the seed, so that a larger `fraction`, or more artists with a fraction
    of 1, only adds tracks to a smaller selection.

    Args:
        split: Split to reduce.
        tracks: Tracks of the dataset, which must include the training tracks of the split.
        fraction: Fraction of the training tracks of each genre to keep; at least one track per genre is kept.
        artists_per_genre: Number of artists to keep in each genre (all, if a genre has fewer); None keeps all. Artists
            who share a credit or known repeats count as one. Without artists, the groups of tracks count instead; a
            track with neither counts as an artist.
        seed: Random seed of the order.

    Raises:
        UserError: `artists_per_genre` is given, but no training track has a known artist or a group of several tracks.
    """
    if fraction == 1 and artists_per_genre is None:
        return split
    ids = {segment.track_id for segment in split.train}
    kept = all_of_them = sorted(
        (track for track in tracks if track.id in ids), key=lambda track: (track.genre, track.id)
    )
    owners = group_names(kept)
    if artists_per_genre is not None:
        if not any(owners_of(kept).values()):
            raise UserError(
                "split.artists_per_genre counts artists, and none is known of the training tracks: name them with "
                "data.artists"
            )
        n_artists = artists_per_genre
        kept = _first(kept, lambda track: owners[track.id], lambda names: n_artists, seed)
    kept = _first(kept, lambda track: track.id, lambda names: max(1, round(fraction * len(names))), seed)
    held = {track.id for track in kept}
    note = (
        f"{len(held)} of {len(ids)} training tracks of split={split.name} are trained on, of "
        f"{len({owners[id] for id in held})} of {len({owners[track.id] for track in all_of_them})} artists"
    )
    train: tuple[Segment, ...] = tuple(segment for segment in split.train if segment.track_id in held)
    return replace(split, train=train, warnings=(*split.warnings, note))


def _first(
    tracks: Sequence[Track], name_of: Callable[[Track], str], count: Callable[[Sequence[str]], int], seed: int
) -> list[Track]:
    """Return the tracks of the first `count` names in each genre, in a random order that depends on the seed."""
    kept = []
    for _, of_genre in groupby(tracks, key=lambda track: track.genre):
        members = list(of_genre)
        names = sorted({name_of(track) for track in members}, key=lambda name: draw(seed, "subset", name))
        first = set(names[: count(names)])
        kept += [track for track in members if name_of(track) in first]
    return kept
