"""What a splitter of the user's own proposes is checked, and a track in two subsets makes its split LEAKY."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from genreclf.datasets.base import Track
from genreclf.errors import UserError
from genreclf.splits.base import ProposedSplit, Segment, Splitter
from genreclf.splits.parts import with_fewer
from genreclf.splits.rules import ArtistFolds

FRAMES = {f"{genre}/{n}": 10 for genre in "ab" for n in range(6)}
TRACKS = [Track(id=id, genre=id[0], path=Path(id), fingerprint="") for id in FRAMES]


def whole(*numbers: int) -> list[Segment]:
    return [Segment(f"{genre}/{n}", 0, 10) for genre in "ab" for n in numbers]


class Own(Splitter):
    name = "own"

    def __init__(self, propose: Callable[[], Any]) -> None:
        super().__init__()
        self.propose = propose

    def _propose(
        self, usable: Sequence[Track], tracks: Sequence[Track], frames: Mapping[str, int], clip_frames: int
    ) -> ProposedSplit:
        proposed: ProposedSplit = self.propose()
        return proposed


class Nameless(Own):
    name = None  # type: ignore[assignment]


def subsets(train: Sequence[Any], **others: Sequence[Any]) -> ProposedSplit:
    return ProposedSplit({"train": train, "val": whole(3), "test": whole(4, 5), **others})


def test_a_track_in_two_subsets_makes_a_split_leaky() -> None:
    split = Own(lambda: subsets(whole(0, 1, 4))).split(TRACKS, FRAMES, 5)
    assert split.leaky
    assert "split=own leaks: 2 of 10 tracks are in more than one subset" in split.warnings[0]
    assert not Own(lambda: subsets(whole(0, 1, 2))).split(TRACKS, FRAMES, 5).leaky


def test_groups_count_where_no_artist_is_known() -> None:
    tracks = [Track(id, id[0], Path(id), group=f"album {id[0]} {int(id[2:]) // 2}") for id in FRAMES]
    tracks += [Track("a/6", "a", Path("a/6"), group="a/6"), Track("b/6", "b", Path("b/6"))]
    frames = {track.id: 10 for track in tracks}
    split = ArtistFolds(folds=3).split(tracks, frames, 5)
    assert [notice.partition(":")[0] for notice in split.warnings] == ["no artist or group is known for 2 of 14 tracks"]
    cut = Own(lambda: subsets(whole(0, 1, 2))).split(tracks[:12], FRAMES, 5)
    assert cut.warnings[0].startswith("2 of 6 known artists and groups are in more than one subset")
    assert with_fewer(cut, tracks, artists_per_genre=1).warnings[-1].endswith("of 2 of 4 artists")


@pytest.mark.parametrize(
    ("propose", "sentence"),
    [
        (lambda: None, r"split: Own\._propose returned a NoneType: return a ProposedSplit\."),
        (lambda: {"train": whole(0)}, "returned a dict: return a ProposedSplit"),
        (lambda: ProposedSplit({"training": whole(0)}), "proposes the subsets training: propose train, val, test"),
        (lambda: subsets(["a/0", "b/0"]), "proposes for training a str: propose objects of type Segment"),
        (lambda: subsets([*whole(0), Segment("c/0", 0, 10)]), "the track 'c/0', which is not one of the usable tracks"),
        (lambda: subsets(whole(0) * 2), "proposes for training a segment of 'a/0' twice: list each once"),
        (lambda: subsets([Segment("a/0", 5, 2)]), "frames 5 to 2 of 'a/0', which has 10 frames"),
        (lambda: subsets([Segment("a/0", 0, 11)]), "frames 0 to 11 of 'a/0', which has 10 frames"),
        (lambda: subsets([Segment("a/0", 0, 5)]), "a part of 'a/0': set whole_tracks=False in the ProposedSplit"),
    ],
)
def test_what_cannot_be_a_split_is_refused(propose: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Own(propose).split(TRACKS, FRAMES, 5)


def test_a_splitter_without_a_name_is_refused() -> None:
    with pytest.raises(UserError, match=r"split: Nameless has no name: set one in the class"):
        Nameless(lambda: subsets(whole(0, 1, 2))).split(TRACKS, FRAMES, 5)
