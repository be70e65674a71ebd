"""The command on a made dataset: what was put in is found."""

import csv
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import Cli
from numpy.typing import NDArray
from PIL import Image

from genreclf.audio.log_mel import FeatureSpec
from genreclf.audit.artists import artist_file, joint_credits, spellings
from genreclf.audit.labels import label_suspects
from genreclf.audit.repeats import near_repeats
from genreclf.datasets.base import Track
from genreclf.datasets.folder import Folder
from genreclf.datasets.identity import KNOWN_REPEATS
from genreclf.datasets.synthetic import Synthetic
from genreclf.evaluation.predictions import TrackPredictions
from genreclf.run_directory import RunDirectory

RATE = 22050


def write_faulty(root: Path) -> None:
    """Write 15 songs of 6 s per genre, of which some repeat others or are damaged."""
    source = Synthetic(tracks_per_genre=5, artists_per_genre=5, duration_s=8.0)
    music = {
        f"{track.genre}/{int(track.id[-5:])}": source.waveform(track, RATE)
        for track in source.tracks()
        if track.genre in ("blues", "metal")
    }

    def write(name: str, samples: NDArray[np.float32], suffix: str = "wav") -> None:
        path = root / f"{name}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.rint(32767 * samples).astype(np.int16), RATE)

    six_s = 6 * RATE
    for name, samples in music.items():
        write(name, samples[:six_s])
    write("blues/exact", music["blues/0"][:six_s], "flac")
    write("metal/later", 0.3 * music["metal/1"][RATE : RATE + six_s], "ogg")
    loud = music["blues/2"][:six_s] / np.abs(music["blues/2"]).max()
    write("blues/clipped", np.clip(3 * np.roll(loud[::-1], 100), -1, 1))
    quiet = music["metal/3"][:six_s][::-1].copy()
    quiet[: 2 * RATE] = 0
    write("metal/silent", quiet)
    write("metal/twice", np.random.default_rng(0).normal(0, 0.1, six_s).repeat(2).reshape(-1, 2))
    (root / "metal/broken.wav").write_bytes(b"RIFF")


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("audit") / "music"
    write_faulty(root)
    return root


def test_what_is_wrong_is_found(cli: Cli, music: Path, stores: Path, tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text(
        "blues/0,Ann\nblues/1,Ann & Bob\nblues/2,The Three\nblues/3,Three\nmetal/0,Ann\nmetal/1,Zed\n"
    )
    outcome = cli("audit", "data=folder", f"data.root={music}", "data.artists=index.csv", f"data.store_dir={stores}")
    assert outcome.code == 0, outcome.err
    out = tmp_path / "outputs/audit/folder"
    pairs = {(row["first"], row["second"]): row for row in read(out / "repeats.csv")}
    assert pairs.keys() == {("blues/0", "blues/exact"), ("metal/1", "metal/later")}
    assert pairs["blues/0", "blues/exact"]["kind"] == "exact"
    assert float(pairs["metal/1", "metal/later"]["shift_s"]) == pytest.approx(-1, abs=0.16)
    odd = {row["track_id"]: row["odd"] for row in read(out / "tracks.csv")}
    assert {track for track, flags in odd.items() if "clipped" in flags} == {"blues/clipped"}
    assert {track for track, flags in odd.items() if "silence" in flags} == {"metal/silent"}
    assert {track for track, flags in odd.items() if "identical" in flags} == {"metal/twice"}
    report = (out / "report.md").read_text()
    assert "metal/broken: not readable as audio" in report
    assert "ann &amp; bob: ann; bob" in report
    assert "the three; three" in report
    # The file of artists keeps together what it says.
    groups = {track.id: track.group for track in Folder(root=music, artists=out / "artists.csv").tracks()}
    assert groups["blues/0"] == groups["blues/exact"] == groups["blues/1"] == groups["metal/0"]
    assert groups["metal/1"] == groups["metal/later"] != groups["metal/2"]
    assert groups["blues/2"] == groups["blues/3"]


def test_pictures_and_their_known_repeats(cli: Cli, stores: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    one, other = KNOWN_REPEATS[0]
    for genre in ("disco", "jazz"):
        (tmp_path / "pictures" / genre).mkdir(parents=True)
        for number in range(6):
            levels = rng.integers(60, 255, (32, 90)).repeat(3, axis=1).astype(np.uint8)
            Image.fromarray(levels).save(tmp_path / "pictures" / genre / f"{genre}.{number:05d}.png")
    for name in (one, other):
        shutil.copy(tmp_path / "pictures/disco/disco.00000.png", tmp_path / f"pictures/disco/{name}.png")
    overrides = ["data=spectrogram_images", "data.root=pictures", "data.n_mels=32", "split=track"]
    outcome = cli("audit", *overrides, f"data.store_dir={stores}", "--out", "found")
    assert outcome.code == 0, outcome.err
    assert {row["similarity"] for row in read(tmp_path / "found/repeats.csv")} == {"1.0"}
    assert len(read(tmp_path / "found/repeats.csv")) == 3
    report = (tmp_path / "found/report.md").read_text()
    assert "1 of the 1 known pairs of GTZAN were found." in report
    assert "Clipping and channels cannot be checked in pictures" in report


def test_labels_are_doubted_by_runs_that_had_not_trained_on_them(
    cli: Cli, finished: RunDirectory, tiny: list[str]
) -> None:
    data = [word for word in tiny if word.startswith("data")]
    outcome = cli("audit", *data, "--runs", str(finished.path))
    assert outcome.code == 0, outcome.err
    tested = len(finished.read_json(finished.split)["test"])
    assert f"of the {tested} tracks that 1 run" in (
        report := Path("outputs/audit/synthetic/report.md").read_text()
    ) or (f"{tested} tracks were judged, by 1 run" in report)
    outcome = cli("audit", *data, "--runs", "nowhere")
    assert (outcome.code, outcome.err) == (
        2,
        "--runs nowhere is not a finished run; choose runs that tested the dataset's tracks.\n",
    )
    # Other music has tracks of the same names.
    outcome = cli("audit", *data, "data.seed=1", "--runs", str(finished.path))
    assert (outcome.code, outcome.err) == (
        2,
        f"--runs {finished.path} did not test any of the tracks: choose runs on this dataset.\n",
    )


def test_a_label_is_doubted_where_another_genre_is_as_likely_as_on_its_own_tracks() -> None:
    predictions = TrackPredictions(
        genres=("blues", "rock"),
        track_ids=("a", "b", "c", "d"),
        targets=np.array([0, 0, 1, 1]),
        probabilities=np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.3, 0.7]]),
    )
    suspects = label_suspects(predictions, {"a": "blues", "b": "blues", "c": "rock", "d": "rock"})
    assert [(suspect.track, suspect.other) for suspect in suspects] == [("b", "rock")]
    assert label_suspects(predictions, {"b": "polka"}) == []


