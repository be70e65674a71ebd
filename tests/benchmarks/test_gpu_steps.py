"""The figures of a GPU's steps, at a size that shows that they are measured."""

import json

import pytest

from benchmarks import gpu_steps


@pytest.mark.slow
def test_every_part_runs_without_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["gpu_steps.py", "--quick", "--accelerator", "cpu", "--seconds", "1000"])
    gpu_steps.main()
    out = capsys.readouterr().out
    results = json.loads(out[out.index("{") :])
    assert "failed" not in out
    assert set(gpu_steps.PARTS) < results.keys()
    assert results["steps"]["crnn 4 eager"]["step_ms"] > 0
    assert results["same"]["of all"] == 0
    assert len(results["recorded"]) == 2
    for choice in results["recorded"].values():
        assert choice["finite"]
        assert "the device is cpu" in choice["notes"][0]


def test_a_late_part_is_left_out(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["gpu_steps.py", "--quick", "--accelerator", "cpu", "--seconds", "0", "--parts", "gru"]
    monkeypatch.setattr("sys.argv", words)
    gpu_steps.main()
    out = capsys.readouterr().out
    assert json.loads(out[out.index("{") :])["gru"] == {"failed": "no time was left"}
