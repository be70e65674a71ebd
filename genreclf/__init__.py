"""Music genre classification experiments: honest splits, a confidence interval with every score, one command per run.

Glossary, used the same way in every file:

- **track**: one audio file (30 s long in GTZAN); **clip**: an excerpt of a track; **frame**: a spectrogram column.
- **genre**: a class.
- **dataset**: a source of tracks; **split**: which tracks train, validate and test; **subset**: one of these three.
- **segment**: a part of a track that belongs to a subset; the whole track, except in the leaky ``chunk`` split.
- **store**: features of a dataset, such as its log-mel spectrograms, computed once and kept on disk.
- **run**: one training with its directory; **sweep**: many runs.
- **leaky**: describes a score whose test tracks, or segments of them, were seen in training.

Names of quantities end in their unit: ``_s`` for seconds, ``_samples``, ``_frames``, ``_db``. Spectrograms have the
shape ``(batch, mel, frame)``, logits ``(batch, genre)``.
"""

import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genreclf.experiment.run import RunResult
    from genreclf.inference.predictor import GenrePredictor

__version__ = "0.4.0"

# onnxruntime reads this when it is imported, and Lightning imports it by way of torchmetrics.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def train(*overrides: str, config_dir: str | PathLike[str] | None = None) -> "RunResult":
    """Train, test and report a run, as ``python -m genreclf`` does with the same overrides.

    Args:
        *overrides: Options and settings, such as ``"experiment=quickstart"`` or ``"model.dropout=0.3"``.
        config_dir: Folder with your own options, in addition to those of genreclf.

    Returns:
        An object with the run directory as ``path``, the metrics as ``metrics`` and the test accuracy as ``accuracy``.

    Raises:
        UserError: A setting or the data cannot be used; the message says what to do.
    """
    from genreclf.cli.compose import checked_run
    from genreclf.experiment.run import run

    return run(checked_run(overrides, Path(config_dir) if config_dir else None))


def load(run: str | PathLike[str], *, device: str = "cpu", trust: Sequence[str] = ()) -> "GenrePredictor":
    """Load the trained model of a run directory for prediction.

    The directory may come from somebody else: only code of genreclf is run, unless you trust other modules.

    Args:
        run: Path of a run directory; its ``config.yaml`` and ``checkpoints/best.ckpt`` are enough.
        device: Device to run the network on: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        trust: Modules whose model classes the run may use, such as ``my_model``. Modules that are already imported,
            and classes of the running script, need not be listed.

    Raises:
        UserError: `run` is not a run directory, its checkpoint is missing or damaged, or its model is defined in a
            module that is not trusted.
    """
    from genreclf.inference.predictor import GenrePredictor

    return GenrePredictor.of_run(run, device=device, trust=trust)
