"""Predictions gathered batch by batch and over ranks."""

import numpy as np
import pytest
import torch

from genreclf.evaluation.gather import GatheredPredictions

TRACK_IDS = ("b", "a", "b", "unseen")  # Of four segments.


def gathered() -> GatheredPredictions:
    return GatheredPredictions(genres=["blues", "rock"], frames_per_second=2)


def update(metric: GatheredPredictions, segment: list[int], start_frame: list[int]) -> None:
    index = torch.tensor(segment)
    logits = torch.stack([index.float(), torch.tensor(start_frame).float()], 1)
    metric.update(index, torch.tensor(start_frame), (index != 1).long(), logits.bfloat16(), TRACK_IDS)


def test_clips_of_any_order_are_those_of_their_tracks() -> None:
    metric = gathered()
    update(metric, [2, 0], [10, 4])
    update(metric, [1, 0, 2], [6, 0, 10])  # The last is a repeat.
    found = metric.predictions()
    assert found.track_ids == ("a", "b")
    assert found.targets.tolist() == [0, 1]
    assert found.track.tolist() == [0, 1, 1, 1]
    assert found.clip.tolist() == [0, 0, 1, 2]
    assert found.start_s.tolist() == [3, 0, 2, 5]
    assert found.logits.tolist() == [[1, 6], [0, 0], [0, 4], [2, 10]]
    assert found.logits.dtype == np.float32
    metric.reset()
    update(metric, [1], [8])
    alone = metric.predictions()
    assert (alone.track_ids, alone.start_s.tolist(), alone.logits.tolist()) == (("a",), [4], [[1, 8]])


@pytest.mark.parametrize("ranks", [2, 3])
def test_every_rank_has_the_predictions_of_all(ranks: int) -> None:
    rng = np.random.default_rng(ranks)
    clips = [(int(segment), 100 * int(segment) + 3 * start) for segment in rng.permutation(3) for start in range(4)]
    clips += clips[: -len(clips) % ranks]  # As the loader fills the last batch.
    whole = gathered()
    update(whole, *map(list, zip(*clips, strict=True)))
    parts = [gathered() for _ in range(ranks)]
    for rank, part in enumerate(parts):
        update(part, *map(list, zip(*clips[rank::ranks], strict=True)))
    states = [part.metric_state for part in parts]
    names = list(parts[0].metric_state)

    def gather(values: torch.Tensor, group: object = None) -> list[torch.Tensor]:
        name = names[gather.calls % len(names)]  # type: ignore[attr-defined]
        gather.calls += 1  # type: ignore[attr-defined]
        return [torch.cat(state[name]) for state in states]

    for part in parts:
        gather.calls = 0  # type: ignore[attr-defined]
        part.dist_sync_fn = gather
        part.distributed_available_fn = lambda: True
        found, expected = part.predictions(), whole.predictions()
        assert found.track_ids == expected.track_ids
        for name in ("targets", "track", "clip", "start_s", "logits"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
