"""The loops over the batches of an epoch validate when they should."""

from typing import Any

import pytest
from lightning.pytorch import Callback, Trainer
from tiny_training import crnn, data_of, fit

from genreclf.data.store import Store


class OtherRank(Callback):
    """Stands for a rank whose clock says after the third step that a validation is due."""

    def __init__(self) -> None:
        """Know of no validation yet."""
        self.validated: list[int] = []

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Answer for the other rank."""

        def reduced(decision: bool, all: bool = True) -> bool:
            return decision if all else decision or trainer.global_step == 3

        trainer.strategy.reduce_boolean_decision = reduced  # type: ignore[method-assign]

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Note after which step a validation comes."""
        self.validated.append(trainer.global_step)


@pytest.mark.parametrize(("interval", "steps"), [("00:01:00:00", [3]), (None, [5, 10])])
def test_all_ranks_validate_as_soon_as_the_clock_of_one_says_so(
    interval: str | None, steps: list[int], store: Store
) -> None:
    rank = OtherRank()
    fit(crnn(), data_of(store), step="eager", callbacks=[rank], val_check_interval=interval, limit_train_batches=5)
    assert rank.validated == steps
