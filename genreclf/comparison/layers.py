"""Compare probes of different layers of an encoder by their accuracy on validation tracks."""

import re
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean

from genreclf.comparison.experiments import Experiment
from genreclf.comparison.significance import accuracy_interval
from genreclf.config.identity import digest
from genreclf.evaluation.metrics import get_metric, track_loss
from genreclf.plots.comparison import Share
from genreclf.plots.layers import LayerCurve

LAYER = "model.layer"
"""Key of the setting in which the probes of a curve differ, besides their seeds."""


def layer_curves(experiments: Sequence[Experiment]) -> list[LayerCurve]:
    """Return a curve of validation accuracy by layer for each encoder and settings with several probed layers.

    Args:
        experiments: Experiments with any models; those that are not probes are ignored.
    """
    swept: dict[str, dict[str, Experiment]] = defaultdict(dict)
    for each in experiments:
        if _known_layers(each) and each.validation is not None:
            rest = {key: value for key, value in each.settings.items() if key != LAYER}
            swept[digest(rest)][str(get_metric(each.runs[0].metrics, "probe.layer"))] = each
    return [_curve(by_layer) for by_layer in swept.values() if len(by_layer) > 1]


def _known_layers(probe: Experiment) -> Sequence[str]:
    return get_metric(probe.runs[0].metrics, "probe.layers") or ()


def _loss(probe: Experiment) -> float:
    """Return the loss on validation tracks in nats, averaged over the runs."""
    return fmean(track_loss(table) for run in probe.runs if (table := run.validation) is not None)


def _curve(by_layer: dict[str, Experiment]) -> LayerCurve:
    """Return the curve of an encoder, with intervals over artists where the artists are known, else over tracks."""
    first = next(iter(by_layer.values()))
    layers = [layer for layer in (*_known_layers(first), "all") if layer in by_layer]
    scores = [score for layer in layers if (score := by_layer[layer].validation) is not None]
    shares = []
    for score in scores:
        interval = accuracy_interval(score)
        shares.append(Share(score.accuracy, *(score.artist_interval or (interval.low, interval.high))))
    losses = [_loss(by_layer[layer]) for layer in layers]
    return LayerCurve(
        title=f"{first.pretrained}: {re.sub(r' (model[.])?layer=[^ ,]+| [(]PRETRAINED[)]', '', first.title)}",
        leaky=first.leaky,
        known=_known_layers(first),
        layers=layers,
        shares=shares,
        chosen=min(range(len(layers)), key=lambda index: (-shares[index].value, losses[index])),
        unit="artists" if all(score.artist is not None for score in scores) else "tracks",
    )
