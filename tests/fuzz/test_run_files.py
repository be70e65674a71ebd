"""Damaged run directories and stores: 400 cases a seed, each a damaged file that a command reads."""

import csv
import io
import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import damage
import pytest
import torch
from fuzzing import Ended, cases, contents, files_of, odd_value, run, write_place
from helpers import SMALL, Trained

pytestmark = pytest.mark.slow

COUNT = 400

FILES = {
    "config.yaml": 5,
    "metrics.json": 4,
    "split.json": 3,
    "history.csv": 3,
    "environment.json": 1,
    "predictions.csv": 3,
    "val_predictions.csv": 1,
    "clip_predictions.csv": 1,
    "checkpoints/best.ckpt": 6,
    "checkpoints/last.ckpt": 4,
    "library": 4,
    "store": 4,
}
"""What is damaged, and how often."""


@dataclass(frozen=True)
class Whole:
    """What lies there before the damage, and what an undamaged run predicts."""

    place: Path
    predicted: str
    tested: bytes


@pytest.fixture(scope="module")
def whole(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """What lies there before the damage."""
    place = write_place(tmp_path_factory.mktemp("whole"), trained)
    predicted = run("predict", "run", "music/metal", "--format", "jsonl", place=place)
    assert predicted.code == 0, predicted.err
    return Whole(place, predicted.out, (place / "run/predictions.csv").read_bytes())


TRAIN = [
    *(*SMALL, "data=folder", "data.root=music", "data.store_dir=stores", "data.clip_seconds=1", "split=track"),
    *("split.train=0.2", "split.val=0.2", "split.test=0.6", "run_dir=run"),
]

COMMANDS: dict[str, list[str]] = {
    "predict": ["predict", "run", "music/metal", "--format", "jsonl"],
    "evaluate": ["evaluate", "run", "run_dir=again"],
    "compare": ["compare", "run"],
    "recommend": ["recommend", "run", "music/metal/0.wav", "--format", "csv"],
    "index": ["index", "run", "music"],
    "export": ["export", "run", "--format", "torch-export"],
    "train": TRAIN,
    "go on": TRAIN,
    "init": [*TRAIN[:-1], "run_dir=next", "init_from=run", "trainer.max_epochs=1"],
}

READ_BY: dict[str, list[str]] = {
    "config.yaml": ["predict", "evaluate", "compare", "recommend", "export", "train", "go on", "init"],
    "metrics.json": ["compare", "train", "compare", "train", "evaluate", "go on"],
    "split.json": ["compare", "predict", "evaluate", "init", "go on"],
    "history.csv": ["go on", "go on", "compare", "train"],
    "environment.json": ["compare", "go on", "train"],
    "predictions.csv": ["compare"],
    "val_predictions.csv": ["compare", "go on"],
    "clip_predictions.csv": ["compare", "go on"],
    "checkpoints/best.ckpt": ["predict", "evaluate", "recommend", "index", "export", "go on", "init"],
    "checkpoints/last.ckpt": ["go on", "go on", "go on", "train", "predict"],
    "library": ["recommend", "recommend", "index"],
    "store": ["evaluate", "go on"],
}


@cases(COUNT)
def test_damage_is_named_and_nothing_else_is_harmed(case: str, whole: Whole, tmp_path: Path) -> None:
    chance = random.Random(f"run files {case}")
    place = tmp_path / "place"
    shutil.copytree(whole.place, place)
    name = chance.choices(list(FILES), list(FILES.values()))[0]
    command = chance.choice(READ_BY[name])
    if command == "go on":
        metrics = json.loads((place / "run/metrics.json").read_text())
        (place / "run/metrics.json").write_text(json.dumps({**metrics, "status": "running"}))
    folders = {"library": place / "run/library", "store": next((place / "stores").glob("*/"))}
    (place / "evil.py").write_text("open('canary', 'w')")
    is_damage = spoil(chance.choice(files_of(folders[name])) if name in folders else place / "run" / name, chance)
    before = contents(place)
    ended = run(*COMMANDS[command], place=place)
    try:
        check(ended, command, name, whole, place, before, is_damage=is_damage)
    except AssertionError as error:
        raise AssertionError(f"{command} after damage of {name}: {error}") from None
    finally:
        shutil.rmtree(place)


def check(
    ended: Ended, command: str, name: str, whole: Whole, place: Path, before: dict[str, bytes], *, is_damage: bool
) -> None:
    ended.check()
    assert not (place / "canary").exists()
    after = contents(place)
    harmed = [path for path, content in before.items() if after.get(path) != content]
    if command in ("go on", "train"):
        assert all(path.startswith(("run/", "stores/")) for path in harmed), harmed
    elif command == "index":
        assert all(path.startswith("run/library") for path in harmed), harmed
    else:
        assert all(path.startswith("stores/") for path in harmed), harmed
    if ended.code or name == "config.yaml" or not is_damage:
        return
    if command == "predict":
        assert ended.out == whole.predicted
    elif command in ("evaluate", "go on", "train"):
        tested = after["again/predictions.csv" if command == "evaluate" else "run/predictions.csv"]
        assert figures(tested) == figures(whole.tested)


def figures(table: bytes) -> list[list[str]]:
    """Return a table's cells, numbers to six decimals."""
    rows = list(csv.reader(io.StringIO(table.decode())))
    return [[f"{float(cell):.6f}" if cell[:2] in ("0.", "1.") else cell for cell in row] for row in rows]


def spoil(path: Path, chance: random.Random) -> bool:
    """Damage a file; return False if somebody took pains to make it fit, so that another result is not a wonder."""
    content = path.read_bytes()
    kind = chance.randrange(12)
    if kind == 0:
        path.unlink()
        if chance.random() < 0.5:
            path.mkdir()
    elif kind == 1:
        path.write_bytes(chance.choice([b"", b"\0" * 5000, chance.randbytes(3000), b"\xff\xfe", b"[" * 50_000]))
    elif kind == 2:
        others = [other for other in files_of(path.parent) if other != path]
        path.write_bytes(chance.choice(others).read_bytes() if others else b"")
        return path.suffix != ".ckpt"  # Another one of the run, whole.
    elif kind < 9 and path.suffix in STRUCTURED:
        path.write_bytes(STRUCTURED[path.suffix](content, chance))
        return path.suffix != ".ckpt"
    else:
        path.write_bytes(damage.of_bytes(content, chance))
    return True


def of_checkpoint(content: bytes, chance: random.Random) -> bytes:
    """Change entries of a checkpoint, which then has no checksum, as those of earlier versions."""
    checkpoint = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    for _ in range(chance.choice([1, 2])):
        inside = chance.choice(list(dictionaries(checkpoint)))
        key = chance.choice(list(inside))
        kind = chance.randrange(4)
        if kind == 0:
            del inside[key]
        elif kind == 1 and isinstance(inside[key], torch.Tensor):
            inside[key] = chance.choice([inside[key] * torch.nan, inside[key].flatten()[:0], inside[key].bool()])
        else:
            inside[key] = odd_value(chance)
    saved = io.BytesIO()
    torch.save(checkpoint, saved)
    return saved.getvalue()


def dictionaries(value: object) -> Iterator[dict[object, object]]:
    if isinstance(value, dict) and value:
        yield value
        for entry in value.values():
            yield from dictionaries(entry)


STRUCTURED: dict[str, Callable[[bytes, random.Random], bytes]] = {
    ".json": damage.of_json,
    ".yaml": damage.of_yaml,
    ".csv": damage.of_table,
    ".ckpt": of_checkpoint,
}
