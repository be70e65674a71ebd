"""Where the spectrograms of a store are computed."""

from pathlib import Path
from typing import NoReturn

import pytest
import torch

from genreclf.audio.log_mel import FeatureSpec, LogMel
from genreclf.cli.compose import checked
from genreclf.data import encoding
from genreclf.data.store import Recipe
from genreclf.datasets.base import Dataset
from genreclf.datasets.synthetic import Synthetic
from genreclf.experiment import corpus

MUSIC = Synthetic(tracks_per_genre=2, artists_per_genre=2, duration_s=2.0)
SPEC = FeatureSpec.of_audio(sample_rate=22050, n_fft=2048, hop_length=512, n_mels=128, clip_seconds=1)


def test_a_finished_store_is_opened_without_a_transform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[torch.device] = []

    class Watched(LogMel):
        def to(self, device: torch.device) -> "Watched":  # type: ignore[override]
            made.append(device)
            return self

    monkeypatch.setattr(encoding, "LogMel", Watched)
    encoding.store_of(MUSIC, MUSIC.tracks()[:2], SPEC, directory=tmp_path)
    assert set(made) == {torch.device("cpu")}
    made.clear()
    encoding.store_of(MUSIC, MUSIC.tracks()[:2], SPEC, directory=tmp_path, device=torch.device("cuda"))
    assert made == []


@pytest.mark.parametrize(
    ("sample_rate", "n_fft", "stays"), [(22050, 2048, True), (11025, 2048, False), (22050, 441, False)]
)
def test_only_stores_with_the_wrong_filters_of_earlier_versions_are_built_again(
    sample_rate: int, n_fft: int, stays: bool
) -> None:
    spec = FeatureSpec.of_audio(sample_rate=sample_rate, n_fft=n_fft, hop_length=220, n_mels=40, clip_seconds=1)
    recipe, _ = encoding.log_mel_recipe(MUSIC, spec, encoding.CPU)
    settings = {"sample_rate": sample_rate, "n_fft": n_fft, "hop_length": 220, "n_mels": 40}
    earlier = Recipe("synthetic", "int16", 40, settings)
    assert (recipe.key() == earlier.key()) == stays


@pytest.mark.parametrize(
    ("trainer", "there", "device"),
    [("cpu", True, "cpu"), ("auto", True, "cuda:0"), ("gpu", True, "cuda:0"), ("auto", False, "cpu")],
)
def test_spectrograms_are_computed_where_the_run_is(
    trainer: str, there: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[torch.device] = []

    class Asked(Exception):
        """Enough is known."""

    def log_mel_recipe(dataset: Dataset, spec: FeatureSpec, device: torch.device) -> NoReturn:
        asked.append(device)
        raise Asked

    monkeypatch.setattr(corpus, "log_mel_recipe", log_mel_recipe)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    with pytest.raises(Asked):
        corpus.load_corpus(checked(["data=synthetic", f"trainer={trainer}"], run_dir="-"))
    assert asked == [torch.device(device)]
