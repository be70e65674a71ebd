"""Predict the genres of songs with a trained run."""

from collections.abc import Sequence
from functools import cached_property
from os import PathLike, fspath
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from genreclf.audio.log_mel import FeatureSpec
from genreclf.checkpoint import load_checkpoint
from genreclf.config import instantiate
from genreclf.config.trust import check_trust
from genreclf.config.weights import check_checkpoint
from genreclf.data.clips import SegmentTable, Short, cut, grid_clips
from genreclf.devices import device_errors, exactly, find_device
from genreclf.errors import UnreadableTrack, UserError
from genreclf.escaping import printable
from genreclf.evaluation.calibration import Calibration, tempered
from genreclf.evaluation.predictions import ClipPredictions
from genreclf.experiment.lineage import is_computed_only
from genreclf.inference.feature_extractor import FeatureExtractor, SongFeatures
from genreclf.inference.opening import open_song
from genreclf.inference.prediction import Prediction, Timeline
from genreclf.models import GenreClassifier
from genreclf.models.encoders.base import Encoder
from genreclf.models.encoders.store import EmbeddingExtractor
from genreclf.models.layers import Embeds, as_embedding
from genreclf.training.artifacts import local_run

Song = str | PathLike[str] | ArrayLike
"""Path of a file, or a waveform ``(sample,)`` or ``(channel, sample)`` with full scale at 1."""

SYNTHETIC_ONLY = "The model learned from synthetic music alone, and knows nothing about real songs."

BATCH_CLIPS = 16
"""Number of clips per batch; the predictions do not depend on it."""

MAKE_ROOM = "end other programs on it, or choose another device, such as the CPU"
"""Advice when no memory is left for the network or a batch."""


