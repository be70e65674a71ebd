"""Hydra with the configuration files of genreclf, which leaves what a caller does with Hydra as it is."""

from collections.abc import Iterator
from contextlib import contextmanager

import hydra
from hydra.core.global_hydra import GlobalHydra

from genreclf.config.keys import CONFIG_DIR


@contextmanager
def initialized() -> Iterator[None]:
    """Initialize Hydra with ``conf/`` for a while, even if the caller has initialized it with other files."""
    of_caller = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(CONFIG_DIR, version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = of_caller
