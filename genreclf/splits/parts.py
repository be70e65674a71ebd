"""Take a part of a split: folds inside its training and validation tracks, or fewer training tracks."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby

from genreclf.datasets.base import Track
from genreclf.datasets.identity import credited
from genreclf.errors import UserError
from genreclf.splits.base import Segment, Split
from genreclf.splits.rules import ArtistFolds, draw, groups_of


class InnerFolds(ArtistFolds):
    """Artist-grouped folds of the training and validation tracks of another split, by which settings are chosen."""

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
    """Divide the training and validation tracks of a split anew, and leave its test tracks out.

    Args:
        split: Of whole tracks.
        tracks: At least those that it holds.
        folds: Number of folds, see `ArtistFolds`.
        fold: The one to test on; the next one validates and the others train.
        seed: Draws the folds.
        allow_missing: See `ArtistFolds`.

    Raises:
        UserError: The split cuts tracks, holds none to train or validate on, or too few artists for so many folds.
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
    """Leave some of the training tracks of a split out, for a learning curve.

    In each genre, the first artists of a random order are kept, and of their tracks, the first ones of another order.
    The orders depend on the seed alone, so that a larger selection contains every smaller one.

    Args:
        split: The split.
        tracks: At least those that it trains on.
        fraction: How much of the training tracks of each genre stays, at least a track.
        artists_per_genre: How many artists of each genre stay, all where there are fewer; None for all. Artists of a
            joint credit, and known repeats, are one; a track whose artist is unknown is one of its own.
        seed: Draws the orders.

    Raises:
        UserError: Artists are to be counted, and none is known.
    """
    if fraction == 1 and artists_per_genre is None:
        return split
    ids = {segment.track_id for segment in split.train}
    kept = all_of_them = sorted(
        (track for track in tracks if track.id in ids), key=lambda track: (track.genre, track.id)
    )
    owners = {track.id: owner for owner, owned in groups_of(kept).items() for track in owned}
    if artists_per_genre is not None:
        if not any(credited(track.artist) for track in kept):
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
    """Return the tracks of the first so many names of each genre, in an order that the seed draws."""
    kept = []
    for _, of_genre in groupby(tracks, key=lambda track: track.genre):
        members = list(of_genre)
        names = sorted({name_of(track) for track in members}, key=lambda name: draw(seed, "subset", name))
        first = set(names[: count(names)])
        kept += [track for track in members if name_of(track) in first]
    return kept
