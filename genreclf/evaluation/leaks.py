"""Warnings about results whose test tracks, or segments of them, were seen in training."""

from collections.abc import Mapping
from typing import Any

LEAKY_SPLIT = (
    "**LEAKY SPLIT.** Training and test share songs, albums or artists in this split, so the model can recognize the "
    "recording instead of the genre: do not compare these results with those of any other split."
)


def leaky_warning(metrics: Mapping[str, Any]) -> str:
    """Return the warning about a LEAKY result in Markdown, given the content of the run's ``metrics.json``."""
    if not (text := seen_before(metrics)):
        return LEAKY_SPLIT
    return (
        f"**LEAKY.** {text}, so the model can recognize the recording instead of the genre: do not compare the results "
        "on all test tracks together with any others."
    )


def seen_before(metrics: Mapping[str, Any]) -> str:
    """Say how many test tracks were seen, as in ``136 of 200 test tracks were seen before (...)``; empty if none."""
    seen = metrics.get("split", {}).get("seen") or {}
    how = seen_as(seen) if seen else ""
    if not how:
        return ""
    total = sum(seen.get(key, 0) for key in SEEN_AS)
    return f"{total} of {seen.get('n')} test tracks were seen before ({how})"


SEEN_AS = {"trained": "trained on", "validated": "validated on", "repeats": "known repeats of such tracks"}
"""Ways in which a test track may have been seen: keys of ``split.seen`` in ``metrics.json``, and words for readers."""


def seen_as(counts: Mapping[str, Any]) -> str:
    """Describe how test tracks were seen, as in ``93 trained on, 43 validated on``, given ``split.seen``."""
    return ", ".join(f"{counts[key]} {words}" for key, words in SEEN_AS.items() if counts.get(key))


def seen_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a row (label, result) for the test tracks seen before and one for the others; empty if none were seen."""
    rows = []
    for name, label in (("seen", "seen before"), ("unseen", "not seen before")):
        figures = metrics.get("test", {}).get(name, {}).get("track")
        if figures is None:
            continue
        text = "none"
        if figures["n"]:
            text = f"{100 * figures['accuracy']:.1f} % of {figures['n']} right, 95 % interval {interval_words(figures)}"
        if name == "unseen" and (same := metrics["split"]["seen"]["artists"]):
            text += f"; {same} of them by artists that were trained on"
        rows.append((label, text))
    return rows


def interval_words(figures: Mapping[str, Any]) -> str:
    """Return the known intervals of an accuracy in words, as in ``61.3-71.3 %, over artists 53.6-77.5 %``."""
    words = []
    for key, unit in (("accuracy_ci95", ""), ("accuracy_ci95_artists", "over artists ")):
        if (interval := figures.get(key)) is not None:
            low, high = (f"{100 * end:.1f}" for end in interval)
            words.append(f"{unit}{low}-{high} %")
    return ", ".join(words) or "n/a"
