"""Gather the logits of an evaluation from all ranks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from genreclf.evaluation.predictions import ClipPredictions

STATES = ("segment", "start_frame", "genre", "logits")


class GatheredPredictions(Metric):
    """Collect the logits of all clips of one subset, batch by batch, on any number of ranks.

    Args:
        genres: Genres, in the order of the logits.
        frames_per_second: Frame rate of the spectrograms.
        **options: Arguments passed on to the base class, such as ``sync_on_compute=False`` to use the clips of
            this rank alone.
    """

    full_state_update = False

    def __init__(self, *, genres: Sequence[str], frames_per_second: float, **options: Any) -> None:
        super().__init__(**options)
        self.genres = tuple(genres)
        self.frames_per_second = frames_per_second
        self.track_ids: Sequence[str] = ()
        for name in STATES:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(
        self, segment: Tensor, start_frame: Tensor, genre: Tensor, logits: Tensor, track_ids: Sequence[str]
    ) -> None:
        """Add the clips of a batch.

        Args:
            segment: Index of each clip's segment, shape ``(batch,)``.
            start_frame: First frame of each clip within its track, shape ``(batch,)``.
            genre: Index of the true genre of each clip, shape ``(batch,)``.
            logits: Logits of each clip, stored as float32, shape ``(batch, genre)``.
            track_ids: Track id of each segment of the subset, the same in every batch.
        """
        self.track_ids = track_ids
        for name, values in zip(STATES, (segment, start_frame, genre, logits.float()), strict=True):
            getattr(self, name).append(values)

    def compute(self) -> tuple[Tensor, ...]:
        """Return the concatenated `STATES` of all ranks, one rank after the other."""
        return tuple(dim_zero_cat(getattr(self, name)) for name in STATES)

    def predictions(self) -> ClipPredictions:
        """Return the predictions of all ranks, with each clip once, sorted by track and clip; equal on all ranks."""
        *indices, logits = self.compute()
        # torchmetrics turns a tensor with one element into a scalar.
        segment, start_frame, genre = (values.reshape(-1).cpu().numpy() for values in indices)
        seen = sorted({self.track_ids[index] for index in np.unique(segment)})
        index_of = {track_id: index for index, track_id in enumerate(seen)}
        track = np.array([index_of.get(track_id, -1) for track_id in self.track_ids])[segment]
        targets = np.zeros(len(seen), dtype=np.int64)
        targets[track] = genre
        # Clips are numbered within their track, even if the track has several segments.
        first = track * (start_frame.max() + 1)
        places, place = np.unique(first + start_frame, return_inverse=True)
        return ClipPredictions.gathered(
            genres=self.genres,
            track_ids=seen,
            targets=targets,
            track=track,
            clip=place - np.searchsorted(places, first),
            start_s=start_frame.astype(np.float64) / self.frames_per_second,
            logits=logits.cpu().numpy(),
        )
