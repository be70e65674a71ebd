"""The page as visitors use it: over HTTP, two at once, and in a real browser."""

import re
import shlex
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import soundfile
from helpers import PAGES, ROOT, Cli, Trained

from genreclf import load
from genreclf.cli.app import parser

sys.path.append(str(ROOT / "docs"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "99999"], "99999 is not a port"),
        (["--max-mb", "0"], "0 is not a number above 0"),
        (["--max-minutes", "nan"], "nan is not a number above 0"),
        (["--songs", "nothing"], "--songs nothing is not a folder"),
        ([], "nothing is not a run directory"),
    ],
)
def test_mistakes(cli: Cli, trained: Trained, words: list[str], said: str) -> None:
    outcome = cli("app", str(trained.run.path) if words else "nothing", *words)
    assert outcome.code == 2
    assert said in outcome.err
    assert "Traceback" not in outcome.err


def test_a_taken_port_is_a_sentence(cli: Cli, trained: Trained) -> None:
    from genreclf.app.server import listening_at

    with listening_at("127.0.0.1", 0) as taken:
        outcome = cli("app", str(trained.run.path), "--port", str(taken.getsockname()[1]))
    assert outcome.code == 2
    assert "choose another --host or --port" in outcome.err


def test_a_missing_extra_is_a_sentence(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genreclf.errors.find_spec", lambda name: None)
    outcome = cli("app", "anything")
    assert outcome.code == 2
    assert '".[app]"' in outcome.err


def test_the_manual_shows_commands_that_there_are() -> None:
    shown = [shlex.split(line)[4:] for line in PAGES["app"].splitlines() if line.startswith("python -m genreclf app ")]
    assert len(shown) > 1
    for words in shown:
        assert parser().parse_args(words).run == "outputs/mine"


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory, trained: Trained) -> Path:
    """A folder of two songs, one with a name that would like to be more than a name."""
    folder = tmp_path_factory.mktemp("songs")
    for genre, name in (("metal", "loud"), ("classical", "<img src=x onerror=document.title=1>${alert(1)}{{value}}")):
        samples, rate = soundfile.read(trained.music / genre / "0.wav")
        soundfile.write(folder / f"{name}.flac", np.tile(samples, 3), rate)
    return folder


