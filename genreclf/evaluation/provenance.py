"""Describe the origin of networks that were pretrained, refitted, combined or distilled."""

from collections.abc import Mapping
from typing import Any

from genreclf.escaping import markdown

MARKS = ("pretrained", "refit")
"""Keys of ``metrics.json`` that are shown as marks; see `marks_of`."""

PROVENANCE = (*MARKS, "ensemble", "distilled")
"""Keys of ``metrics.json`` that describe the origin of a network; an evaluation copies them from the tested run."""


def marks_of(metrics: Mapping[str, Any]) -> list[str]:
    """Return the marks that are shown after the name of a run, such as PRETRAINED or REFIT."""
    return [key.upper() for key in MARKS if metrics.get(key)]


def provenance_of(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a run's metrics that describe the origin of its network."""
    return {key: metrics[key] for key in PROVENANCE if metrics.get(key)}


def pretrained_name(metrics: Mapping[str, Any]) -> str | None:
    """Return the name of a run's pretrained encoder; None if the network was trained from scratch."""
    found = metrics.get("pretrained")
    return str(found.get("name", "unknown")) if isinstance(found, Mapping) else None


def pretrained_words(metrics: Mapping[str, Any]) -> str:
    """Describe the data, license and test overlap of a pretrained encoder; empty if there is no such encoder."""
    if (name := pretrained_name(metrics)) is None:
        return ""
    found = metrics["pretrained"]
    keys = ("pretrained_on", "license", "revision", "sha256", "overlap")
    data, license, revision, sha256, overlap = (str(found.get(key, "unknown")) for key in keys)
    if found.get("non_commercial") is True:
        license += ", which forbids commercial use"
    return (
        f"{name}, trained on {data}; license {license}; revision {revision}, "
        f"SHA-256 {sha256[:16]}; overlap of its pretraining data with the test: {overlap}"
    )


def pretrained_note(metrics: Mapping[str, Any]) -> str:
    """Return the note on a PRETRAINED result in Markdown; empty if the network was trained from scratch."""
    if not (words := pretrained_words(metrics)):
        return ""
    return (
        f"**PRETRAINED.** {markdown(words)}. Do not compare its accuracies with those of networks trained from "
        "scratch as equals."
    )


def refit_words(metrics: Mapping[str, Any]) -> str:
    """Describe what a REFIT run was trained on and how its number of epochs was chosen; empty for any other run."""
    found = metrics.get("refit")
    if not isinstance(found, Mapping):
        return ""
    run, epochs, differs = (found.get(key) for key in ("run", "epochs", "differs"))
    how_long = "" if epochs is None else f", for the {epochs} epochs that the run {run} chose on validation tracks"
    settings = f"the settings are those of the run {run}" + (f" except for {differs}" if differs else "")
    return (
        f"trained on the training and validation tracks together{how_long}; {settings}; without validation tracks, "
        "nothing was chosen in this run"
    )


def refit_note(metrics: Mapping[str, Any]) -> str:
    """Return the note on a REFIT result in Markdown; empty for any other run."""
    words = refit_words(metrics)
    return f"**REFIT.** {markdown(words[0].upper() + words[1:])}." if words else ""
