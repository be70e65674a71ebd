"""Teacher for distillation: a finished run, and its predictions for the training tracks."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from genreclf.checkpoint import load_checkpoint
from genreclf.config import instantiate
from genreclf.config.config import Config
from genreclf.config.identity import digest
from genreclf.config.schema import ClipConfig, TrainerConfig
from genreclf.config.trust import check_trust
from genreclf.data.encoding import stores_folder
from genreclf.devices import device_errors, exactly, first_device
from genreclf.errors import UserError
from genreclf.evaluation.gather import GatheredPredictions
from genreclf.evaluation.predictions import TrackPredictions, read_track_csv, write_track_csv
from genreclf.evaluation.provenance import provenance_of
from genreclf.experiment.build import build_data, build_model
from genreclf.experiment.checks import check_spectrograms, spec_of
from genreclf.experiment.corpus import Corpus, load_corpus
from genreclf.run_directory import RunDirectory
from genreclf.splits.base import Segment, Split
from genreclf.training.artifacts import local_run
from genreclf.training.losses import CrossEntropy, Distillation

OF_THE_DATA = ("store_dir", "skip_unreadable")
"""Keys of `ClipConfig` whose values the teacher takes from the student."""


@dataclass(frozen=True)
class Teacher:
    """Finished run that a network is distilled from."""

    run: RunDirectory
    """Directory of the teacher's run."""
    config: Config
    """Configuration with which the teacher predicts: its own network and features, and the student's device.

    The dataset is also the student's, unless the teacher was trained on a dataset of another class.
    """
    genres: tuple[str, ...]
    """Genres that the teacher predicts, in the order of its outputs."""

    @classmethod
    def of(cls, config: Config) -> "Teacher | None":
        """Return the teacher that ``loss.teacher`` names, or None for other losses; `UserError` if unfinished."""
        if instantiate.find("loss", config.loss, []) is not Distillation:
            return None
        if not (named := config.loss.get("teacher")):
            raise UserError("loss=distill learns from a finished run: name it with loss.teacher=RUN.")
        run = local_run(str(named))
        theirs = run.read_config()
        if run.status != "finished":
            raise UserError(f"loss.teacher={named} is not finished; let it end first.")
        taught = cls(run, _config(config, theirs, run), ())
        checkpoint = load_checkpoint(run.best)
        spec_of(run.best, checkpoint, taught.config)
        return cls(run, taught.config, tuple(map(str, checkpoint["hyper_parameters"]["genres"])))

    def targets(self, segments: Sequence[Segment], genres: Sequence[str]) -> Tensor:
        """Return the teacher's genre probabilities for tracks, computed as in the teacher's test.

        The probabilities are computed once, and cached beside the stores.

        Args:
            segments: Segments of the tracks to predict.
            genres: Genres in the order of the returned columns.

        Returns:
            Probabilities of shape ``(segment, genre)``, float32.

        Raises:
            UserError: The teacher knows other genres, or its data lack a training track.
        """
        if set(genres) != set(self.genres):
            raise UserError(
                f"loss.teacher={self.run.path} knows {', '.join(self.genres)}, and the network is to learn "
                f"{', '.join(genres)}: choose a teacher of the same genres."
            )
        ids = sorted({segment.track_id for segment in segments})
        corpus = load_corpus(self.config)
        if missing := [id for id in ids if id not in corpus.store.lengths_frames]:
            raise UserError(
                f"The data of loss.teacher={self.run.path} lack {len(missing)} of the {len(ids)} training tracks, "
                f"{missing[0]} first: choose a teacher of the same dataset."
            )
        weights = hashlib.sha256(self.run.best.read_bytes()).hexdigest()
        key = {"ids": ids, "store": corpus.store.directory.name, "config": self.config.hash, "weights": weights}
        path = stores_folder(self.config.clips.store_dir) / "teachers" / f"{digest(key)[:32]}.csv"
        if not path.exists():
            print(f"Predicting {len(ids)} training tracks with {self.run.path} ...")
            write_track_csv(path, self._predict(ids, corpus))
        tracks = read_track_csv(path)
        columns = [tracks.genres.index(genre) for genre in genres]
        row_of = {track_id: row for row, track_id in enumerate(tracks.track_ids)}
        rows = [row_of[segment.track_id] for segment in segments]
        return torch.from_numpy(tracks.probabilities[rows][:, columns]).float()

    def _predict(self, ids: Sequence[str], corpus: Corpus) -> TrackPredictions:
        checkpoint = load_checkpoint(self.run.best)
        check_spectrograms(self.run.path, spec_of(self.run.best, checkpoint, self.config), corpus.spec)
        tracks = tuple(Segment(id, 0, corpus.store.lengths_frames[id]) for id in ids)
        split = Split("teacher", False, self.genres, train=tracks, val=(), test=tracks)
        data = build_data(self.config, corpus, split, list(self.genres))
        model, _ = build_model(self.config, corpus.spec, data)
        device = first_device(self.config.trainer.accelerator)
        model.setup("test")
        gathered = GatheredPredictions(
            genres=self.genres, frames_per_second=corpus.spec.frames_per_second, sync_on_compute=False
        )
        with exactly(), torch.inference_mode(), device_errors("lower the batch size of the teacher's run"):
            model.eval().to(device)
            for rows in torch.split(data.grid("test"), data.batch_size):
                clips = data.clips("test", rows)
                logits = model(clips.stored.to(device)).cpu()
                gathered.update(clips.segment, clips.start_frame, clips.genre, logits, clips.track_ids)
        return gathered.predictions().per_track()

    @property
    def provenance(self) -> dict[str, Any]:
        """Origin of a network that learned from this run, as recorded in ``metrics.json``."""
        name = self.run.path.resolve().name
        found: dict[str, Any] = {"distilled": {"from": name}}
        if pretrained := provenance_of(self.run.read_metrics()).get("pretrained"):
            found["pretrained"] = {**pretrained, "name": f"{pretrained.get('name')} (distilled from {name})"}
        return found


def _config(config: Config, theirs: dict[str, Any], run: RunDirectory) -> Config:
    """Return the configuration with which the teacher `run` predicts the tracks of the student's `config`."""
    ours, data = config.plain, theirs.get("data") or {}
    clips = {key: value for key, value in data.items() if key in asdict(ClipConfig()) and key not in OF_THE_DATA}
    same = data.get("_target_") == config.data["_target_"]
    mixed = {
        **ours,
        "data": {**(ours["data"] if same else data), **clips, **{key: ours["data"][key] for key in OF_THE_DATA}},
        "features": theirs.get("features"),
        "encoder": theirs.get("encoder") or {"_target_": None},
        "model": theirs.get("model"),
        "loss": {"_target_": f"{CrossEntropy.__module__}.{CrossEntropy.__name__}", "_partial_": True},
        "trainer": {**TrainerConfig().plain(), "accelerator": config.trainer.accelerator},
        **{"augmentation": {}, "callbacks": {}, "logger": {}, "seed": 0, "run_dir": str(run.path)},
        **{"init_from": str(run.path), "ckpt_path": None, "refit": None},
    }
    check_trust(mixed, None, place=run.config, groups=("data", "encoder", "model"))
    return Config.from_plain(mixed)
