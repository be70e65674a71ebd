"""The table of benchmarks/validation_loss.py."""

from pathlib import Path

import pytest
from fake_runs import write_run

from benchmarks import validation_loss


def test_mean_of_five_epochs_is_the_least_of_those_in_a_row() -> None:
    assert validation_loss.least_mean([9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 0.0]) == 14 / 5
    assert validation_loss.least_mean([3.0, 1.0]) == 2


def test_validation_loss_of_runs_is_a_row_an_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (1, 0):
        write_run(tmp_path / f"cnn{seed}", [True, False], seed=seed, epochs=6)
    write_run(tmp_path / "crnn", [True, True], model="CRNN", epochs=2)
    monkeypatch.setattr("sys.argv", ["validation_loss.py", str(tmp_path)])
    validation_loss.main()
    header, _, *rows = [line[2:-2].split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert header[1:4] == ["mean of five epochs", "by seed", "at one epoch"]
    assert [row[1:4] for row in rows] == [
        ["1.625", "1.625", "1.500"],
        ["1.692", "1.667 1.717", "1.525"],
    ]
    assert [(row[0], row[5]) for row in rows] == [("CRNN", "100.0"), ("CNN", "50.0")]


def test_runs_without_losses_are_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "evaluation", [True, False], epochs=0)
    for folder, reason in (("evaluation", "holds no validation losses"), ("nowhere", "is not a folder")):
        monkeypatch.setattr("sys.argv", ["validation_loss.py", str(tmp_path / folder)])
        with pytest.raises(SystemExit, match="2"):
            validation_loss.main()
        assert reason in capsys.readouterr().err
