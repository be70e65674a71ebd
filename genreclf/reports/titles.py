"""Titles of runs for reports, plots and the page."""

import re
from collections.abc import Collection, Mapping
from pathlib import PurePath
from typing import Any

from genreclf.datasets.identity import gtzan_id
from genreclf.evaluation.metrics import get_metric
from genreclf.reports.tables import MISSING

_DATASETS = {
    "Gtzan": "GTZAN",
    "Fma": "the Free Music Archive",
    "Synthetic": "synthetic music",
    "Folder": "a folder of music",
    "SpectrogramImages": "a folder of pictures",
}


def run_title(metrics: Mapping[str, Any], config: Mapping[str, Any], track_ids: Collection[str] = ()) -> str:
    """Return the title of a run for reports and plots, in the form "model on dataset, split name"."""
    split = get_metric(metrics, "split.name") or part_name(config, "split")
    return f"{model_title(config)} on {dataset_title(config, track_ids)}, split {split}"


def model_title(config: Mapping[str, Any]) -> str:
    """Return the name of the network in words, such as "Short Chunk CNN"."""
    return _words(part_name(config, "model"))


def dataset_title(config: Mapping[str, Any], track_ids: Collection[str] = ()) -> str:
    """Return the name of the dataset, such as "GTZAN" or "the folder jazz_and_blues".

    Folders of music or spectrogram images count as GTZAN if the given track ids are all ids of GTZAN tracks.
    """
    name = part_name(config, "data")
    root = (config.get("data") or {}).get("root")
    if name in ("Folder", "SpectrogramImages"):
        if track_ids and all(gtzan_id(track_id) == track_id for track_id in track_ids):
            return _DATASETS["Gtzan"]
        if root:
            return f"the folder {PurePath(str(root)).name}"
    return _DATASETS.get(name) or _words(name)


def part_name(config: Mapping[str, Any], group: str) -> str:
    """Return the ``name`` in a group of the configuration, or otherwise the name of its class."""
    part = config.get(group)
    if isinstance(part, Mapping):
        part = part.get("name") or str(part.get("_target_") or MISSING).rpartition(".")[-1]
    return str(part or MISSING)


def _words(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
