"""Make the plots and screenshots of the README with a run trained on synthetic music: ``python docs/pictures.py RUN``.

The script synthesizes songs and makes a library of them. ``docs/timeline.webp`` is the plot of ``predict`` for three
of the songs joined together, and ``docs/recommendation.webp`` is the plot of ``recommend``. For ``docs/app-*.webp``,
the script starts ``python -m genreclf app RUN`` at a free port, and a headless Chromium opens the page, plays an
example for some seconds and, on the desktop only, sends a file that is not a song. The colors are light on the desktop
and dark on the phone.
"""

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from genreclf.datasets.synthetic import Synthetic

HERE = Path(__file__).parent
PLAYED_S = 6.0
SAMPLE_RATE = 22050
SONGS_PER_GENRE = 12
MEDLEY = ("classical", "reggae", "disco")


@dataclass(frozen=True)
class Screen:
    """Simulated screen of a desktop or phone."""

    name: str
    width: int
    height: int
    phone: bool = False
    colors: Literal["light", "dark"] = "light"


SCREENS = (Screen("desktop", 1280, 900), Screen("phone", 390, 844, phone=True, colors="dark"))


@contextmanager
def served(run: Path, *words: str) -> Iterator[str]:
    """Serve the app in a separate process and yield its address."""
    command = [sys.executable, "-m", "genreclf", "app", str(run), "--port", "0", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split("  ")[0].strip()
            if not address.startswith("http"):
                raise SystemExit(f"{' '.join(command)} does not serve.")
            yield address
        finally:
            process.terminate()


@contextmanager
def browser() -> Iterator[Browser]:
    """Start Chromium and close it at the end of the context."""
    with sync_playwright() as player:
        chromium = player.chromium.launch(
            executable_path=chromium_path(), args=["--autoplay-policy=no-user-gesture-required"]
        )
        try:
            yield chromium
        finally:
            chromium.close()


def chromium_path() -> str | None:
    """Return the path of an installed Chromium or Chrome, or None if there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def screen_page(chromium: Browser, screen: Screen) -> Page:
    """Return an empty page for a screen."""
    page = chromium.new_page(
        viewport={"width": screen.width, "height": screen.height},
        device_scale_factor=2 if screen.phone else 1,
        is_mobile=screen.phone,
        has_touch=screen.phone,
        color_scheme=screen.colors,
    )
    page.set_default_timeout(180_000)
    return page


def play(page: Page, until_s: float) -> None:
    """Play the song until the given time in seconds."""
    page.evaluate("document.querySelector('.g-song').play()")
    page.wait_for_function(f"document.querySelector('.g-song').currentTime > {until_s}")


def write_songs(folder: Path) -> None:
    """Write synthetic songs of each of the ten genres."""
    source = Synthetic(tracks_per_genre=SONGS_PER_GENRE, artists_per_genre=6, duration_s=12.0, seed=77)
    for track in source.tracks():
        path = folder / f"{track.genre} {int(track.id[-5:]) + 1}.flac"
        soundfile.write(path, source.waveform(track, SAMPLE_RATE), SAMPLE_RATE)


def write_medley(path: Path, songs: Path) -> None:
    """Write a file in which one song of each genre in `MEDLEY` follows the other."""
    parts = [soundfile.read(songs / f"{genre} 1.flac")[0] for genre in MEDLEY]
    soundfile.write(path, np.concatenate(parts), SAMPLE_RATE)


def genreclf(*words: str | Path) -> None:
    """Run a command of genreclf."""
    subprocess.run([sys.executable, "-m", "genreclf", *map(str, words)], check=True)


def main() -> None:
    """Make all plots and screenshots."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("run", type=Path, metavar="RUN")
    words.add_argument("--example", default="jazz", help="the example song that the page hears; default: jazz")
    words.add_argument("--song", default="disco 2", help="the song that is recommended for; default: disco 2")
    words.add_argument("--out", type=Path, default=HERE)
    asked = words.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (songs := folder / "songs").mkdir()
        write_songs(songs)
        library = ["--library", folder / "library"]
        genreclf("index", asked.run, songs, *library)
        write_medley(folder / "medley.flac", songs)
        genreclf("predict", asked.run, folder / "medley.flac", "--timeline-dir", folder)
        keep(folder / "medley.png", asked.out / "timeline.webp")
        genreclf("recommend", asked.run, songs / f"{asked.song}.flac", "--picture", folder / "like.png", *library)
        keep(folder / "like.png", asked.out / "recommendation.webp")
        address = stack.enter_context(served(asked.run, *map(str, library)))
        chromium = stack.enter_context(browser())
        for screen in SCREENS:
            page = screen_page(chromium, screen)
            page.goto(address)
            page.wait_for_selector(".g-welcome")
            if not screen.phone:
                keep(io.BytesIO(page.screenshot()), asked.out / "app-start.webp")
            page.get_by_role("button", name=asked.example, exact=True).click()
            page.wait_for_selector(".g-top-genre")
            play(page, PLAYED_S)
            keep(io.BytesIO(page.screenshot(full_page=not screen.phone)), asked.out / f"app-{screen.name}.webp")
            if not screen.phone:
                (no_song := folder / "notes.wav").write_text("no song")
                page.set_input_files("#song input[type=file]", no_song)
                page.wait_for_selector(".g-error")
                page.wait_for_timeout(1000)  # The error fades in.
                keep(io.BytesIO(page.screenshot()), asked.out / "app-error.webp")
            page.close()


def keep(picture: Path | io.BytesIO, path: Path) -> None:
    """Save an image as a small WebP file."""
    with Image.open(picture) as pixels:
        pixels.convert("RGB").save(path, quality=80)


if __name__ == "__main__":
    main()
