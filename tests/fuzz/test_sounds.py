"""Damaged and hostile sounds: 200 cases a seed, each beside a good song that must be analyzed as ever."""

import csv
import io
import random
import shutil
from pathlib import Path

import damage
import numpy as np
import pytest
import soundfile
from fuzzing import TEXTS, cases, run
from helpers import Trained

pytestmark = pytest.mark.slow

COUNT = 200

RATE = 22050

KINDS = {
    **{f"{subtype}.wav": subtype for subtype in ("PCM_U8", "PCM_16", "PCM_24", "FLOAT", "ULAW", "IMA_ADPCM", "GSM610")},
    **{f"a.{suffix}": None for suffix in ("flac", "ogg", "mp3", "au", "aiff", "caf", "w64", "rf64", "opus")},
}
LISTS = [
    "#EXTM3U\n#EXTINF:1,\n{0}\n",
    "ffconcat version 1.0\nfile {0}\n",
    "<?xml version='1.0'?><!DOCTYPE x [<!ENTITY e SYSTEM 'file://{0}'>]><x>&e;</x>",
    "[playlist]\nFile1={0}\n",
]
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".au", ".m4a")


@pytest.fixture(scope="module")
def sounds() -> dict[str, bytes]:
    """A second of noise and tone in each format, and the same in two channels."""
    samples = 0.3 * np.sin(np.arange(RATE) / 9) + np.random.default_rng(0).normal(0, 0.05, RATE)
    found = {}
    for name, subtype in KINDS.items():
        suffix = name.rpartition(".")[2]
        file_format = {"opus": "OGG"}.get(suffix, suffix.upper())
        for channels in (1, 2):
            if subtype == "GSM610" and channels == 2:
                continue
            sound = io.BytesIO()
            rate = 48_000 if suffix == "opus" else RATE
            coding = "OPUS" if suffix == "opus" else subtype
            soundfile.write(sound, np.stack([samples] * channels, axis=1), rate, format=file_format, subtype=coding)
            found[f"{channels}_{name}"] = sound.getvalue()
    return found


@pytest.fixture(scope="module")
def expected(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What is predicted of the good song."""
    place = tmp_path_factory.mktemp("expected")
    shutil.copy(trained.music / "metal/0.wav", place / "good.wav")
    ended = run("predict", str(trained.run.path), "good.wav", "--format", "csv", place=place)
    assert ended.code == 0, ended.err
    return rows(ended.out)["good.wav"]


@cases(COUNT)
def test_no_sound_keeps_another_from_being_analyzed(
    case: str, sounds: dict[str, bytes], expected: list[str], trained: Trained, tmp_path: Path
) -> None:
    chance = random.Random(f"sounds {case}")
    folder = tmp_path / "songs"
    folder.mkdir()
    write_sound(folder, sounds, chance)
    good = folder / "good.wav"
    shutil.copy(trained.music / "metal/0.wav", good)
    run_dir = str(trained.run.path)
    ended = run("predict", run_dir, "songs", "--format", "csv", place=tmp_path)
    ended.check()
    assert ended.code == 0, ended.err
    assert rows(ended.out)["songs/good.wav"][1:] == expected[1:]


@cases(COUNT // 4)
def test_no_sound_keeps_the_others_from_being_prepared(
    case: str, sounds: dict[str, bytes], trained: Trained, tmp_path: Path
) -> None:
    chance = random.Random(f"prepared sounds {case}")
    for genre in ("blues", "metal"):
        shutil.copytree(trained.music / genre, tmp_path / "music" / genre)
    for genre in ("blues", "metal"):
        write_sound(tmp_path / "music" / genre, sounds, chance)
    odd = [path for path in (tmp_path / "music").glob("*/*") if not path.name.startswith(".")]
    unprintable = any(not path.name.isprintable() and path.suffix != ".m4a" for path in odd)
    data = ("data=folder", "data.root=music", "data.store_dir=stores", "data.clip_seconds=1", "logger=none")
    ended = run("prepare", *data, "data.skip_unreadable=true", place=tmp_path)
    ended.check()
    if unprintable:
        assert "a name that is not UTF-8 or cannot be printed: rename it" in ended.err
        return
    assert ended.code == 0, ended.err
    assert ("are read; convert them" in ended.err) == any(path.suffix == ".m4a" for path in odd)
    again = run("prepare", *data, place=tmp_path)
    again.check()
    if again.code:
        assert "cannot be read; repair or remove" in again.err


def write_sound(folder: Path, sounds: dict[str, bytes], chance: random.Random) -> None:
    """Write one sound that is damaged, in disguise, no sound at all, or under an odd name."""
    name = chance.choice(sorted(sounds))
    content, suffix = sounds[name], f".{name.rpartition('.')[2]}"
    kind = chance.randrange(12)
    if kind < 8:
        content = damage.of_bytes(content, chance, head=80)
    elif kind == 8:
        content += sounds[chance.choice(sorted(sounds))]
    elif kind == 9:
        content = content[: chance.randrange(100)] + sounds[chance.choice(sorted(sounds))]
    elif kind == 10:
        content = chance.choice(LISTS).format(folder / "good.wav").encode()
    else:
        content = chance.choice([b"", b"\0" * 99, chance.randbytes(999), b"RIFF", b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f"])
    if suffix not in SUFFIXES or chance.random() < 0.2:
        suffix = chance.choice(SUFFIXES)
    stem = chance.choice(TEXTS).replace("/", "_").replace("\0", "_") if chance.random() < 0.3 else "odd"
    (folder / f"{stem[:200] or 'odd'}{suffix}").write_bytes(content)


def rows(table: str) -> dict[str, list[str]]:
    return {row[0]: row for row in csv.reader(io.StringIO(table, newline="")) if row}
