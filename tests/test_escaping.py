"""What comes from tags, file names and other people's runs steers no terminal, spreadsheet or page."""

import csv
import io
import json
import re
import shutil
from pathlib import Path

import pytest
import soundfile
import yaml
from helpers import Cli, Trained

from genreclf.escaping import csv_cell, markdown, printable
from genreclf.hub.bundle import write_bundle
from genreclf.inference.predictor import SYNTHETIC_ONLY
from genreclf.reports.card import write_card
from genreclf.reports.tables import csv_text
from genreclf.sweep.rows import read_rows
from genreclf.sweep.summary import job_columns

RED = "\x1b[31mred\x07"
FORMULA = "=1+1"


def test_what_steers_a_terminal_is_escaped_and_nothing_else() -> None:
    assert printable("Björk 彼 naïve\\") == "Björk 彼 naïve\\"
    assert printable("a\x1b[31m\n\x9b\u202e\udcff") == r"a\x1b[31m\n\x9b\u202e\udcff"
    assert printable("a\nb\x1b", keep="\n") == "a\nb\\x1b"


@pytest.mark.parametrize("text", ["=1+1", "+49 30", "-x", "@home", "\tx", "\r=x", "'=1+1", "''+a", "＝1"])  # noqa: RUF001
def test_a_formula_in_a_cell_is_text_and_can_be_read_back(text: str) -> None:
    cell = csv_cell(text)
    assert cell == f"'{text}"
    assert re.sub("^'(?=['=+\\-@\t\r\n＝＋－＠])", "", cell) == text  # noqa: RUF001


@pytest.mark.parametrize("value", [-1.5, -1, "-1.5", "+2e-3", "-inf", "don't", "'quoted'", "a=b", "", None, True])
def test_numbers_and_plain_text_stay_as_they_are(value: object) -> None:
    assert csv_cell(value) == value


def test_markdown_holds_no_markup_from_elsewhere() -> None:
    assert markdown("<img src=x>\n[a](b) `c` d_e") == r"&lt;img src=x> \[a\](b) \`c\` d\_e"


@pytest.fixture
def songs(trained: Trained, tmp_path: Path) -> Path:
    """Four songs with hostile names, one of them with a hostile tag."""
    folder = tmp_path / "songs"
    folder.mkdir()
    for source, name in (("metal/0", FORMULA), ("metal/2", RED), ("blues/2", "plain")):
        shutil.copy(trained.music / f"{source}.wav", folder / f"{name}.wav")
    samples, rate = soundfile.read(trained.music / "blues/0.wav")
    with soundfile.SoundFile(folder / "tagged.wav", "w", rate, 1) as file:
        file.artist = f"@{RED}"
        file.write(samples)
    return folder


def test_songs_of_others_steer_no_terminal(cli: Cli, trained: Trained, songs: Path) -> None:
    run = str(trained.run.path)
    (songs / f"{RED}.mp3").write_text("not a sound")
    said = [cli("index", run, str(songs), "--library", "library")]
    assert said[0].out.startswith("4 indexed"), said[0].err
    ask = ("recommend", run, "plain.wav", "--library", "library", "--format")
    said += [cli(*ask, form) for form in ("table", "csv", "json", "m3u")]
    said += [cli("predict", run, str(songs), "--format", form) for form in ("table", "csv", "jsonl")]
    said.append(cli("recommend", run, f"{RED}.none", "--library", "library"))
    for outcome in said:
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", outcome.out + outcome.err), outcome
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(said[2].out))}
    assert rows.keys() == {f"'{FORMULA}.wav", r"\x1b[31mred\x07.wav", "tagged.wav"}
    assert rows["tagged.wav"]["artist"] == r"'@\x1b[31mred\x07"
    assert all(float(row["similarity"]) <= 1 for row in rows.values())
    assert r"\x1b[31mred\x07.none is neither a file nor a song" in said[-1].err


def test_a_song_called_like_a_formula_is_text_in_the_csv_of_predict(
    cli: Cli, trained: Trained, songs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(songs)
    outcome = cli("predict", str(trained.run.path), f"{FORMULA}.wav", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(outcome.out))
    assert row["path"] == f"'{FORMULA}.wav"
    assert 0 <= float(row["metal"]) <= 1


def test_the_csv_of_a_sweep_holds_no_formula(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text("{}")
    for number, (tag, offset) in enumerate(((FORMULA, "-1"), ("b", "2"))):
        (tmp_path / str(number)).mkdir()
        record = {"varies": {"tag": tag, "offset": offset}, "overrides": ["+tag=1"], "exit_code": 1, "reason": "-"}
        (tmp_path / str(number) / "job.json").write_text(json.dumps(record))
    rows = read_rows(tmp_path)
    first, _ = csv.DictReader(io.StringIO(csv_text(job_columns(tmp_path, rows), rows)))
    assert [first[key] for key in ("tag", "offset", "reason", "overrides")] == [f"'{FORMULA}", "-1", "'-", "'+tag=1"]


def test_the_model_card_holds_no_html_of_others(trained: Trained, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    write_bundle(trained.run, tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    content["genres"][0] = "<script>alert(1)</script>"
    content["config"]["data"]["_target_"] = "mine.<b onclick=x>[click](http://x)"
    (tmp_path / "config.json").write_text(json.dumps(content))
    write_card(tmp_path, repo="some/one", license="<i>mine</i>")
    card = (tmp_path / "README.md").read_text().split("---\n", 2)[2]
    assert "<" not in card
    assert "[click]" not in card
    assert "&lt;script>alert(1)&lt;/script>" in card


@pytest.mark.parametrize("form", ["table", "csv", "jsonl"])
def test_a_model_of_computed_music_says_so(form: str, cli: Cli, trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained.run.path, tmp_path / "run")
    config = trained.run.read_config()
    config["data"] = {"_target_": "genreclf.datasets.synthetic.Synthetic", "short": "pad"}
    config["data"]["grid_overlap"] = 0.5
    (tmp_path / "run/config.yaml").write_text(yaml.safe_dump(config))
    outcome = cli("predict", "run", str(trained.music / "metal/0.wav"), "--format", form)
    assert outcome.code == 0, outcome.err
    assert outcome.err == f"Warning: {SYNTHETIC_ONLY}\n"
    if form == "jsonl":
        assert json.loads(outcome.out)["warning"] == SYNTHETIC_ONLY
    assert SYNTHETIC_ONLY in " ".join(outcome.out.split())
    split = json.loads((tmp_path / "run/split.json").read_text())
    before = {"run": "real", "dataset": "folder", "train": [], "val": [], "artists": {}}
    (tmp_path / "run/split.json").write_text(json.dumps({**split, "started_from": [before]}))
    for start in ("real", None):  # Of a shared run, only split.json tells that it started from another.
        (tmp_path / "run/config.yaml").write_text(yaml.safe_dump({**config, "init_from": start}))
        assert cli("predict", "run", str(trained.music / "metal/0.wav"), "--format", form).err == ""
    (tmp_path / "run/split.json").unlink()
    assert SYNTHETIC_ONLY in cli("predict", "run", str(trained.music / "metal/0.wav"), "--format", form).err
