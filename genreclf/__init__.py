"""Music genre classification experiments: honest splits, intervals beside every figure, one command a run.

Glossary, used the same way in every file:

- **track**: one audio file (GTZAN's last 30 s); **clip**: what is cut out of a track; **frame**: a spectrogram column.
- **genre**: a class.
- **source**: where tracks come from; **split**: which tracks train, validate and test; a **subset** is one of the
three. - **segment**: the part of a track that a subset may see, the whole track except in the leaky ``chunk`` split.
- **store**: the spectrograms of a source, computed once.
- **run**: one training with its directory; **sweep**: many runs.

Names end in their unit: ``_s`` for seconds, ``_samples``, ``_frames``, ``_db``. Spectrograms are
``(batch, mel, frame)``, logits are ``(batch, genre)``.
"""

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genreclf.inference.predictor import GenrePredictor

__version__ = "0.1.0"


def load(run: str | PathLike[str], *, device: str = "cpu", trust: Sequence[str] = ()) -> "GenrePredictor":
    """Return the trained model of a run directory, ready to hear music.

    The directory may come from somebody else: no code runs but genreclf's, unless you trust it.

    Args:
        run: A run directory; its ``config.yaml`` and ``checkpoints/best.ckpt`` are enough.
        device: Where the network computes, as PyTorch calls it.
        trust: Modules whose model classes the run may name, such as ``my_model``. One that is imported already, or a
            class of the running script, need not be named.

    Raises:
        UserError: It is no run directory, its checkpoint is missing or damaged, or its model is of another module.
    """
    from genreclf.inference.predictor import GenrePredictor

    return GenrePredictor.of_run(run, device=device, trust=trust)
