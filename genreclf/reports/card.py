"""The model card: what a stranger must know before using a trained model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genreclf import __version__
from genreclf.escaping import markdown
from genreclf.evaluation.leaks import leaky_warning
from genreclf.reports.run import LIMITS, answer, genre_section, markdown_table, run_title
from genreclf.run_directory import atomic_write_text

UNKNOWN_LICENSE = "unknown"

_OF_SOURCES = {
    "Gtzan": "GTZAN (Tzanetakis and Cook, 2002): 1000 excerpts of 30 s, ten genres, mostly Western music before 2001. "
    "It holds repeats, faulty labels and few artists a genre (Sturm, 2013), and its publishers state no license.",
    "Synthetic": "Music computed by genreclf itself. A model trained on it knows no real music.",
}


def write_card(folder: Path, *, repo: str, license: str = UNKNOWN_LICENSE) -> None:
    """Write ``README.md`` from the other files of a bundle.

    Args:
        folder: Holds what `genreclf.hub.bundle.write_bundle` wrote.
        repo: ``user/name`` on the hub.
        license: Of the weights, as the hub abbreviates it, such as ``mit``.
    """
    shared, metrics, split = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("config", "metrics", "split")
    )
    config = shared["config"]
    leaky = bool(split["leaky"])
    sections = [
        f"---\n{_front_matter(config, metrics, split, repo, license)}---",
        f"# {markdown(run_title(metrics, config))}{' (LEAKY)' if leaky else ''}",
        answer(metrics),
        f"> [!WARNING]\n> {leaky_warning(metrics)}" if leaky else "",
        _split(split),
        genre_section(metrics).replace("## Genres", "## Scores of each genre on the test tracks"),
        f"## Data and limits\n\n{_data(config, shared['genres'])}\n\n{LIMITS}",
        _use(repo),
        _making(shared, metrics),
        _license(license),
    ]
    atomic_write_text(folder / "README.md", "\n\n".join(section for section in sections if section) + "\n")


def _front_matter(
    config: Mapping[str, Any], metrics: Mapping[str, Any], split: Mapping[str, Any], repo: str, license: str
) -> str:
    """Return the hub's fields; a leaky figure is kept out of those that the hub ranks by."""
    from huggingface_hub import EvalResult, ModelCardData

    accuracy = metrics.get("test", {}).get("track", {}).get("accuracy")
    results = None
    if accuracy is not None and not split["leaky"]:
        source = _source(config)
        results = [
            EvalResult(
                task_type="audio-classification",
                dataset_type="marsyas/gtzan" if source == "Gtzan" else source.lower(),
                dataset_name=f"{source}, split {split['name']}, hash {split['hash']}",
                dataset_split="test",
                metric_type="accuracy",
                metric_name="accuracy, tracks",
                metric_value=accuracy,
            )
        ]
    data = ModelCardData(
        license=license,
        library_name="genreclf",
        pipeline_tag="audio-classification",
        tags=["music", "music-genre-classification", *(["leaky-split"] if split["leaky"] else [])],
        model_name=repo,
        eval_results=results,
    )
    return f"{data.to_yaml()}\n"


def _split(split: Mapping[str, Any]) -> str:
    rows = [(subset, str(len(split[subset]))) for subset in ("train", "val", "test")]
    unit = "tracks" if split["whole_tracks"] else "segments of tracks"
    return (
        f"## Splitter\n\n{markdown(split['name'])}, hash {markdown(split['hash'])}; `split.json` names every track.\n\n"
        f"{markdown_table(('subset', unit), rows)}"
    )


def _data(config: Mapping[str, Any], genres: list[str]) -> str:
    source = _source(config)
    unknown = f"{markdown(source)}: a collection that the author of this model can tell more about."
    named = ", ".join(map(markdown, genres))
    return (
        f"{_OF_SOURCES.get(source, unknown)}\n\n"
        f"The model knows {len(genres)} genres ({named}) and gives each song one of them, also "
        "speech, noise, or music of another kind. Its probabilities are not sure knowledge."
    )


def _use(repo: str) -> str:
    name = repo.rpartition("/")[2]
    return (
        "## Use\n\nWith genreclf "
        f"{__version__} and its extra `hub`:\n\n"
        f"```bash\npython -m genreclf pull {repo} --to {name}\npython -m genreclf predict {name} song.mp3\n```\n\n"
        f'```python\nimport genreclf\n\nprint(genreclf.load("{name}").predict("song.mp3").top(3))\n```'
    )


def _making(shared: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    config, spec = shared["config"], shared["spec"]
    audio = ", ".join(f"{key} {spec[key]}" for key in ("sample_rate", "n_fft", "hop_length") if spec.get(key))
    rows = [
        ("model", str(config["model"]["_target_"])),
        ("parameters", f"{metrics['parameters']:,}"),
        ("log-mel", f"{audio or 'pictures'}, n_mels {spec['n_mels']}, scale {config['features']['scale']}"),
        ("clips", f"{spec['clip_frames'] / spec['frames_per_second']:.2f} s"),
        ("seed", str(metrics["seed"])),
        ("epochs trained", str(metrics["epochs"])),
        ("genreclf", str(shared["genreclf"])),
    ]
    table = markdown_table(("what", "value"), rows, words=2)
    return f"## How it was made\n\n{table}\n\nAll settings are in `config.json`, all figures in `metrics.json`."


def _license(license: str) -> str:
    if license == UNKNOWN_LICENSE:
        return "## License\n\nIts author stated none for the weights. genreclf itself is under the MIT license."
    return f"## License\n\nThe weights: {markdown(license)}. genreclf itself is under the MIT license."


def _source(config: Mapping[str, Any]) -> str:
    return str(config["data"]["_target_"]).rpartition(".")[2]
