"""Build the manual as a website: ``python docs/build_site.py``, then open ``docs/_build/html/index.html``.

README.md becomes the first page. The pages of this folder and the documents in the root of the repository are copied as
well, and three pages are generated: all options from the comments in ``conf/``, all commands from their ``--help``, and
the API reference from docstrings. Sphinx then builds the site and treats warnings as errors. ``--source FOLDER`` only
writes the pages, which does not require Sphinx.
"""

import argparse
import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import yaml

from genreclf.cli import COMMANDS, overview
from genreclf.cli.list import groups, options

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
CONF = ROOT / "conf"

NAVIGATION = {
    "Get started": ["quickstart", "notebooks/train_and_predict", "notebooks/your_own_parts", "faq", "glossary"],
    "Train": [
        *("data_and_splits", "audit", "configuration", "command_line", "training", "refits_and_ensembles"),
        *("encoders", "wandb", "trackers"),
    ],
    "Compare": ["evaluation", "comparing", "sweeps", "searching"],
    "Use a model": ["inference", "recommendation", "app", "sharing"],
    "Extend": ["extending", "ARCHITECTURE", "CONTRIBUTING", "SECURITY"],
    "Results": ["RESULTS", "published_systems", "PERFORMANCE", "benchmarks", "CLUSTERS"],
    "Reference": ["options", "commands", "api", "CHANGELOG"],
}
"""Pages in the order of the sidebar, by heading. Pages that are not listed here come last, under "More"."""

API = {
    "A run": ["genreclf.load", "genreclf.train", "genreclf.experiment.run.RunResult"],
    "Prediction": [
        "genreclf.inference.predictor.GenrePredictor",
        "genreclf.inference.prediction.Prediction",
        "genreclf.inference.prediction.Timeline",
    ],
    "Recommendation": ["genreclf.recommend.Library", "genreclf.recommend.library.Recommendation"],
    "Datasets": [
        *(f"genreclf.datasets.base.{name}" for name in ("Track", "Dataset", "AudioDataset", "ImageDataset")),
        *("genreclf.datasets.gtzan.Gtzan", "genreclf.datasets.folder.Folder"),
        *("genreclf.datasets.images.SpectrogramImages", "genreclf.datasets.synthetic.Synthetic"),
    ],
    "Splits": [
        "genreclf.splits.base.Splitter",
        "genreclf.splits.base.Split",
        *(f"genreclf.splits.lists.{name}" for name in ("FaultFiltered", "ListSplitter")),
        *(f"genreclf.splits.rules.{name}" for name in ("ArtistFolds", "TrackSplitter", "ChunkSplitter")),
    ],
    "Features and clips": [
        *("genreclf.audio.log_mel.FeatureSpec", "genreclf.audio.log_mel.LogMel"),
        "genreclf.data.datamodule.ClipDataModule",
    ],
    "Models": [
        "genreclf.models.GenreClassifier",
        *(f"genreclf.models.{name}" for name in ("FFNN", "CNN", "CRNN", "BandStatisticsClassifier", "StatisticsCRNN")),
        *(f"genreclf.models.{name}" for name in ("ShortChunkCNN", "Musicnn", "AttentionCRNN", "PatchTransformer")),
        *(f"genreclf.models.{name}" for name in ("SVM", "Constant", "Probe", "FineTune")),
        "genreclf.models.encoders.base.Encoder",
    ],
    "Augmentation and losses": [
        *(f"genreclf.training.augment.{name}" for name in ("FilterAugment", "SpecAugment", "Mixup")),
        *("genreclf.training.losses.CrossEntropy", "genreclf.training.losses.BCESoftmax"),
    ],
    "Evaluation": ["genreclf.evaluation.metrics.evaluate"],
}
"""Classes and functions of the API reference, by heading: all that users need in their own programs."""

WITH_METHODS = (
    "RunResult",
    "GenrePredictor",
    "Prediction",
    "Timeline",
    "Library",
    "Recommendation",
    "Dataset",
    "AudioDataset",
    "Track",
    "Split",
    "FeatureSpec",
    "Encoder",
)
"""Short names of classes in `API` whose methods and attributes are listed as well."""

PARTS = re.compile(r"^(?P<indent> *)(?P<key>[\w.']+|'[^']+'):(?: +(?P<value>.*?))?(?: +# (?P<comment>.*))?$")


def main() -> None:
    """Write all pages and build the site, unless only the pages are requested."""
    parser = argparse.ArgumentParser(description="Build the manual as a website, or write its pages.")
    parser.add_argument("--source", type=Path, metavar="FOLDER", help="write the pages into this folder and stop")
    parser.add_argument("--out", type=Path, default=DOCS / "_build", metavar="FOLDER", help="default: docs/_build")
    asked = parser.parse_args()
    if asked.source:
        write_pages(asked.source)
        return
    source, html = asked.out / "source", asked.out / "html"
    shutil.rmtree(source, ignore_errors=True)
    write_pages(source)
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", str(source), str(html)]
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    if code := subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}).returncode:
        raise SystemExit(code)
    print(html / "index.html")


def write_pages(folder: Path) -> None:
    """Write the input of Sphinx: settings, plots and screenshots, notebooks, and copied and generated pages."""
    (folder / "notebooks").mkdir(parents=True, exist_ok=True)
    for settings in ("conf.py", "site.css", "icon.svg"):
        shutil.copy(DOCS / settings, folder)
    for picture in DOCS.glob("*.webp"):
        shutil.copy(picture, folder)
    for notebook in DOCS.glob("notebooks/*.ipynb"):
        shutil.copy(notebook, folder / "notebooks")
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (*ROOT.glob("*.md"), *DOCS.glob("*.md"))}
    pages["benchmarks"] = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")
    pages |= {"options": options_page(), "commands": commands_page(), "api": api_page()}
    pages["index"] = pages.pop("README") + "\n" + "\n".join(toctrees(set(pages)))
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(relinked(text), encoding="utf-8")


