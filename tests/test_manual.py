"""What README.md and the pages of docs/ say is what happens."""

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from helpers import PAGES, ROOT, Cli, Trained, documented
from hydra.utils import get_object
from omegaconf import OmegaConf

import genreclf
from genreclf.cli import COMMANDS as NAMED
from genreclf.cli.list import groups, options
from genreclf.experiment.run import RunResult
from genreclf.run_directory import RunDirectory

sys.path.append(str(ROOT / "docs"))

COMMANDS = [line for block in documented("bash") for line in block.strip().splitlines()]
OURS = [
    shlex.split(line.split("-m genreclf ", 1)[1])
    for line in COMMANDS
    if "-m genreclf " in line and not line.endswith(" --help") and "--config-name" not in line
]


def write_examples(folder: Path) -> None:
    """Write the files that the manual tells its reader to write: blocks whose first line is a comment with the name."""
    for code in (*documented("python"), *documented("yaml")):
        if name := re.match(r"# ([\w/]+\.(?:py|yaml))\n", code):
            (folder / name[1]).parent.mkdir(parents=True, exist_ok=True)
            (folder / name[1]).write_text(code)


def test_readme_is_short() -> None:
    assert len(PAGES["README"].encode()) <= 8 * 1024


def test_opens_with_the_two_commands() -> None:
    first, second = (
        block.strip().splitlines() for block in re.findall(r"```bash\n(.*?)```", PAGES["README"], re.DOTALL)[:2]
    )
    assert first == ["python -m pip install -e .", "python -m genreclf experiment=quickstart run_dir=outputs/mine"]
    assert second[0] == 'python -m pip install -e ".[dev]"'
    assert second[1].startswith("python -m pytest")


