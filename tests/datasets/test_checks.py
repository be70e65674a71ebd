"""What a user's own dataset may return, and what is said where it returns something else."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genreclf.audio.log_mel import FeatureSpec
from genreclf.cli.compose import checked
from genreclf.data.encoding import store_of, waveform_recipe
from genreclf.datasets.base import AudioDataset, ImageDataset, Track
from genreclf.datasets.checks import checked_rate, checked_tracks
from genreclf.datasets.synthetic import Synthetic
from genreclf.errors import UnreadableTrack, UserError
from genreclf.experiment.corpus import load_corpus
from genreclf.splits.lists import AllTest

TRACKS = [Track(id=f"{genre}/{n}", genre=genre, path=Path(genre, str(n))) for genre in ("a", "b") for n in range(2)]
SPEC = FeatureSpec.of_audio(sample_rate=8000, n_fft=512, hop_length=256, n_mels=8, clip_seconds=0.1)


class Own(AudioDataset):
    """Returns what it was made of."""

    name = "own"

    def __init__(self, waveform: Any = None, tracks: Any = TRACKS) -> None:
        super().__init__()
        self.returned, self.listed = waveform, tracks

    def tracks(self) -> list[Track]:
        return self.listed  # type: ignore[no-any-return]

    def waveform(self, track: Track, sample_rate: int) -> Any:
        return self.returned


class OwnPictures(ImageDataset):
    """Returns the picture it was made of."""

    name = "own_pictures"
    n_mels = 8

    def __init__(self, picture: Any) -> None:
        super().__init__()
        self.returned = picture

    def tracks(self) -> list[Track]:
        return TRACKS

    def frames_per_second(self, tracks: Sequence[Track]) -> float:
        return 10.0

    def picture(self, track: Track) -> Any:
        return self.returned


@pytest.mark.parametrize(
    ("tracks", "sentence"),
    [
        ([], r"returned no tracks: check"),
        (None, r"returned no tracks: check"),
        (["a/0"], r"returned a value of type str: return objects of type Track"),
        ([*TRACKS, TRACKS[1]], r"two tracks with the id 'a/1': give each track an id of its own"),
        ([replace(TRACKS[0], id=" ")], r"a track with the id ' '"),
        ([replace(TRACKS[0], id=7)], r"a track with the id 7"),  # type: ignore[arg-type]
        ([TRACKS[1], replace(TRACKS[0], genre=None)], r"track 'a/0' with the genre None: name one, or leave it out"),  # type: ignore[arg-type]
        ([replace(TRACKS[0], genre="")], r"track 'a/0' with the genre ''"),
        ([replace(TRACKS[0], artist=float("nan"))], r"track 'a/0' with the artist nan: give a text or None"),  # type: ignore[arg-type]
        ([replace(TRACKS[0], subset="valid")], r"track 'a/0' with the subset 'valid', none of \(None, 'train', "),
    ],
)
def test_tracks_that_break_the_rules_are_named(tracks: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=rf"^data: Own\.tracks\(\) returned .*{sentence.removeprefix('returned ')}"):
        checked_tracks(Own(tracks=tracks))


def test_good_tracks_stay_as_they_are() -> None:
    assert checked_tracks(Own()) == TRACKS


def test_a_run_checks_tracks_before_it_builds_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Synthetic, "tracks", lambda self: [*TRACKS, replace(TRACKS[0], id="c/0", genre=None)])
    monkeypatch.setattr(Synthetic, "waveform", lambda *_: pytest.fail("was encoded"))
    with pytest.raises(UserError, match=r"Synthetic\.tracks\(\) returned track 'c/0' with the genre None"):
        load_corpus(checked(["data=synthetic", f"data.store_dir={tmp_path}"], run_dir="-"))


@pytest.mark.parametrize(
    ("waveform", "kind"),
    [
        (np.zeros((2, 8000), np.float32), r"an array of float32, shape \(2, 8000\),"),
        (np.zeros((8000, 1), np.float32), r"an array of float32, shape \(8000, 1\),"),
        (np.zeros(8000, np.int16), r"an array of int16, shape \(8000,\),"),
        (np.zeros(8000, ">f4"), r"an array of >f4, shape \(8000,\),"),
        ([0.0] * 8000, "a value of type list"),
        (torch.zeros(8000), "a value of type Tensor"),
        (None, "a value of type NoneType"),
    ],
)
def test_waveforms_of_another_kind_are_refused(waveform: Any, kind: str, tmp_path: Path) -> None:
    sentence = (
        rf"^data: Own\.waveform returned {kind} for track 'a/0': return a mono waveform as a NumPy array of float32"
    )
    with pytest.raises(UserError, match=sentence):
        store_of(Own(waveform), TRACKS, SPEC, directory=tmp_path)
    with pytest.raises(UserError, match=sentence):
        waveform_recipe(Own(waveform), 8000)[1](TRACKS[0])


@pytest.mark.parametrize(
    ("waveform", "problem"),
    [
        (np.zeros(0, np.float32), "no samples"),
        (np.full(8000, np.nan, np.float32), "NaN or infinity"),
        (np.append(np.zeros(7999), np.inf), "NaN or infinity"),
    ],
)
def test_waveforms_of_no_use_cannot_be_read(waveform: Any, problem: str, tmp_path: Path) -> None:
    sentence = rf"4 files cannot be read.*\n  a/0: Own\.waveform returned {problem} for track 'a/0'\n"
    with pytest.raises(UserError, match=sentence):
        store_of(Own(waveform), TRACKS, SPEC, directory=tmp_path)
    with pytest.raises(UnreadableTrack, match=problem):
        waveform_recipe(Own(waveform), 8000)[1](TRACKS[0])


class Failing(Own):
    def waveform(self, track: Track, sample_rate: int) -> Any:
        with open(f"/nowhere/{track.id}.wav", "rb") as file:
            return file.read()


def test_code_that_fails_is_named_with_its_track(tmp_path: Path) -> None:
    sentence = r"^data: Failing\.waveform failed for 'a/0' \(FileNotFoundError: \[Errno 2\] .*; debug=true shows whe"
    with pytest.raises(UserError, match=sentence):
        store_of(Failing(), TRACKS, SPEC, directory=tmp_path)


def test_waveforms_with_the_full_scale_of_integers_are_refused(tmp_path: Path) -> None:
    sentence = r"^data: Own\.waveform returned values up to 20,000 for track 'a/0': full scale is 1, so divide"
    with pytest.raises(UserError, match=sentence):
        store_of(Own(np.full(8000, -2e4, np.float32)), TRACKS, SPEC, directory=tmp_path)


@pytest.mark.parametrize("make", [np.float16, np.float32, np.float64, lambda x: x[::-1].astype(np.float32)[::-1]])
def test_any_floating_point_numbers_will_do(make: Callable[[Any], Any], tmp_path: Path) -> None:
    store = store_of(Own(make(np.sin(np.arange(8000) / 9))), TRACKS, SPEC, directory=tmp_path)
    assert list(store.lengths_frames) == [track.id for track in TRACKS]


@pytest.mark.parametrize(
    ("picture", "sentence"),
    [
        (
            np.zeros((8, 20), np.float32),
            r"^data: OwnPictures\.picture returned an array of float32, shape \(8, 20\), for",
        ),
        (
            np.zeros((9, 20), np.uint8),
            r"shape \(9, 20\), for track 'a/0': return a NumPy array of uint8, shape \(8, fr",
        ),
        (np.zeros((8, 20, 3), np.uint8), r"shape \(8, 20, 3\), for track 'a/0'"),
        ("picture.png", "a value of type str for track 'a/0'"),
        (
            np.zeros((8, 0), np.uint8),
            "4 files cannot be read.*\n  a/0: OwnPictures.picture returned no frames for track 'a/0'",
        ),
    ],
)
def test_pictures_of_another_kind_are_refused(picture: Any, sentence: str, tmp_path: Path) -> None:
    spec = FeatureSpec.of_pictures(n_mels=8, frames_per_second=10, clip_seconds=1)
    with pytest.raises(UserError, match=sentence):
        store_of(OwnPictures(picture), TRACKS, spec, directory=tmp_path)


class WithoutInit(Own):
    def __init__(self, tracks: Any = TRACKS) -> None:
        self.listed = tracks


class OwnSplit(AllTest):
    def __init__(self) -> None:
        pass


def test_what_a_user_may_forget_has_a_default() -> None:
    one, other = WithoutInit(), WithoutInit()
    one.warnings.append("one")
    assert (one.warnings, other.warnings) == (["one"], [])
    assert not OwnSplit().split(TRACKS, {track.id: 9 for track in TRACKS[1:]}, 3).leaky
    assert OwnSplit().allow_missing is False


def test_a_dataset_needs_a_name() -> None:
    class Nameless(Own):
        name = None  # type: ignore[assignment]

    with pytest.raises(UserError, match=r"^data: Nameless has no name: set one in the class\.$"):
        checked_tracks(Nameless())


@pytest.mark.parametrize("rate", [0, None, -1.0, float("nan"), "10"])
def test_a_rate_of_columns_that_makes_no_sense_is_refused(rate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OwnPictures, "frames_per_second", lambda self, tracks: rate)
    with pytest.raises(
        UserError, match=r"^data: OwnPictures\.frames_per_second returned .*: return the number of colu"
    ):
        checked_rate(OwnPictures(np.zeros((8, 20), np.uint8)), TRACKS)
