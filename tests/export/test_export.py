"""Exported models against the originals."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from helpers import ARCHITECTURES, Cli, Trained, documented
from numpy.typing import NDArray
from torch.export import ExportedProgram

import genreclf
from genreclf import models
from genreclf.audio.log_mel import FeatureSpec
from genreclf.audio.scaling import Scale
from genreclf.data.clips import SegmentTable, grid_clips
from genreclf.errors import UserError
from genreclf.export import files
from genreclf.export.files import FORMATS, Format, compared, export, references
from genreclf.export.graph import WaveformClassifier
from genreclf.inference.predictor import GenrePredictor
from genreclf.models import CRNN, FineTune, GenreClassifier, Probe
from genreclf.models.encoders import panns
from genreclf.models.encoders.base import Encoder, Origin
from genreclf.models.encoders.musicnn import MusicTagger
from genreclf.models.encoders.panns import Cnn14
from genreclf.models.encoders.pictures import TimmEncoder

GTZAN = os.environ.get("GENRECLF_GTZAN")
LOG_MEL = FeatureSpec.of_audio(sample_rate=22050, n_fft=2048, hop_length=512, n_mels=32, clip_seconds=3)
ORIGIN = Origin(pretrained_on="nothing", license="MIT", revision="main", sha256="0" * 64, citation="nobody")
AUDIO = FeatureSpec.of_audio(sample_rate=22050, n_fft=2048, hop_length=512, n_mels=128, clip_seconds=1)


def sure(model: GenreClassifier) -> GenreClassifier:
    """Make an untrained model as sure of itself as a trained one, so that a difference shows."""
    model.scaling.mean.fill_(-30)
    model.scaling.std.fill_(15)
    layers = [layer for layer in model.network.modules() if isinstance(layer, torch.nn.Linear)]
    torch.nn.init.normal_(layers[-1].weight, std=2)
    return model


class Eager(Format):
    """The module itself, not exported."""

    suffix = ".eager"

    def __init__(self, predictor: GenrePredictor, *, error: float = 0.0) -> None:
        self.module = WaveformClassifier(
            model=predictor.model,
            grid_overlap=predictor.grid_overlap,
            short=predictor.short,
            extractor=predictor.feature_extractor.embedding_extractor,
        )
        self.error = error

    def write(self, program: ExportedProgram, path: Path, metadata: Mapping[str, str]) -> None:
        path.write_bytes(b"program")

    def run(self, path: Path, waveforms: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        with torch.inference_mode():
            return [self.module(torch.from_numpy(waveform.copy())).numpy() + self.error for waveform in waveforms]


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.75, 0.9])
def test_the_grid_is_the_tests_own(overlap: float) -> None:
    module = WaveformClassifier(model=CRNN(spec=AUDIO, genres=["a", "b"]), grid_overlap=overlap)
    zero = torch.tensor([0])
    for frames in [*range(1, 300), 1293, 20_000]:
        table = SegmentTable(zero, torch.tensor([frames]), zero, zero)
        wanted = grid_clips(table, clip_frames=AUDIO.clip_frames, overlap=overlap)[:, 2].tolist()
        count, starts = module.grid(frames)
        assert starts.tolist() == (wanted if len(wanted) > 1 else wanted * 2)
        assert count == len(starts)


@pytest.mark.parametrize(
    ("scale", "short", "top_db"),
    [("standardize", "pad", None), ("unit", "wrap", None), ("power", "pad", None), ("decibel", "pad", 40.0)],
)
def test_the_module_is_the_original(scale: Scale, short: Any, top_db: float | None) -> None:
    torch.manual_seed(0)
    model = sure(
        CRNN(spec=replace(AUDIO, top_db=top_db), genres=["a", "b", "c"], scale=scale, channels=(4, 4, 4, 4), hidden=4)
    )
    predictor = GenrePredictor(model=model, short=short)
    checked = compared(Eager(predictor), Path("unused"), references(predictor))
    assert set(checked.differences) == {"two songs at once", "noise", "tones", "a song of half a clip"}
    assert checked.largest < 1e-5


def test_a_file_that_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "traced", lambda predictor: None)
    predictor = GenrePredictor(model=CRNN(spec=AUDIO, genres=["a", "b"], channels=(4, 4, 4, 4), hidden=4))
    for error in (2e-3, float("nan")):
        with pytest.raises(UserError, match="was not written"):
            export(predictor, tmp_path / "model", format=Eager(predictor, error=error))
        assert list(tmp_path.iterdir()) == []
    assert export(predictor, tmp_path / "model", format=Eager(predictor, error=5e-4)).largest == pytest.approx(
        5e-4, 0.1
    )
    assert (tmp_path / "model").read_bytes() == b"program"


def test_a_mistake_in_a_path_costs_no_export(cli: Cli, trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "traced", lambda predictor: pytest.fail("exported all the same"))
    outcome = cli("export", str(trained.run.path), "--check", "nowhere.wav")
    assert (outcome.code, outcome.err) == (2, "nowhere.wav: the file is missing\n")
    outcome = cli("export", str(trained.run.path), "--out", "/proc/model.onnx")
    assert outcome.code == 2
    assert outcome.err.startswith("--out /proc/model.onnx cannot be written (")


def test_mistakes_are_sentences(cli: Cli, trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = FeatureSpec.of_pictures(n_mels=128, frames_per_second=12.9, clip_seconds=5, rendering="librosa_peak80")
    with pytest.raises(UserError, match="trained on pictures"):
        WaveformClassifier(model=CRNN(spec=pictures, genres=["a", "b"]))
    run = str(trained.run.path)
    assert "is a folder; name a file" in cli("export", run, "--out", ".").err
    assert "nowhere is not a run directory" in cli("export", "nowhere").err
    assert "invalid choice: 'tflite'" in cli("export", run, "--format", "tflite").err
    monkeypatch.setattr("genreclf.errors.find_spec", lambda name: None if name == "onnxscript" else find_spec(name))
    outcome = cli("export", run)
    assert outcome.code == 2
    assert 'needs onnxscript: python -m pip install -e ".[export]"' in outcome.err


def example(package: str) -> str:
    """Return the manual's example that reads an exported file with a package, without genreclf."""
    (code,) = (block for block in documented("python") if package in block)
    return code


