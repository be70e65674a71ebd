"""Training from Python: ``genreclf.train``."""

from pathlib import Path
from typing import Any

import hydra
import pytest

import genreclf
from genreclf.errors import UserError
from genreclf.experiment.run import RunResult
from genreclf.run_directory import RunDirectory


def test_returns_the_run(tiny: list[str], finished: RunDirectory) -> None:
    result = genreclf.train(*tiny, f"run_dir={finished.path}")
    assert result.path == finished.path
    assert result.metrics == finished.read_metrics()
    assert result.accuracy == result.metrics["test"]["track"]["accuracy"]
    assert genreclf.load(result.path).genres


def test_a_notebook_shows_a_run_and_a_model_in_a_line(finished: RunDirectory) -> None:
    metrics = finished.read_metrics()
    shown = repr(RunResult(finished, metrics))
    track = metrics["test"]["track"]
    start = f"<RunResult in {finished.path}: {100 * track['accuracy']:.1f} % of {track['n']} test tracks right, 95 % "
    assert shown.startswith(start)
    assert "\n" not in shown
    marked = {**metrics, "split": {"leaky": True}, "pretrained": {"name": "musicnn"}}
    assert repr(RunResult(finished, marked)).startswith(f"<RunResult in {finished.path}, LEAKY, PRETRAINED: ")
    assert repr(RunResult(finished, {})) == f"<RunResult in {finished.path}: Nothing was tested>"
    model = genreclf.load(finished.path)
    assert repr(model) == f"<GenrePredictor: {type(model.model).__name__} for {', '.join(model.genres)}>"


def test_makes_a_directory_of_its_own(tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genreclf.experiment.run.run", lambda config: config)
    first, second = (Path(genreclf.train(*tiny).run_dir) for _ in range(2))  # type: ignore[attr-defined]
    assert first != second
    assert first.parent == Path("outputs/runs")


def test_leaves_hydra_as_the_caller_initialized_it(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genreclf.experiment.run.run", lambda config: config)
    (tmp_path / "mine.yaml").write_text("own: 1\n")
    with hydra.initialize_config_dir(str(tmp_path), version_base=None):
        genreclf.train(*tiny)
        with pytest.raises(UserError, match="did you mean seed"):
            genreclf.train("sed=1")
        assert hydra.compose("mine") == {"own": 1}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data=synthetic", "model.dropuot=1"], "dropuot"),
        (["modle=cnn"], "modle"),
        (["sweep=folds"], "many trainings"),
        (["model=cnn,crnn"], "cnn,crnn"),
        (["seed=0,1"], r"^seed=0,1 stands for several values: choose one\.$"),
        (
            ["-m", "seed=0,1"],
            r"^-m is for the command line: train takes KEY=VALUE and config_dir, and makes one run\.$",
        ),
        (["model=null"], "A group is chosen by the name of one of its options"),
        (["=1"], "=1 has no key before its ="),
        (["xyzzy"], r"^xyzzy is no override; write KEY=VALUE\.$"),
        (["data=synthetic", 3], 'train takes texts such as "seed=1", not int'),
        ([["data=synthetic"]], r"not list; a list of them is unpacked with \*\."),
    ],
)
def test_mistakes_are_sentences(overrides: list[Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        genreclf.train(*overrides)


def test_a_folder_of_options_that_is_not_there_is_refused(tiny: list[str]) -> None:
    with pytest.raises(UserError, match="config_dir=nowhere: there is no such folder"):
        genreclf.train(*tiny, config_dir="nowhere")
