"""The datamodule builds its store and splits its tracks where Lightning asks it to."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from numpy.typing import NDArray

from genreclf.audio.log_mel import FeatureSpec
from genreclf.data.datamodule import ClipDataModule
from genreclf.data.encoding import store_of
from genreclf.datasets.base import Track
from genreclf.datasets.synthetic import Synthetic
from genreclf.errors import UserError
from genreclf.models import CRNN
from genreclf.splits.rules import ArtistFolds

SPEC = FeatureSpec.of_audio(sample_rate=8000, n_fft=256, hop_length=128, n_mels=128, clip_seconds=0.5)


class Counted(Synthetic):
    """Synthetic music that counts what is computed."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(tracks_per_genre=5, duration_s=1.0, **arguments)
        self.computed = 0

    def waveform(self, track: Track, sample_rate: int) -> NDArray[Any]:
        self.computed += 1
        return super().waveform(track, sample_rate)


def data_of(dataset: Synthetic, folder: Path, **settings: Any) -> ClipDataModule:
    return ClipDataModule(
        dataset=dataset, splitter=ArtistFolds(), spec=SPEC, store_dir=folder, batch_size=25, **settings
    )


def model_of(genres: list[str], spec: FeatureSpec = SPEC) -> CRNN:
    return CRNN(spec=spec, genres=genres, channels=(2, 2, 2, 2), hidden=2)


def fit(model: CRNN, data: ClipDataModule) -> Trainer:
    settings: dict[str, Any] = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "use_distributed_sampler": False}
    trainer = Trainer(max_epochs=1, **settings, **quiet)
    trainer.fit(model, datamodule=data)
    return trainer


def test_lightning_builds_the_store_once_and_splits_the_tracks(tmp_path: Path) -> None:
    dataset = Counted()
    data, model = data_of(dataset, tmp_path), model_of(dataset.genres)
    fit(model, data).test(model, datamodule=data, verbose=False)
    assert dataset.computed == len(dataset.tracks())
    assert model.predictions is not None
    assert set(model.predictions.track_ids) == {segment.track_id for segment in data.split.test}
    assert model.scaling.is_fitted
    # Those who have a store and a split get the same batches.
    tracks = dataset.tracks()
    store = store_of(dataset, tracks, SPEC, directory=tmp_path)
    split = ArtistFolds().split(tracks, store.lengths_frames, SPEC.clip_frames)
    genre_of = {track.id: track.genre for track in tracks}
    given = ClipDataModule(store=store, split=split, genre_of=genre_of, spec=SPEC, batch_size=25)
    assert given.genres == data.genres == tuple(dataset.genres)
    assert torch.equal(given.sample("train"), data.sample("train"))
    assert dataset.computed == len(tracks)


def test_what_prepare_data_built_is_opened_by_a_process_that_did_not_build_it(tmp_path: Path) -> None:
    data_of(Counted(), tmp_path).prepare_data()
    other = Counted()
    data = data_of(other, tmp_path)
    data.setup("fit")
    assert other.computed == 0
    assert data.genres == tuple(other.genres)
    assert len(data.tables["train"]) > len(data.tables["test"]) > 0


def test_a_model_of_other_genres_is_told(tmp_path: Path) -> None:
    dataset = Counted()
    with pytest.raises(UserError, match="and the split holds rock too"):
        fit(model_of([genre for genre in dataset.genres if genre != "rock"]), data_of(dataset, tmp_path))
    with pytest.raises(
        UserError, match=r"The genres of the model \(rock, .*and of the data \(blues, .*differ; their order"
    ):
        fit(model_of(dataset.genres[::-1]), data_of(dataset, tmp_path, genres=dataset.genres))
    with pytest.raises(UserError, match=r"made for other spectrograms than the data's \(sample_rate\)\.$"):
        fit(
            CRNN(spec=replace(SPEC, sample_rate=SPEC.sample_rate + 1), genres=dataset.genres),
            data_of(dataset, tmp_path),
        )
    # Without genres of its own, the datamodule takes the order of the model.
    fit(model_of(dataset.genres[::-1]), data := data_of(dataset, tmp_path))
    assert data.genres == tuple(dataset.genres[::-1])


def test_a_half_given_store_is_refused() -> None:
    with pytest.raises(TypeError, match="either dataset and splitter, or store, split and genre_of"):
        ClipDataModule(dataset=Synthetic(), spec=SPEC)
    with pytest.raises(TypeError, match="either dataset and splitter, or store, split and genre_of"):
        ClipDataModule(dataset=Synthetic(), splitter=ArtistFolds(), genre_of={"a": "rock"}, spec=SPEC)


def test_before_setup_a_notebook_is_told_to_call_it(tmp_path: Path) -> None:
    data = data_of(Counted(), tmp_path)
    for use in (data.train_dataloader, data.val_dataloader, lambda: data.sample("train"), lambda: data.split):
        with pytest.raises(
            AttributeError, match=r"has no (tables|split) before setup is called, as Lightning's Trainer"
        ):
            use()
    assert not hasattr(data, "split")
    data.setup("fit")
    assert str(data) == repr(data)
    with pytest.raises(AttributeError, match=r"^ClipDataModule has no splits$"):
        _ = data.splits


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"batch_size": 0}, "batch_size=0 must be a whole number above 0"),
        ({"batch_size": 2.5}, "batch_size=2.5 must be a whole number above 0"),
        ({"crops_per_track": "2"}, "crops_per_track='2' must be a whole number above 0"),
        ({"grid_overlap": 1}, "grid_overlap=1 must be a number from 0 to less than 1"),
        ({"grid_overlap": None}, "grid_overlap=None must be a number from 0 to less than 1"),
        ({"short": "fill"}, "short='fill' must be one of pad, wrap"),
    ],
    ids=str,
)
def test_settings_of_which_no_clips_can_be_made_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        ClipDataModule(dataset=Synthetic(), splitter=ArtistFolds(), spec=SPEC, **{"batch_size": 25, **settings})
