from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_predictions import GENRES, arrays, predictions

from genreclf.errors import UserError
from genreclf.evaluation.predictions import (
    ClipPredictions,
    TrackPredictions,
    read_track_csv,
    write_clip_csv,
    write_track_csv,
)
from genreclf.run_directory import atomic_path

PER_CLIP = ("track", "clip", "start_s", "logits")


def written(directory: Path, clips: ClipPredictions) -> tuple[bytes, bytes]:
    directory.mkdir(exist_ok=True)
    write_clip_csv(directory / "clips.csv", clips)
    write_track_csv(directory / "tracks.csv", clips.per_track())
    return (directory / "clips.csv").read_bytes(), (directory / "tracks.csv").read_bytes()


def test_a_tie_in_the_decimals_of_a_file_keeps_the_predicted_genre(tmp_path: Path) -> None:
    shares = np.array([[0.5 - 1e-11, 0.5 + 1e-11], [0.75, 0.25]])
    tracks = TrackPredictions(
        genres=("blues", "rock"), track_ids=("1", "2"), targets=np.array([1, 0]), probabilities=shares
    )
    write_track_csv(tmp_path / "predictions.csv", tracks)
    back = read_track_csv(tmp_path / "predictions.csv")
    assert back.predicted.tolist() == [1, 0]
    np.testing.assert_allclose(back.probabilities, [[0.5, 0.5], [0.75, 0.25]], rtol=1e-15)


@pytest.mark.parametrize("seed", range(5))
def test_order_and_repeats_of_ranks_leave_no_trace(tmp_path: Path, seed: int) -> None:
    plain = arrays()
    rng = np.random.default_rng(seed)
    clips = len(plain["track"])
    order = rng.permutation(np.concatenate((np.arange(clips), rng.integers(0, clips, 37))))
    ranks = plain | {name: plain[name][order] for name in PER_CLIP}

    assert written(tmp_path / "a", ClipPredictions.gathered(**ranks)) == written(
        tmp_path / "b", ClipPredictions.gathered(**plain)
    )


def test_first_of_repeats_is_kept() -> None:
    clips = ClipPredictions.gathered(
        genres=["a", "b"],
        track_ids=["x"],
        targets=[0],
        track=[0, 0, 0],
        clip=[1, 0, 1],
        start_s=[3, 0, 3],
        logits=[[1, 2], [3, 4], [5, 6]],
    )
    assert clips.logits.tolist() == [[3, 4], [1, 2]]
    assert clips.start_s.tolist() == [0, 3]


def test_probabilities_are_float64_softmax_that_does_not_overflow() -> None:
    clips = predictions()
    expected = torch.tensor(clips.logits).double().softmax(dim=1).numpy()
    assert clips.probabilities.dtype == np.float64
    np.testing.assert_allclose(clips.probabilities, expected, rtol=1e-13)

    plain = arrays(tracks=1, clips=1)
    huge = ClipPredictions.gathered(**plain | {"logits": np.array([[1e4, 0, 0, -1e4]])})
    assert huge.probabilities.tolist() == [[1, 0, 0, 0]]


def test_track_is_the_mean_of_its_clips_probabilities() -> None:
    clips = predictions(tracks=7, clips=3)
    tracks = clips.per_track()
    np.testing.assert_allclose(tracks.probabilities, clips.probabilities.reshape(7, 3, -1).mean(axis=1), rtol=1e-14)
    assert tracks.track_ids == clips.track_ids
    assert tracks.targets.tolist() == clips.targets.tolist()


