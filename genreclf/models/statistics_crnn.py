"""A CRNN and band statistics in one network, the most accurate of this project."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Unpack

import torch
from torch import Tensor, nn

from genreclf.models.band_statistics import BandStatistics
from genreclf.models.crnn import CenteredBands, MeanOverTime, recurrent_stages
from genreclf.models.layers import Network
from genreclf.training.augment import SpecAugment
from genreclf.training.module import GenreClassifier, Training


class StatisticsCRNN(GenreClassifier):
    """A CRNN (Choi et al., 2017) and `BandStatistics` side by side, one linear layer over the features of both.

    The two branches make different mistakes. SpecAugment belongs to the branch of the CRNN, because statistics of
    masked spectrograms would differ from those in the test.

    Args:
        channels: Of each convolution.
        pools: Pooling after each, (mels, frames).
        hidden: Units of the recurrent layer in each direction.
        center_bands: Whether the CRNN sees each band without its mean over the clip, as cepstral mean subtraction in
            speech (Atal, 1974) removes what a recording adds; the statistics keep these means.
        spec_augment: Largest width of a mask of SpecAugment, as a fraction of the mels and of the frames; 0 for none.
        dropout: Applied to the CRNN's features.
        statistics_dropout: Applied to the statistics.
        branch_dropout: Fraction of the training clips that are classified by one branch alone.
        **training: Of `GenreClassifier`.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (32, 64, 96, 128),
        pools: Sequence[Sequence[int]] = ((2, 2), (4, 2), (4, 2), (4, 1)),
        hidden: int = 64,
        center_bands: bool = False,
        spec_augment: float = 0.15,
        dropout: float = 0.3,
        statistics_dropout: float = 0.5,
        branch_dropout: float = 0.5,
        **training: Unpack[Training],
    ) -> None:
        super().__init__(**training)
        statistics = BandStatistics(spec=self.spec)
        centered = {"centered": CenteredBands()} if center_bands else {}
        branches = {
            "sequence": nn.Sequential(
                OrderedDict(
                    **centered,
                    masks=Masks(spec_augment),
                    **recurrent_stages(self.spec, channels, pools, hidden),
                    mean=MeanOverTime(),
                    dropout=nn.Dropout(dropout),
                )
            ),
            "statistics": nn.Sequential(
                OrderedDict(
                    statistics=statistics,
                    norm=nn.BatchNorm1d(statistics.count, affine=False),
                    dropout=nn.Dropout(statistics_dropout),
                )
            ),
        }
        self.embedding_sizes = (2 * hidden, statistics.count)
        self.network = Network(
            branches=Beside(branches, branch_dropout=branch_dropout),
            classifier=nn.Linear(2 * hidden + statistics.count, len(self.genres)),
        )


class Masks(nn.Module):
    """SpecAugment as a layer, in training only; a mask has at most a `fraction` of the mels or of the frames."""

    def __init__(self, fraction: float) -> None:
        super().__init__()
        self.augment = SpecAugment(mel_fraction=fraction, frame_fraction=fraction)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(batch, mel, frame)`` masked."""
        return self.augment(x, x)[0] if self.training else x


class Beside(nn.ModuleDict):
    """Two branches that read the same input and whose features are concatenated.

    In training, a fraction of the clips loses one of the branches, so that each learns to do without the other (after
    ModDrop, Neverova et al., 2016): the faster one would otherwise leave the other nothing to learn.

    Args:
        branches: Two, each from ``(batch, mel, frame)`` to ``(batch, feature)``.
        branch_dropout: That fraction.
    """

    def __init__(self, branches: Mapping[str, nn.Module], *, branch_dropout: float) -> None:
        super().__init__(branches)
        if not 0 <= branch_dropout <= 1:
            raise ValueError(f"branch_dropout={branch_dropout} must lie between 0 and 1")
        self.branch_dropout = branch_dropout

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(batch, feature)`` in float32."""
        first, second = (branch(x).float() for branch in self.values())
        if self.training and self.branch_dropout:
            draw = torch.rand(len(x), 1, device=x.device)
            first = first.where(draw >= self.branch_dropout / 2, 0.0)
            second = second.where((draw < self.branch_dropout / 2) | (draw >= self.branch_dropout), 0.0)
        return torch.cat([first, second], 1)
