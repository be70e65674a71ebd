"""Take the README's pictures of the page, in a headless Chromium: ``python docs/pictures.py RUN``.

It computes forty songs, makes a library of them, starts ``python -m genreclf app RUN`` at a free port, lets an example
play for some seconds, and writes ``docs/app-desktop.webp`` and ``docs/app-phone.webp``.
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

import soundfile
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from genreclf.data.synthetic import Synthetic

HERE = Path(__file__).parent
PLAYED_S = 6.0
SAMPLE_RATE = 22050


@dataclass(frozen=True)
class Screen:
    """What the page is looked at with."""

    name: str
    width: int
    height: int
    phone: bool = False


SCREENS = (Screen("desktop", 1280, 900), Screen("phone", 390, 844, phone=True))


@contextmanager
def served(run: Path, *words: str) -> Iterator[str]:
    """Serve the page in a process of its own; yield its address."""
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
    """Start the Chromium that is installed."""
    with sync_playwright() as player:
        chromium = player.chromium.launch(
            executable_path=chromium_path(), args=["--autoplay-policy=no-user-gesture-required"]
        )
        try:
            yield chromium
        finally:
            chromium.close()


def chromium_path() -> str | None:
    """Return where Chromium lies, if it is installed."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def screen_page(chromium: Browser, screen: Screen) -> Page:
    """Return an empty page on a screen."""
    page = chromium.new_page(
        viewport={"width": screen.width, "height": screen.height},
        device_scale_factor=2 if screen.phone else 1,
        is_mobile=screen.phone,
        has_touch=screen.phone,
    )
    page.set_default_timeout(180_000)
    return page


def play(page: Page, until_s: float) -> None:
    """Let the song play for some seconds."""
    page.evaluate("document.querySelector('.g-song').play()")
    page.wait_for_function(f"document.querySelector('.g-song').currentTime > {until_s}")


def write_songs(folder: Path) -> None:
    """Write four computed songs of each of the ten genres."""
    source = Synthetic(tracks_per_genre=4, artists_per_genre=4, duration_s=12.0, seed=77)
    for track in source.tracks():
        path = folder / f"{track.genre} {int(track.id[-5:]) + 1}.flac"
        soundfile.write(path, source.waveform(track, SAMPLE_RATE), SAMPLE_RATE)


def main() -> None:
    """Take the pictures."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("run", type=Path, metavar="RUN")
    words.add_argument("--example", default="jazz", help="the example song that is heard; default: jazz")
    words.add_argument("--out", type=Path, default=HERE)
    asked = words.parse_args()
    with ExitStack() as stack:
        songs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_songs(songs)
        library = ["--library", str(songs / "library")]
        subprocess.run([sys.executable, "-m", "genreclf", "index", str(asked.run), str(songs), *library], check=True)
        address = stack.enter_context(served(asked.run, *library))
        chromium = stack.enter_context(browser())
        for screen in SCREENS:
            page = screen_page(chromium, screen)
            page.goto(address)
            page.get_by_role("button", name=asked.example, exact=True).click()
            page.wait_for_selector(".g-top-genre")
            play(page, PLAYED_S)
            with Image.open(io.BytesIO(page.screenshot(full_page=True))) as picture:
                picture.save(asked.out / f"app-{screen.name}.webp", quality=80)
            page.close()


if __name__ == "__main__":
    main()
