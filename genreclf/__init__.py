"""Music genre classification experiments: honest splits, intervals beside every figure, one command a run.

Glossary, used the same way in every file:

- **track**: one audio file (GTZAN's last 30 s); **clip**: what is cut out of a track; **frame**: a spectrogram column.
- **genre**: a class.
- **source**: where tracks come from; **split**: which tracks train, validate and test; a **side** is one of the three.
- **piece**: the part of a track that a side may see, the whole track except in the leaky ``chunk`` split.
- **store**: the spectrograms of a source, computed once.
- **run**: one training with its directory; **sweep**: many runs.

Names end in their unit: ``_s`` for seconds, ``_samples``, ``_frames``, ``_db``. Spectrograms are
``(batch, mel, frame)``, logits are ``(batch, genre)``.
"""

from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genreclf.inference.predictor import GenrePredictor

__version__ = "0.1.0"


def load(run: str | PathLike[str], *, device: str = "cpu") -> "GenrePredictor":
    """Return the trained model of a run directory, ready to hear music.

    Args:
        run: A run directory; its ``config.yaml`` and ``checkpoints/best.ckpt`` are enough.
        device: Where the network computes, as PyTorch calls it.

    Raises:
        UserError: It is no run directory, or its checkpoint is missing or damaged.
    """
    from genreclf.inference.predictor import GenrePredictor

    return GenrePredictor.of_run(run, device=device)