def test_onnxruntime_reports_nothing_once_genreclf_is_imported(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", "import genreclf, onnxruntime"]
    subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL)
    assert not list(tmp_path.rglob("*onnxruntime*"))


@pytest.mark.slow
def test_onnx_predicts_without_torch(cli: Cli, trained: Trained, tmp_path: Path) -> None:
    song = next((trained.music / "metal").glob("0.wav"))
    others = [next((trained.music / "blues").glob(f"{number}.*")) for number in (1, 3, 4)]
    outcome = cli("export", str(trained.run.path), "--out", "model.onnx", "--check", str(song), *map(str, others))
    assert outcome.code == 0, outcome.err
    assert str(song) in outcome.err
    assert float(outcome.out.split()[-2]) < 1e-4
    assert len(example("onnxruntime").strip().splitlines()) <= 13
    soundfile.write("song.wav", *soundfile.read(song))
    alone = "import sys; sys.modules['torch'] = sys.modules['genreclf'] = None\n"
    ran = subprocess.run(
        [sys.executable, "-c", alone + example("onnxruntime")], capture_output=True, text=True, cwd=tmp_path
    )
    assert ran.returncode == 0, ran.stderr
    original = genreclf.load(trained.run.path).predict("song.wav")
    given = {name: float(share) for name, share in re.findall(r"(\w+) ([\d.]+)", ran.stdout)}
    assert given == pytest.approx(dict(zip(original.genres, original.probabilities, strict=True)), abs=1e-3)
    assert len(set(given.values())) > 1

    import onnxruntime

    known = onnxruntime.InferenceSession("model.onnx").get_modelmeta().custom_metadata_map
    metrics = trained.run.read_metrics()
    assert json.loads(known["genres"]) == list(original.genres)
    assert json.loads(known["sample_rate"]) == 22050
    assert json.loads(known["split_hash"]) == metrics["split"]["hash"]
    assert json.loads(known["test_track_accuracy"]) == metrics["test"]["track"]["accuracy"]
    assert json.loads(known["genreclf"]) == genreclf.__version__


@pytest.mark.slow
def test_torch_export_loads_without_genreclf(cli: Cli, trained: Trained, tmp_path: Path) -> None:
    outcome = cli("export", str(trained.run.path), "--format", "torch-export", "--out", "mine.pt2")
    assert outcome.code == 0, outcome.err
    code = (
        "import sys; sys.modules['genreclf'] = None\n"
        f"{example('torch.export')}"
        "print(genres, sample_rate, known['split_hash'], tuple(module(torch.zeros(3, 40000)).shape))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    split = trained.run.read_json(trained.run.split)
    assert ran.stdout == f'{split["genres"]} 22050 "{split["hash"]}" (3, 3)\n'


def test_a_full_disk_is_a_sentence(cli: Cli, trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    program = torch.export.export(torch.nn.Linear(1, 1), (torch.zeros(1, 1),))
    monkeypatch.setattr(files, "traced", lambda predictor: program)
    monkeypatch.setattr(files, "atomic_path", lambda path: nullcontext(Path("/dev/full")))
    outcome = cli("export", str(trained.run.path), "--format", "torch-export", "--out", "model.pt2")
    sentence = "--out model.pt2 cannot be written (No space left on device); choose another.\n"
    assert (outcome.code, outcome.err) == (2, sentence)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "Constant"])
