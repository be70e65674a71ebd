"""What is known of the published networks: parameters, protocols, and how their authors split."""

from typing import Any

from genreclf.models import (
    LelandCNN,
    LelandFFNN,
    LiangCNN,
    LiangCRNN,
    WuCNN,
    XiplusCNN,
    XiplusCRNN1,
    XiplusCRNN2,
    XiplusRCNN,
)

PROTOCOLS: dict[str, tuple[Any, ...]] = {
    # model, sample rate, hop, mels, scale, split, loss, optimizer, learning rate, batch, epochs
    "wu_cnn": ("WuCNN", 22050, 512, 128, "power", "TrackSplitter", "CrossEntropy", "SGD", 0.02, 64, 20),
    "wu_crnn_mel": ("XiplusCRNN1", 22050, 512, 128, "power", "TrackSplitter", "CrossEntropy", "SGD", 0.02, 64, 20),
    "wu_crnn": ("XiplusCRNN1", 16000, 512, 128, "decibel", "ChunkSplitter", "BCESoftmax", "RMSprop", 1e-5, 20, 45),
    "xiplus_cnn": ("XiplusCNN", 16000, 512, 128, "decibel", "ChunkSplitter", "BCESoftmax", "RMSprop", 1e-4, 16, 20),
    "xiplus_crnn1": ("XiplusCRNN1", 16000, 512, 128, "decibel", "ChunkSplitter", "BCESoftmax", "RMSprop", 1e-5, 16, 60),
    "xiplus_crnn2": ("XiplusCRNN2", 16000, 512, 256, "decibel", "ChunkSplitter", "BCESoftmax", "RMSprop", 1e-5, 20, 60),
    "xiplus_rcnn": ("XiplusRCNN", 16000, 512, 256, "decibel", "ChunkSplitter", "BCESoftmax", "RMSprop", 1e-5, 32, 40),
    "liang_ffnn": (
        "LelandFFNN",
        22050,
        1024,
        128,
        "peak_decibel",
        "TrackSplitter",
        "CrossEntropy",
        "Adam",
        1e-3,
        16,
        40,
    ),
    "liang_cnn": ("LiangCNN", 22050, 1024, 128, "peak_decibel", "TrackSplitter", "CrossEntropy", "Adam", 1e-3, 16, 60),
    "liang_crnn": (
        "LiangCRNN",
        22050,
        1024,
        128,
        "peak_decibel",
        "TrackSplitter",
        "CrossEntropy",
        "Adam",
        1e-3,
        16,
        60,
    ),
    "leland_ffnn": ("LelandFFNN", 22050, 1024, 128, "unit", "TrackSplitter", "CrossEntropy", "Adam", 1e-3, 16, 40),
    "leland_cnn": ("LelandCNN", 22050, 1024, 128, "unit", "TrackSplitter", "CrossEntropy", "Adam", 1e-3, 16, 15),
}


FRACTIONS = {
    "wu_cnn": (0.765, 0.135, 0.1, 1),
    "wu_crnn_mel": (0.765, 0.135, 0.1, 1),
    **{name: (0.8, 0.1, 0.1, 516) for name in ("wu_crnn", "xiplus_cnn", "xiplus_crnn1", "xiplus_crnn2", "xiplus_rcnn")},
    **{name: (0.7, 0.1, 0.2, 42) for name in ("liang_ffnn", "liang_cnn", "liang_crnn", "leland_ffnn", "leland_cnn")},
}


PARAMETERS = {
    XiplusCNN: 3_914_890,
    XiplusCRNN1: 3_328_650,
    XiplusCRNN2: 3_983_498,
    XiplusRCNN: 68_699_594,
    WuCNN: 1_385_610,
    LelandFFNN: 10_838_986,
    LelandCNN: 2_463_114,
    # Of the layers as assumed, see `genreclf.models.published.liang`; worked out by hand as the sum over the layers.
    LiangCNN: (16 * 16 + 16) + (32 * 16 * 16 + 32) + (64 * 32 * 16 + 64) + (64 * 64 * 16 + 64) + (320 * 64 + 64) + 650,
    LiangCRNN: (64 * 9 + 64)
    + (128 * 64 * 9 + 128)
    + 2 * (128 * 128 * 9 + 128)
    + (4 * 20 * (128 + 20) + 2 * 80)
    + (4 * 20 * (20 + 20) + 2 * 80)
    + (20 * 32 + 32)
    + 330,
}
