"""What every system of `benchmarks.peers` is given: the same tracks, clips, network and training."""

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
"""Of training, at random places, each epoch; of validation and test, side by side: they cover a track of 30 s."""
BATCH_SIZE = 36
"""Divides the training clips of an epoch of 20, 40, 60... tracks, so that nobody has a smaller last batch."""
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.01
CENTER_DB, SPREAD_DB = -40.0, 20.0
"""How the peers scale dB for the network; ours measures mean and deviation of each band."""


@dataclass(frozen=True)
class Task:
    """One training from audio files.

    Attributes:
        music: Folder of ``<genre>/<track>.wav``.
        subsets: Paths of the tracks of ``train``, ``val`` and ``test`` within `music`.
        epochs: Epochs of training, each followed by validation and a checkpoint; the test comes last.
        accelerator: ``cpu`` or ``gpu``.
        folder: Where a system may write, empty at the start.
        precision: ``fp32`` or ``bf16``.
        workers: Processes of its DataLoaders.
        channels_last: Lay the network out as ours is, which none of the peers does by itself (autrainer only).
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
        """Return the task that `write` wrote."""
        return cls(**json.loads(Path(path).read_text(encoding="utf-8")))

    def write(self) -> Path:
        """Write the task into its folder."""
        path = Path(self.folder, "task.json")
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")
        return path

    @property
    def genres(self) -> list[str]:
        """The classes, sorted."""
        return sorted({genre_of(track) for tracks in self.subsets.values() for track in tracks})

    def clips(self, subset: str) -> int:
        """Return the clips of a pass over a subset."""
        return CLIPS_PER_TRACK * len(self.subsets[subset])

    def finish(self, **result: Any) -> None:
        """Write what `benchmarks.peers` checks: parameters, test accuracy, versions."""
        Path(self.folder, "result.json").write_text(json.dumps(result), encoding="utf-8")


def genre_of(track: str) -> str:
    """Return the folder of ``<genre>/<track>.wav``."""
    return track.split("/")[0]


def grid_start_frame(clip: int, track_frames: int) -> int:
    """Return the first frame of one of the `CLIPS_PER_TRACK` clips that cover a track."""
    return clip * max(0, track_frames - CLIP_FRAMES) // (CLIPS_PER_TRACK - 1)


def build_network(genres: int, *, channels_last: bool) -> Any:
    """Return genreclf's ``crnn``: scaled log-mel ``(batch, mel, frame)`` to logits ``(batch, genre)``."""
    from genreclf.audio.log_mel import FeatureSpec
    from genreclf.models.crnn import CRNN

    spec = FeatureSpec.of_audio(
        sample_rate=SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP_LENGTH, n_mels=N_MELS, clip_seconds=CLIP_SECONDS
    )
    network = CRNN(spec=spec, genres=[str(index) for index in range(genres)]).network
    return network.to(memory_format=torch.channels_last if channels_last else torch.preserve_format)


def parameters(network: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())
