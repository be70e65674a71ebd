"""Write exported models to files, and check them against the original model."""

import io
import json
import logging
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
"""Largest allowed difference between a probability of the exported model and that of the original model."""


References = Mapping[str, tuple[NDArray[np.float32], NDArray[np.float64]]]
"""Waveforms ``(sample,)`` by name, each with the probabilities ``(genre,)`` that the original model predicts."""


@dataclass(frozen=True)
class Checked:
    """Differences between the probabilities of an exported model and those of the original."""

    differences: Mapping[str, float]
    """Largest absolute difference of a probability for each signal, by name of the signal."""

    @property
    def largest(self) -> float:
        """Largest difference over all signals; infinite if a difference is not finite."""
        worst = max(self.differences.values())
        return worst if np.isfinite(list(self.differences.values())).all() else float("inf")


class Format(ABC):
    """File format for a whole model."""

    suffix: ClassVar[str]

    @abstractmethod
    def write(self, program: ExportedProgram, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the program and its metadata to a file."""

    @abstractmethod
    def run(self, path: Path, waveforms: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Run the file on arrays of waveforms ``(batch, sample)``; return probabilities ``(batch, genre)`` of each."""


class Onnx(Format):
    """ONNX file for onnxruntime, with the input ``waveform`` and the output ``probabilities``."""

    suffix = ".onnx"

    def __init__(self) -> None:
        """Check that the required packages are installed."""
        require("--format onnx, unlike torch-export,", "export", "onnx", "onnxruntime", "onnxscript")

    def write(self, program: ExportedProgram, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the program and its metadata to an ONNX file."""
        from onnxscript import optimizer

        # The exporter warns about operators of torchvision, which are not needed.
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        exported = torch.onnx.export(
            program,
            dynamo=True,
            input_names=["waveform"],
            output_names=["probabilities"],
            verbose=False,
            optimize=False,  # It would take constants up to 1e-8 for 0, and not add them.
        )
        assert exported is not None
        optimizer.inline(exported.model)
        optimizer.fold_constants(exported.model)
        optimizer.remove_unused_nodes(exported.model)
        exported.model.metadata_props.update(metadata)
        exported.save(path, external_data=False)

    def run(self, path: Path, waveforms: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Run the file with onnxruntime on the CPU, and return the probabilities."""
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return [cast(NDArray[np.float32], session.run(None, {"waveform": waveform})[0]) for waveform in waveforms]


class TorchExport(Format):
    """Program for ``torch.export.load``, with the metadata in its extra file ``metadata.json``."""

    suffix = ".pt2"

    def write(self, program: ExportedProgram, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the program and its metadata with ``torch.export.save``."""
        warnings.filterwarnings("ignore", "No complete tensor found in the group")  # Views are saved whole.
        content = io.BytesIO()  # If PyTorch itself met a full disk, it would abort the process.
        torch.export.save(program, content, extra_files={"metadata.json": json.dumps(dict(metadata))})
        path.write_bytes(content.getbuffer())

    def run(self, path: Path, waveforms: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Load and run the program, and return the probabilities."""
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
    """Write a trained model to one file, and compare it with the original on noise, tones and audio files.

    The file is written, or replaced, only if no probability differs by more than `LARGEST_DIFFERENCE`. It contains
    `metadata`, see `describe`.

    Raises:
        UserError: The model cannot be exported, an audio file cannot be read, or a difference is too large.
    """
    expected = references(predictor, files)
    with atomic_path(path) as partial:
        partial.touch()  # Fail early if nothing can be written there.
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
    """Return the model as a program that takes any number of songs of equal length.

    The shortest length is one hop of the spectrogram, or without a spectrogram one sample more than a column of
    `genreclf.audio.log_mel.WAVEFORM_SAMPLES`.
    """
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
            module(example)  # An encoder may create what it needs on a device in its first call.
        # These are the flat weights of recurrent layers, which are the parameters themselves.
        warnings.filterwarnings("ignore", message="The tensor attributes? .* assigned during export")
        return torch.export.export(module, (example,), dynamic_shapes=sizes)


def describe(run: RunDirectory, predictor: GenrePredictor) -> dict[str, str]:
    """Return metadata of a model for the exported file, as JSON values; results are those in ``metrics.json``."""
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
    """Return noise, tones, a song shorter than a clip, and audio files, with the original model's probabilities.

    Raises:
        UserError: An audio file cannot be read.
    """
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
    """Compare the probabilities that an exported file yields with those expected from the original model."""
    noise, of_noise = expected["noise"]
    first, *others = format.run(
        path, [np.stack([noise, noise[::-1]]), *(signal[None] for signal, _ in expected.values())]
    )
    given = zip(expected.items(), others, strict=True)
    differences = {name: float(np.abs(shares[0] - original).max()) for (name, (_, original)), shares in given}
    return Checked({"two songs at once": float(np.abs(first[0] - of_noise).max()), **differences})


def waveform_of(path: Path, sample_rate: int) -> NDArray[np.float32]:
    """Return an audio file as a mono waveform ``(sample,)`` at `sample_rate` Hz.

    Raises:
        UserError: The file cannot be read.
    """
    try:
        with open_audio(path) as stream:
            return torch.cat(list(resampled(stream, stream.sample_rate, sample_rate))).numpy()
    except UnreadableTrack as error:
        raise UserError(f"{path}: {error}") from None
