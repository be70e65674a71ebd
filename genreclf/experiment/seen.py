"""Find test tracks that the tested run, or a run that it started from, has already seen."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from genreclf.datasets.base import Track
from genreclf.datasets.identity import KNOWN_REPEATS, credited
from genreclf.errors import UserError
from genreclf.evaluation.leaks import seen_as
from genreclf.experiment.lineage import Lineage, RunTracks, track_key
from genreclf.splits.base import Split, some


@dataclass(frozen=True)
class Seen:
    """Test tracks that a run, or a run that it started from, has already seen."""

    tracks: int
    """Number of test tracks."""
    trained: frozenset[str]
    """Ids of the test tracks that were used for training."""
    validated: frozenset[str]
    """Ids of the test tracks that were used for validation but not for training."""
    repeats: frozenset[str]
    """Ids of the remaining test tracks that are known repeats of training or validation tracks."""
    artists: frozenset[str] | None
    """Ids of the unseen test tracks by artists in the training data; None if no artists are known."""

    @property
    def ids(self) -> frozenset[str]:
        """Ids of the test tracks that were seen, either directly or as a repeat."""
        return self.trained | self.validated | self.repeats

    @property
    def counts(self) -> dict[str, int | None]:
        """Numbers of seen test tracks by kind, as recorded in ``metrics.json``."""
        return {
            "trained": len(self.trained),
            "validated": len(self.validated),
            "repeats": len(self.repeats),
            "artists": None if self.artists is None else len(self.artists),
            "n": self.tracks,
        }


def check_test(
    split: Split, dataset: str, tracks: Mapping[str, Track], lineage: Lineage, *, unseen: bool
) -> tuple[Split, Seen | None]:
    """Compare the test tracks of a split with the tracks seen by the runs that the weights come from.

    If `unseen` is true, test tracks that were already seen are left out.

    Returns:
        The split with added warnings, marked as leaky if it contains seen test tracks; and the seen test tracks,
        or None if the weights come from no run.

    Raises:
        UserError: All test tracks were seen, so that `unseen` leaves none.
    """
    if not lineage.runs:
        return split, None
    seen = _seen(split, dataset, tracks, lineage)
    warnings = list(split.warnings)
    if lineage.unknown:
        warnings.append(
            f"{lineage.unknown}, which {lineage.path} goes back to, cannot be read: whether it has seen test tracks is "
            "not known"
        )
    rest, how = seen.tracks - len(seen.ids), seen_as(seen.counts)
    if seen.ids and not unseen:
        way_out = "split.unseen=true tests on the others alone" if rest else "choose other test tracks"
        warnings.append(
            f"LEAKY: {lineage.name} has seen {len(seen.ids)} of the {seen.tracks} test tracks ({how}); {way_out}"
        )
    elif seen.ids:
        if not rest:
            raise UserError(
                f"split.unseen=true leaves no test track, as {lineage.name} has seen all {seen.tracks} of "
                f"split={split.name} ({how}): choose other test tracks"
            )
        warnings.append(
            f"split.unseen=true leaves out {len(seen.ids)} of {seen.tracks} test tracks, which {lineage.name} has "
            f"seen ({how})"
        )
        kept = tuple(segment for segment in split.test if segment.track_id not in seen.ids)
        split = replace(split, test=kept)
        held = {tracks[segment.track_id].genre for segment in kept}
        if lacking := [genre for genre in split.genres if genre not in held]:
            warnings.append(f"no unseen test track is left of {some(lacking)}")
        seen = replace(seen, tracks=rest, trained=frozenset(), validated=frozenset(), repeats=frozenset())
    if seen.artists:
        others = "other " if seen.ids else ""
        warnings.append(
            f"{len(seen.artists)} of the {rest} {others}test tracks are by artists that {lineage.name} trained on, "
            "which flatters the scores"
        )
    val = {segment.track_id for segment in split.val}
    if known := len(_overlap(val, dataset, lineage.runs)[0]):
        warnings.append(
            f"{lineage.name} trained on {known} of the {len(val)} validation tracks, so that figures of validation are "
            "too good to choose by"
        )
    leaky = split.leaky or bool(seen.ids)
    return replace(split, leaky=leaky, warnings=tuple(warnings)), seen


def _seen(split: Split, dataset: str, tracks: Mapping[str, Track], lineage: Lineage) -> Seen:
    runs = lineage.runs
    ids = {segment.track_id for segment in split.test}
    trained, validated, repeats = _overlap(ids, dataset, runs[1:])
    # Tracks that a run's own split held out of its training count as unseen, as in that run's own report.
    if not {track_key(dataset, id) for id in ids - trained - validated - repeats} <= lineage.held_out:
        trained, validated, repeats = _overlap(ids, dataset, runs)
    known = {track_key(run.dataset, id): names for run in runs for id, names in run.artists.items()}
    known |= {track_key(dataset, id): names for id, track in tracks.items() if (names := credited(track.artist))}
    learned_from = {name for run in runs for key in run.keys(run.train) for name in known.get(key, ())}
    artists_of = {id: known.get(track_key(dataset, id), ()) for id in ids}
    same = {id for id in ids - trained - validated - repeats if not learned_from.isdisjoint(artists_of[id])}
    return Seen(
        tracks=len(ids),
        trained=frozenset(trained),
        validated=frozenset(validated),
        repeats=frozenset(repeats),
        artists=frozenset(same) if learned_from and any(artists_of.values()) else None,
    )


def _overlap(ids: Collection[str], dataset: str, runs: Collection[RunTracks]) -> tuple[set[str], set[str], set[str]]:
    """Return the ids of training tracks, of validation tracks, and of other tracks that are known repeats of them."""
    train = {key for run in runs for key in run.keys(run.train)}
    val = {key for run in runs for key in run.keys(run.val)}
    repeats_of = {id: repeats for repeats in KNOWN_REPEATS for id in repeats}
    trained = {id for id in ids if track_key(dataset, id) in train}
    validated = {id for id in ids if track_key(dataset, id) in val} - trained
    repeats = {id for id in ids if any(track_key(dataset, twin) in train | val for twin in repeats_of.get(id, ()))}
    return trained, validated, repeats - trained - validated
