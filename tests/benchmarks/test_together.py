"""What runs at once are measured against, at a size that shows that it is measured."""

import json

import pytest

from benchmarks import together


@pytest.mark.slow
def test_every_part_runs_without_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--quick", "--accelerator", "cpu", "--seconds", "1000", "--models", "cnn"]
    monkeypatch.setattr("sys.argv", ["together.py", *words, "--parts", "at_once,in_turn,eager_in_turn"])
    together.main()
    figures = json.loads(capsys.readouterr().out)["cnn"]
    assert figures["same"] == {"largest_difference": 0.0, "identical": 2, "of": 2}
    assert figures["eager_in_turn"]["errors"] == []
    assert figures["faster"].keys() == {
        f"{way} {key}" for way in ("in_turn", "eager_in_turn") for key in ("fits_s", "runs_s")
    }
    assert all(ratio > 0 for ratio in figures["faster"].values())


def test_time_that_several_trainings_share_counts_once() -> None:
    assert together._covered_s([(1, 3), (2, 4), (2, 3), (6, 7)]) == 4