class GenrePredictor:
    """Predictor of the genres of songs that works exactly as the test: same features, grid of clips and averaging.

    The network computes in float32. `genreclf.load` returns the predictor of a run directory.

    Args:
        model: Trained model.
        grid_overlap: Minimum overlap of neighboring windows, as a fraction of a window.
        short: How songs shorter than a window are filled: ``pad`` (with silence) or ``wrap`` (repeat the song).
        device: Device that the network runs on, see `genreclf.devices.find_device`.
        warning: Sentence that a user should read before trusting the predictions.
        encoder: Encoder whose embeddings the model takes; None if the model takes spectrograms or waveforms.
        calibration: Calibration of the model's probabilities on the validation tracks, if known.
    """

    def __init__(
        self,
        *,
        model: GenreClassifier,
        grid_overlap: float = 0.5,
        short: Short = "pad",
        device: str = "cpu",
        warning: str | None = None,
        encoder: Encoder | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        self.warning = warning
        self.calibration = calibration
        self.model = model
        self.grid_overlap = grid_overlap
        self.short = "wrap" if model.spec.kind == "embedding" else short
        self.encoder = encoder
        self.device = find_device(device)
        self._one_at_a_time = Lock()
        model.setup("test")
        with device_errors(MAKE_ROOM):
            model.eval().to(self.device)
        self._embeds = _embedding_network(model)

    def __repr__(self) -> str:
        return f"<GenrePredictor: {type(self.model).__name__} for {', '.join(self.genres)}>"

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_one_at_a_time", "feature_extractor")  # Locks can be neither pickled nor copied.
        return {name: value for name, value in self.__dict__.items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _one_at_a_time=Lock())

    @classmethod
    def of_run(cls, run: str | PathLike[str], *, device: str = "cpu", trust: Sequence[str] = ()) -> "GenrePredictor":
        """Create a predictor from the best checkpoint of a run; see `genreclf.load` for the arguments."""
        device = str(find_device(device))  # Fails before anything is read.
        directory = local_run(fspath(run))
        config = directory.read_config()
        check_trust(config, trust, place=directory.config, groups=("model", "encoder"))
        checkpoint = load_checkpoint(directory.best)
        try:
            known, state = checkpoint["hyper_parameters"], checkpoint["state_dict"]
            section, scale = config["model"], config["features"]["scale"]
            encoder = config.get("encoder", {})
            spec = check_checkpoint(checkpoint, section, encoder, scale=scale)
            model: GenreClassifier = instantiate.make_model(
                section, encoder, spec=spec, genres=known["genres"], scale=scale
            )
            overlap, short = float(config["data"]["grid_overlap"]), config["data"]["short"]
            model.load_state_dict(model.own_state(state))
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise UserError(
                f"{directory.best} and {directory.config} do not belong together "
                f"({str(error).strip().splitlines()[-1].strip()}); give a run directory as training left it."
            ) from error
        warning = SYNTHETIC_ONLY if is_computed_only(directory, config) else None
        return cls(
            model=model,
            grid_overlap=overlap,
            short="wrap" if short == "wrap" else "pad",
            device=device,
            warning=warning,
            encoder=instantiate.make("encoder", encoder) if spec.kind == "embedding" else None,
            calibration=Calibration.of_run(directory),
        )

    @property
    def genres(self) -> tuple[str, ...]:
        """Names of the genres, in the order of the probabilities."""
        return tuple(self.model.genres)

    @property
    def spec(self) -> FeatureSpec:
        """Parameters of the features that the model takes."""
        return self.model.spec

    @cached_property
    def feature_extractor(self) -> FeatureExtractor:
        """Extractor that computes the features of the model from audio.

        Raises:
            UserError: The model was trained on images that were rendered in an unknown way.
        """
        if self.encoder is None or self.spec.kind != "embedding":
            return FeatureExtractor(self.spec)
        frames_per_second = self.spec.source.frames_per_second if self.spec.source else None
        return FeatureExtractor(self.spec, EmbeddingExtractor(self.encoder, self.device, frames_per_second))

    def predict(
        self, song: Song, *, sample_rate: int | None = None, skip_start_s: float = 0.0, skip_end_s: float = 0.0
    ) -> Prediction:
        """Predict the genres of a song.

        Args:
            song: Path of a file, or a waveform ``(sample,)`` or ``(channel, sample)`` of floats with full scale at 1.
            sample_rate: Sample rate of a waveform in Hz; omitted for a file.
            skip_start_s: Seconds to leave out at the start.
            skip_end_s: Seconds to leave out at the end.

        Raises:
            UserError: The song cannot be decoded; the message names the file and the reason.
        """
        extractor = self.feature_extractor
        is_file = isinstance(song, str | PathLike)
        name = fspath(song) if is_file else None  # type: ignore[arg-type]
        try:
            with (
                open_song(song, sample_rate) as stream,
                extractor.extract(stream, skip_start_s=skip_start_s, skip_end_s=skip_end_s) as features,
                self._one_at_a_time,
            ):
                return self._predict(name, features)
        except UnreadableTrack as error:
            raise UserError(f"{printable(name) if name is not None else 'The waveform'}: {error}") from None

    def embed(self, song: Song, *, sample_rate: int | None = None) -> NDArray[np.float32]:
        """Return the embedding of a song, shape ``(dimension,)``: the mean of its windows' embeddings.

        Args:
            song: Path of a file, or a waveform, see `predict`.
            sample_rate: Sample rate of a waveform in Hz; omitted for a file.

        Raises:
            UserError: The song cannot be decoded, see `predict`, or the model has no embeddings, see `check_embeds`.
        """
        self.check_embeds()
        embedding = self.predict(song, sample_rate=sample_rate).embedding
        assert embedding is not None
        return embedding

    def check_embeds(self) -> None:
        """Check that the model has embeddings, see `genreclf.models.layers.as_embedding`.

        Raises:
            UserError: The model has no embeddings.
        """
        if self._embeds is None:
            raise UserError(
                f"{type(self.model).__name__} has no embeddings: its network does not end in a linear layer. Make it a "
                "torch.nn.Sequential that does, or give it the methods embed(x) and classifier(embedding)."
            )

    def describe(self, log_mel_q: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float32] | None]:
        """Predict a track whose spectrogram is already computed, such as a track of a store.

        Args:
            log_mel_q: Quantized log-mel spectrogram as described by `spec`, shape ``(frame, mel)``.

        Returns:
            The probabilities, shape ``(genre,)``, and the embedding, shape ``(dimension,)``, or None if the model has
            none; see `genreclf.inference.prediction.Prediction`.
        """
        with self._one_at_a_time:
            clips, embedding = self._windows(log_mel_q)
        return clips.per_track().probabilities[0], embedding

    @device_errors(MAKE_ROOM)
    @exactly()
    @torch.inference_mode()
    def _windows(self, log_mel_q: Tensor) -> tuple[ClipPredictions, NDArray[np.float32] | None]:
        """Return the predictions for the windows of a quantized log-mel ``(frame, mel)``, and their mean embedding."""
        one = torch.tensor([0])
        length = torch.tensor([len(log_mel_q)])
        table = SegmentTable(offset_frames=one, length_frames=length, start_frame=one, genre=one)
        spec = self.spec
        rows = grid_clips(table, clip_frames=spec.clip_frames, overlap=self.grid_overlap)
        silence = spec.silence if self.short == "pad" else None
        logits, embeddings = [], []
        for batch in torch.split(rows, BATCH_CLIPS):
            segment, _, start = batch.unbind(1)
            clips = cut(log_mel_q, one[segment], length[segment], start, spec.clip_frames, silence)
            if self._embeds is None:
                logits.append(self.model(clips.to(self.device)).float().cpu())
            else:
                embedded = self._embeds.embed(self.model.scaling(clips.to(self.device)))
                logits.append(self._embeds.classifier(embedded).float().cpu())
                embeddings.append(embedded.cpu().double().sum(0))
        embedding = (sum(embeddings, torch.zeros(())) / len(rows)).float().numpy() if embeddings else None
        windows = ClipPredictions.gathered(
            genres=self.genres,
            track_ids=[""],
            targets=[0],
            track=rows[:, 0].numpy(),
            clip=rows[:, 1].numpy(),
            start_s=rows[:, 2].double().numpy() / spec.frames_per_second,
            logits=torch.cat(logits).numpy(),
        )
        return windows, embedding

    def _predict(self, name: str | None, features: SongFeatures) -> Prediction:
        clips, embedding = self._windows(features.log_mel_q)
        spec, known = self.spec, self.calibration
        ends_s = np.minimum(clips.start_s + spec.clip_frames / spec.frames_per_second, features.length_s)
        # A song may end within the last frame's hop.
        starts_s = np.minimum(clips.start_s, np.nextafter(ends_s, 0))
        timeline = Timeline(
            genres=self.genres,
            start_s=features.start_s + starts_s,
            end_s=features.start_s + ends_s,
            probabilities=clips.probabilities if known is None else tempered(clips.log_probabilities, known.clip),
        )
        return Prediction(
            path=name,
            genres=self.genres,
            probabilities=clips.per_track().probabilities[0],
            timeline=timeline,
            embedding=embedding,
            spectrogram_db=features.overview_db,
            range_hz=self.feature_extractor.range_hz,
            analyzed_s=(features.start_s, features.start_s + features.length_s),
            duration_s=features.duration_s,
            calibration=known,
            warning=self.warning,
        )


def _embedding_network(model: GenreClassifier) -> Embeds | None:
    """Return the model's network as embedding and classifier; None if that is not possible or `forward` does more."""
    return as_embedding(model.network) if type(model).forward is GenreClassifier.forward else None
