"""Losses of logits ``(batch, genre)`` against targets ``(batch, genre)`` that sum to 1."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class CrossEntropy(nn.Module):
    """Cross-entropy, with smoothed targets and weighted genres if wanted.

    Args:
        label_smoothing: Share of the target that is spread over all genres (Szegedy et al., 2016).
        class_weights: ``none``, or ``balanced``: each genre weighs inversely to its training tracks.
        genre_counts: Training tracks of each genre, in the order of the logits; needed for ``balanced``.
    """

    weight: Tensor | None

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        class_weights: str = "none",
        genre_counts: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.label_smoothing = _share(label_smoothing)
        weight = None
        if class_weights == "balanced":
            if genre_counts is None:
                raise ValueError("class_weights='balanced' needs genre_counts.")
            counts = torch.tensor(genre_counts, dtype=torch.float32).clamp(min=1)
            weight = counts.sum() / (len(counts) * counts)
        elif class_weights != "none":
            raise ValueError(f"class_weights is 'none' or 'balanced', not {class_weights!r}.")
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of the batch."""
        return functional.cross_entropy(logits, target, self.weight, label_smoothing=self.label_smoothing)


class BCESoftmax(nn.Module):
    """Binary cross-entropy on a softmax, as some published systems train. For their reproduction only.

    Args:
        label_smoothing: Share of the target that is spread over all genres.
    """

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = _share(label_smoothing)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss over the batch and the genres."""
        smooth = target * (1 - self.label_smoothing) + self.label_smoothing / target.shape[1]
        # Autocast forbids this loss in half precision.
        with torch.autocast(logits.device.type, enabled=False):
            return functional.binary_cross_entropy(logits.float().softmax(1), smooth)


def _share(label_smoothing: float) -> float:
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing={label_smoothing} must be at least 0 and below 1.")
    return label_smoothing
