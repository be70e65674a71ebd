"""Job of autrainer: ``autrainer preprocess`` for the features, then ``autrainer train``, as in its documentation.

It uses autrainer's own transforms: ``PannMel``, ``Normalize`` and ``RandomCrop``. autrainer has no grid of clips, so
the clips of validation and test are random as well, with the same number and length as those of the other systems. It
has no mixed precision.
"""

import csv
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.peers.task import (
    BATCH_SIZE,
    CENTER_DB,
    CLIP_FRAMES,
    CLIPS_PER_TRACK,
    HOP_LENGTH,
    LEARNING_RATE,
    N_FFT,
    N_MELS,
    SAMPLE_RATE,
    SPREAD_DB,
    WEIGHT_DECAY,
    Task,
    genre_of,
)

SUBSETS = {"train": "train", "dev": "val", "test": "test"}
FEATURES = "log_mel"
PREPROCESS_WORKERS = 2


def write_tables(task: Task, folder: Path, repeats: int) -> None:
    """Write a table of the tracks of each subset, with each track listed `repeats` times."""
    folder.mkdir()
    for name, subset in SUBSETS.items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["filename", "genre"])
            writer.writerows([track, genre_of(track)] for track in task.subsets[subset] for _ in range(repeats))


def write_conf(path: Path, values: dict[str, Any]) -> None:
    """Write a configuration as JSON, which is valid YAML."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2), encoding="utf-8")


def configure(task: Task, folder: Path) -> None:
    """Write the dataset and the configuration for the two commands of autrainer."""
    tracks, clips, conf = folder / "tracks", folder / "clips", folder / "conf"
    write_tables(task, tracks, 1)
    write_tables(task, clips, CLIPS_PER_TRACK)
    (tracks / "default").symlink_to(Path(task.music).resolve())
    dataset = {
        "_target_": "autrainer.datasets.BaseClassificationDataset",
        "features_subdir": FEATURES,
        "index_column": "filename",
        "target_column": "genre",
        "file_type": "npy",
        "file_handler": "autrainer.datasets.utils.NumpyFileHandler",
        "criterion": "autrainer.criterions.CrossEntropyLoss",
        "metrics": ["autrainer.metrics.Accuracy"],
        "tracking_metric": "autrainer.metrics.Accuracy",
        "transform": {
            "type": "grayscale",
            "base": [
                {"autrainer.transforms.RandomCrop": {"size": CLIP_FRAMES}},
                {"autrainer.transforms.Normalize": {"mean": [CENTER_DB], "std": [SPREAD_DB]}},
            ],
        },
        **{f"{name}_loader_kwargs": {"num_workers": task.workers} for name in SUBSETS},
    }
    write_conf(conf / "dataset/Tracks.yaml", {"id": "Tracks", **dataset, "path": str(tracks)})
    write_conf(
        conf / "dataset/Clips.yaml", {"id": "Clips", **dataset, "path": str(clips), "features_path": str(tracks)}
    )
    mel = {
        "window_size": N_FFT,
        "hop_size": HOP_LENGTH,
        "sample_rate": SAMPLE_RATE,
        "mel_bins": N_MELS,
        "fmin": 0,
        "fmax": SAMPLE_RATE // 2,
        "ref": 1.0,
        "amin": 1e-10,
        "top_db": None,
    }
    write_conf(
        conf / f"preprocessing/{FEATURES}.yaml",
        {
            "file_handler": {"autrainer.datasets.utils.AudioFileHandler": {"target_sample_rate": SAMPLE_RATE}},
            "pipeline": ["autrainer.transforms.StereoToMono", {"autrainer.transforms.PannMel": mel}],
        },
    )
    write_conf(
        conf / "model/GenreCRNN.yaml",
        {
            "id": "GenreCRNN",
            "_target_": "benchmarks.peers.autrainer_model.GenreCRNN",
            "channels_last": task.channels_last,
            "transform": {"type": "grayscale"},
        },
    )
    write_conf(
        conf / "optimizer/AdamW.yaml", {"id": "AdamW", "_target_": "torch.optim.AdamW", "weight_decay": WEIGHT_DECAY}
    )
    for name, chosen in (("prepare", "Tracks"), ("fit", "Clips")):
        write_conf(
            conf / f"{name}.yaml",
            {
                "defaults": ["_autrainer_", "_self_"],
                "results_dir": str(folder / "results"),
                "experiment_id": "peers",
                "iterations": task.epochs,
                "device": "cpu" if task.accelerator == "cpu" else "cuda:0",
                "reproducible": False,
                "progress_bar": False,
                "continue_training": False,
                "save_train_outputs": False,
                "hydra": {
                    "sweeper": {
                        "params": {
                            "+seed": 1,
                            "+batch_size": BATCH_SIZE,
                            "+learning_rate": LEARNING_RATE,
                            "dataset": chosen,
                            "model": "GenreCRNN",
                            "optimizer": "AdamW",
                        }
                    }
                },
            },
        )


def read_result(folder: Path) -> dict[str, Any]:
    """Return the number of parameters, test accuracy on clips and versions, read from the output of autrainer."""
    import torch
    import yaml

    (run,) = (folder / "results/peers/training").glob("*/metrics.csv")
    state = torch.load(run.parent / "_best/model.pt", weights_only=True)
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    figures = yaml.safe_load((run.parent / "_test/test_holistic.yaml").read_text(encoding="utf-8"))
    return {
        "parameters": sum(value.numel() for key, value in state.items() if not key.endswith(statistics)),
        "accuracy": figures["accuracy"]["all"],
        "versions": {name: version(name) for name in ("autrainer", "torch")},
    }


def main() -> None:
    """Train and test as specified by the task."""
    task = Task.read(sys.argv[1])
    folder = Path(task.folder)
    configure(task, folder)
    autrainer = str(Path(sys.executable).with_name("autrainer"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    workers = ["-n", str(PREPROCESS_WORKERS), "-u", "0"]
    for command in (["preprocess", "-cn", "prepare", *workers], ["train", "-cn", "fit"]):
        subprocess.run([autrainer, *command], cwd=folder, env=environment, check=True)
    task.finish(**read_result(folder))


if __name__ == "__main__":
    main()
