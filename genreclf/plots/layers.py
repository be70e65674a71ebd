"""Plot of the accuracy of probes by layer of an encoder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genreclf.plots.comparison import Share, ends_of, style_of
from genreclf.plots.legends import below, height_in, wrapped
from genreclf.plots.style import marked, new_figure, save, tidy

ALL = "all"
"""Name of the probe that uses all layers; it is drawn apart from the curve."""


@dataclass(frozen=True, kw_only=True)
class LayerCurve:
    """Accuracy of the probes of an encoder by layer."""

    title: str
    """Title of the curve in the legend."""
    leaky: bool
    """Whether the split leaks."""
    known: Sequence[str]
    """Names of all layers of the encoder, from input to output."""
    layers: Sequence[str]
    """Names of the drawn layers, from input to output; `ALL` is last, if present."""
    shares: Sequence[Share]
    """Share of the validation tracks that the probes of each drawn layer classified correctly."""
    chosen: int
    """Index of the layer that is best on the validation tracks."""
    unit: str
    """Unit that the intervals are over, ``artists`` or ``tracks``."""


def draw_layers(path: Path, curves: Sequence[LayerCurve]) -> None:
    """Draw the accuracy on validation tracks by layer, with 95 % intervals and a large marker for the best layer.

    Args:
        path: Path of the PNG file to write.
        curves: Curves to draw, such as one per encoder.
    """
    present = {layer for curve in curves for layer in curve.layers}
    names = [layer for layer in _merged([curve.known for curve in curves]) if layer in present]
    names += [ALL] * (ALL in present)
    width_in = max(7.0, 0.9 * len(names) + 2)
    leaky = any(curve.leaky for curve in curves)
    title = marked("Layers of encoders", leaky=leaky, marks=["PRETRAINED"])
    letters = int(8 * width_in)
    figure = new_figure(width_in, 5.4 + height_in([curve.title for curve in curves], 1, letters), title)
    axes = figure.subplots()
    drawn: list[Any] = []
    for index, curve in enumerate(curves):
        color, dashes, mark = style_of(index)
        beside = 0.12 * (index - (len(curves) - 1) / 2)
        places = [names.index(layer) + beside for layer in curve.layers]
        values = [100 * share.value for share in curve.shares]
        ends = np.hstack([ends_of(share) for share in curve.shares])
        joined = len(curve.layers) - (ALL in curve.layers)
        axes.plot(places[:joined], values[:joined], color=color, linestyle=dashes, linewidth=1.8)
        drawn.append(axes.errorbar(places, values, yerr=ends, fmt=mark, color=color, markersize=6, capsize=3))
        axes.plot(places[curve.chosen], values[curve.chosen], marker=mark, color=color, markersize=13)
    axes.set_xticks(range(len(names)), names, rotation=30 if len(names) > 8 else 0, parse_math=False)
    axes.set_xlabel("layer of the encoder, from input to output", fontsize=13)
    units = " or ".join(dict.fromkeys(curve.unit for curve in curves))
    axes.set_ylabel(f"accuracy on validation tracks (%),\n95 % interval over {units}", fontsize=13)
    tidy(axes, grid_axis="y")
    titles = [wrapped(curve.title, letters) for curve in curves]
    figure.legend(drawn, titles, **below(1, [curve.leaky for curve in curves]))
    save(figure, path)


def _merged(orders: Sequence[Sequence[str]]) -> list[str]:
    """Return the names of all given sequences once each, in the order of the sequences as far as they agree."""
    merged: list[str] = []
    for order in orders:
        place = len(merged)
        for name in reversed(order):
            if name in merged:
                place = merged.index(name)
            else:
                merged.insert(place, name)
    return merged
