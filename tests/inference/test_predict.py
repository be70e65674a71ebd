"""``python -m genreclf predict`` and ``genreclf.load``."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from helpers import ROOT, SMALL, Cli, Outcome, Trained, train

import genreclf
from genreclf.errors import UserError
from genreclf.evaluation.predictions import read_track_csv
from genreclf.inference.listing import audio_files, short_name
from genreclf.inference.predictor import GenrePredictor
from genreclf.run_directory import RunDirectory


def alone(trained: Trained, directory: Path) -> RunDirectory:
    """Copy what is needed of a run, and nothing else."""
    run = RunDirectory(directory)
    run.make()
    shutil.copy(trained.run.config, run.config)
    shutil.copy(trained.run.best, run.best)
    return run


def largest_difference(outcome: Outcome, predictions: Path, track_id: Callable[[Path], str]) -> float:
    tracks = read_track_csv(predictions)
    rows = {track_id(Path(row["path"])): row for row in csv.DictReader(io.StringIO(outcome.out))}
    ours = np.array([[float(rows[name][genre]) for genre in tracks.genres] for name in tracks.track_ids])
    assert [rows[name]["predicted"] for name in tracks.track_ids] == [tracks.genres[i] for i in tracks.predicted]
    return float(np.abs(ours - tracks.probabilities).max())


def sharpened(probabilities: dict[str, float], power: float) -> np.ndarray:
    shares = np.array(list(probabilities.values())) ** power
    return shares / shares.sum()


def test_equals_the_test_of_the_run(cli: Cli, trained: Trained, tmp_path: Path) -> None:
    run = alone(trained, tmp_path / "alone")
    outcome = cli("predict", str(run.path), str(trained.music), "--format", "csv")
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    tested = read_track_csv(trained.run.predictions)
    assert {name[-1] for name in tested.track_ids} >= {"1", "2", "3"}, "stereo, 16 kHz and ogg are to be tested"
    assert np.ptp(tested.probabilities, axis=0).max() > 0.01, "the songs are to differ"
    names = largest_difference(outcome, trained.run.predictions, lambda path: f"{path.parent.name}/{path.stem}")
    assert names < 1e-5


def test_json_lines(cli: Cli, trained: Trained) -> None:
    song = trained.music / "metal/0.wav"
    outcome = cli("predict", str(trained.run.path), str(song), "--format", "jsonl", "--top", "2")
    assert outcome.code == 0, outcome.err
    (line,) = map(json.loads, outcome.out.splitlines())
    assert set(line) == {
        *("path", "genre", "probabilities", "timeline", "confidence", "certainty", "temperature"),
        *("entropy_bits", "duration_s", "top"),
    }
    assert line["path"] == str(song)
    assert line["duration_s"] == pytest.approx(3.3, abs=1e-3)
    assert sum(line["probabilities"].values()) == pytest.approx(1, abs=1e-6)
    assert line["top"] == sorted(line["probabilities"], key=lambda genre: -line["probabilities"][genre])[:2]
    assert line["genre"] == line["top"][0]
    entropy = -sum(share * np.log2(share) for share in line["probabilities"].values())
    assert line["entropy_bits"] == pytest.approx(entropy, abs=1e-5)
    windows = line["timeline"]
    assert windows[0]["start_s"] == 0
    assert windows[-1]["end_s"] == pytest.approx(3.3, abs=0.03)
    assert all(later["start_s"] < earlier["end_s"] for earlier, later in pairwise(windows))
    temperature = trained.run.read_metrics()["calibration"]["temperature"]
    assert line["temperature"] == temperature
    assert line["confidence"] == pytest.approx(
        sharpened(line["probabilities"], 1 / temperature["track"]).max(), abs=1e-5
    )
    as_computed = np.mean([sharpened(window["probabilities"], temperature["clip"]) for window in windows], axis=0)
    np.testing.assert_allclose(as_computed, list(line["probabilities"].values()), atol=1e-5)


def test_bands_between_two_frequencies_are_the_same_in_the_test(cli: Cli, trained: Trained, tmp_path: Path) -> None:
    music = ["data=folder", f"data.root={trained.music}", "data.store_dir=stores", "data.clip_seconds=1"]
    split = ("split=track", "split.train=0.2", "split.val=0.2", "split.test=0.6")
    train(*SMALL, *music, *split, "features.f_min=100", "features.f_max=4000", "run_dir=run")
    run = RunDirectory(tmp_path / "run")
    outcome = cli("predict", str(run.path), str(trained.music), "--format", "csv")
    assert outcome.code == 0, outcome.err
    names = largest_difference(outcome, run.predictions, lambda path: f"{path.parent.name}/{path.stem}")
    assert names < 1e-5
    assert np.ptp(read_track_csv(run.predictions).probabilities - read_track_csv(trained.run.predictions).probabilities)
    other = cli("evaluate", str(run.path), "features.f_max=5000", "run_dir=other")
    assert (other.code, "trained on other spectrograms (f_max)" in other.err) == (2, True)


@pytest.mark.pictures
def test_table_and_pictures(cli: Cli, trained: Trained, tmp_path: Path) -> None:
    songs = [str(trained.music / genre / "0.wav") for genre in ("blues", "metal")]
    outcome = cli("predict", str(trained.run.path), *songs, "--timeline-dir", "pictures", "--top", "1")
    assert outcome.code == 0, outcome.err
    assert "0:03" in outcome.out
    assert outcome.out.count("%") == 2
    for name in ("0.png", "0-2.png"):
        assert (tmp_path / "pictures" / name).stat().st_size > 20_000


def test_the_table_names_songs_within_the_folder(cli: Cli, trained: Trained) -> None:
    folder = str(trained.music / "blues")
    out = cli("predict", str(trained.run.path), folder).out
    assert "│ 0.wav " in out
    assert folder not in out
    assert short_name(trained.music / "blues/0.wav", [folder, str(trained.music / "metal")]) == "blues/0.wav"
    assert short_name(Path("a/0.wav"), ["."]) == "a/0.wav"
    assert short_name(Path("/a/0.wav"), ["/a/0.wav"]) == "/a/0.wav"


def test_songs_of_a_folder_are_in_natural_order(tmp_path: Path) -> None:
    names = ["1.wav", "02.wav", "2.wav", "10.wav", "disc 2/1.wav", "disc 10/1.wav", "pop.00009.wav", "pop.00010.wav"]
    for name in reversed(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [str(path.relative_to(tmp_path)) for path, _ in audio_files([str(tmp_path)])] == names


@pytest.mark.parametrize("format", ["csv", "jsonl", "table"])
def test_songs_that_the_model_is_not_sure_of_have_no_genre(cli: Cli, trained: Trained, format: str) -> None:
    songs = ("predict", str(trained.run.path), str(trained.music), "--format", format)
    files = sum(path.is_file() for path in trained.music.rglob("*"))
    for least, unsure in ((0, 0), (1, files)) if format == "csv" else ():
        assert cli(*songs, "--abstain", f"probability={least}").out.count("not sure") == unsure
    some = cli(*songs, "--abstain", "coverage=0.5")
    assert 0 < some.out.count("not sure") < files
    assert "above it, " in some.err


def test_abstaining_by_coverage_needs_a_calibration(cli: Cli, trained: Trained, tmp_path: Path) -> None:
    run = alone(trained, tmp_path / "alone")
    for said, way in (("coverage=0.5", "use --abstain probability"), ("0.5", "neither coverage=SHARE nor probability")):
        outcome = cli("predict", str(run.path), str(trained.music), "--abstain", said)
        assert outcome.code == 2
        assert way in outcome.err


def test_skips_are_cut_off(cli: Cli, trained: Trained) -> None:
    song = trained.music / "blues/0.wav"
    samples, rate = soundfile.read(song, dtype="float32")
    outcome = cli(
        *("predict", str(trained.run.path), str(song), "--format", "jsonl"), "--skip-start", "0.5", "--skip-end", "1"
    )
    line = json.loads(outcome.out)
    kept = samples[round(0.5 * rate) : -rate]
    expected = genreclf.load(trained.run.path).predict(kept, sample_rate=rate)
    np.testing.assert_allclose(list(line["probabilities"].values()), expected.probabilities, atol=1e-6)
    assert line["timeline"][0]["start_s"] == 0.5
    assert line["timeline"][-1]["end_s"] == pytest.approx(2.3, abs=0.03)
    assert line["duration_s"] == pytest.approx(3.3, abs=1e-3)
    nothing = cli("predict", str(trained.run.path), str(song), "--skip-start", "9")
    assert nothing.code == 2
    assert "0.wav: nothing is left of its 3.3 s without the first 9 s and the last 0 s" in nothing.err


def test_load_in_python(trained: Trained) -> None:
    predictor = genreclf.load(trained.run.path)
    song = trained.music / "classical/1.flac"
    samples, rate = soundfile.read(song, dtype="float32")
    prediction = predictor.predict(song)
    as_waveform = predictor.predict(samples.T, sample_rate=rate)
    np.testing.assert_allclose(as_waveform.probabilities, prediction.probabilities, atol=1e-9)
    assert as_waveform.path is None
    assert prediction.probabilities.shape == (len(predictor.genres),)
    windows = prediction.timeline
    assert windows.probabilities.shape == (len(windows.start_s), len(predictor.genres))
    assert prediction.spectrogram_db.shape[0] == predictor.spec.n_mels


def test_the_embedding_is_what_the_classifier_gets(trained: Trained) -> None:
    predictor = genreclf.load(trained.run.path)
    song = trained.music / "metal/4.wav"
    prediction = predictor.predict(song)
    assert len(prediction.timeline.start_s) == 1
    embedding = predictor.embed(song)
    assert embedding.shape == (8,)
    with torch.inference_mode():
        logits = predictor.model.network.classifier(torch.from_numpy(embedding))  # type: ignore[operator]
    np.testing.assert_allclose(logits.softmax(0), prediction.probabilities, atol=1e-6)
    for network in (torch.nn.Sequential(predictor.model.network, torch.nn.Identity()), torch.nn.Linear(8, 10)):
        predictor.model.network = network
        with pytest.raises(UserError, match="CRNN has no embeddings: its network does not end in a linear layer"):
            GenrePredictor(model=predictor.model).embed(song)


def test_waveforms_that_are_none(trained: Trained) -> None:
    predictor = genreclf.load(trained.run.path)
    ones = np.ones(8000, np.float32)
    with pytest.raises(UserError, match="needs its sample_rate"):
        predictor.predict(ones)
    with pytest.raises(UserError, match="not int16"):
        predictor.predict(np.ones(8000, np.int16), sample_rate=8000)
    with pytest.raises(UserError, match=r"not \(8000, 2\)"):
        predictor.predict(np.ones((8000, 2)), sample_rate=8000)
    with pytest.raises(UserError, match="The waveform: contains NaN"):
        predictor.predict(np.full(8000, np.nan), sample_rate=8000)
    with pytest.raises(UserError, match=r"full scale at 1, and this one has values up to 99,"):
        predictor.predict(1e38 * np.sin(np.arange(8000)), sample_rate=8000)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "predict needs a run directory first"),
        (["RUN"], "the following arguments are required: PATH"),
        (["nowhere", "a.wav"], "nowhere is not a run directory"),
        (["RUN", "a.wav", "--top", "0"], "argument --top: 0 is not a whole number above 0"),
        (["RUN", "a.wav", "--skip-start", "nan"], "argument --skip-start: nan is not a number of seconds from 0 on"),
        (["RUN", "a.wav", "--format", "xml"], "argument --format: invalid choice: 'xml'"),
        (["RUN", "a.wav", "--timeline-dir", "file/x"], "--timeline-dir file/x cannot be made"),
        (["RUN", "gone.wav"], "gone.wav: the file is missing\nNo song could be predicted."),
        (["RUN", "empty"], "empty: a folder without audio files\nNo song could be predicted."),
    ],
)
def test_mistakes_are_sentences(
    arguments: list[str], sentence: str, cli: Cli, trained: Trained, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    outcome = cli("predict", *[str(trained.run.path) if word == "RUN" else word for word in arguments])
    assert outcome.code == 2
    assert sentence in outcome.err
    assert "Traceback" not in outcome.err


def test_a_run_from_elsewhere_calls_only_models(cli: Cli, trained: Trained, tmp_path: Path) -> None:
    run = alone(trained, tmp_path / "alone")
    config = run.read_config()
    for section, sentence in {
        "os.system": "config.yaml names os.system, which is not part of genreclf",
        "genreclf.models.FFNN": "do not belong together",
    }.items():
        run.config.write_text(yaml.safe_dump({**config, "model": {"_target_": section}}))
        outcome = cli("predict", str(run.path), str(trained.music))
        assert outcome.code == 2
        assert sentence in outcome.err
    run.config.write_text(yaml.safe_dump({**config, "model": {**config["model"], "hidden": 5}}))
    assert "do not belong together" in cli("predict", str(run.path), str(trained.music)).err
    run.config.write_text(yaml.safe_dump(config))
    run.best.write_bytes(run.best.read_bytes()[:1000])
    assert "is damaged" in cli("predict", str(run.path), str(trained.music)).err
    run.best.unlink()
    assert "has not finished an epoch" in cli("predict", str(run.path), str(trained.music)).err


def test_the_door_and_the_help_import_no_torch() -> None:
    code = (
        "import sys, genreclf; genreclf.load; sys.argv[1:] = ['predict', '--help']\n"
        "from genreclf.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, *sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert "--timeline-dir" in shown.stdout
    code_and_modules = shown.stdout.splitlines()[-1].split()
    assert code_and_modules[0] == "0"
    assert not {"torch", "lightning", "matplotlib", "soundfile"} & set(code_and_modules)


@pytest.mark.slow
def test_real_audio_equals_the_test_of_the_run(cli: Cli, tmp_path: Path) -> None:
    if "GENRECLF_GTZAN" not in os.environ:
        pytest.skip("set GENRECLF_GTZAN to a folder with GTZAN's audio/genres_original and audio/lists")
    audio = Path(os.environ["GENRECLF_GTZAN"]) / "audio"
    lists = [
        f"split.{subset}={audio / 'lists' / name}.txt"
        for subset, name in zip(("train", "val", "test"), ("train", "valid", "test"), strict=True)
    ]
    train(
        *SMALL,
        "data=gtzan",
        f"data.root={audio}",
        "data.download=false",
        "split=list",
        *lists,
        "data.clip_seconds=3",
        f"run_dir={tmp_path / 'run'}",
    )
    outcome = cli("predict", "run", str(audio / "genres_original"), "--format", "csv")
    assert outcome.code == 0, outcome.err
    assert largest_difference(outcome, tmp_path / "run/predictions.csv", lambda path: path.stem) < 1e-5
