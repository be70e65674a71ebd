"""The process that the jobs of a sweep are forked from."""

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Iterator, Mapping
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
from helpers import Cli

from genreclf.run_directory import RunDirectory
from genreclf.sweep.process import cool_down, hide_gpus_from, warm_up


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Begin without a server; the one of all other tests is there for them again afterwards."""
    server = forkserver._forkserver  # type: ignore[attr-defined]
    for name in ("address", "alive_fd", "authkey", "pid"):
        if hasattr(server, f"_forkserver_{name}"):
            monkeypatch.setattr(server, f"_forkserver_{name}", None)
    yield
    cool_down()


def servers() -> list[int]:
    """Return the servers that this process has started and that have not ended."""
    here = f"/proc/{os.getpid()}/task/{os.getpid()}/children"
    return [
        int(pid) for pid in Path(here).read_text().split() if b"forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


SENT = {130: signal.SIGINT, 143: signal.SIGTERM}


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        pytest.param(2, "optimizer.momentum", marks=pytest.mark.slow),
        (130, "Interrupted. Jobs finished so far: 1. Run the same command again to continue."),
        (143, "Terminated. Jobs finished so far: 1. Run the same command again to continue."),
    ],
)
def test_ends_with_the_sweep(
    code: int, reason: str, cli: Cli, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genreclf.cli.train.cool_down", cool_down)
    cool_down()
    before = servers()  # Under Python 3.14, ranks of an earlier test leave one.

    def interrupt(plain: Mapping[str, Any], log: Path | None) -> int:
        assert servers() != before
        if plain["seed"] == 0:
            RunDirectory(plain["run_dir"]).write_json(
                Path(plain["run_dir"], "metrics.json"), {"status": "finished", "objective": 0.5}
            )
            return 0
        os.kill(os.getpid(), SENT[code])
        raise AssertionError("it was not told to end")

    if code in SENT:
        monkeypatch.setattr("genreclf.sweep.job.compute_in_new_process", interrupt)
    outcome = cli("-m", *tiny, "seed=0,1", *(["+optimizer.momentum=1"] if code == 2 else []))
    assert outcome.code == code, outcome.err
    assert reason in outcome.err
    assert servers() == before


def test_starts_where_the_folder_for_temporary_files_has_a_long_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(multiprocessing.current_process()._config, "tempdir", raising=False)  # type: ignore[attr-defined]
    long = tmp_path / ("long" * 25)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    warm_up()
    assert tempfile.gettempdir() == str(long)


def test_hides_the_gpus_from_runs_on_the_cpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = {"trainer": {"accelerator": "cpu"}}, {"trainer": {"accelerator": "auto"}}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    hide_gpus_from([cpu, gpu])
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    hide_gpus_from([cpu, cpu])
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
