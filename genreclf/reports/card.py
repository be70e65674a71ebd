"""Model card of a bundle, with results, data, limitations, usage and license."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genreclf import __version__
from genreclf.evaluation.leaks import leaky_warning
from genreclf.evaluation.provenance import marks_of, pretrained_note, refit_note
from genreclf.reports.rendering import render
from genreclf.reports.run import answer, genre_table
from genreclf.reports.tables import Table
from genreclf.reports.titles import run_title
from genreclf.run_directory import atomic_write_text
from genreclf.splits.base import SUBSETS

UNKNOWN_LICENSE = "unknown"


def write_card(folder: Path, *, repo: str, license: str = UNKNOWN_LICENSE) -> None:
    """Write the model card ``README.md`` of a bundle from its other files.

    Args:
        folder: Folder of the bundle.
        repo: Repository on the Hugging Face Hub, as ``user/name``.
        license: License of the weights, as an identifier of the Hub.
    """
    shared, metrics, split = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("config", "metrics", "split")
    )
    config = shared["config"]
    unit = "tracks" if split["whole_tracks"] else "segments of tracks"
    text = render(
        "card.md",
        front_matter=_front_matter(config, metrics, split, repo, license),
        title=run_title(metrics, config),
        answer=answer(metrics),
        split=split,
        leaky_warning=leaky_warning(metrics),
        pretrained=pretrained_note(metrics),
        refit=refit_note(metrics),
        subsets=Table(header=("subset", unit), cells=[(name, str(len(split[name]))) for name in SUBSETS]),
        genre_scores=genre_table(metrics),
        dataset=_dataset(config),
        genres=shared["genres"],
        version=__version__,
        repo=repo,
        folder=repo.rpartition("/")[2],
        settings=_settings(shared, metrics),
        license="" if license == UNKNOWN_LICENSE else license,
    )
    atomic_write_text(folder / "README.md", text)


def _front_matter(
    config: Mapping[str, Any], metrics: Mapping[str, Any], split: Mapping[str, Any], repo: str, license: str
) -> str:
    """Return the metadata for the Hugging Face Hub in YAML, without the test accuracy if the split is leaky."""
    from huggingface_hub import EvalResult, ModelCardData

    accuracy = metrics.get("test", {}).get("track", {}).get("accuracy")
    results = None
    if accuracy is not None and not split["leaky"]:
        dataset = _dataset(config)
        results = [
            EvalResult(
                task_type="audio-classification",
                dataset_type="marsyas/gtzan" if dataset == "Gtzan" else dataset.lower(),
                dataset_name=f"{dataset}, split {split['name']}, hash {split['hash']}",
                dataset_split="test",
                metric_type="accuracy",
                metric_name="accuracy, tracks",
                metric_value=accuracy,
            )
        ]
    marks = [*(["leaky-split"] if split["leaky"] else []), *map(str.lower, marks_of(metrics))]
    data = ModelCardData(
        license=license,
        library_name="genreclf",
        pipeline_tag="audio-classification",
        tags=["music", "music-genre-classification", *marks],
        model_name=repo,
        eval_results=results,
    )
    return data.to_yaml().rstrip()


def _settings(shared: Mapping[str, Any], metrics: Mapping[str, Any]) -> Table:
    config, spec = shared["config"], shared["spec"]
    named = ("sample_rate", "n_fft", "hop_length", "f_min", "f_max")
    audio = ", ".join(f"{key} {spec[key]}" for key in named if spec.get(key))
    rows = [
        ("model", str(config["model"]["_target_"])),
        ("parameters", f"{metrics['parameters']:,}"),
        _input(spec, f"{audio or 'pictures'}, n_mels {spec['n_mels']}, scale {config['features']['scale']}"),
        ("clips", f"{spec['clip_frames'] / spec['frames_per_second']:.2f} s"),
        ("seed", str(metrics["seed"])),
        ("epochs trained", str(metrics["epochs"])),
        ("genreclf", str(shared["genreclf"])),
    ]
    return Table(header=("what", "value"), cells=rows, words=2)


def _input(spec: Mapping[str, Any], log_mel: str) -> tuple[str, str]:
    """Return the name and a description of the input of the network."""
    if spec.get("kind") == "waveform":
        return "waveform", f"sample_rate {spec['sample_rate']}"
    if spec.get("kind") == "embedding":
        return "embeddings", ", ".join(f"{name} {size}" for name, size in spec["layers"])
    return "log-mel", log_mel


def _dataset(config: Mapping[str, Any]) -> str:
    return str(config["data"]["_target_"]).rpartition(".")[2]
