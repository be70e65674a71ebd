"""The CSV log of a run that is resumed is that of an uninterrupted run."""

import csv
from pathlib import Path

import pytest
from helpers import Cli
from lightning.pytorch.loggers import CSVLogger

from genreclf.models import GenreClassifier
from genreclf.training.csv_log import LastingCSVLogger


def rows_without_times(run: str) -> list[dict[str, str]]:
    with Path(run, "csv/metrics.csv").open(newline="") as lines:
        return [
            {key: row[key] for key in row if key not in ("epoch_s", "clips_per_s")} for row in csv.DictReader(lines)
        ]


def interrupt_in_epoch_1(model: GenreClassifier, *_: object) -> None:
    if model.trainer.global_step == 3:
        raise KeyboardInterrupt


def test_a_resumed_run_goes_on_from_its_checkpoint(cli: Cli, tiny: list[str]) -> None:
    words = [*tiny, "logger=csv", "trainer.max_epochs=2", "callbacks.record.every_n_steps=1"]
    assert cli(*words, "run_dir=unbroken").code == 0
    for name, leave_out in (("interrupted", "nothing"), ("killed", "finalize")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(GenreClassifier, "on_train_batch_end", interrupt_in_epoch_1)
            patch.setattr(CSVLogger, leave_out, lambda *_: None, raising=False)
            assert cli(*words, f"run_dir={name}").code == 130
        assert rows_without_times(name)
        assert cli(*words, f"run_dir={name}").code == 0
        assert rows_without_times(name) == rows_without_times("unbroken")


def test_a_run_that_had_only_to_be_tested_keeps_its_rows(
    cli: Cli, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*tiny, "logger=csv", "run_dir=run"]
    assert cli(*words).code == 0
    rows = rows_without_times("run")
    Path("run/metrics.json").unlink()  # As after a kill when the test was logged.
    assert cli(*words).code == 0
    assert rows_without_times("run") == rows


def test_a_row_that_was_cut_short_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv/metrics.csv").write_text("epoch,step,train/loss\n0,1,2.5\n1,")
    logger = LastingCSVLogger(tmp_path, name=None, version="csv")
    logger.keep_steps_before(2)
    assert (tmp_path / "csv/metrics.csv").read_text() == "epoch,step,train/loss\n0,1,2.5\n"