def test_many_tracks_are_compared_with_those_of_a_similar_spectrum(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    spec = FeatureSpec.of_pictures(n_mels=32, frames_per_second=10.0, clip_seconds=1)
    tracks = {f"{i:02d}": rng.normal(128, 20, (32, 100)) + rng.normal(0, 20, (32, 1)) for i in range(30)}
    tracks["30"] = tracks["07"] - 30
    monkeypatch.setattr("genreclf.audit.repeats.ALL_PAIRS", 10)
    monkeypatch.setattr("genreclf.audit.repeats.CANDIDATES", 8)
    found = near_repeats({name: partial(levels.astype, np.int16) for name, levels in tracks.items()}, spec)
    assert [repeat.tracks for repeat in found] == [("07", "30")]


@pytest.mark.parametrize(
    ("start_s", "stop_s", "other_start_s", "other_stop_s"), [(0, 200, 0, 240), (25, 225, 0, 300), (60, 120, 0, 200)]
)
def test_shifts_of_long_tracks_count_from_their_beginnings(
    start_s: int, stop_s: int, other_start_s: int, other_stop_s: int
) -> None:
    spec = FeatureSpec.of_pictures(n_mels=32, frames_per_second=20.0, clip_seconds=1)
    music = np.random.default_rng(0).normal(128, 20, (32, 300 * 20)).astype(np.int16)
    tracks = {"a": music[:, start_s * 20 : stop_s * 20], "b": music[:, other_start_s * 20 : other_stop_s * 20]}
    (repeat,) = near_repeats({name: partial(levels.astype, np.int16) for name, levels in tracks.items()}, spec)
    assert repeat.shift_s == pytest.approx(start_s - other_start_s, abs=0.16)


def test_artists_are_separated_and_spelled_once() -> None:
    credits = {"a": "Lauryn Hill; Bob Marley", "b": "Bob Marley & The Wailers", "c": "Earth, Wind & Fire", "d": "Björk"}
    tracks = [Track(id=id, genre="x", path=Path(id), artist=artist) for id, artist in {**credits, "e": "bjork"}.items()]
    joint = joint_credits(tracks)
    assert [(credit.credit, credit.parts) for credit in joint] == [
        ("bob marley & the wailers", ("bob marley", "the wailers"))
    ]
    assert spellings(tracks) == [("bjork", "björk")]
    assert artist_file(tracks, [("a", "c")], joint, spellings(tracks)).splitlines() == [
        "track_id,artist",
        "a,lauryn hill; bob marley; repeats of a",
        "b,bob marley; the wailers",
        'c,"earth, wind & fire; repeats of a"',
        "d,bjork",
        "e,bjork",
    ]
