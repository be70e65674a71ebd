"""Music genre classification experiments: honest splits, an interval with every score, one command per run.

Glossary, used the same way in every file:

- **track**: one audio file (GTZAN's last 30 s); **clip**: what is cut out of a track; **frame**: a spectrogram column.
- **genre**: a class.
- **dataset**: where tracks come from; **split**: which tracks train, validate and test; **subset**: one of these three.
- **segment**: a part of a track that belongs to a subset; the whole track, except in the leaky ``chunk`` split.
- **store**: features of a dataset, such as its log-mel spectrograms, computed once and kept on disk.
- **run**: one training with its directory; **sweep**: many runs.
- **leaky**: of a score whose test tracks, or segments of them, were seen in training.

Names end in their unit: ``_s`` for seconds, ``_samples``, ``_frames``, ``_db``. Spectrograms are
``(batch, mel, frame)``, logits are ``(batch, genre)``.
"""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genreclf.experiment.run import RunResult
    from genreclf.inference.predictor import GenrePredictor

__version__ = "0.3.0"


def train(*overrides: str, config_dir: str | PathLike[str] | None = None) -> "RunResult":
    """Train, test and report a run, as ``python -m genreclf`` does with the same overrides.

    Args:
        *overrides: Options and settings, such as ``"experiment=quickstart"`` or ``"model.dropout=0.3"``.
        config_dir: Folder of your own options, in addition to those of genreclf.

    Returns:
        An object with the run directory as ``path``, the metrics as ``metrics`` and the test accuracy as ``accuracy``.

    Raises:
        UserError: A setting or the data are not as they should be; the message says what to do.
    """
    from genreclf.cli.compose import checked_run
    from genreclf.experiment.run import run

    return run(checked_run(overrides, Path(config_dir) if config_dir else None))


def load(run: str | PathLike[str], *, device: str = "cpu", trust: Sequence[str] = ()) -> "GenrePredictor":
    """Load the trained model of a run directory for prediction.

    The directory may come from somebody else: only code of genreclf runs, unless you trust other modules.

    Args:
        run: A run directory; its ``config.yaml`` and ``checkpoints/best.ckpt`` are enough.
        device: Where the network computes: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        trust: Modules whose model classes the run may name, such as ``my_model``. One that is imported already, or a
            class of the running script, need not be named.

    Raises:
        UserError: It is not a run directory, its checkpoint is missing or damaged, or its model is from another module.
    """
    from genreclf.inference.predictor import GenrePredictor

    return GenrePredictor.of_run(run, device=device, trust=trust)
