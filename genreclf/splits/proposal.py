"""What a splitter, which may be a user's own, proposes, and the check of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from genreclf.errors import UserError

SUBSETS = ("train", "val", "test")
SUBSET_NAMES = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True, order=True)
class Segment:
    """A part of a track that belongs to a subset."""

    track_id: str
    """The track."""
    start_frame: int
    """The first frame, in frames of the store."""
    stop_frame: int
    """The frame after the last one; a whole track is ``(0, number of frames)``."""


@dataclass
class ProposedSplit:
    """The subsets that a splitter proposes, before the checks that all splitters share."""

    subsets: Mapping[str, Sequence[Segment]]
    """Segments by subset."""
    listed: int = 0
    """How many tracks a list names, without the known broken one; 0 where there is no list."""
    missing: Sequence[str] = ()
    """Tracks that the list names and the data lacks, as a user should read them."""
    warnings: Sequence[str] = ()
    """What a user should know, one sentence each."""
    whole_tracks: bool = True
    """Whether every segment is a whole track."""

    @property
    def shared_tracks(self) -> set[str]:
        """The tracks that are in more than one subset."""
        held = [{segment.track_id for segment in segments} for segments in self.subsets.values()]
        return {id for id, count in Counter(chain.from_iterable(held)).items() if count > 1}


def check_proposal(splitter: object, proposed: object, frames: Mapping[str, int]) -> None:
    """Check the subsets that a splitter proposes.

    Args:
        splitter: The splitter.
        proposed: What its `_propose` returned.
        frames: Length of each usable track in frames of the store.

    Raises:
        UserError: They are not three lists of segments, or a segment is listed twice, is of an unknown track, is empty
            or ends after its track.
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
    """Return what is wrong with a segment, in words that follow "proposes"."""
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
