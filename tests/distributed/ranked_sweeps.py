"""What a sweep on several ranks must leave, whoever started them."""

import json
from pathlib import Path

ONE_WRONG = """
import os
from genreclf.errors import UserError
from genreclf.models import CRNN

class OneWrong(CRNN):
    def on_train_epoch_end(self):
        super().on_train_epoch_end()
        if os.environ["RANK"] == "1":
            raise {error}
"""
"""A model whose second rank fails at the end of an epoch."""


def jobs_of(folder: Path) -> list[Path]:
    """Return the only sweep's job directories below `folder`, and see that no others are there."""
    (sweep,) = (folder / "outputs/sweeps").iterdir()
    assert sorted(path.name for path in (folder / "outputs").iterdir()) == ["sweeps"]
    jobs = sorted(path.parent for path in sweep.glob("*/config.yaml"))
    others = [path for path in sweep.iterdir() if path.is_dir() and path not in jobs]
    assert [path.name for path in others if path.name not in (".submitit", "comparison", "figures")] == []
    return jobs


def hashes_of(run: Path) -> list[str]:
    """Return the configuration hash of every rank of a run, in the order of the ranks."""
    ranks = json.loads((run / "environment.json").read_text())["ranks"]
    assert [rank["rank"] for rank in ranks] == list(range(len(ranks)))
    return [rank["config_hash"] for rank in ranks]
