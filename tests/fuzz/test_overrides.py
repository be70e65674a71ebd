"""Odd commands: 300 cases a seed, valid ones with odd settings, options, words and sweeps."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzzing import TEXTS, Ended, cases, contents, odd_value, run, write_place
from helpers import ROOT, Trained

pytestmark = pytest.mark.slow

COUNT = 300

TRAIN = [
    *("data=synthetic", "data.tracks_per_genre=3", "data.artists_per_genre=3", "data.duration_s=2", "split.folds=3"),
    *("data.clip_seconds=1", "data.crops_per_track=1", "data.batch_size=10", "data.store_dir=stores"),
    *("model=crnn", "model.channels=[4,4,4,4]", "model.hidden=4", "trainer=cpu", "trainer.max_epochs=1"),
    *("trainer.precision=32-true", "logger=none"),
]
AGAIN = ["evaluate", "run", "run_dir=again"]

COMMANDS: list[tuple[int, list[str]]] = [
    (30, TRAIN),
    (8, ["-m", *TRAIN, "seed=0,1"]),
    (10, ["prepare", *TRAIN]),
    (4, [*TRAIN, "--cfg", "job"]),
    (12, AGAIN),
    (8, ["predict", "run", "music/metal/0.wav", "--format", "csv", "--top", "2", "--skip-start", "0.1"]),
    (3, ["predict", "run", "music/metal", "--skip-end", "0.1", "--timeline-dir", "timelines"]),
    (5, ["compare", "run", "--out", "compared"]),
    (5, ["index", "run", "music", "--library", "library"]),
    (5, ["recommend", "run", "music/metal/0.wav", "-k", "2", "--format", "csv", "--diverse"]),
    (2, ["show", *TRAIN, "--genre", "rock", "--out", "shown"]),
    (2, ["export", "run", "--format", "torch-export", "--out", "model.pt2"]),
    (2, ["push", "run", "--repo", "someone/model", "--license", "mit"]),
    (2, ["pull", "someone/model", "--to", "pulled"]),
    (2, ["app", "nowhere", "--port", "7860", "--max-mb", "20"]),
]
"""How often which command is made odd."""

WORDS = [
    "--help",
    "--nope",
    "-x",
    "--",
    "-",
    "@x",
    "=",
    "=1",
    "x=",
    "+",
    "~",
    "++x=1",
    "-m",
    "--run",
    "--resolve",
    "trian",
]
SWEEPS = [
    *("range(1,1)", "range(3)", "range(0,1,0)", "glob(*)", "glob(zz*)", "choice()", "choice(1)", "interval(0,1)", ","),
    *("sort(1,0)", "shuffle(0,1)", "tag(a,1)", "1,1", "0,,1", "[0],[1]", "a,b", "nan,0", "null,0", "extend_list(1)"),
]
PLACES = [
    "",
    " ",
    "file",
    "file/x",
    "x" * 300,
    "run",
    "a b",
    "$x_{$",
    "null",
    "\N{SNOWMAN}",
    "=",
    "music",
    "a'b",
    "[x]",
]
"""Values of keys that say where to write: a path elsewhere is not a mistake."""

WRITTEN_TO = ("run_dir", "data.store_dir", "hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
LASTING = ("trainer.max_epochs", "data.tracks_per_genre", "data.duration_s", "data.crops_per_track")
"""Keys of which a large number is not a mistake, and takes its time."""


def flat(section: Any, prefix: str) -> list[str]:
    if not isinstance(section, dict):
        return [prefix]
    return [key for name, value in section.items() for key in flat(value, f"{prefix}.{name}" if prefix else str(name))]


def keys_of(options: set[str] | None = None) -> list[str]:
    """Return the keys of the files in ``conf/``, or of some of them."""
    keys = {*WRITTEN_TO, "hydra.job.chdir", "hydra.output_subdir", "hydra.mode", "hydra.verbose"}
    for file in sorted((ROOT / "conf").rglob("*.yaml")):
        text = file.read_text()
        section = yaml.safe_load(text) or {}
        group = file.relative_to(ROOT / "conf").parts[0] if file.name != "train.yaml" else ""
        if group in ("hydra", "experiment", "sweep") or (options and file.stem not in options):
            continue
        section.pop("defaults", None)
        section.pop("hydra", None)
        keys |= set(flat(section, "" if text.startswith("# @package _global_") else group))
    return sorted(keys)


CHOSEN = {"train", "_clips", "synthetic", "folder", "artist_folds", "track", "log_mel", "crnn", "auto", "cosine"}
KEYS, CHOSEN_KEYS = keys_of(), keys_of({*CHOSEN, "adamw", "cross_entropy", "strong"})
GROUPS = {
    folder.name: sorted(file.stem for file in folder.glob("*.yaml") if file.stem not in ("gtzan", "wandb"))
    for folder in sorted((ROOT / "conf").iterdir())
    if folder.is_dir() and folder.name not in ("hydra", "sweep")
}


@pytest.fixture(scope="module")
def whole(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every command has what it needs."""
    place = write_place(tmp_path_factory.mktemp("whole"), trained)
    (place / "file").touch()
    prepared = run("prepare", *TRAIN, place=place)
    assert prepared.code == 0, prepared.err
    return place