@pytest.fixture(scope="module")
def address(trained: Trained, songs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from pictures import served

    temporary = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("TMPDIR", str(temporary))
        with served(trained.run.path, "--songs", str(songs), "--max-minutes", "1", "--max-mb", "2") as found:
            yield found
    assert not [left for left in temporary.iterdir() if "gradio" in left.name or "genreclf" in left.name]


@pytest.mark.slow
def test_two_visitors_at_once_and_bad_songs(address: str, trained: Trained, tmp_path: Path) -> None:
    gradio_client = pytest.importorskip("gradio_client", reason="needs the extra app")
    (tmp_path / "words.wav").write_text("no sound at all")
    soundfile.write(tmp_path / "silent.wav", np.zeros(8000), 8000)
    soundfile.write(tmp_path / "long.flac", np.random.default_rng(0).normal(0, 0.1, 8000 * 61), 8000)
    good = [trained.music / genre / "2.wav" for genre in ("metal", "classical")]
    predictor = load(trained.run.path)

    def visit(path: Path) -> str:
        client = gradio_client.Client(address, verbose=False, analytics_enabled=False)
        return str(client.predict(gradio_client.handle_file(path), api_name="/analyze")[0])

    with ThreadPoolExecutor(2) as visitors:
        for path, html in zip(good * 2, visitors.map(visit, good * 2), strict=True):
            prediction = predictor.predict(path)
            assert re.findall(r"g-top-genre\">(\w+)<", html) == [prediction.genre]
            assert f"{100 * prediction.probabilities.max():.1f}\N{NO-BREAK SPACE}%" in html
        bad = [tmp_path / name for name in ("words.wav", "silent.wav", "long.flac")]
        for html, said in zip(visitors.map(visit, bad), ("not readable", "silence", "longer than 1 min"), strict=True):
            assert 'role="alert"' in html
            assert said in html
        assert "g-top-genre" in visit(good[0])
    (tmp_path / "large.wav").write_bytes(bytes(2_100_000))
    with pytest.raises(Exception, match="size"):
        visit(tmp_path / "large.wav")


@pytest.mark.slow
def test_a_visit_in_a_browser(address: str, songs: Path, trained: Trained, tmp_path: Path) -> None:
    pytest.importorskip("playwright", reason="needs playwright: python -m pip install playwright")
    from pictures import SCREENS, browser, chromium_path, play, screen_page

    if chromium_path() is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    genre = load(trained.run.path).predict(songs / "loud.flac").genre
    with browser() as chromium:
        for screen in SCREENS:
            asked: list[str] = []
            faults: list[str] = []
            page = screen_page(chromium, screen)
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.on("pageerror", lambda error, faults=faults: faults.append(str(error)))
            page.goto(address)
            page.set_input_files("#song input[type=file]", songs / "loud.flac")
            page.wait_for_selector(".g-top-genre")
            assert page.inner_text(".g-top-genre") == genre
            assert page.locator(".g-bands polygon").count() == 3
            if screen.phone:
                page.wait_for_function("document.querySelector('#answer').getBoundingClientRect().top < 20")
            place = "parseFloat(document.querySelector('.g-cursor').style.left)"
            assert page.evaluate(place) == 0
            play(page, 1.0)
            first = page.evaluate(place)
            play(page, 2.0)
            assert 0 < first < page.evaluate(place) < 100
            played_s, duration_s = page.evaluate(
                "song => (song.pause(), [song.currentTime, song.duration])", page.query_selector(".g-song")
            )
            page.wait_for_timeout(200)
            assert page.evaluate(place) == pytest.approx(100 * played_s / duration_s, abs=2)
            page.locator(".g-stage").click(position={"x": 100, "y": 20})
            width = page.locator(".g-stage").bounding_box()["width"]
            assert page.evaluate(place) == pytest.approx(100 * 100 / width, abs=1)
            assert page.evaluate("document.documentElement.scrollWidth") <= screen.width

            page.locator(".g-stage").press("Home")
            page.locator(".g-stage").press("ArrowRight")
            assert page.evaluate("document.querySelector('.g-song').currentTime") == pytest.approx(5)
            assert page.get_attribute(".g-stage", "aria-valuenow") == "5"
            said = page.inner_text(".g-status")
            assert said.startswith("loud.flac: ")
            assert f"{genre}, " in said

            page.locator(".g-examples button").filter(has_text="<img").click()
            page.wait_for_selector(".g-card h2:has-text('onerror')")
            assert page.locator(".g-answer img").count() == 1
            assert page.title() == "genreclf"

            (tmp_path / "large.wav").write_bytes(bytes(2_100_000))
            page.set_input_files("#song input[type=file]", tmp_path / "large.wav")
            page.wait_for_selector("text=/exceed the maximum allowed size.*large.wav/")
            page.goto(f"{address}/report")
            assert page.locator("h1").count() == 1
            assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
            sent = {urlsplit(url).hostname for url in asked if url.startswith(("http", "ws"))}
            assert sent == {"127.0.0.1"}
            assert not faults
            page.close()


@pytest.mark.slow
def test_axe_finds_no_fault_of_accessibility(address: str, songs: Path, tmp_path: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the extra dev")
    from pictures import SCREENS, browser, chromium_path, screen_page

    if chromium_path() is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    (tmp_path / "words.wav").write_text("no sound at all")
    with browser() as chromium:
        for screen in SCREENS:
            page = screen_page(chromium, screen)
            page.goto(address)
            for song, sign in (
                (None, ".g-welcome"),
                (songs / "loud.flac", ".g-answer"),
                (tmp_path / "words.wav", ".g-error"),
            ):
                if song is not None:
                    page.set_input_files("#song input[type=file]", song)
                page.wait_for_selector(sign)
                page.wait_for_timeout(1500)
                found = axe.Axe().run(page).response
                assert len(found["passes"]) > 20
                assert [(fault["id"], fault["help"]) for fault in found["violations"]] == []
            page.close()
