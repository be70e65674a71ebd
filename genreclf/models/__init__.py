"""Model architectures, each a LightningModule, with one file per family of architectures."""

from genreclf.models.attention_crnn import AttentionCRNN
from genreclf.models.band_statistics import BandStatisticsClassifier
from genreclf.models.closed_form import Constant
from genreclf.models.cnn import CNN
from genreclf.models.crnn import CRNN
from genreclf.models.ffnn import FFNN
from genreclf.models.finetune import FineTune
from genreclf.models.musicnn import Musicnn
from genreclf.models.patch_transformer import PatchTransformer
from genreclf.models.probe import Probe
from genreclf.models.published.leland import LelandCNN, LelandFFNN
from genreclf.models.published.liang import LiangCNN, LiangCRNN
from genreclf.models.published.wu import WuCNN
from genreclf.models.published.xiplus import XiplusCNN, XiplusCRNN1, XiplusCRNN2, XiplusRCNN
from genreclf.models.short_chunk_cnn import ShortChunkCNN
from genreclf.models.statistics_crnn import StatisticsCRNN
from genreclf.models.svm import SVM
from genreclf.training.module import GenreClassifier

__all__ = [
    "CNN",
    "CRNN",
    "FFNN",
    "SVM",
    "AttentionCRNN",
    "BandStatisticsClassifier",
    "Constant",
    "FineTune",
    "GenreClassifier",
    "LelandCNN",
    "LelandFFNN",
    "LiangCNN",
    "LiangCRNN",
    "Musicnn",
    "PatchTransformer",
    "Probe",
    "ShortChunkCNN",
    "StatisticsCRNN",
    "WuCNN",
    "XiplusCNN",
    "XiplusCRNN1",
    "XiplusCRNN2",
    "XiplusRCNN",
]
