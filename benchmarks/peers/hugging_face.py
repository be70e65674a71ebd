"""Job of Hugging Face's Trainer: ``Dataset.map`` for the features, clips cut by the data collator.

Two choices make it faster than its guides would: soundfile decodes instead of torchcodec, and torchaudio computes the
spectrograms instead of the NumPy code of the feature extractors.
"""

import sys
from pathlib import Path
from typing import Any

import accelerate
import datasets
import numpy as np
import soundfile
import torch
import transformers
from datasets import Dataset, Features, List, Value
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram
from transformers import EvalPrediction, Trainer, TrainingArguments

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
    build_network,
    genre_of,
    grid_start_frame,
    parameters,
)

MAP_PROCESSES = 2

log_mel = MelSpectrogram(
    sample_rate=SAMPLE_RATE,
    n_fft=N_FFT,
    hop_length=HOP_LENGTH,
    n_mels=N_MELS,
    pad_mode="constant",
    norm="slaney",
    mel_scale="slaney",
)


def features_of(row: dict[str, Any]) -> dict[str, Any]:
    """Return the scaled log-mel spectrogram of a track, ``(frame, mel)`` flattened to one dimension."""
    torch.set_num_threads(1)
    waveform, _ = soundfile.read(row["path"], dtype="float32")
    level_db = 10 * log_mel(torch.from_numpy(waveform)).clamp(min=1e-10).log10()
    return {"spectrogram": ((level_db - CENTER_DB) / SPREAD_DB).T.flatten().numpy()}


def tracks_of(task: Task, subset: str) -> Dataset:
    """Return the tracks of a subset with their features, which are cached in an Arrow file."""
    paths = task.subsets[subset]
    rows = Dataset.from_dict(
        {
            "path": [str(Path(task.music, path)) for path in paths],
            "labels": [task.genres.index(genre_of(path)) for path in paths],
        }
    )
    features = Features({"labels": rows.features["labels"], "spectrogram": List(Value("float32"))})
    return rows.map(
        features_of,
        features=features,
        num_proc=min(MAP_PROCESSES, len(paths)),
        remove_columns=["path"],
        cache_file_name=str(Path(task.folder, f"{subset}.arrow")),
    )


def clips_of(tracks: Dataset, subset: str) -> Dataset:
    """Return a row for each clip: features of its track, genre, and number of the clip, or -1 for a random position."""
    numbers = np.arange(len(tracks) * CLIPS_PER_TRACK)
    clip = np.full(len(numbers), -1) if subset == "train" else numbers % CLIPS_PER_TRACK
    return tracks.select(numbers // CLIPS_PER_TRACK).add_column("clip", clip.tolist()).with_format("numpy")


def cut(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Cut the clips of a batch out of their tracks and collate them."""
    inputs = np.empty((len(rows), N_MELS, CLIP_FRAMES), np.float32)
    for place, row in zip(inputs, rows, strict=True):
        spectrogram, clip = row["spectrogram"].reshape(-1, N_MELS), int(row["clip"])
        room = max(0, len(spectrogram) - CLIP_FRAMES)
        start = int(torch.randint(room + 1, ())) if clip < 0 else grid_start_frame(clip, len(spectrogram))
        place[:] = spectrogram[start : start + CLIP_FRAMES].T
    labels = torch.tensor([int(row["labels"]) for row in rows])
    return {"inputs": torch.from_numpy(inputs), "labels": labels}


class Classifier(nn.Module):
    """Network in the form that the Trainer expects, returning loss and logits."""

    def __init__(self, genres: int) -> None:
        super().__init__()
        self.network = build_network(genres, channels_last=False)
        self.loss = nn.CrossEntropyLoss()

    def forward(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return ``loss`` and ``logits`` of scaled spectrograms ``(batch, mel, frame)``."""
        logits = self.network(inputs)
        return {"loss": self.loss(logits, labels), "logits": logits}


def accuracy(prediction: EvalPrediction) -> dict[str, float]:
    """Return the accuracy on clips."""
    logits = np.asarray(prediction.predictions)
    return {"accuracy": float((logits.argmax(-1) == prediction.label_ids).mean())}


def main() -> None:
    """Train and test as specified by the task."""
    task = Task.read(sys.argv[1])
    datasets.disable_progress_bars()
    clips = {subset: clips_of(tracks_of(task, subset), subset) for subset in ("train", "val", "test")}
    model = Classifier(len(task.genres))
    arguments = TrainingArguments(
        output_dir=task.folder,
        num_train_epochs=task.epochs,
        per_device_train_batch_size=BATCH_SIZE,
        per_device_eval_batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        optim="adamw_torch_fused",
        bf16=task.precision == "bf16",
        use_cpu=task.accelerator == "cpu",
        dataloader_num_workers=task.workers,
        dataloader_persistent_workers=task.workers > 0,
        dataloader_pin_memory=task.accelerator == "gpu",
        remove_unused_columns=False,
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=clips["train"],
        eval_dataset=clips["val"],
        data_collator=cut,
        compute_metrics=accuracy,
    )
    trainer.train()
    figures = trainer.evaluate(clips["test"], metric_key_prefix="test")
    packages = (transformers, accelerate, datasets, torch)
    task.finish(
        parameters=parameters(model.network),
        accuracy=figures["test_accuracy"],
        versions={package.__name__: package.__version__ for package in packages},
    )


if __name__ == "__main__":
    main()
