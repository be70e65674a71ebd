"""Songs like a song: analyzed once, kept, found, and nothing of another checkpoint."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import Cli, Outcome, Trained, divide

from genreclf.errors import UserError
from genreclf.inference.predictor import GenrePredictor
from genreclf.recommend import Library, indexing
from genreclf.run_directory import RunDirectory


def rows(outcome: Outcome) -> list[dict[str, str]]:
    assert outcome.code == 0, outcome.err
    return list(csv.DictReader(io.StringIO(outcome.out)))


def test_only_what_changed_is_analyzed(cli: Cli, run: str, music: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    analyzed: list[str] = []
    predict = GenrePredictor.predict

    def counted(self: GenrePredictor, song: Path, **options: float) -> object:
        analyzed.append(Path(song).name)
        return predict(self, song, **options)

    monkeypatch.setattr(GenrePredictor, "predict", counted)
    (music / "text.wav").write_text("not a sound")
    (music / "empty.mp3").touch()
    (music / "gone.wav").symlink_to(music / "nothing")
    outcome = cli("index", run, "music")
    assert outcome.code == 0
    assert outcome.out.startswith("15 indexed, 0 unchanged, 0 dropped, 3 left out")
    for name in ("text.wav: not readable", "empty.mp3: empty file", "gone.wav: "):
        assert name in outcome.err
    for name in ("text.wav", "empty.mp3", "gone.wav"):
        (music / name).unlink()

    analyzed.clear()
    assert cli("index", run, "music").out.startswith("0 indexed, 15 unchanged, 0 dropped")
    assert analyzed == []

    (music / "blues/0.wav").unlink()
    shutil.copy(music / "metal/0.wav", music / "blues/2.wav")
    shutil.copy(music / "metal/0.wav", music / "blues/new.wav")
    assert cli("index", run, "music").out.startswith("2 indexed, 13 unchanged, 1 dropped")
    assert sorted(analyzed) == ["2.wav", "new.wav"]
    library = Library.of_run(run)
    assert len(library) == len(library.vectors) == 15
    assert library.find("blues/0.wav") is None

    (music.parent / "more").mkdir()
    shutil.copy(music / "blues/3.ogg", music.parent / "more")
    assert cli("index", run, "more").out.startswith("1 indexed, 0 unchanged, 0 dropped")
    assert len(Library.of_run(run)) == 16
    assert "missing is not a folder" in cli("index", run, "missing").err


def test_a_stopped_build_goes_on(cli: Cli, run: str, music: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "KEEP_EVERY_S", 0.0)
    predict, left = GenrePredictor.predict, 4

    def stopped(self: GenrePredictor, song: Path) -> object:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return predict(self, song)

    monkeypatch.setattr(GenrePredictor, "predict", stopped)
    assert cli("index", run, "music").code == 130
    left = 99
    assert "index again" in cli("recommend", run, "music/metal/1.flac").err
    assert cli("index", run, "music").out.startswith("11 indexed, 4 unchanged")
    shutil.copy(music / "metal/0.wav", music / "new.wav")
    left = 1
    shutil.copy(music / "metal/0.wav", music / "newer.wav")
    assert cli("index", run, "music").code == 130
    outcome = cli("recommend", run, "metal/1.flac", "--format", "csv")
    assert len(rows(outcome)) == 10
    assert "1 song cannot be found yet" in outcome.err


def test_recommendations_follow_the_options(cli: Cli, indexed: tuple[str, Path]) -> None:
    run, _ = indexed
    ask = ("recommend", run, "metal/1.flac", "--format", "csv", "-k")
    found = rows(cli(*ask, "20"))
    assert len(found) == 14
    assert "metal/1.flac" not in {row["name"] for row in found}
    similarity = [float(row["similarity"]) for row in found]
    assert similarity == sorted(similarity, reverse=True)

    library = Library.of_run(run)
    song = library.find("metal/1.flac")
    assert song is not None
    assert getattr(library.find("metal/1"), "path", None) == song.path
    assert song is not None
    assert song.artist == "Bob"
    vectors = {one.name: one.embedding for one in library.records.songs(range(1, 16))}
    roots = {one.name: np.sqrt(one.probabilities) for one in library.records.songs(range(1, 16))}
    centers = [np.mean(list(values.values()), axis=0) for values in (vectors, roots)]

    def cosine(values: dict[str, np.ndarray], center: np.ndarray, one: str) -> float:
        first, second = values[one] - center, values["metal/1.flac"] - center
        return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))

    similarities = {
        name: (cosine(vectors, centers[0], name) + cosine(roots, centers[1], name)) / 2
        for name in vectors
        if name != song.name
    }
    assert found[0]["name"] == max(similarities, key=similarities.__getitem__)
    assert similarity == pytest.approx(sorted(similarities.values(), reverse=True), abs=2e-6)

    assert {row["genre"] for row in rows(cli(*ask, "20", "--same-genre"))} == {song.genre}
    assert "Ann" not in {row["artist"] for row in rows(cli(*ask, "20", "--exclude-artist", "ANN"))}
    assert len(rows(cli(*ask, "20", "--exclude-artist", "ANN"))) == 13
    assert len(rows(cli(*ask, "20", "--other-artists"))) == 14
    assert "artist is not known" in cli("recommend", run, "metal/0.wav", "--other-artists").err

    plain, diverse = (rows(cli(*ask, "3", *more)) for more in ((), ("--diverse",)))
    assert plain[0]["name"] == diverse[0]["name"]

    def similarity_within(chosen: list[dict[str, str]]) -> float:
        names = {row["name"] for row in chosen}
        units = library.similarity.of_songs([one for one in library.records.songs(range(1, 16)) if one.name in names])
        return float((units @ units.T).mean())

    assert similarity_within(diverse) < similarity_within(plain)


def test_a_song_from_elsewhere_and_a_copy(cli: Cli, indexed: tuple[str, Path], tmp_path: Path) -> None:
    run, music = indexed
    shutil.copy(music / "metal/0.wav", tmp_path / "copy.wav")
    found = rows(cli("recommend", run, "copy.wav", "--format", "csv", "-k", "20"))
    assert len(found) == 14
    assert "metal/0.wav" not in {row["name"] for row in found}
    assert [row["name"] for row in found] == [
        row["name"] for row in rows(cli("recommend", run, "metal/0.wav", "--format", "csv", "-k", "20"))
    ]
    assert "neither a file nor a song" in cli("recommend", run, "nothing.wav").err
    assert "several songs" in cli("recommend", run, "0.wav").err
    shutil.copy(music / "metal/0.wav", tmp_path / "0.wav")
    assert rows(cli("recommend", run, "0.wav", "--format", "csv", "-k", "20")) == found
    (tmp_path / "bad.wav").write_text("not a sound")
    assert "bad.wav: not readable" in cli("recommend", run, "bad.wav").err


def test_a_link_is_a_song_of_its_own(cli: Cli, run: str, music: Path) -> None:
    (music / "blues/link.wav").symlink_to(music / "metal/0.wav")
    assert cli("index", run, "music").out.startswith("16 indexed")
    found = rows(cli("recommend", run, str(music / "blues/link.wav"), "--format", "csv", "-k", "20"))
    assert len(found) == 14
    assert not {"blues/link.wav", "metal/0.wav"} & {row["name"] for row in found}


def test_formats(cli: Cli, indexed: tuple[str, Path]) -> None:
    run, music = indexed
    ask = ("recommend", run, str(music / "blues/0.wav"), "-k", "14", "--format")
    lines = cli(*ask, "m3u").out.splitlines()
    assert lines[0] == "#EXTM3U"
    paths = [Path(line) for line in lines[1:] if not line.startswith("#")]
    assert len(paths) == 14
    assert all(path.is_file() for path in paths)
    assert "#EXTINF:3,Bob - 1" in lines
    assert [one["path"] for one in json.loads(cli(*ask, "json").out)] == [str(path) for path in paths]
    assert "metal/1.flac" in cli(*ask, "table").out


@pytest.mark.pictures
def test_a_picture(cli: Cli, indexed: tuple[str, Path], tmp_path: Path) -> None:
    ask = ("recommend", indexed[0], "metal/1.flac", "--format", "csv", "--picture")
    assert len(rows(cli(*ask, "new/like.png"))) == 10
    assert (tmp_path / "new/like.png").stat().st_size > 10_000
    (tmp_path / "file").write_text("no folder")
    for words, said in (
        ((*ask, "file/like.png"), "--picture file/like.png cannot be written"),
        ((*ask, "like.jpg"), "like.jpg does not end in .png"),
        (("recommend", indexed[0], "--evaluate", "--picture", "like.png"), "omit it or --evaluate"),
    ):
        outcome = cli(*words)
        assert outcome.code == 2
        assert said in outcome.err


def test_another_checkpoint_and_damage_are_refused(cli: Cli, run: str, music: Path) -> None:
    assert "There is no library" in cli("recommend", run, "metal/0.wav").err
    elsewhere = cli("recommend", run, "metal/0.wav", "--library", "none").err
    assert f"There is no library in none: python -m genreclf index {run} FOLDER --library none makes one." in elsewhere
    cli("index", run, "music")
    vectors = Path(run, "library/vectors.faiss")
    whole = vectors.read_bytes()
    for damaged in (b"", b"not vectors" * 99, whole[: len(whole) // 2]):
        vectors.write_bytes(damaged)
        outcome = cli("recommend", run, "metal/0.wav")
        assert outcome.code == 2
        assert "vectors.faiss is missing or damaged; index again" in outcome.err
    assert cli("index", run, "music").out.startswith("0 indexed, 15 unchanged")
    assert cli("recommend", run, "metal/0.wav").code == 0

    checkpoint = RunDirectory(run).best
    shutil.copy(checkpoint, checkpoint.with_suffix(".kept"))
    checkpoint.write_bytes(checkpoint.read_bytes() + b"\0")
    with pytest.raises(UserError, match="belongs to another checkpoint"):
        Library.of_run(run)
    shutil.move(checkpoint.with_suffix(".kept"), checkpoint)
    Path(run, "library/songs.sqlite").write_bytes(b"not a database" * 99)
    for command in (("index", run, "music"), ("recommend", run, "metal/0.wav")):
        outcome = cli(*command)
        assert outcome.code == 2
        assert "songs.sqlite cannot be used" in outcome.err


def test_a_dataset_is_indexed_with_its_artists(cli: Cli, run: str, trained: Trained, tmp_path: Path) -> None:
    artists = tmp_path / "artists.csv"
    artists.write_text("metal/0,Cleo; Eve\nmetal/1,CLEO\nblues/0,Dan; Cleo\nblues/1,Cleopatra\n")
    dataset = ("data=folder", f"data.root={trained.music}", f"data.store_dir={trained.run.path.parent / 'stores'}")
    outcome = cli("index", run, *dataset, f"data.artists={artists}", "--library", "elsewhere")
    assert outcome.out.startswith("15 indexed"), outcome.err
    found = rows(
        cli("recommend", run, "metal/0", "--library", "elsewhere", "--other-artists", "--format", "csv", "-k", "20")
    )
    assert len(found) == 12
    assert not {"metal/0", "metal/1", "blues/0"} & {row["name"] for row in found}
    assert "blues/1" in {row["name"] for row in found}
    stored = Library.of_run(run, directory="elsewhere").find("metal/0")
    assert stored is not None
    prediction = GenrePredictor.of_run(run).predict(trained.music / "metal/0.wav")
    assert prediction.embedding is not None
    np.testing.assert_allclose(stored.embedding, prediction.embedding, atol=1e-4)
    assert cli("index", run, *dataset, "--library", "elsewhere").out.startswith("0 indexed, 15 unchanged")
    assert {song.artist for song in Library.of_run(run, directory="elsewhere").records.songs(range(1, 16))} == {None}
    assert "gives spectrograms that differ" in cli("index", run, *dataset, "features.n_mels=64").err
    assert "(f_min)" in cli("index", run, *dataset, "features.f_min=50").err
    assert "not both" in cli("index", run, "music", "data=folder").err


def test_weights_of_validation_tracks_are_used_and_older_libraries_are_indexed_again(
    cli: Cli, run: str, trained: Trained
) -> None:
    music = ["data=folder", f"data.root={trained.music}", f"data.store_dir={trained.music.parent / 'stores'}"]
    others = [f"{genre}/{number}" for genre in ("classical", "metal") for number in range(4)]
    divide(RunDirectory(run), test=("blues/1", "blues/2", "blues/3"), val=("blues/0", *others))
    outcome = cli("recommend", run, "--evaluate", "-k", "2", "--format", "json", *music)
    assert outcome.code == 0, outcome.err
    assert "validation tracks: embedding " in outcome.err
    assert {row["method"]: row["hubness"] for row in json.loads(outcome.out)}["at best"] is None
    kept = json.loads((Path(run) / "similarity.json").read_text())
    assert sum(kept["weights"]) == 1
    assert cli("index", run, str(trained.music)).code == 0
    assert list(Library.of_run(run).similarity.weights) == kept["weights"]

    (Path(run) / "similarity.json").write_text(json.dumps({**kept, "weights": [0.0, 1.0]}))
    assert cli("index", run, str(trained.music)).out.startswith("0 indexed, 15 unchanged")
    library = Library.of_run(run)
    assert library.similarity.weights == (0.0, 1.0)
    assert library.vectors.index.d == 3  # The genres alone.

    library.records.note(similarity={})
    assert "index again; no song is computed anew" in cli("recommend", run, "metal/1.flac").err
    assert cli("index", run, str(trained.music)).code == 0
    assert cli("recommend", run, "metal/1.flac").code == 0

    (Path(run) / "similarity.json").write_text(json.dumps({**kept, "weights": [2.0, -1.0]}))
    assert "holds no weights" in cli("index", run, str(trained.music)).err


def test_joint_credits_count_for_each_artist(indexed: tuple[str, Path], tmp_path: Path) -> None:
    shutil.copytree(Path(indexed[0]) / "library", tmp_path / "joint")
    library = Library.of_run(indexed[0], directory=tmp_path / "joint")
    origin = str(indexed[1])
    library.records.rename_artists(origin, {"metal/1.flac": "Ann & Bob", "metal/0.wav": "Cy; Bob", "blues/0.wav": "Bo"})
    named = {one.name for one in library.records.songs(library.records.ids_by(["Bob"]).tolist())}
    assert named == {"metal/1.flac", "metal/0.wav"}
    named = {one.name for one in library.records.songs(library.records.ids_by(["ann & bob"]).tolist())}
    assert named == {"metal/1.flac", "metal/0.wav", "blues/1.flac"}