@pytest.mark.parametrize("arguments", [words for words in OURS if words and words[0] not in NAMED], ids=" ".join)
def test_commands_compose(arguments: list[str], cli: Cli, tmp_path: Path) -> None:
    write_examples(tmp_path)
    plain = [word for word in arguments if word not in ("-m", "--cfg", "job")]
    plain = [word for word in plain if not word.startswith("hydra.launcher.")]  # Hydra's, and not of every launcher
    plain = [re.sub(r",.*", "", word) for word in plain] if "-m" in arguments else plain
    outcome = cli(*plain, "--cfg", "job")
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize("example", ["linear", "waves", "tones", "every_fifth"])
def test_own_model_and_source_run(
    example: str, cli: Cli, stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_examples(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    arguments = next(words for words in OURS if any(word.endswith(f"={example}") for word in words))
    small = ["data.tracks_per_genre=5", "data.duration_s=2", "data.clip_seconds=1"] if example != "tones" else []
    quick = ["trainer.max_epochs=2", "trainer=cpu", "logger=none", "run_dir=run", f"data.store_dir={stores}"]
    outcome = cli(*arguments, *small, *quick)
    assert outcome.code == 0, outcome.err
    assert RunDirectory(tmp_path / "run").read_metrics()["status"] == "finished"
    predictor = genreclf.load(tmp_path / "run", trust=["my_model", "my_waves"])
    predictor.check_embeds()
    prediction = predictor.predict(0.1 * np.sin(np.arange(44100.0)), sample_rate=22050)
    assert prediction.probabilities.sum() == pytest.approx(1)


def test_notebook_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code = next(code for code in documented("python") if "Trainer(" in code)
    smaller = code.replace("tracks_per_genre=10, duration_s=6.0", "tracks_per_genre=5, duration_s=3.0")
    exec(compile(smaller, "docs", "exec"), {})
    assert "accuracy_ci95" in capsys.readouterr().out


def test_songs_of_the_quickstart_are_written() -> None:
    code = next(code for code in documented("python") if "my/songs" in code and "soundfile.write" in code)
    exec(compile(code, "docs", "exec"), {})
    assert soundfile.info("my/songs/0.wav").duration == 12
    assert len(list(Path("my/songs").iterdir())) == 20


def run_notebook(name: str) -> dict[str, Any]:
    """Execute the cells of a notebook in the working directory; return its variables."""
    scope: dict[str, Any] = {}
    for cell in json.loads((ROOT / f"docs/notebooks/{name}.ipynb").read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if source.startswith("%%writefile "):
            first, _, code = source.partition("\n")
            Path(first.split()[1]).write_text(code)
        elif cell["cell_type"] == "code":
            exec(compile(source, name, "exec"), scope)
    return scope


def test_the_notebook_of_your_own_parts_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    assert run_notebook("your_own_parts")["run"].accuracy > 0.6  # Chance: a third.


@pytest.mark.slow
def test_the_notebook_of_training_and_prediction_runs() -> None:
    known = run_notebook("train_and_predict")
    assert known["run"].metrics["test"]["track"]["accuracy_ci95"][0] > 0.3  # Chance: a tenth.
    assert known["accuracy"] > 0.3


def test_songs_are_predicted_as_shown(
    cli: Cli, trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained.run.path, tmp_path / "outputs/mine")
    (tmp_path / "my/songs").mkdir(parents=True)
    for name in ("0.wav", "1.flac"):
        shutil.copy(trained.music / "metal" / name, tmp_path / "my/songs")
    soundfile.write(tmp_path / "song.mp3", 0.1 * np.sin(np.arange(44100)), 44100)
    commands = [words for words in OURS if words[0] in ("predict", "index", "recommend") and "--evaluate" not in words]
    commands.sort(key=lambda words: words[0] == "recommend")
    for run in {words[1] for words in commands} - {"outputs/mine"}:
        shutil.copytree(trained.run.path, tmp_path / run)
    assert len(commands) > 2
    for words in commands:
        outcome = cli(*words)
        # Nothing is left of a song of two seconds; of two songs, none may be of the genre.
        assert outcome.code in ({2} if "--skip-start" in words else {0, 2} if "--same-genre" in words else {0}), (
            outcome.err
        )
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 2
    result = RunResult(RunDirectory("outputs/mine"), RunDirectory("outputs/mine").read_metrics())
    monkeypatch.setattr(genreclf, "train", lambda *overrides: result)
    for code in (code for code in documented("python") if "genreclf.load" in code):
        exec(compile(code, "docs", "exec"), {})
    said = capsys.readouterr().out
    assert "(8,)" in said
    assert "my/songs/0.wav" in said


def test_the_evaluation_shown_counts_the_tracks_that_were_seen(cli: Cli, trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained.run.path, tmp_path / "outputs/mine")
    words = next(words for words in OURS if words[0] == "evaluate")
    outcome = cli(*words, "split.folds=3", "split.fold=2", "run_dir=again")
    assert outcome.code == 0, outcome.err
    split = RunDirectory("again").read_metrics()["split"]
    assert (split["leaky"], split["seen"]["trained"] + split["seen"]["validated"] > 0) == (True, True)


@pytest.mark.parametrize("command", [command for command in NAMED if command not in ("train", "list")])
def test_words_of_a_command_are_known(command: str) -> None:
    parser = importlib.import_module(f"genreclf.cli.{command}").parser()
    shown = [words[1:] for words in OURS if words[0] == command]
    assert shown
    for words in shown:
        parser.parse(words)


def test_every_group_and_command_is_listed() -> None:
    for group in (path.name for path in (ROOT / "conf").iterdir() if path.is_dir() and path.name != "hydra"):
        assert f"\n| `{group}` |" in PAGES["configuration"], group
    rows = re.findall(r"^\| (`.*?`) \|", PAGES["command_line"], re.MULTILINE)
    assert set(NAMED) <= {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def test_every_published_system_is_listed() -> None:
    rows = {row.split("`")[1]: row for row in PAGES["published_systems"].splitlines() if row.startswith("| `")}
    for path in (ROOT / "conf/experiment/published").glob("[!_]*.yaml"):
        leaky = "LEAKY" in path.read_text(encoding="utf-8")
        assert ("LEAKY" in rows[path.stem]) is leaky, path.stem


def test_every_file_of_a_run_is_listed(finished: RunDirectory) -> None:
    table = PAGES["training"].split("## Files of a run")[1].split("##")[0]
    for path in finished.path.rglob("*"):
        if path.is_file():
            assert path.name in table or (path.suffix == ".png" and "figures/*.png" in table), path


def test_the_site_lists_every_option_key_and_command() -> None:
    from build_site import api_page, commands_page, options_page, relinked

    page = options_page()
    for group in groups():
        for option in options(group):
            assert f"### {group}={option}\n" in page
    for key in OmegaConf.load(ROOT / "conf/trainer/auto.yaml"):
        assert key == "_target_" or f"| `trainer.{key}` |" in page
    assert "| `data.root` | `data/gtzan` | folder with genres/" in page
    commands = commands_page()
    for name in NAMED:
        assert name == "train" or f"\n## {name}\n" in commands
    assert "--timeline-dir" in commands
    for name in re.findall(r"^\.\. auto(?:class|function):: (\S+)$", api_page(), re.MULTILINE):
        assert get_object(name).__doc__
    assert relinked("[a](../RESULTS.md#b) [c](../conf) ![d](docs/d.webp)") == "[a](RESULTS.md#b) c ![d](d.webp)"


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    for package in ("furo", "myst_nb", "sphinx", "sphinx_copybutton"):
        pytest.importorskip(package)
    command = [sys.executable, str(ROOT / "docs/build_site.py"), "--out", str(tmp_path)]
    built = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert built.returncode == 0, built.stderr
    for page in (tmp_path / "html").glob("*.html"):
        assert not re.search(
            r"<(?:script|link|img)[^>]*(?:src|href)=\"(?:https?:)?//", page.read_text(encoding="utf-8")
        )


@pytest.mark.slow
def test_quickstart_is_well_above_chance(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("experiment=quickstart", "run_dir=run")
    assert outcome.code == 0, outcome.err
    assert RunDirectory(tmp_path / "run").read_metrics()["test"]["track"]["accuracy_ci95"][0] > 0.3


def test_links_lead_somewhere() -> None:
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks/README.md"):
        for link, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", path.read_text(encoding="utf-8")):
            target = path.parent / link if link else path
            assert target.exists(), f"{path.name}: {link}"
            assert not anchor or anchor in anchors_of(target), f"{path.name}: {link}#{anchor}"


def anchors_of(page: Path) -> set[str]:
    """Return what the headings of a page are called in links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_version_is_the_same_everywhere() -> None:
    version = re.escape(genreclf.__version__)
    assert re.search(rf"^version: {version}$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert re.search(rf"^## {version} ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
