"""Task for every system of `benchmarks.peers`: the same tracks, clips, network and training."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

SAMPLE_RATE = 22050
N_FFT = 2048
HOP_LENGTH = 512
N_MELS = 128
CLIP_SECONDS = 10.0
CLIP_FRAMES = round(CLIP_SECONDS * SAMPLE_RATE / HOP_LENGTH)
CLIPS_PER_TRACK = 3
"""Clips per track and epoch: at random positions in training, evenly spaced over the track in validation and test."""
BATCH_SIZE = 36
"""Batch size; it divides the training clips of 20, 40, 60... tracks, so that no system has a smaller last batch."""
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.01
CENTER_DB, SPREAD_DB = -40.0, 20.0
"""Offset and scale that the peers apply to dB values; genreclf measures the mean and deviation of each mel band."""


@dataclass(frozen=True)
class Task:
    """Training from audio files.

    Attributes:
        music: Folder of ``<genre>/<track>.wav``.
        subsets: Paths of the tracks of ``train``, ``val`` and ``test``, relative to `music`.
        epochs: Number of training epochs, each followed by validation and a checkpoint; the test comes last.
        accelerator: ``cpu`` or ``gpu``.
        folder: Folder that a system may write to, empty at the start.
        precision: ``fp32`` or ``bf16``.
        workers: Number of worker processes of the DataLoaders.
        channels_last: Use the channels-last memory format like genreclf, which no peer does by itself (autrainer only).
    """

    music: str
    subsets: dict[str, list[str]]
    epochs: int
    accelerator: str
    folder: str
    precision: str = "fp32"
    workers: int = 0
    channels_last: bool = False

    @classmethod
    def read(cls, path: str) -> "Task":
        """Read a task that was written with `write`."""
        return cls(**json.loads(Path(path).read_text(encoding="utf-8")))

    def write(self) -> Path:
        """Write the task to its folder and return the path of the file."""
        path = Path(self.folder, "task.json")
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")
        return path

    @property
    def genres(self) -> list[str]:
        """Genres of the tracks, sorted."""
        return sorted({genre_of(track) for tracks in self.subsets.values() for track in tracks})

    def clips(self, subset: str) -> int:
        """Return the number of clips in one pass over a subset."""
        return CLIPS_PER_TRACK * len(self.subsets[subset])

    def finish(self, **result: Any) -> None:
        """Write the results that `benchmarks.peers` reads: number of parameters, test accuracy, versions."""
        Path(self.folder, "result.json").write_text(json.dumps(result), encoding="utf-8")


def genre_of(track: str) -> str:
    """Return the genre of a path ``<genre>/<track>.wav``."""
    return track.split("/")[0]


def grid_start_frame(clip: int, track_frames: int) -> int:
    """Return the first frame of one of the `CLIPS_PER_TRACK` clips that cover a track."""
    return clip * max(0, track_frames - CLIP_FRAMES) // (CLIPS_PER_TRACK - 1)


def build_network(genres: int, *, channels_last: bool) -> Any:
    """Return the ``crnn`` of genreclf, from scaled log-mel ``(batch, mel, frame)`` to logits ``(batch, genre)``."""
    from genreclf.audio.log_mel import FeatureSpec
    from genreclf.models.crnn import CRNN

    spec = FeatureSpec.of_audio(
        sample_rate=SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP_LENGTH, n_mels=N_MELS, clip_seconds=CLIP_SECONDS
    )
    network = CRNN(spec=spec, genres=[str(index) for index in range(genres)]).network
    return network.to(memory_format=torch.channels_last if channels_last else torch.preserve_format)


def parameters(network: nn.Module) -> int:
    """Return the number of parameters of a network."""
    return sum(parameter.numel() for parameter in network.parameters())
