"""ONNX files compute what PyTorch computes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from genreclf.export.files import Onnx

pytest.importorskip("onnxruntime")


class Root(torch.nn.Module):
    """A square root with a small constant, as in `genreclf.models.BandStatisticsClassifier`."""

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return (waveform + 1e-8).sqrt()


def test_onnx_keeps_small_constants(tmp_path: Path) -> None:
    silence = torch.zeros(1, 3)
    onnx = Onnx()
    onnx.write(torch.export.export(Root(), (silence,)), tmp_path / "model.onnx", {})
    (roots,) = onnx.run(tmp_path / "model.onnx", [silence.numpy()])
    np.testing.assert_allclose(roots, 1e-4, rtol=1e-5)
