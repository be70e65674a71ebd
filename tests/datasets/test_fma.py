"""FMA, on a miniature of its layout."""

import csv
import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import SMALL, Cli

from genreclf.app.examples import Examples
from genreclf.datasets import fma
from genreclf.datasets.fma import Fma
from genreclf.errors import UserError
from genreclf.run_directory import RunDirectory

HEADS = [
    ("", ""),
    ("album", "comments"),
    ("artist", "name"),
    ("set", "split"),
    ("set", "subset"),
    ("track", "genre_top"),
]


def write_fma(root: Path) -> None:
    """Write five tracks of each of two genres, one broken, one missing, and some of the larger sets."""
    rng = np.random.default_rng(0)
    rows: list[list[object]] = []
    for number in range(10):
        genre, split = (
            ("Hip-Hop", "Old-Time / Historic")[number % 2],
            ("training", "validation", "test")[number // 2 % 3],
        )
        rows.append([number + 2, 0, f"artist {number}", split, "small", genre])
    rows.append([int(fma.BROKEN[0]), 0, "x", "training", "small", "Hip-Hop"])
    rows.append([1000, 1, "y", "training", "small", "Hip-Hop"])
    rows += [[2000, 1, "a; b", "training", "medium", "Rock"], [3000, 0, "z", "training", "large", ""]]
    for number, *_ in rows[:-3]:
        path = root / "fma_small" / f"{number:06d}"[:3] / f"{number:06d}.mp3"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.normal(size=22050 * 2), 22050)
    (root / "fma_metadata").mkdir()
    with (root / "fma_metadata/tracks.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([*zip(*HEADS, strict=True), ["track_id", *[""] * (len(HEADS) - 1)], *rows])


def test_tracks_have_genre_artist_and_subset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_fma(tmp_path)
    dataset = Fma(root=tmp_path)
    tracks = {track.id: track for track in dataset.tracks()}
    assert len(tracks) == 10
    assert tracks["Old-Time-Historic/000003"].artist == "artist 1"
    assert tracks["Hip-Hop/000004"].subset == "val"
    assert dataset.warnings == [
        "Known broken files are left out: 1.",
        f"Of 11 tracks of fma_small, 1 are not in {tmp_path / 'fma_small'}.",
    ]
    with pytest.raises(UserError, match=r"holds no fma_medium/: download fma_medium\.zip"):
        Fma(root=tmp_path, subset="medium").tracks()
    # The archive of the metadata does as well, if it is the published one.
    with zipfile.ZipFile(tmp_path / "fma_metadata.zip", "w") as archive:
        archive.write(tmp_path / "fma_metadata/tracks.csv", "fma_metadata/tracks.csv")
    (tmp_path / "fma_metadata/tracks.csv").unlink()
    with pytest.raises(UserError, match="has the SHA-1"):
        dataset.tracks()
    sha1 = hashlib.sha1((tmp_path / "fma_metadata.zip").read_bytes()).hexdigest()
    monkeypatch.setattr(fma, "METADATA_SHA1", sha1)
    assert {track.id for track in dataset.tracks()} == tracks.keys()
    (tmp_path / "fma_metadata/tracks.csv").write_text("track_id,genre\n2,Rock\n")
    with pytest.raises(UserError, match=r"tracks\.csv in .* is not FMA's"):
        dataset.tracks()


def test_the_published_split_trains(cli: Cli, tmp_path: Path) -> None:
    write_fma(tmp_path)
    short = ["trainer.max_epochs=1", "data.clip_seconds=1", f"data.store_dir={tmp_path / 'stores'}"]
    outcome = cli(*SMALL, "data=fma", f"data.root={tmp_path}", *short, "run_dir=run")
    assert outcome.code == 0, outcome.err
    split = RunDirectory("run").read_json(RunDirectory("run").split)
    assert (split["name"], len(split["train"]), len(split["val"]), len(split["test"])) == ("official", 4, 4, 2)
    examples = Examples.of_run(RunDirectory("run"), tmp_path / "examples")
    assert [f"{song.genre}/{song.path.stem}" for song in examples.songs] == split["test"]
    outcome = cli(
        "data=synthetic", "split=official", "logger=none", "data.tracks_per_genre=2", "data.artists_per_genre=2"
    )
    assert (outcome.code, "the dataset has no split of its own" in outcome.err) == (2, True)
