"""Sweeper chosen by ``hydra/sweeper=nested``."""

from collections.abc import Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper


class NestedSweeper(BasicSweeper):
    """Hydra's basic sweeper, which finally trains the settings chosen by inner folds for each outer fold and seed."""

    has_chosen = False
    """Whether the jobs of the chosen settings have been added."""

    def is_done(self) -> bool:
        """Return whether no job is left; when the inner folds are done, first add the jobs of the chosen settings."""
        if super().is_done() and not self.has_chosen:
            from genreclf.sweep.choice import chosen_jobs

            self.has_chosen = True
            assert self.config is not None
            chosen: Sequence[Sequence[str]] = chosen_jobs(Path(self.config.hydra.sweep.dir))
            self.overrides = [*(self.overrides or ()), *([chosen] if chosen else [])]
        return super().is_done()