def relinked(text: str) -> str:
    """Return a page with links changed to pages of the site; links to other files in the repository become text."""
    text = re.sub(r"\]\((\.\./)?README\.md", "](index.md", text.replace("benchmarks/README.md", "benchmarks.md"))
    text = re.sub(r"\]\((?:\.\./|docs/)+([\w/-]+\.(?:md|webp|ipynb))", r"](\1", text)
    return re.sub(r"(?<!!)\[([^]]+)\]\((?!https?:|#|[\w/-]+\.(?:md|ipynb))[^)]*\)", r"\1", text)


def toctrees(pages: set[str]) -> Iterator[str]:
    """Yield the table of contents for the sidebar, one part for each heading."""
    there = pages | {f"notebooks/{path.stem}" for path in DOCS.glob("notebooks/*.ipynb")}
    named = [name for names in NAVIGATION.values() for name in names]
    for caption, names in {**NAVIGATION, "More": sorted(there.difference(named))}.items():
        if entries := [name for name in names if name in there]:
            yield "\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *entries, "```", ""])


def options_page() -> str:
    """Return the page of all options of all groups, with the keys, their defaults and their meaning."""
    lines = ["# Every option", ""]
    lines += [
        "Choose an option with `GROUP=OPTION`, set a key with `GROUP.KEY=VALUE`; [Configuration](configuration.md)"
    ]
    lines += ["says how they combine. The tables are made from the comments in `conf/`.", ""]
    lines += ["## The run itself", "", *_table(CONF / "train.yaml", "")]
    for group in groups():
        lines += [f"## {group}", ""]
        for path in sorted((CONF / group).glob("_*.yaml")):
            lines += [f"### Shared keys of `{group}`", "", _description(path), "", *_table(path, group)]
        for name in options(group):
            path = CONF / group / f"{name}.yaml"
            lines += [f"### {group}={name}", "", _description(path), "", *_choices(path), *_table(path, group)]
    return "\n".join(lines)


def _description(path: Path) -> str:
    comments = takewhile(lambda line: line.startswith("#"), path.read_text(encoding="utf-8").splitlines())
    texts = (line.removeprefix("#").strip() for line in comments)
    return _escaped(" ".join(text for text in texts if not text.startswith("@package")))


def _choices(path: Path) -> list[str]:
    """Return lines with the class of an option and the options of other groups that it chooses."""
    content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    lines = [f"Class: `{content['_target_']}`", ""] if content.get("_target_") else []
    entries = (entry for entry in content.get("defaults", ()) if isinstance(entry, dict))
    chosen = [
        f"`{key.removeprefix('override ').lstrip('/')}={value}`" for entry in entries for key, value in entry.items()
    ]
    return [*lines, *([f"Chooses {', '.join(chosen)}.".replace("'", ""), ""] if chosen else [])]


def _table(path: Path, group: str) -> list[str]:
    """Return the keys of a configuration file as lines of a table, or no lines if there are no keys."""
    text = path.read_text(encoding="utf-8")
    rows = [row for row in _rows(text) if not row[0].startswith(("hydra.", "defaults")) and row[0] != "_target_"]
    if not rows:
        return []
    prefix = "" if not group or "@package _global_" in text else f"{group}."
    head = ["| key | default | meaning |", "| --- | --- | --- |"]
    return [
        *head,
        *(f"| `{prefix}{key}` | {_default(value)} | {_escaped(comment)} |" for key, value, comment in rows),
        "",
    ]


def _rows(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield key, default and comment of each key that has a value, with dots in nested keys."""
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        if not (match := PARTS.match(line)):
            continue
        indent, key = len(match["indent"]), match["key"].strip("'")
        above = [*(entry for entry in above if entry[0] < indent), (indent, key)]
        if match["value"] and not match["value"].startswith("#"):
            yield ".".join(name for _, name in above), match["value"], match["comment"] or ""


def _default(value: str) -> str:
    return "required" if value == "???" else f"`{_escaped(value)}`"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def commands_page() -> str:
    """Return the page of all commands with the output of their ``--help``."""
    os.environ["COLUMNS"] = "100"
    lines = ["# Every command", "", "What `python -m genreclf COMMAND --help` prints; [Command line](command_line.md)"]
    lines += ["explains what all commands share.", "", "## Training", "", "Without the name of a command:", ""]
    lines += [
        "| option | |",
        "| --- | --- |",
        *(f"| `{name}` | {line} |" for name, line in overview.OPTIONS.items()),
        "",
    ]
    for command in COMMANDS:
        if command != "train":
            text = importlib.import_module(f"genreclf.cli.{command}").parser().format_help()
            lines += [f"## {command}", "", "```text", text.rstrip(), "```", ""]
    return "\n".join(lines)


def api_page() -> str:
    """Return the API reference: an autodoc directive of Sphinx for each class and function."""
    lines = ["# API reference", "", "The classes and functions that a program of your own uses.", ""]
    for heading, names in API.items():
        lines += [f"## {heading}", "", "```{eval-rst}"]
        for name in names:
            module, _, short = name.rpartition(".")
            is_class = short[0].isupper()
            members = ["   :members:"] if short in WITH_METHODS else []
            lines += [f".. auto{'class' if is_class else 'function'}:: {module}.{short}", *members, ""]
        lines += ["```", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
