"""``python -m genreclf.benchmark.first_step [overrides]``: the real command, ended after its first training step."""

import os
from typing import Any

from genreclf.__main__ import main
from genreclf.models.base import GenreClassifier


def _end(*_: Any) -> None:
    os._exit(0)


if __name__ == "__main__":
    GenreClassifier.on_train_batch_end = _end  # type: ignore[assignment, method-assign]
    main()
