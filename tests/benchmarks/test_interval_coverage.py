"""The simulation of benchmarks/interval_coverage.py."""

import numpy as np
import pytest

from benchmarks import interval_coverage


def test_tracks_have_the_accuracy_and_the_correlation_that_are_told() -> None:
    right, artist = interval_coverage.simulated(50_000, np.random.default_rng(0))
    sizes, hits = np.bincount(artist), np.bincount(artist, weights=right)
    several = sizes > 1
    both = (hits * (hits - 1))[several] / (sizes * (sizes - 1))[several]
    assert sizes.mean() == pytest.approx(4, rel=0.03)
    assert right.mean() == pytest.approx(0.7, abs=0.01)
    assert both.mean() == pytest.approx(0.7**2 + 0.3 * 0.7 * 0.3, abs=0.01)


def test_intervals_over_few_artists_and_over_tracks_are_too_narrow(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(interval_coverage, "ARTISTS", (3, 15))
    monkeypatch.setattr("sys.argv", ["interval_coverage.py", "--trials", "60"])
    interval_coverage.main()
    _, _, *rows = [line[2:-2].split(" | ") for line in capsys.readouterr().out.splitlines()]
    (few, *of_few), (many, *of_many) = ([float(cell.split()[0]) for cell in row] for row in rows)
    assert (few, many) == (3, 15)
    assert max(of_few[1], of_many[1]) < of_few[0] < of_many[0] < 95


def test_no_trials_are_a_mistake(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["interval_coverage.py", "--trials", "0"])
    with pytest.raises(SystemExit, match="2"):
        interval_coverage.main()
    assert "--trials must be at least 1" in capsys.readouterr().err
