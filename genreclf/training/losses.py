"""Losses of logits ``(batch, genre)`` against targets ``(batch, genre)`` that sum to 1."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class CrossEntropy(nn.Module):
    """Cross-entropy, optionally with label smoothing and genre weights.

    Args:
        label_smoothing: Share of the target that is spread over all genres (Szegedy et al., 2016).
        class_weights: ``none``, or ``balanced`` to weight each genre inversely to its number of training tracks. Genres
            without training tracks then have the weight 0.
        genre_counts: Number of training tracks of each genre, in the order of the logits; required for ``balanced``.
    """

    weight: Tensor | None

    def __init__(
        self, *, label_smoothing: float = 0.0, class_weights: str = "none", genre_counts: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.label_smoothing = _share(label_smoothing)
        weight = None
        if class_weights == "balanced":
            if genre_counts is None:
                raise ValueError("class_weights='balanced' needs genre_counts.")
            counts = torch.tensor(genre_counts, dtype=torch.float32)
            weight = (counts.sum() / (counts.count_nonzero() * counts)).where(counts > 0, 0.0)
        elif class_weights != "none":
            raise ValueError(f"class_weights must be 'none' or 'balanced', not {class_weights!r}.")
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of the batch."""
        return functional.cross_entropy(logits, target, self.weight, label_smoothing=self.label_smoothing)


class Distillation(nn.Module):
    """Cross-entropy mixed with the divergence from a teacher's probabilities (Hinton, Vinyals and Dean, 2015).

    The teacher's part is the Kullback-Leibler divergence from the teacher's probabilities at a temperature, multiplied
    by the square of the temperature, which keeps the gradients as large as at a temperature of 1.

    Args:
        teacher: Run whose probabilities are passed to `teach`.
        temperature: Temperature by which the logits of the model and of the teacher are divided.
        weight: Share of the teacher's part in the loss.
        label_smoothing: Label smoothing of the cross-entropy, see `CrossEntropy`.

    Attributes:
        soft_targets: Probabilities of the teacher at the temperature, shape ``(segment, genre)``, in the order of the
            training segments; `genreclf.training.module.GenreClassifier` appends those of a clip to its target.
    """

    soft_targets: Tensor | None

    def __init__(
        self, *, teacher: str | None = None, temperature: float = 2.0, weight: float = 0.5, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature={temperature} must be above 0.")
        if not 0 < weight <= 1:
            raise ValueError(f"weight={weight} must be above 0 and at most 1.")
        self.teacher, self.temperature, self.weight = teacher, temperature, weight
        self.truth = CrossEntropy(label_smoothing=label_smoothing)
        self.register_buffer("soft_targets", None, persistent=False)

    def teach(self, probabilities: Tensor) -> None:
        """Set `soft_targets` from the teacher's probabilities of each training segment, shape ``(segment, genre)``."""
        tiny = torch.finfo(torch.float32).tiny
        self.soft_targets = (probabilities.clamp(min=tiny).log() / self.temperature).softmax(1)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of the batch.

        Args:
            logits: Logits of the model, shape ``(batch, genre)``.
            target: True target and soft target side by side, shape ``(batch, 2 * genre)``.
        """
        true, soft = torch.split(target, logits.shape[1], 1)
        log_given = (logits.to(_at_least_float32(logits)) / self.temperature).log_softmax(1)
        from_teacher = functional.kl_div(log_given, soft, reduction="batchmean") * self.temperature**2
        loss: Tensor = (1 - self.weight) * self.truth(logits, true) + self.weight * from_teacher
        return loss


class BCESoftmax(nn.Module):
    """Binary cross-entropy on softmax probabilities, as some published systems train; only to reproduce them.

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
            return functional.binary_cross_entropy(logits.to(_at_least_float32(logits)).softmax(1), smooth)


def _at_least_float32(values: Tensor) -> torch.dtype:
    return torch.promote_types(values.dtype, torch.float32)


def _share(label_smoothing: float) -> float:
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing={label_smoothing} must be at least 0 and below 1.")
    return label_smoothing
