"""What a reader is told of figures that were reached with a pretrained encoder."""

from collections.abc import Mapping
from typing import Any

from genreclf.escaping import markdown


def pretrained_name(metrics: Mapping[str, Any]) -> str | None:
    """Return the name of the encoder of a run; None if the run started from scratch.

    Args:
        metrics: The run's metrics, as in ``metrics.json``.
    """
    found = metrics.get("pretrained")
    return str(found.get("name", "unknown")) if isinstance(found, Mapping) else None


def provenance_words(metrics: Mapping[str, Any]) -> str:
    """Return on what the encoder was trained, under which license, and what it may have seen of the test."""
    found = metrics.get("pretrained") or {}
    keys = ("pretrained_on", "license", "revision", "sha256", "overlap")
    data, license, revision, sha256, overlap = (str(found.get(key, "unknown")) for key in keys)
    if found.get("non_commercial") is True:
        license += ", which forbids commercial use"
    return (
        f"{pretrained_name(metrics)}, trained on {data}; license {license}; revision {revision}, "
        f"SHA-256 {sha256[:16]}; overlap of its pretraining data with the test: {overlap}"
    )


def pretrained_note(metrics: Mapping[str, Any]) -> str:
    """Return the note on a PRETRAINED result in Markdown; empty if the run started from scratch."""
    if pretrained_name(metrics) is None:
        return ""
    return (
        f"**PRETRAINED.** {markdown(provenance_words(metrics))}. The figures are not to be compared with those of "
        "networks from scratch as of equals."
    )