def test_every_architecture(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    genres = [f"genre {number}" for number in range(10)]
    predictor = GenrePredictor(model=sure(getattr(models, name)(spec=AUDIO, genres=genres)))
    program = files.traced(predictor)
    monkeypatch.setattr(files, "traced", lambda predictor: program)
    noise = np.random.default_rng(1).standard_normal((2, 50_000)).astype(np.float32) * np.float32([[0.1], [1e-3]])
    for format in ("torch-export", "onnx"):
        differences = dict(export(predictor, tmp_path / format, format=FORMATS[format]()).differences)
        assert max(differences.values()) < 1e-4
        (shares,) = FORMATS[format]().run(tmp_path / format, [noise])
        np.testing.assert_allclose(shares.sum(1), 1, atol=1e-5)
        assert np.ptp(shares, axis=1).min() > 0.01


@pytest.mark.slow
@pytest.mark.skipif(GTZAN is None, reason="GENRECLF_GTZAN does not name a folder with real audio")
def test_real_audio(tmp_path: Path) -> None:
    songs = sorted(Path(str(GTZAN), "audio/genres_original").glob("*/*.wav"))
    assert len(songs) > 20
    spec = FeatureSpec.of_audio(sample_rate=22050, n_fft=2048, hop_length=512, n_mels=128, clip_seconds=10)
    torch.manual_seed(0)
    predictor = GenrePredictor(model=sure(CRNN(spec=spec, genres=[f"genre {number}" for number in range(10)])))
    checked = export(predictor, tmp_path / "model.onnx", format=FORMATS["onnx"](), files=songs)
    assert {str(song) for song in songs} < set(checked.differences)
    assert checked.largest < 1e-3


def encoder_of(name: str) -> Encoder:
    if name == "timm":
        pytest.importorskip("timm")
        return TimmEncoder(model="test_efficientnet", **ORIGIN)
    return Cnn14(**ORIGIN) if name == "cnn14" else MusicTagger(architecture="musicnn", dataset="MTT", **ORIGIN)


def predictor_of(name: str, kind: str) -> GenrePredictor:
    """Return a model of random weights that is as sure of itself as a trained one."""
    torch.manual_seed(0)
    encoder = encoder_of(name).eval()
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    encoder.load = lambda: None  # type: ignore[method-assign]
    if kind == "probe":
        layers = dict(zip(encoder.layers, encoder.dimensions, strict=True))
        of_log_mel = LOG_MEL if encoder.sample_rate is None else None
        spec = FeatureSpec.of_embeddings(
            layers=layers,
            frames_per_second=1 / encoder.hop_s,
            sample_rate=encoder.sample_rate,
            clip_seconds=3.0,
            source=of_log_mel,
        )
        probe = Probe(spec=spec, genres=["a", "b", "c"])
        torch.nn.init.normal_(probe.network.head.classifier.weight, std=0.1)
        return GenrePredictor(model=probe, encoder=encoder)
    rate = encoder.sample_rate
    spec = LOG_MEL if rate is None else FeatureSpec.of_waveform(sample_rate=rate, clip_seconds=3.0)
    tuned = FineTune(spec=spec, genres=["a", "b", "c"], encoder=encoder)
    return GenrePredictor(model=sure(tuned) if rate is None else tuned)


KINDS = [(name, kind) for name in ("timm", "cnn14", "musicnn") for kind in ("probe", "finetune")]


@pytest.mark.parametrize(("name", "kind"), [*KINDS[:-1], pytest.param(*KINDS[-1], marks=pytest.mark.slow)])
def test_the_module_of_an_encoder_is_the_original(name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panns, "CHANNELS", (2, 3, 4, 5, 6, 7))
    predictor = predictor_of(name, kind)
    checked = compared(Eager(predictor), Path("unused"), references(predictor))
    assert checked.largest < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_onnx_holds_an_encoder(name: str, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(panns, "CHANNELS", (2, 3, 4, 5, 6, 7))
    predictor = predictor_of(name, kind)
    assert export(predictor, tmp_path / "model.onnx", format=FORMATS["onnx"]()).largest < 1e-3