def test_tracks_without_clips_are_not_scored() -> None:
    plain = arrays(tracks=6, clips=2)
    kept = np.isin(plain["track"], [1, 4])
    tracks = ClipPredictions.gathered(**plain | {name: plain[name][kept] for name in PER_CLIP}).per_track()
    assert tracks.track_ids == ("track.00001", "track.00004")
    assert tracks.targets.tolist() == plain["targets"][[1, 4]].tolist()

    nothing = ClipPredictions.gathered(**plain | {name: plain[name][:0] for name in PER_CLIP}).per_track()
    assert nothing.probabilities.shape == (0, len(GENRES))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"targets": [0]}, "targets has shape"),
        ({"start_s": [0.0, 1.0, 2.0]}, "start_s has shape"),
        ({"targets": [0, 4]}, "targets must be in"),
        ({"track": [0, 2]}, "track must be in"),
        ({"track_ids": ("b", "a")}, "sorted"),
        ({"track": [1, 0]}, "order"),
        ({"track": [0, 0]}, "order"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(fault: dict[str, Any], words: str) -> None:
    good = {
        "targets": [0, 1],
        "track": [0, 1],
        "clip": [0, 0],
        "start_s": [0.0, 0.0],
        "logits": np.zeros((2, 4)),
    }
    names = {"genres": GENRES, "track_ids": ("a", "b")}
    ClipPredictions(**names, **{name: np.array(value) for name, value in good.items()})
    wrong = names | {name: np.array(value) for name, value in good.items()}
    wrong |= {name: value if name == "track_ids" else np.array(value) for name, value in fault.items()}
    with pytest.raises(ValueError, match=words):
        ClipPredictions(**wrong)


def test_files_name_tracks_genres_and_probabilities(tmp_path: Path) -> None:
    clips = ClipPredictions.gathered(
        genres=["jazz", "rock, hard"],
        track_ids=["jazz.00001", 'rock/"x", y'],
        targets=[0, 1],
        track=[0, 0, 1],
        clip=[0, 1, 0],
        start_s=[0, 2.9953, 0],
        logits=[[0, -200], [-200, 0], [0, 0]],
    )
    clip_file, track_file = (file.decode() for file in written(tmp_path, clips))
    assert clip_file.splitlines() == [
        'track_id,clip,start_s,genre,predicted,jazz,"rock, hard"',
        "jazz.00001,0,0.000000,jazz,jazz,1.000000000,0.000000000",
        'jazz.00001,1,2.995300,jazz,"rock, hard",0.000000000,1.000000000',
        '"rock/""x"", y",0,0.000000,"rock, hard",jazz,0.500000000,0.500000000',
    ]
    assert track_file.splitlines() == [
        'track_id,genre,predicted,jazz,"rock, hard"',
        "jazz.00001,jazz,jazz,0.500000000,0.500000000",
        '"rock/""x"", y","rock, hard",jazz,0.500000000,0.500000000',
    ]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["clips.csv", "tracks.csv"]


def test_track_file_comes_back(tmp_path: Path) -> None:
    tracks = predictions().per_track()
    write_track_csv(tmp_path / "predictions.csv", tracks)
    back = read_track_csv(tmp_path / "predictions.csv")
    assert (back.genres, back.track_ids) == (tracks.genres, tracks.track_ids)
    assert back.targets.tolist() == tracks.targets.tolist()
    assert back.predicted.tolist() == tracks.predicted.tolist()
    np.testing.assert_allclose(back.probabilities, tracks.probabilities, atol=5e-10)

    write_track_csv(tmp_path / "again.csv", back)
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "predictions.csv").read_bytes()


def write_half(path: Path) -> None:
    with atomic_path(path) as partial:
        partial.write_text("half")
        raise RuntimeError("power cut")


def test_failed_write_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    write_track_csv(path, predictions().per_track())
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="power cut"):
        write_half(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["predictions.csv"]


def test_ties_go_to_the_first_genre() -> None:
    tracks = TrackPredictions(
        genres=GENRES, track_ids=("x",), targets=np.array([1]), probabilities=np.array([[0.1, 0.4, 0.1, 0.4]])
    )
    assert tracks.predicted.tolist() == [1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "first line"),
        ("track_id,genre,predicted\n", "first line"),
        ("id,genre,predicted,a,b\n", "first line"),
        ("track_id,genre,predicted,a,a\n", "first line"),
        ("track_id,genre,predicted,a,b\nx,a,a,0.5,0.5\ny,c,a,0.5,0.5\n", "Line 3"),
        ("track_id,genre,predicted,a,b\nx,a,a,0.5\n", "Line 2"),
        ("track_id,genre,predicted,a,b\nx,a\n", "Line 2"),
        ("track_id,genre,predicted,a,b\nx,a,a,0.5,half\n", "Line 2"),
        ("track_id,genre,predicted,a,b\nx,a,a,0.5,nan\n", "Line 2"),
        ("track_id,genre,predicted,a,b\nx,a,a,0.5,0.5\nx,a,a,0.5,0.5\n", "repeats the track 'x'"),
        (b"\xff\xfe\x00", "not a CSV file"),
        (None, "cannot be read"),
    ],
)
def test_faulty_track_file_is_one_sentence(tmp_path: Path, content: str | bytes | None, words: str) -> None:
    path = tmp_path / "predictions.csv"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UserError, match=words) as caught:
        read_track_csv(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
