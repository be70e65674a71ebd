"""Render the parts of the page as HTML; the templates escape all text, such as file names."""

import base64
import io
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from numpy.typing import NDArray

from genreclf.audio.log_mel import PICTURE_RANGE_DB
from genreclf.inference.prediction import Prediction, clock
from genreclf.plots.mel import mel_ticks
from genreclf.plots.style import OTHERS, genre_color
from genreclf.plots.timeline import bands

if TYPE_CHECKING:
    from genreclf.recommend import Recommendation

MOMENTS = 1000
"""Maximum number of steps of the timeline that a browser draws."""

CHANGES = 6
"""Maximum number of stretches of one genre that are described in words."""

DOUBTS = {
    "unsure": ("Not sure", "The genre below is only the best guess, more likely wrong than right."),
    "changing": ("It changes", "The model hears different genres at different times."),
}
"""Short warning and explanation for each `genreclf.inference.prediction.Prediction.certainty` that needs them."""

NBSP = "\N{NO-BREAK SPACE}"

_TICKS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
_TICKS_SHOWN = 6
_LABEL_HEIGHT = 0.12


def message_html(sentence: str, hint: str = "") -> str:
    """Return the message for a visitor whose song cannot be used: the reason, and a hint on what would work."""
    return _template("message").render(sentence=sentence, hint=hint)


def header_html(facts: Mapping[str, Any], *, has_library: bool = False) -> str:
    """Return the header of the page, given the values of `genreclf.app.facts`."""
    return _template("header").render(facts, has_library=has_library)


def welcome_html(genres: Sequence[str], *, has_library: bool = False) -> str:
    """Return the content shown before the first answer: a preview of an answer, and the genres of the model."""
    colors = [genre_color(genre) for genre in genres]
    preview = [*colors[1:], *[OTHERS] * 3][:3]
    return _template("welcome").render(
        genres=list(zip(genres, colors, strict=True)), preview=preview, has_library=has_library
    )


def answer_html(
    prediction: Prediction,
    *,
    name: str,
    player: str,
    similar: "Sequence[tuple[Recommendation, str | None]]",
    without_library: str,
) -> str:
    """Return the answer for a song.

    Args:
        prediction: Prediction for the song.
        name: Name of the song for display.
        player: URL of the song's audio.
        similar: Recommended songs, each with the URL of its audio, or None if it cannot be played.
        without_library: Text that is shown if there are no recommended songs.
    """
    return _template("answer").render(
        name=name,
        player=player,
        genre=prediction.genre,
        color=genre_color(prediction.genre),
        share=prediction.probabilities.max(),
        course=course_of(prediction),
        confidence=prediction.confidence,
        certainty=prediction.certainty,
        doubt=DOUBTS.get(prediction.certainty),
        duration_s=prediction.duration_s,
        timeline=timeline_data(prediction),
        mel=_picture(prediction.spectrogram_db),
        frequencies=_frequencies(prediction),
        times=[(f"{100 * at_s / prediction.duration_s:.2f}", clock(at_s)) for at_s in _ticks_s(prediction.duration_s)],
        shares=[(genre, share, genre_color(genre)) for genre, share in prediction.top()],
        similar=similar,
        without_library=without_library,
    )


def course_of(prediction: Prediction) -> str:
    """Describe in words how the most probable genre changes over time."""
    stretches = prediction.timeline.stretches()
    if len(stretches) == 1:
        return f"Mostly {stretches[0][1]} from beginning to end."
    words = [f"{genre} from {clock(start_s)}" for start_s, genre in stretches[:CHANGES]]
    more = len(stretches) - CHANGES
    return f"Mostly {', then '.join(words)}{f', and {more} more changes' if more > 0 else ''}."


def timeline_data(prediction: Prediction) -> dict[str, Any]:
    """Return the data that the browser draws: edges in seconds, genre shares between them, and the colors of bands."""
    edges_s, shares = prediction.timeline.shares()
    drawn = bands(_shares(prediction), shares)
    if len(shares) > MOMENTS:
        firsts = np.linspace(0, len(shares), MOMENTS, endpoint=False, dtype=int)
        lengths_s = np.diff(edges_s)[:, None]
        shares = np.add.reduceat(shares * lengths_s, firsts) / np.add.reduceat(lengths_s, firsts)
        edges_s = np.append(edges_s[firsts], edges_s[-1])
    return {
        "duration_s": prediction.duration_s,
        "edges_s": edges_s.round(3).tolist(),
        "shares": dict(zip(prediction.genres, shares.T.round(4).tolist(), strict=True)),
        "bands": [(band.name, band.color) for band in drawn],
    }


def _shares(prediction: Prediction) -> dict[str, float]:
    return dict(zip(prediction.genres, prediction.probabilities.tolist(), strict=True))


def _picture(spectrogram_db: NDArray[np.float32]) -> str:
    """Return a spectrogram ``(mel, column)`` as an image in a data URL."""
    from matplotlib import colormaps
    from PIL import Image

    levels = np.clip((spectrogram_db - spectrogram_db.max()) / PICTURE_RANGE_DB + 1, 0, 1)
    pixels = colormaps["magma"](levels[::-1], bytes=True)[..., :3]
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "WEBP", quality=85)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _frequencies(prediction: Prediction) -> list[tuple[str, str]]:
    """Return position, in % of the image's height, and label of round frequencies, far enough apart to be legible."""
    places, labels = mel_ticks(len(prediction.spectrogram_db), prediction.range_hz)
    found: list[tuple[float, str]] = []
    for height, label in zip((places + 0.5) / len(prediction.spectrogram_db), labels, strict=True):
        if (found[-1][0] if found else 0.0) + _LABEL_HEIGHT < height < 1 - _LABEL_HEIGHT / 2:
            found.append((float(height), label))
    return [(f"{100 * height:.1f}", label) for height, label in found]


def _ticks_s(duration_s: float) -> list[float]:
    step_s = next((step_s for step_s in _TICKS_S if duration_s / step_s <= _TICKS_SHOWN), duration_s)
    return np.arange(0, duration_s * 0.97, step_s).tolist()


def _kept(words: str) -> str:
    """Return a text in which a line cannot break before a "%"."""
    return words.replace(" %", f"{NBSP}%")


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=PackageLoader("genreclf.app", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.globals["nbsp"] = NBSP
    environment.filters["percent"] = lambda share: f"{100 * share:.1f}{NBSP}%"
    environment.filters |= {"clock": clock, "keep": _kept}
    return environment.get_template(f"{name}.html.jinja")
