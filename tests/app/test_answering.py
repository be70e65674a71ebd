"""What the page says of a song, without a server."""

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import Cli, Trained

from genreclf import load
from genreclf.app.examples import Examples
from genreclf.app.facts import facts
from genreclf.app.media_registry import MediaRegistry
from genreclf.app.rendering import answer_html, course_of, header_html, timeline_data, welcome_html
from genreclf.app.song_page import Limits, SongPage
from genreclf.errors import UserError
from genreclf.inference.prediction import Timeline
from genreclf.inference.predictor import GenrePredictor
from genreclf.plots.style import GENRE_COLORS
from genreclf.run_directory import RunDirectory
from genreclf.splits.base import Split

HOSTILE = "<img src=x onerror=alert(1)>${alert(2)}{{value}}\"'.wav"


@pytest.fixture(scope="module")
def predictor(trained: Trained) -> GenrePredictor:
    return load(trained.run.path)


@pytest.fixture
def song_page(predictor: GenrePredictor, tmp_path: Path) -> SongPage:
    return SongPage(
        predictor=predictor,
        library=None,
        without_library="Make a library.",
        media=MediaRegistry(copies=tmp_path / "copies"),
        limits=Limits(megabytes=1, minutes=0.1),
    )


class Tags(HTMLParser):
    """Collects the tags of a segment of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_answer_is_the_prediction(song_page: SongPage, predictor: GenrePredictor, trained: Trained) -> None:
    path = trained.music / "metal" / "1.flac"
    html = song_page.answer(path, path.name)
    prediction = predictor.predict(path)
    assert re.findall(r"data-genre=\"(\w+)\"", html) == [genre for genre, _ in prediction.top()]
    assert f"{100 * prediction.probabilities.max():.1f}\N{NO-BREAK SPACE}%" in html
    assert " %" not in html
    (data,) = (json.loads(known["data-timeline"] or "") for _, known in Tags(html).found if "data-timeline" in known)
    edges_s, shares = prediction.timeline.shares()
    np.testing.assert_allclose(data["edges_s"], edges_s, atol=1e-3)
    np.testing.assert_allclose(np.transpose(list(data["shares"].values())), shares, atol=1e-4)
    assert "Make a library." in html


def test_an_unsure_answer_says_so(song_page: SongPage, predictor: GenrePredictor, trained: Trained) -> None:
    prediction = predictor.predict(trained.music / "metal" / "0.wav")
    flat = np.full(len(predictor.genres), 1 / len(predictor.genres))
    timeline = replace(prediction.timeline, probabilities=np.tile(flat, (len(prediction.timeline.start_s), 1)))
    unsure = replace(prediction, probabilities=flat, timeline=timeline)
    assert unsure.certainty == "unsure"
    html = answer_html(unsure, name="song", player="", similar=[], without_library="")
    assert "<strong>Not sure.</strong>" in html
    assert f'data-said="song: not sure, perhaps {unsure.genre}, ' in html
    sure = np.eye(len(flat))[0]
    timeline = replace(timeline, probabilities=np.tile(sure, (len(timeline.start_s), 1)))
    html = answer_html(
        replace(unsure, probabilities=sure, timeline=timeline), name="song", player="", similar=[], without_library=""
    )
    assert "g-doubt" not in html


def test_names_are_text(song_page: SongPage, trained: Trained) -> None:
    html = song_page.answer(trained.music / "metal" / "0.wav", HOSTILE)
    images = [known["src"] for tag, known in Tags(html).found if tag == "img"]
    assert len(images) == 1
    assert (images[0] or "").startswith("data:image/webp;base64,")
    assert "&lt;img src=x" in html


def test_songs_like_it_are_played_if_they_are_there(
    song_page: SongPage, trained: Trained, cli: Cli, tmp_path: Path
) -> None:
    pytest.importorskip("faiss", reason="needs the extra library")
    from genreclf.recommend import Library

    music = tmp_path / "music"
    shutil.copytree(trained.music, music)
    assert cli("index", str(trained.run.path), str(music), "--library", str(tmp_path / "library")).code == 0
    library = Library.of_run(trained.run.path, directory=tmp_path / "library")
    song = trained.music / "metal" / "0.wav"
    found = library.like(song_page.predictor.predict(song), k=10)
    found[0].song.path.unlink()
    html = replace(song_page, library=library).answer(song, song.name)
    players = [known["src"] or "" for tag, known in Tags(html).found if tag == "audio"]
    played = [song_page.media.playable(address.rpartition("/")[2]) for address in players]
    assert played == [song, *(like.song.path for like in found[1:])]
    assert len(played) == 10
    assert html.count("its file is gone") == 1
    assert re.findall(r"similarity (\S+?)<", html) == [f"{like.similarity:.3f}" for like in found]


def write(path: Path, samples: np.ndarray) -> Path:
    soundfile.write(path, samples, 8000)
    return path


def test_bad_songs_are_answered_with_a_sentence(song_page: SongPage, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 8000 * 8).astype(np.float32)
    (tmp_path / "words.wav").write_text("no sound at all")
    (tmp_path / "large.wav").write_bytes(bytes(1_100_000))
    for path, reason in [
        (tmp_path / "words.wav", "not readable as audio"),
        (write(tmp_path / "silent.wav", np.zeros(8000)), "silence"),
        (write(tmp_path / "long.wav", noise), "longer than 0.1 minutes"),
        (tmp_path / "large.wav", "larger than 1 MB"),
        (tmp_path / "gone.wav", "the file is missing"),
    ]:
        html = song_page.answer(path, f"my {path.name}")
        assert 'role="alert"' in html
        assert reason in html
        assert f"my {path.name}" in html
        assert str(tmp_path) not in html


def test_limits_are_for_the_songs_of_visitors_alone(
    song_page: SongPage, predictor: GenrePredictor, trained: Trained, tmp_path: Path
) -> None:
    pytest.importorskip("gradio", reason="needs the extra app")
    from genreclf.app.page import page

    (tmp_path / "songs").mkdir()
    song = write(tmp_path / "songs/long.wav", np.random.default_rng(0).normal(0, 0.1, 8000 * 8))
    examples = Examples.of_folder(song.parent)
    blocks = page(song_page=song_page, examples=examples, facts=facts(trained.run, predictor))
    *_, button = (entry.fn for entry in blocks.fns.values())
    assert "data-timeline" in button()
    song.write_text("no sound at all")
    assert "not readable as audio" in button()


def test_only_registered_files_are_played(trained: Trained, tmp_path: Path) -> None:
    media = MediaRegistry(copies=tmp_path / "copies")
    song = trained.music / "metal" / "0.wav"
    samples, rate = soundfile.read(song)
    old = tmp_path / "old.au"
    soundfile.write(old, samples, rate)
    address = media.put(old)
    assert media.put(old) == address
    copy = media.playable(address.rpartition("/")[2])
    assert copy is not None
    assert copy.suffix == ".flac"
    np.testing.assert_allclose(soundfile.read(copy)[0], samples, atol=1e-4)
    assert media.playable(media.put(song).rpartition("/")[2]) == song
    assert media.playable("0" * 24) is None
    assert MediaRegistry(copies=tmp_path / "copies").put(old) != address


def test_a_long_timeline_is_drawn_with_fewer_steps(predictor: GenrePredictor, trained: Trained) -> None:
    genres = predictor.genres
    start_s = np.arange(1800) * 0.5
    shares = np.random.default_rng(0).dirichlet(np.ones(len(genres)), 1800)
    timeline = Timeline(genres=genres, start_s=start_s, end_s=start_s + 0.5, probabilities=shares)
    prediction = replace(predictor.predict(trained.music / "metal" / "0.wav"), timeline=timeline, duration_s=900.0)
    data = timeline_data(prediction)
    assert len(data["edges_s"]) == 1001
    drawn = np.diff(data["edges_s"]) @ np.transpose(list(data["shares"].values())) / 900
    np.testing.assert_allclose(drawn, shares.mean(axis=0), atol=1e-3)


def test_examples_are_computed_or_the_users(trained: Trained, tmp_path: Path) -> None:
    computed = Examples.computed(tmp_path / "examples")
    assert [song.name for song in computed.songs][:2] == ["blues", "classical"]
    assert soundfile.info(computed.path(1)).duration == 20.0
    given = Examples.of_folder(trained.music)
    assert [(song.name, song.path.parent.name) for song in given.songs] == [
        (genre, genre) for genre in ("blues", "classical", "metal")
    ]
    assert [song.name for song in Examples.of_folder(trained.music / "metal").songs] == ["0", "1", "2", "3", "4"]
    with pytest.raises(UserError, match="--songs"):
        Examples.of_folder(tmp_path / "nothing")


def test_examples_are_test_tracks_of_the_dataset_at_hand(trained: Trained, tmp_path: Path) -> None:
    run = RunDirectory(shutil.copytree(trained.run.path, tmp_path / "run"))
    tested = {segment.track_id for segment in Split.from_json(run.read_json(run.split)).subsets["test"]}
    songs = Examples.of_run(run, tmp_path).songs
    assert [song.name for song in songs] == ["blues", "classical", "metal"]
    assert {f"{song.genre}/{song.path.stem}" for song in songs} <= tested
    config = run.read_config()
    for data in ({"root": str(tmp_path / "gone")}, {"root": 7}, {"_target_": "genreclf.datasets.gtzan.Gtzan"}):
        run.write_config({**config, "data": {**config["data"], **data}})
        assert Examples.of_run(run, tmp_path / "examples").music is not None


@pytest.mark.parametrize(
    ("genre_map", "names"),
    [({"metal": "rock", "blues": None}, ["classical", "rock"]), ({"polka": "rock"}, None), ("gone.yaml", None)],
)
def test_examples_have_the_genres_of_the_model(
    genre_map: object, names: list[str] | None, trained: Trained, tmp_path: Path
) -> None:
    run = RunDirectory(shutil.copytree(trained.run.path, tmp_path / "run"))
    config = run.read_config()
    config["data"]["genre_map"] = genre_map
    run.write_config(config)
    examples = Examples.of_run(run, tmp_path / "examples")
    if names is None:
        assert examples.music is not None
    else:
        assert [(song.name, song.genre) for song in examples.songs] == [(name, name) for name in names]


def test_the_head_says_how_good_the_run_is(trained: Trained, predictor: GenrePredictor, tmp_path: Path) -> None:
    run = RunDirectory(shutil.copytree(trained.run.path, tmp_path / "run"))
    metrics = run.read_metrics()
    test = metrics["test"]["track"]
    html = re.sub(r"[ \n]+", " ", header_html(facts(run, predictor)))
    share = f"{100 * test['accuracy']:.1f}\N{NO-BREAK SPACE}%"
    assert f"the genre of <strong>{share}</strong> of {test['n']} songs of the folder music correctly" in html
    assert "LEAKY" not in html
    assert "PRETRAINED" not in html
    metrics["split"]["leaky"] = True
    pretrained = {"name": "musicnn", "pretrained_on": "MagnaTagATune", "overlap": "known (7)"}
    run.write_json(run.metrics, {**metrics, "pretrained": pretrained})
    html = header_html(facts(run, predictor))
    assert "LEAKY: " in html
    assert "PRETRAINED: part of the model (musicnn) was first trained on other data (MagnaTagATune)" in html
    assert "in them: known (7)" in re.sub(r"[ \n]+", " ", html)


def test_a_genre_has_its_color_wherever_it_stands(song_page: SongPage, trained: Trained, tmp_path: Path) -> None:
    songs = [song_page.answer(trained.music / genre / "0.wav", genre) for genre in ("metal", "classical")]
    for html in (*songs, welcome_html(song_page.predictor.genres)):
        for genre in song_page.predictor.genres:
            assert html.count(GENRE_COLORS[genre]) >= 1
    pytest.importorskip("gradio", reason="needs the extra app")
    from genreclf.app.page import css

    assert css(Examples.computed(tmp_path)).count(GENRE_COLORS["jazz"]) == 1


def test_the_course_of_a_song_is_told_in_words(predictor: GenrePredictor, trained: Trained) -> None:
    def course(*likeliest: int) -> str:
        start_s = 30.0 * np.arange(len(likeliest))
        rows = np.eye(len(predictor.genres))[list(likeliest)]
        timeline = Timeline(genres=predictor.genres, start_s=start_s, end_s=start_s + 30, probabilities=rows)
        return course_of(replace(song, timeline=timeline))

    song = predictor.predict(trained.music / "metal" / "0.wav")
    assert course(1, 1) == "Mostly classical from beginning to end."
    assert course(0, 2, 2, 0) == "Mostly blues from 0:00, then metal from 0:30, then blues from 1:30."
    assert course(*[0, 1] * 4).endswith(", and 2 more changes.")
