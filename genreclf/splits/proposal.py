"""The subsets that a splitter, possibly a user's own, proposes, and the check of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from genreclf.errors import UserError

SUBSETS = ("train", "val", "test")
SUBSET_NAMES = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True, order=True)
class Segment:
    """A track, or a part of one, that belongs to a subset."""

    track_id: str
    """Id of the track."""
    start_frame: int
    """First frame of the segment within the track, in frames of the store."""
    stop_frame: int
    """Frame after the last one; a whole track runs from 0 to its number of frames."""


@dataclass
class ProposedSplit:
    """Subsets that a splitter proposes, before the checks that are common to all splitters."""

    subsets: Mapping[str, Sequence[Segment]]
    """Segments by subset (``train``, ``val`` and ``test``)."""
    listed: int = 0
    """Number of tracks that a list names, without the track that is known to be broken; 0 if there is no list."""
    missing: Sequence[str] = ()
    """Tracks that are listed but missing or unreadable, as they should be displayed to the user."""
    warnings: Sequence[str] = ()
    """Warnings for the user, one sentence each."""
    whole_tracks: bool = True
    """Whether every segment is a whole track."""

    @property
    def shared_tracks(self) -> set[str]:
        """Ids of the tracks that are in more than one subset."""
        held = [{segment.track_id for segment in segments} for segments in self.subsets.values()]
        return {id for id, count in Counter(chain.from_iterable(held)).items() if count > 1}


def check_proposal(splitter: object, proposed: object, frames: Mapping[str, int]) -> None:
    """Check the subsets that a splitter proposes.

    Args:
        splitter: Splitter that made the proposal.
        proposed: Return value of the splitter's ``_propose``.
        frames: Length of each usable track in frames of the store, by track id.

    Raises:
        UserError: The splitter has no name, the proposal does not consist of the three subsets, or a segment is listed
            twice, belongs to an unknown track, is empty, ends after its track, or is not a whole track although
            ``whole_tracks`` is set.
    """
    kind = type(splitter).__name__
    if not isinstance(getattr(splitter, "name", None), str):
        raise UserError(f'split: {kind} has no name: set one in the class, such as name = "own".')
    if not isinstance(proposed, ProposedSplit):
        raise UserError(f"split: {kind}._propose returned a {type(proposed).__name__}: return a ProposedSplit.")
    if set(proposed.subsets) != set(SUBSETS):
        found = ", ".join(map(str, proposed.subsets))
        raise UserError(f"split: {kind} proposes the subsets {found}: propose {', '.join(SUBSETS)}.")
    for subset, segments in proposed.subsets.items():
        known: set[Segment] = set()
        for segment in segments:
            if problem := _problem(segment, known, frames, whole=proposed.whole_tracks):
                raise UserError(f"split: {kind} proposes for {SUBSET_NAMES[subset]} {problem}.")
            known.add(segment)


def _problem(segment: object, known: set[Segment], frames: Mapping[str, int], *, whole: bool) -> str | None:
    """Return what is wrong with a segment, worded to follow "proposes", or None if it is valid."""
    if not isinstance(segment, Segment):
        return f"a {type(segment).__name__}: propose objects of type Segment"
    if segment.track_id not in frames:
        return f"the track {segment.track_id!r}, which is not one of the usable tracks"
    if segment in known:
        return f"a segment of {segment.track_id!r} twice: list each once"
    length = frames[segment.track_id]
    if not 0 <= segment.start_frame < segment.stop_frame <= length:
        part = f"frames {segment.start_frame} to {segment.stop_frame}"
        return f"{part} of {segment.track_id!r}, which has {length} frames"
    if whole and (segment.start_frame, segment.stop_frame) != (0, length):
        return f"a part of {segment.track_id!r}: set whole_tracks=False in the ProposedSplit"
    return None
