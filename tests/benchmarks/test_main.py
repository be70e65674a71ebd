"""The command measures what it says, on sizes that mean nothing."""

import json
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers import ROOT, Cli

from benchmarks.__main__ import _parser, main
from benchmarks.measuring import NOT_TRAINED_ALONE, models_that_train
from benchmarks.noise import DURATION_S, PICTURE_SIZE, write_pictures, write_songs
from benchmarks.streaming import measure_streaming
from genreclf.audio.decode import decode
from genreclf.cli.compose import checked
from genreclf.config import instantiate
from genreclf.datasets.images import read_levels
from genreclf.models import FineTune, GenreClassifier, Probe


def test_only_models_that_train_on_their_own_are_measured() -> None:
    def trains_alone(name: str) -> bool:
        model = instantiate.find("model", yaml.safe_load((ROOT / f"conf/model/{name}.yaml").read_text()), [])
        assert isinstance(model, type)
        assert issubclass(model, GenreClassifier)
        return not model.fits_at_once and not issubclass(model, FineTune | Probe)

    measured = models_that_train()
    assert all(map(trains_alone, measured))
    assert not any(map(trains_alone, NOT_TRAINED_ALONE))
    assert len(measured) >= 19


def test_noise_is_of_gtzans_size(tmp_path: Path) -> None:
    (song,) = write_songs(tmp_path / "songs", 1)
    waveform, sample_rate = decode(song)
    assert waveform.shape == (DURATION_S * sample_rate,)
    assert np.abs(waveform).max() > 0.5
    (picture,) = write_pictures(tmp_path / "pictures", 1)
    assert read_levels(picture).shape == PICTURE_SIZE


@pytest.mark.slow
def test_store_and_data_path_as_json() -> None:
    words = ["--quick", "--json", "--tracks", "2", "--only", "store", "--only", "data", "trainer=cpu"]
    done = subprocess.run([sys.executable, "-m", "benchmarks", *words], cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    ms = results["store"]["ms_per_track"]
    assert results["store"]["vs_librosa"] == pytest.approx(ms["librosa"] / ms["store"], rel=0.02)
    assert results["store"]["vs_floor"] == pytest.approx(ms["store"] / (ms["decode"] + ms["transform"]), rel=0.02)
    assert results["data"]["batches_per_s"] > 0
    assert "cores" in results["device"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["crnn"], "crnn is neither an option nor an override"),
        (["--only", "everything"], "invalid choice: 'everything'"),
        (["model=nothing"], "There is no model=nothing; the options of model are"),
        (["trainer.devices=0"], "trainer.devices"),
    ],
)
def test_mistakes(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--quick", *arguments])
    assert sentence in capsys.readouterr().err


def test_a_store_larger_than_the_memory(tiny: list[str], tmp_path: Path) -> None:
    streaming = measure_streaming(checked([*tiny, "split=track"], run_dir="-"), tmp_path / "store", 60)
    assert streaming["tracks"] == 60
    for key in ("batches_per_s", "training_batches_per_s"):
        assert set(streaming[key]) == {"memory", "as_needed", "read_ahead"}
        assert min(streaming[key].values()) > 0


@pytest.mark.slow
def test_all_parts(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick", "--json", "trainer=cpu"])
    results = json.loads(capsys.readouterr().out)
    fit = results["fit"]
    assert fit["vs_bare_loop"] == pytest.approx(fit["fit_s"] / fit["bare_s"], rel=0.01)
    assert fit["fit_s"] > min(fit["fit_epochs_s"])
    assert {"ffnn", "cnn", "crnn"} < set(results["fit"])
    assert all(results["fit"][name]["clips_per_s"] > 0 for name in ("ffnn", "cnn", "crnn"))
    assert min(results["imports_s"], results["first_step_s"]) > 0
    assert results["memory_mb"] > 100
    assert set(results["sizes"]) == {"store", "epoch", "predict"}
    main(["--quick", "--only", "command", "trainer=cpu"])
    assert "first step" in capsys.readouterr().out


PAGES = [path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md")]
DOCUMENTS = (*PAGES, "PERFORMANCE.md", "RESULTS.md", "CLUSTERS.md", "benchmarks/README.md")
COMMANDS = [
    line
    for name in DOCUMENTS
    for line in re.findall(r"^python -m benchmarks.*|(?<=`)python -m benchmarks[^`]*", (ROOT / name).read_text(), re.M)
]


@pytest.mark.parametrize("command", COMMANDS)
def test_documented_commands_exist(command: str) -> None:
    name, *arguments = shlex.split(command.replace("\n", " "))[2:]
    assert find_spec(name) is not None
    if name == "benchmarks":
        options = _parser().parse_args(arguments)
        checked(["data=folder", *options.overrides], run_dir="-")


def test_the_product_knows_nothing_of_it(cli: Cli) -> None:
    assert "benchmark is neither a command nor an override" in cli("benchmark").err
    for path in (ROOT / "genreclf").rglob("*.py"):
        assert not re.search(r"import .*benchmarks|from benchmarks|unittest", path.read_text(encoding="utf-8")), path
