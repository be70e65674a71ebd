"""Runs with classes of the user's own are shared as others are."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from fake_hub import REPO, Hub
from helpers import Cli

from genreclf.run_directory import RunDirectory

OWN = """
from pathlib import Path

from genreclf.datasets.synthetic import Synthetic
from genreclf.splits.rules import ArtistFolds


class Archive(Synthetic):
    def __init__(self, *, root: str, limit: int | None = 9, **others):
        super().__init__(**others)
        self.root, self.limit = Path(root), limit


class Listed(ArtistFolds):
    def __init__(self, *, index: str, **others):
        super().__init__(**others)
        self.index = Path(index)
"""


def test_a_pulled_run_whose_classes_need_paths_can_be_used(
    hub: Hub, cli: Cli, finished: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_archive.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    config = finished.read_config()
    config["data"] |= {"_target_": "own_archive.Archive", "root": "music", "limit": None}
    config["split"] |= {"_target_": "own_archive.Listed", "index": "index.csv"}
    finished.write_config(config)
    assert cli("push", "run", "--repo", REPO).code == 0
    outcome = cli("pull", REPO, "--to", "pulled", "--trust", "own_archive")
    assert outcome.code == 0, outcome.err
    config = RunDirectory("pulled").read_config()
    assert [config["data"]["root"], config["data"]["limit"], config["split"]["index"]] == [None] * 3
    soundfile.write("song.wav", np.sin(np.arange(44_100) / 9), 22_050)
    outcome = cli("predict", "pulled", "song.wav")
    assert outcome.code == 0, outcome.err
    evaluation = ("evaluate", "pulled", "--trust", "own_archive", "run_dir=again")
    outcome = cli(*evaluation)
    assert (outcome.code, outcome.err) == (2, "data.root=null must be text.\nsplit.index=null must be text.\n")
    outcome = cli(*evaluation, "data.root=elsewhere", "split.index=other.csv", f"data.store_dir={tmp_path}")
    assert outcome.code == 0, outcome.err
    assert RunDirectory("again").predictions.read_text() == finished.predictions.read_text()


MODEL = """
import torch
from torch import nn

from genreclf.models import GenreClassifier


class Own(GenreClassifier):
    def __init__(self, **training):
        super().__init__(**training)
        self.network = nn.Sequential(nn.Flatten(), nn.LazyLinear(len(self.genres)))
        self.register_buffer("clips", torch.zeros(1))

    def clip_loss(self, x, y):
        self.clips += len(x)
        return super().clip_loss(x, y)

    def forward(self, stored):
        return super().forward(stored) / self.clips
"""


def test_tensors_of_a_model_outside_its_network_are_shared(
    hub: Hub, cli: Cli, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_counting.py").write_text(MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    plain = [word for word in tiny if not word.startswith("model")]
    own = ["model=cnn", "~model.channels", "~model.pools", "~model.dropout", "model._target_=own_counting.Own"]
    outcome = cli(*plain, *own, "run_dir=run")
    assert outcome.code == 0, outcome.err
    assert cli("push", "run", "--repo", REPO).code == 0
    outcome = cli("pull", REPO, "--to", "pulled", "--trust", "own_counting")
    assert outcome.code == 0, outcome.err
    outcome = cli("evaluate", "pulled", "--trust", "own_counting", "run_dir=again", f"data.store_dir={tmp_path}")
    assert outcome.code == 0, outcome.err
    assert Path("again/predictions.csv").read_text() == Path("run/predictions.csv").read_text()
