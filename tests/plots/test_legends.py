"""Legends and labels of learning curves and layer curves have room, whatever the names."""

from itertools import pairwise
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from genreclf.plots import layers, learning_curve
from genreclf.plots.comparison import Share
from genreclf.plots.layers import LayerCurve, draw_layers
from genreclf.plots.learning_curve import CurvePoint, draw_learning_curve

LONG = "clap: Probe architecture=clap TransformersEncoder repo=laion/clap-htsat-unfused sample_rate=48000"
NAMES = ["SVM", *(f"{LONG} lr={k}" for k in range(3))]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    drawn: list[Figure] = []
    for module in (learning_curve, layers):
        monkeypatch.setattr(module, "save", lambda figure, path: drawn.append(figure))
    return drawn


def check_legend(figure: Figure) -> None:
    figure.draw_without_rendering()
    (axes,), (legend,) = figure.axes, figure.legends
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert 0 <= box.y0 < box.y1 <= axes.get_tightbbox().y0
    assert axes.bbox.height > 0.5 * 6 * figure.dpi


def test_a_learning_curve_has_its_legend_below_and_labels_apart(figures: list[Figure]) -> None:
    points = [CurvePoint(size=size, accuracy=0.5, ci95=(0.4, 0.6), ci95_artists=None) for size in (22, 23.4, 44, 443)]
    draw_learning_curve(Path("curve.png"), [(name, points) for name in NAMES], "training tracks", "Learning curve")
    check_legend(figures[0])
    labels = [label.get_window_extent() for label in figures[0].axes[0].get_xticklabels()]
    assert len(labels) == 3
    assert all(left.x1 < right.x0 for left, right in pairwise(labels))


def test_layer_curves_have_their_whole_legend_below(figures: list[Figure]) -> None:
    share, names = Share(0.5, 0.4, 0.6), ["low", "high"]
    curves = [
        LayerCurve(title=name, leaky=False, known=names, layers=names, shares=[share] * 2, chosen=0, unit="tracks")
        for name in NAMES
    ]
    draw_layers(Path("layers.png"), curves)
    check_legend(figures[0])
