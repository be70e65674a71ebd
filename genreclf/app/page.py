"""Build the web page, on which a visitor uploads or records a song and sees the result."""

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio

from genreclf.app.examples import Examples
from genreclf.app.media_registry import KEPT_S
from genreclf.app.rendering import header_html, welcome_html
from genreclf.app.song_page import SongPage
from genreclf.plots.style import genre_color

HERE = Path(__file__).parent

AT_ONCE = 2
"""Number of requests that are answered at the same time; further ones wait in a queue."""

FONTS = ("system-ui", "sans-serif")


def page(*, song_page: SongPage, examples: Examples, facts: dict[str, Any]) -> gradio.Blocks:
    """Return the page.

    Args:
        song_page: Answers the requests of visitors.
        examples: Example songs of the page.
        facts: Values for the header of the page; see `genreclf.app.facts`.
    """

    def analyze(path: str | None) -> tuple[str, None]:
        if path is None:
            return welcome, None
        return song_page.answer(Path(path), Path(path).name), None

    def example(number: int) -> Callable[[], str]:
        name = f"Example: {examples.songs[number].name}"
        return lambda: song_page.answer(examples.path(number), name, limited=False)

    limits = song_page.limits
    has_library = song_page.library is not None
    welcome = welcome_html(song_page.predictor.genres, has_library=has_library)
    blocks = gradio.Blocks(title="genreclf", analytics_enabled=False, delete_cache=(KEPT_S // 4, KEPT_S))
    with blocks:
        gradio.HTML(header_html(facts, has_library=has_library))
        with gradio.Row():
            with gradio.Column(scale=1, min_width=300, elem_classes="g-side"):
                song = gradio.Audio(
                    sources=["upload", "microphone"],
                    type="filepath",
                    label=f"A song, {limits.megabytes:g} MB and {limits.minutes:g} minutes at most",
                    editable=False,
                    buttons=[],
                    elem_id="song",
                )
                gradio.HTML(f"<h2>Or try an example</h2><p class='g-small'>{html.escape(examples.about)}</p>")
                with gradio.Row(elem_classes="g-examples"):
                    buttons = [
                        gradio.Button(entry.name, size="sm", elem_classes=f"g-example g-example-{number}")
                        for number, entry in enumerate(examples.songs)
                    ]
            with gradio.Column(scale=2, min_width=320):
                answer = gradio.HTML(
                    welcome,
                    js_on_load=(HERE / "playback.js").read_text(encoding="utf-8"),
                    elem_id="answer",
                    min_height=120,
                )
        gradio.on(
            [song.upload, song.stop_recording],
            analyze,
            song,
            [answer, song],
            api_name="analyze",
            show_progress_on=answer,
        )
        for number, button in enumerate(buttons):
            button.click(example(number), None, answer, api_visibility="private")
    blocks.queue(default_concurrency_limit=AT_ONCE)
    return blocks


def css(examples: Examples) -> str:
    """Return the style sheet of the page, in which the button of each example has the color of the example's genre."""
    dots = "".join(
        f".g-example-{number}::before {{ background: {genre_color(entry.genre)}; }}\n"
        if entry.genre is not None
        else f".g-example-{number}::before {{ display: none; }}\n"
        for number, entry in enumerate(examples.songs)
    )
    return (HERE / "page.css").read_text(encoding="utf-8") + dots


def theme() -> gradio.themes.Base:
    """Return a theme that uses the fonts of the visitor's system."""
    default = gradio.themes.Default(primary_hue="indigo", neutral_hue="slate", font=FONTS, font_mono=("monospace",))
    # The default gray is too pale for small text on white (WCAG 2 requires a contrast of 4.5).
    return default.set(body_text_color_subdued="*neutral_500")
