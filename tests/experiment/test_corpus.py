"""What is refused before a store is built."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import Cli

from genreclf.cli.compose import checked
from genreclf.errors import UserError
from genreclf.experiment.corpus import check_split, load_corpus


def music(root: Path, **counts: int) -> list[str]:
    """Write tracks of some genres; return the overrides of a training on them."""
    for genre, count in counts.items():
        (root / genre).mkdir(parents=True)
        for number in range(count):
            soundfile.write(root / genre / f"{number}.wav", 0.1 * np.sin(np.arange(22050) / (9 + number)), 22050)
    return ["data=folder", f"data.root={root}", "data.clip_seconds=0.5", f"data.store_dir={root.parent / 'stores'}"]


@pytest.mark.parametrize("overrides", [["split=track"], ["split=chunk"], ["split=track", "data.skip_unreadable=true"]])
def test_one_genre_is_refused_before_the_store(cli: Cli, tmp_path: Path, overrides: list[str]) -> None:
    outcome = cli(*music(tmp_path / "my", music=6), *overrides, "trainer=cpu", "logger=none", "run_dir=run")
    assert outcome.code == 2
    assert (
        "The genre of all 6 tracks is music, and a classifier needs two or more: check whether data.root" in outcome.err
    )
    assert not (tmp_path / "stores").exists()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["split=fault_filtered"], "none of the 8 tracks here is one of them"),
        (["split=official"], "split=official: the dataset has no split of its own"),
        (["split=artist_folds"], "split.folds=5 wants as many artists or groups of tracks in each genre"),
        (["split=track", "split.inner_fold=0", "split.inner_folds=9"], "split.inner_folds=9 wants as many artists"),
        (["split=track", "split.artists_per_genre=1"], "split.artists_per_genre counts artists"),
        (
            ["split=list", "split.train=train.txt", "split.val=val.txt", "split.test=test.txt"],
            "none of them is among the 8",
        ),
    ],
)
def test_an_impossible_split_is_refused_before_the_store(
    cli: Cli, tmp_path: Path, overrides: list[str], sentence: str
) -> None:
    for subset in ("train", "val", "test"):
        (tmp_path / f"{subset}.txt").write_text(f"other/{subset}\n")
    data = music(tmp_path / "my", rock=4, jazz=4)
    outcome = cli(*data, *overrides, "trainer=cpu", "logger=none", "run_dir=run")
    assert outcome.code == 2
    assert sentence in outcome.err
    assert not (tmp_path / "stores").exists()


def test_what_is_not_certain_is_not_refused(tmp_path: Path) -> None:
    data = music(tmp_path / "my", rock=6, jazz=6, polka=1)
    chunks = checked([*data, "split=chunk", "split.train=0.4", "split.val=0.3", "split.test=0.3"], run_dir="-")
    corpus = load_corpus(chunks, check=check_split)
    with pytest.raises(UserError, match=r"1 of 3 genres has no .* track \(polka\)"):
        corpus.split(chunks)
    tracks = list(corpus.tracks.values())
    with pytest.raises(UserError, match="polka"):
        check_split(checked([*data, "split=track"], run_dir="-"), tracks)
    check_split(checked([*data, "split=track", "data.skip_unreadable=true"], run_dir="-"), tracks)


def test_other_commands_take_one_genre(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("prepare", *music(tmp_path / "my", music=2))
    assert outcome.code == 0, outcome.err


OWN = """
from dataclasses import replace

from genreclf.datasets.synthetic import Synthetic


class Own(Synthetic):
    def __init__(self, *, gain: float = 1.0):
        super().__init__(tracks_per_genre=1, artists_per_genre=1, duration_s=1.0)
        self.gain = gain

    def waveform(self, track, sample_rate):
        return self.gain * super().waveform(track, sample_rate)
"""


def test_the_store_of_an_own_dataset_belongs_to_its_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_gain.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)

    def levels(*overrides: str) -> float:
        data = ["data=synthetic", "data._target_=own_gain.Own", *overrides]
        dropped = [f"~data.{key}" for key in ("tracks_per_genre", "artists_per_genre", "duration_s", "seed")]
        config = checked([*data, *dropped, f"data.store_dir={tmp_path}/stores"], run_dir="-")
        return float(load_corpus(config).store.frames.max())

    assert levels() > levels("+data.gain=0.1")
