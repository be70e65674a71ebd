"""A ``config.yaml`` from elsewhere is data: reading it looks nothing up, imports nothing and stays small."""

import shutil
import sys
from pathlib import Path

import pytest
import yaml
from helpers import Cli, Trained

from genreclf.config_file import LARGEST_BYTES
from genreclf.errors import UserError
from genreclf.run_directory import RunDirectory

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(9 * [f'*{before}'])}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)

DAMAGED = {
    "aliases": (BOMB, "it holds an alias"),
    "a cycle": ("a: &a [*a]\n", "it holds an alias"),
    "an interpolation": ("data: {root: '${oc.env:HF_TOKEN}'}\n", "data.root contains an interpolation"),
    "an interpolated list": ("a: {b: [1, ['${seed}']]}\n", "a.b contains an interpolation"),
    "an interpolated key": ("'${seed}': 1\n", "'${seed}' is not the name of a setting"),
    "a Python object": ("a: !!python/object/apply:os.system [ls]\n", "could not determine a constructor"),
    "a date": ("a: 2024-01-01\n", "a is a date"),
    "no date": ("a: 2024-99-99\n", "month must be in 1..12"),
    "bytes": ("a: !!binary aGVsbG8=\n", "a is a bytes"),
    "no bytes": ("a: !!binary é\n", "failed to convert"),
    "no truth value": ("a: !!bool maybe\n", "maybe"),
    "no number": ("a: !!int ''\n", "index out of range"),
    "a huge number": (f"a: 0x{'f' * 50}\n", "a is a number of more than 64 bits"),
    "depth": ("[" * 3_000, "nested too deeply"),
    "size": (f"a: {'x' * LARGEST_BYTES}\n", f"larger than {LARGEST_BYTES} bytes"),
    "a list": ("[1]\n", "it has no settings"),
    "nothing": ("", "it has no settings"),
    "a word for a section": ("model: x\n", "model is not a section"),
    "two documents": ("a: 1\n---\na: 2\n", "expected a single document"),
    "no text": (b"\xff\xfe\x00", "can't decode"),
    "control codes": (b"a: \x1b[2J\n", "special characters are not allowed"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_training_never_writes_is_refused(kind: str, tmp_path: Path) -> None:
    content, reason = DAMAGED[kind]
    run = RunDirectory(tmp_path)
    run.config.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=r"is not a run directory: its config\.yaml cannot be read") as caught:
        run.read_config()
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.config.symlink_to("/dev/zero")
    with pytest.raises(UserError, match="there is no file"):
        run.read_config()


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    twice = [2, 3]
    config = {"a": twice, "b": {"c": twice, "date": "2024-01-01", "yes": "yes", "none": None, "x": 1e-3}, "µ": "é"}
    run.write_config(config)
    assert run.read_config() == config
    assert "&" not in run.config.read_text()


@pytest.mark.parametrize("command", ["predict", "evaluate", "export", "index", "compare", "push"])
def test_no_command_resolves_an_interpolation(
    command: str, cli: Cli, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    run = RunDirectory(shutil.copytree(trained.run.path, tmp_path / "theirs"))
    config = run.read_config()
    config["logger"]["project"] = "${oc.env:HF_TOKEN}"
    run.config.write_text(yaml.safe_dump(config))
    words = {"predict": [str(trained.music)], "index": [str(trained.music)], "push": ["--repo", "a/b"]}
    outcome = cli(command, "theirs", *words.get(command, []))
    assert outcome.code == 2
    assert "logger.project contains an interpolation" in outcome.err
    assert not (run.path / "evaluations").exists()


def test_a_run_of_another_experiment_is_told_without_importing_what_it_names(
    cli: Cli, tiny: list[str], trained: Trained, tmp_path: Path
) -> None:
    (tmp_path / "evil_resume.py").write_text("raise SystemExit(9)\n")
    run = RunDirectory(shutil.copytree(trained.run.path, tmp_path / "theirs"))
    run.write_config({**run.read_config(), "model": {"_target_": "evil_resume.Model"}})
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        outcome = cli(*tiny, "run_dir=theirs")
    assert outcome.code == 2
    assert "theirs holds another experiment" in outcome.err
    assert "no data.artists_per_genre there, data.artists_per_genre=5 here" in outcome.err
    assert "evil_resume" not in sys.modules
