"""A CRNN and band statistics in one network, the most accurate network of this project."""

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
    """A CRNN (Choi et al., 2017) and `BandStatistics` side by side, with one linear layer on the features of both.

    The two branches make different mistakes. SpecAugment is applied only in the CRNN branch, because the statistics of
    masked spectrograms would differ from those of the spectrograms in the test.

    Args:
        channels: Number of output channels of each convolution.
        pools: Size of the pooling window after each convolution, (mel bands, frames).
        hidden: Number of units of the recurrent layer in each direction.
        center_bands: Whether each band's mean over the clip is subtracted in the CRNN branch, which removes the effect
            of the recording, as cepstral mean subtraction does for speech (Atal, 1974). The statistics keep the means.
        spec_augment: Largest width of a SpecAugment mask, as a fraction of the mel bands or of the frames; 0 disables
            SpecAugment.
        dropout: Dropout probability of the CRNN's features.
        statistics_dropout: Dropout probability of the statistics.
        branch_dropout: Fraction of the training clips that are classified by one of the two branches alone.
        **training: Arguments passed on to `GenreClassifier`.
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
    """SpecAugment as a layer that is active in training only.

    Args:
        fraction: Largest width of a mask, as a fraction of the mel bands or of the frames.
    """

    def __init__(self, fraction: float) -> None:
        super().__init__()
        self.augment = SpecAugment(mel_fraction=fraction, frame_fraction=fraction)

    def forward(self, x: Tensor) -> Tensor:
        """Return the spectrograms ``(batch, mel, frame)``, masked in training."""
        return self.augment(x, x)[0] if self.training else x


class Beside(nn.ModuleDict):
    """Two branches that take the same input, with their features concatenated.

    In training, the features of one branch are set to zero for a fraction of the clips (after ModDrop, Neverova et al.,
    2016), so that each branch learns to do without the other. Otherwise the branch that learns faster would leave the
    other one nothing to learn.

    Args:
        branches: Two modules, each of which maps ``(batch, mel, frame)`` to ``(batch, feature)``.
        branch_dropout: Fraction of the training clips for which one branch is dropped.

    Raises:
        ValueError: `branch_dropout` is not between 0 and 1.
    """

    def __init__(self, branches: Mapping[str, nn.Module], *, branch_dropout: float) -> None:
        super().__init__(branches)
        if not 0 <= branch_dropout <= 1:
            raise ValueError(f"branch_dropout={branch_dropout} must lie between 0 and 1")
        self.branch_dropout = branch_dropout

    def forward(self, x: Tensor) -> Tensor:
        """Return the concatenated features ``(batch, feature)``."""
        first, second = (branch(x) for branch in self.values())
        if self.training and self.branch_dropout:
            draw = torch.rand(len(x), 1, device=x.device)
            first = first.where(draw >= self.branch_dropout / 2, 0.0)
            second = second.where((draw < self.branch_dropout / 2) | (draw >= self.branch_dropout), 0.0)
        return torch.cat([first, second], 1)
