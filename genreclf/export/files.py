"""Write exported models and check them against the original."""

import json
import logging
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import Dim, ExportedProgram

from genreclf import __version__
from genreclf.audio.decode import open_audio
from genreclf.audio.log_mel import WAVEFORM_SAMPLES
from genreclf.audio.streaming import resampled
from genreclf.errors import UnreadableTrack, UserError, require
from genreclf.export.graph import WaveformClassifier
from genreclf.inference.predictor import GenrePredictor
from genreclf.run_directory import RunDirectory, atomic_path

LARGEST_DIFFERENCE = 1e-3
"""The maximal difference of a probability from the original's."""


References = Mapping[str, tuple[NDArray[np.float32], NDArray[np.float64]]]
"""Waveforms ``(sample,)`` by name, and the probabilities ``(genre,)`` that the original gives for them."""


@dataclass(frozen=True)
class Checked:
    """Differences between the probabilities of an exported model and those of the original."""

    differences: Mapping[str, float]
    """The largest difference of a probability, by signal."""

    @property
    def largest(self) -> float:
        """The largest of all; infinite if a probability was no number."""
        worst = max(self.differences.values())
        return worst if np.isfinite(list(self.differences.values())).all() else float("inf")


class Format(ABC):
    """A file format for a whole model."""

    suffix: ClassVar[str]

    @abstractmethod
    def write(self, program: ExportedProgram, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the program with its metadata."""

    @abstractmethod
    def run(self, path: Path, waveforms: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Return the probabilities ``(batch, genre)`` that the file gives for waveforms ``(batch, sample)``."""


class Onnx(Format):
    """ONNX, for onnxruntime; input ``waveform``, output ``probabilities``."""

    suffix = ".onnx"

    def __init__(self) -> None:
        """Import what it needs, and switch off onnxruntime's telemetry."""
        # Read when onnxruntime is imported.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        require("--format onnx, unlike torch-export,", "export", "onnx", "onnxruntime", "onnxscript")

    def write(self, program: ExportedProgram, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the program with its metadata."""
        # It warns of operators of torchvision, which is not asked for.
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        exported = torch.onnx.export(
            program, dynamo=True, input_names=["waveform"], output_names=["probabilities"], verbose=False
        )
        assert exported is not None
        exported.model.metadata_props.update(metadata)
        exported.save(path, external_data=False)

    def run(self, path: Path, waveforms: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Return the probabilities that onnxruntime gives on the CPU."""
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return [cast(NDArray[np.float32], session.run(None, {"waveform": waveform})[0]) for waveform in waveforms]


class TorchExport(Format):
    """A program of torch.export, for ``torch.export.load``; its extra file ``metadata.json`` holds the metadata."""

    suffix = ".pt2"

    def write(self, program: ExportedProgram, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the program with its metadata."""
        warnings.filterwarnings("ignore", "No complete tensor found in the group")  # Of views, which it saves whole.
        torch.export.save(program, path, extra_files={"metadata.json": json.dumps(dict(metadata))})

    def run(self, path: Path, waveforms: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Return the probabilities that the loaded program gives."""
        module = torch.export.load(path).module()
        with torch.inference_mode():
            return [module(torch.from_numpy(waveform)).numpy() for waveform in waveforms]


FORMATS: dict[str, type[Format]] = {"onnx": Onnx, "torch-export": TorchExport}


def export(
    predictor: GenrePredictor,
    path: Path,
    *,
    format: Format,
    metadata: Mapping[str, str] | None = None,
    files: Sequence[Path] = (),
) -> Checked:
    """Write a trained model as one file and compare it with the original on noise, tones and some files.

    The file is replaced only if no probability differs by more than `LARGEST_DIFFERENCE`. It says `metadata` of
    itself, see `describe`.

    Raises:
        UserError: The model or a file of audio cannot be used, or the difference is larger.
    """
    expected = references(predictor, files)
    with atomic_path(path) as partial:
        partial.touch()  # To fail now where nothing can be written.
        format.write(traced(predictor), partial, metadata or {})
        result = compared(format, partial, expected)
        if result.largest > LARGEST_DIFFERENCE:
            worst = max(result.differences, key=lambda name: result.differences[name])
            raise UserError(
                f"{path} was not written: its probabilities differ from the original's by {result.largest:.1e} on "
                f"{worst}, more than {LARGEST_DIFFERENCE:g}."
            )
    return result


def traced(predictor: GenrePredictor) -> ExportedProgram:
    """Return the model as a program, for any number of songs and any length from one hop on."""
    features, spec = predictor.feature_extractor, predictor.spec
    module = WaveformClassifier(
        model=predictor.model,
        grid_overlap=predictor.grid_overlap,
        short=predictor.short,
        extractor=features.embedding_extractor,
    )
    least = (spec.source or spec).hop_length or WAVEFORM_SAMPLES + 1
    clips = 2.7 if spec.kind == "log_mel" else 4.7
    example = torch.zeros(2, int(clips * spec.clip_frames / spec.frames_per_second * features.sample_rate) + 1)
    sizes = {"waveform": {0: Dim("batch"), 1: Dim("sample", min=least)}}
    with warnings.catch_warnings(), torch.inference_mode():
        if spec.kind != "log_mel":
            module(example)  # An encoder may make what it needs of a device the first time.
        # A recurrent layer's flat weights, which are the parameters themselves.
        warnings.filterwarnings("ignore", message="The tensor attributes? .* assigned during export")
        return torch.export.export(module, (example,), dynamic_shapes=sizes)


def describe(run: RunDirectory, predictor: GenrePredictor) -> dict[str, str]:
    """Return what the file should say of itself; figures are those of ``metrics.json``."""
    metrics: dict[str, Any] = run.read_metrics() if run.metrics.exists() else {}
    split, track = _section(metrics, "split"), _section(_section(metrics, "test"), "track")
    spec = predictor.spec
    known = {
        "genres": list(predictor.genres),
        "sample_rate": spec.sample_rate,
        "clip_seconds": spec.clip_frames / spec.frames_per_second,
        "genreclf": __version__,
        "split": split.get("name"),
        "split_hash": split.get("hash"),
        "leaky": split.get("leaky"),
        "pretrained": metrics.get("pretrained"),
        "test_track_accuracy": track.get("accuracy"),
        "test_track_accuracy_ci95": track.get("accuracy_ci95"),
        "test_track_accuracy_ci95_artists": track.get("accuracy_ci95_artists"),
        "test_tracks": track.get("n"),
        "temperature": predictor.calibration.plain()["temperature"] if predictor.calibration else None,
    }
    return {key: json.dumps(value) for key, value in known.items()}


def _section(metrics: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = metrics.get(key)
    return section if isinstance(section, Mapping) else {}


def references(predictor: GenrePredictor, files: Sequence[Path] = ()) -> References:
    """Return noise, tones, a song shorter than a clip, and files; `UserError` if a file cannot be read."""
    rate = predictor.feature_extractor.sample_rate
    clip_samples = int(predictor.spec.clip_frames / predictor.spec.frames_per_second * rate)
    noise = np.random.default_rng(0).standard_normal(3 * clip_samples + 1).astype(np.float32)
    time_s = np.arange(int(2.2 * clip_samples)) / rate
    tones = sum(np.sin(2 * np.pi * hertz * time_s) / 8 for hertz in (110.0, 440.0, 1760.0))
    signals = {
        "noise": 0.1 * noise,
        "tones": np.asarray(tones, np.float32),
        "a song of half a clip": 0.3 * noise[: clip_samples // 2],
    }
    found = {
        name: (signal, predictor.predict(signal, sample_rate=rate).probabilities) for name, signal in signals.items()
    }
    return found | {str(file): (waveform_of(file, rate), predictor.predict(file).probabilities) for file in files}


def compared(format: Format, path: Path, expected: References) -> Checked:
    """Compare what an exported file gives for some songs with the original's probabilities."""
    noise, of_noise = expected["noise"]
    first, *others = format.run(
        path, [np.stack([noise, noise[::-1]]), *(signal[None] for signal, _ in expected.values())]
    )
    given = zip(expected.items(), others, strict=True)
    differences = {name: float(np.abs(shares[0] - original).max()) for (name, (_, original)), shares in given}
    return Checked({"two songs at once": float(np.abs(first[0] - of_noise).max()), **differences})


def waveform_of(path: Path, sample_rate: int) -> NDArray[np.float32]:
    """Return an audio file as mono ``(sample,)`` at `sample_rate` Hz, or raise `UserError` if it cannot be read."""
    try:
        with open_audio(path) as stream:
            return torch.cat(list(resampled(stream, stream.sample_rate, sample_rate))).numpy()
    except UnreadableTrack as error:
        raise UserError(f"{path}: {error}") from None