@cases(COUNT)
def test_an_odd_command_ends_with_a_sentence_or_does_what_it_says(case: str, whole: Path, tmp_path: Path) -> None:
    chance = random.Random(f"overrides {case}")
    command = chance.choices([words for _, words in COMMANDS], [weight for weight, _ in COMMANDS])[0]
    words = list(command)
    for _ in range(chance.choice([1, 1, 2])):
        make_odd(words, chance)
    place = tmp_path / "place"
    shutil.copytree(whole, place)
    before = contents(place / "run")
    ended = run(*words, place=place)
    try:
        ended.check()
        after = contents(place / "run")
        harmed = [name for name in before if after.get(name) != before[name] and not name.startswith("library/")]
        assert not harmed, f"{harmed}: {ended}"
        check_runs(ended, command, place)
    finally:
        shutil.rmtree(place)


def make_odd(words: list[str], chance: random.Random) -> None:
    """Add, change, remove or move a word."""
    if "=" in words[-1] and chance.random() < 0.85:
        first = words.index("run") + 1 if "run" in words else 1
        words.insert(chance.choice([len(words), chance.randrange(first, len(words) + 1)]), setting(chance))
        return
    at = chance.randrange(len(words))
    kind = chance.randrange(6)
    if kind < 2:
        words[at] = chance.choice(TEXTS).replace("\0", "") if chance.random() < 0.7 else str(odd_value(chance))
    elif kind == 2:
        del words[at]
    elif kind == 3:
        words.insert(at, chance.choice(WORDS))
    elif kind == 4:
        words.insert(at, chance.choice(words))
    else:
        word = words[at]
        cut = chance.randrange(len(word) + 1)
        words[at] = word[:cut] + chance.choice(["", "=", ",", "[", "'", "$", " ", "\\", ".", "0"]) + word[cut + 1 :]
    if words[:1] == ["app"]:
        words[1:2] = ["nowhere"]  # Or it would go on.


def setting(chance: random.Random) -> str:
    """Return an override with an odd value, key or form."""
    kind = chance.randrange(20)
    if kind < 2:
        group = chance.choice(sorted(GROUPS))
        return f"{group}={chance.choice([*GROUPS[group], chance.choice(TEXTS)])}".replace("\0", "")
    key = chance.choice(CHOSEN_KEYS if chance.random() < 0.8 else KEYS)
    value = written(key, chance)
    if kind == 2:
        value = chance.choice(SWEEPS)
    elif kind == 3:
        key = key[: chance.randrange(len(key))] + chance.choice("axz._-") + key[chance.randrange(len(key)) :]
    elif kind == 4:
        return f"~{key}"
    elif kind == 5:
        key = f"{chance.choice(['+', '++'])}{key}{chance.choice(['', '', 'x', '.x'])}"
    return f"{key}={value}"


def written(key: str, chance: random.Random) -> str:
    """Return an odd value as one types it for Hydra."""
    if key in WRITTEN_TO:
        return chance.choice(PLACES)
    value = odd_value(chance)
    if key in LASTING and isinstance(value, int | float) and value > 10:
        return "-3"
    if isinstance(value, str):
        value = value.replace("\0", "")
        return value if chance.random() < 0.5 else "'{}'".format(value.replace("'", "\\'"))
    text = json.dumps(value).replace('"', "")
    return {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}.get(text, text)


def check_runs(ended: Ended, command: list[str], place: Path) -> None:
    """Check that the exit code says what became of the runs."""
    stems = [json.loads(file.read_text()) for file in place.rglob("metrics.json") if file.parent != place / "run"]
    states = [metrics["status"] for metrics in stems]
    assert "running" not in states, f"{states}: {ended}"
    if ended.code == 1:
        assert "failed" in states, f"{states}: {ended}"
    elif ended.code == 2 and command[0] != "-m":
        assert "finished" not in states, f"{states}: {ended}"
    elif ended.code == 0 and command in (TRAIN, AGAIN) and not any(word[:1] == "-" for word in ended.arguments):
        assert states == ["finished"], f"{states}: {ended}"
    elif ended.code == 0:
        assert "failed" not in states, f"{states}: {ended}"
